"""PRIME's advantages from `compute_advantages`, which does not know of PRIME, on its batch of four responses.

Normalised process rewards, their means by response m = 0.214285, -0.285714, 0.2, 0.464285:

    equation 5 of the paper   r - mean of the peers' m        (0.126190, 0.292857, 0.130952, 0.042857)
    public code               r K / (K - 1) - sum of m / (K - 1), K = 4: the same return at the first token
    outcome                   a - mean of the peers' a = 2/3, -2/3, 2/3, -2/3, at the last token
    return                    sum of both from the token on; advantage: whitened over all tokens
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pure_rlhf.algorithm.baselines import Comparison
from pure_rlhf.algorithm.step_segmentation import response_spans, token_spans
from tests.unit.algorithm.prime_batch import OUTCOMES, prime_advantages, prime_batch
from tests.unit.algorithm.six_answers import place

EQUATION_5_RETURNS = [
    [1.019047, 0.859524, 1.128571, 0.683333],
    [-2.402379, -1.680951, -0.673810],
    [1.011904, 1.000000, 0.702381, 0.833333, 0.250001],
    [0.176189, -0.852381],
]
EQUATION_5_ADVANTAGES = [
    [0.779012, 0.636545, 0.876826, 0.479194],
    [-2.276587, -1.632296, -0.732840],
    [0.772633, 0.762001, 0.496205, 0.613155, 0.092194],
    [0.026275, -0.892318],
]
PUBLIC_CODE_RETURNS = [
    [1.019047, 0.835714, 1.223809, 0.659524],
    [-2.402379, -1.633332, -0.483334],
    [1.011904, 1.019047, 0.645238, 0.842857, 0.088096],
    [0.176189, -1.054761],
]
PUBLIC_CODE_ADVANTAGES = [
    [0.783143, 0.619976, 0.965382, 0.463166],
    [-2.261942, -1.577487, -0.553983],
    [0.776786, 0.783143, 0.450451, 0.626333, -0.045408],
    [0.032996, -1.062556],
]
STEP_SUM_ADVANTAGES = [
    [0.755993] * 2 + [0.869511] * 2,
    [-2.288964] + [-1.454273] * 2,
    [0.562344] * 2 + [0.341986] * 2 + [0.001431],
    [0.068205] * 2,
]
STEP_SOFTMIN_ADVANTAGES = [
    [0.827212] * 2 + [0.917353] * 2,
    [-2.128057] + [-1.400830] * 2,
    [-0.305664] * 2 + [0.063592] * 2 + [0.432955],
    [0.745888] * 2,
]


def assert_six_digits(found: torch.Tensor, expected: list[list[float]]) -> None:
    _, action_mask, _ = prime_batch()
    torch.testing.assert_close(found, place(expected, action_mask), atol=1.5e-6, rtol=0)


def test_equation_5_of_the_paper() -> None:
    steps, action_mask, q = prime_batch()
    found = prime_advantages(token_spans(steps, action_mask), action_mask, q)
    assert_six_digits(found.returns_BA, EQUATION_5_RETURNS)
    assert_six_digits(found.advantages_BA, EQUATION_5_ADVANTAGES)
    assert found.process_return_B.tolist() == pytest.approx(
        [0.6 / 0.7, -0.6 / 0.7, 1.0, 0.65 / 0.7], abs=2e-6
    )


def test_the_public_code() -> None:
    """`reinforce_baseline` compares with all responses: its returns are 3/4 of the code's, which whitening removes."""
    steps, action_mask, q = prime_batch()
    found = prime_advantages(
        token_spans(steps, action_mask), action_mask, q, advantage_estimator="reinforce_baseline"
    )
    assert_six_digits(found.returns_BA * 4 / 3, PUBLIC_CODE_RETURNS)
    assert_six_digits(found.advantages_BA, PUBLIC_CODE_ADVANTAGES)


@pytest.mark.parametrize(
    ("credit_assignment", "expected"),
    [("sum", STEP_SUM_ADVANTAGES), ("softmin", STEP_SOFTMIN_ADVANTAGES)],
)
def test_implicit_rewards_of_steps_in_sum_form_and_in_min_form(
    credit_assignment: Any, expected: list[list[float]]
) -> None:
    steps, action_mask, q = prime_batch()
    found = prime_advantages(steps, action_mask, q, credit_assignment=credit_assignment)
    assert_six_digits(found.advantages_BA, expected)


def test_one_reward_a_response_is_leave_one_out_of_both_and_their_sum() -> None:
    """Normalised S: 6/7, -6/7, 1, 13/14, of sum 27/14; the two baselines are taken apart, then summed."""
    steps, action_mask, q = prime_batch()
    spans = response_spans(steps, action_mask)
    found = prime_advantages(spans, action_mask, q, normalize=False)
    peers = Comparison(4, leave_one_out=True)
    for value, s, outcome, peers_a in zip(
        found.advantages_BA[:, 1].tolist(),
        [6 / 7, -6 / 7, 1.0, 13 / 14],
        OUTCOMES,
        peers.mean(torch.tensor(OUTCOMES)).tolist(),
        strict=True,
    ):
        assert value == pytest.approx(s - (27 / 14 - s) / 3 + outcome - peers_a, abs=5e-6)


def test_outcomes_alone_are_plain_leave_one_out() -> None:
    steps, action_mask, q = prime_batch()
    spans = token_spans(steps, action_mask)
    without = prime_advantages(spans, action_mask, q, process_reward_coef=0.0)
    plain = prime_advantages(spans, action_mask, q, reward_mode="VR")
    torch.testing.assert_close(without.returns_BA, plain.returns_BA)
    expected = [[sign * 2 / 3] * n for sign, n in ((1, 4), (-1, 3), (1, 5), (-1, 2))]
    assert_six_digits(plain.returns_BA, expected)


def test_a_baseline_per_token_of_length_is_another_one() -> None:
    """`token`, PURE's, is weighted by length: the peers of response 1 earn 1.071427 on 10 tokens, not 0.126190 each."""
    steps, action_mask, q = prime_batch()
    found = prime_advantages(
        token_spans(steps, action_mask), action_mask, q, reward_baseline="token"
    )
    difference = found.advantages_BA - place(EQUATION_5_ADVANTAGES, action_mask)
    assert difference.abs().max().item() == pytest.approx(0.118, abs=5e-4)
