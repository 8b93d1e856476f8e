"""Losses of a learning PRM against worked numbers, and the measures of how well it ranks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pure_rlhf.algorithm.credit_assignment import log_sum_exp_minimum
from pure_rlhf.algorithm.implicit_reward import log_ratios
from pure_rlhf.algorithm.prm_losses import (
    implicit_outcome_logits,
    last_step_labels,
    minimum_outcome_logits,
    outcome_accuracy,
    outcome_loss,
    outcome_weights,
    pair_accuracy,
    step_label_loss,
    step_label_weights,
)
from tests.unit.algorithm.prime_batch import BETA, OUTCOMES, prime_batch
from tests.unit.algorithm.six_answers import pad_rows

NAN = float("nan")
STEP_REWARDS = [[0.95, 0.9, 0.9, 0.97], [0.9, 0.8, 0.85], [0.9, -0.2, 0.6], [0.3, -0.9]]
STEP_OUTCOMES = torch.tensor([1.0, 0.0, 1.0, 0.0])


def implicit_loss(q: Tensor, outcomes: list[float]) -> Tensor:
    outcome_B = torch.tensor(outcomes)
    logits_B = implicit_outcome_logits(q, beta=BETA)
    return outcome_loss(logits_B, outcome_B, outcome_weights(outcome_B))


def step_rewards() -> tuple[Tensor, Tensor]:
    rewards_BS = pad_rows(STEP_REWARDS, 4)
    return rewards_BS.nan_to_num(0.0).requires_grad_(), ~rewards_BS.isnan()


def test_cross_entropy_of_the_implicit_prm() -> None:
    _, action_mask, prm_log_probs = prime_batch()
    prm_log_probs.requires_grad_()
    q = log_ratios(prm_log_probs, torch.zeros(action_mask.shape), action_mask)
    loss = implicit_loss(q, OUTCOMES)
    assert loss.item() == pytest.approx(0.685462, abs=1e-6)
    loss.backward()
    assert prm_log_probs.grad is not None
    per_token = torch.tensor([-0.006156, 0.006156, -0.006141, 0.006352])
    expected = per_token[:, None] * action_mask  # the same at each token of a response
    torch.testing.assert_close(prm_log_probs.grad, expected, atol=6e-7, rtol=0)


def test_a_share_of_passed_tests_is_an_outcome_too() -> None:
    _, _, q = prime_batch()
    assert implicit_loss(q, [1.0, 0.0, 0.6, 0.0]).item() == pytest.approx(0.688962, abs=1e-6)
    assert implicit_loss(0 * q, [1.0, 0.0, 0.6, 0.0]).item() == pytest.approx(math.log(2))


def test_responses_without_an_outcome_weigh_nothing() -> None:
    _, _, q = prime_batch()
    q.requires_grad_()
    loss = implicit_loss(q, [1.0, NAN, NAN, 0.0])
    # sigma(0.03) = 0.507499 and sigma(0.0325) = 0.508124: (-ln 0.507499 - ln 0.491876) / 2 = (0.678260 + 0.709529) / 2
    assert loss.item() == pytest.approx(0.693894, abs=2e-6)
    loss.backward()
    assert q.grad is not None and not q.grad[1:3].any() and q.grad[0].any()
    assert implicit_loss(q, [NAN] * 4).item() == 0.0  # nothing to learn from, and no NaN


def test_micro_batches_give_the_mean_over_the_labelled_of_the_rollout() -> None:
    outcome_B = torch.tensor([1.0, NAN, NAN, NAN, 0.0, 1.0])
    weight_B = outcome_weights(outcome_B)
    assert weight_B.tolist() == [2, 0, 0, 0, 2, 2]
    logits_B = torch.tensor([0.3, 5.0, -2.0, 1.0, 0.7, -0.4])
    micro = [slice(0, 2), slice(2, 4), slice(4, 6)]  # one, none and two of the labelled ones
    losses = [outcome_loss(logits_B[m], outcome_B[m], weight_B[m]) for m in micro]
    labelled = [0, 4, 5]
    expected = outcome_loss(logits_B[labelled], outcome_B[labelled], torch.ones(3))
    torch.testing.assert_close(torch.stack(losses).mean(), expected)


def test_a_confident_mistake_has_a_gradient() -> None:
    """The public sigmoid-then-BCE has exactly none from a logit of 17 on, and ours is 1."""
    ours = torch.tensor([17.0], requires_grad=True)
    outcome_loss(ours, torch.tensor([0.0]), torch.ones(1)).backward()
    public = torch.tensor([17.0], requires_grad=True)
    loss = torch.nn.functional.binary_cross_entropy(public.sigmoid(), torch.tensor([0.0]))
    loss.backward()
    assert ours.grad is not None and public.grad is not None
    assert public.grad.item() == 0.0 and loss.item() == 100.0
    assert ours.grad.item() == 1.0


@pytest.mark.parametrize(
    ("rewards", "value", "gradient"),
    [
        ([0.9, 0.8, 0.85], 0.841834, [0.186, 0.506, 0.307]),
        ([0.9, -0.2, 0.6], -0.090174, [0.000, 1.000, 0.000]),
        ([0.95, 0.9, 0.9, 0.97], 0.925389, [0.195, 0.322, 0.322, 0.160]),
        ([0.3, -0.9], -0.830686, [0.000, 1.000]),
    ],
)
def test_log_sum_exp_minimum(rewards: list[float], value: float, gradient: list[float]) -> None:
    rewards_BS = torch.tensor([[*rewards, NAN]])  # a place without a step may hold anything
    rewards_BS.requires_grad_()
    mask_BS = ~rewards_BS.isnan()
    found = log_sum_exp_minimum(rewards_BS, mask_BS, temperature=0.1)
    assert found.item() == pytest.approx(value, abs=1e-6)
    found.backward()
    assert rewards_BS.grad is not None
    assert rewards_BS.grad[0, :-1].tolist() == pytest.approx(gradient, abs=6e-4)
    assert rewards_BS.grad[0, -1].item() == 0.0


def test_the_minimum_goes_from_the_worst_step_to_the_mean() -> None:
    rewards_BS, mask_BS = torch.tensor([[0.6, -0.2, 0.8]]), torch.ones(1, 3, dtype=torch.bool)
    cold = log_sum_exp_minimum(rewards_BS, mask_BS, temperature=1e-3)
    hot = log_sum_exp_minimum(rewards_BS, mask_BS, temperature=1e3)
    assert cold.item() == pytest.approx(-0.2, abs=2e-3)  # T ln 3 above the worst step
    assert hot.item() == pytest.approx(0.4, abs=1e-3)


def test_training_with_softmin_would_push_good_steps_down() -> None:
    r = torch.tensor([[0.9, 0.0]], requires_grad=True)
    (torch.softmax(-r / 0.1, dim=1) * r).sum().backward()
    assert r.grad is not None and r.grad[0, 0].item() == pytest.approx(-0.00099, abs=1e-5)
    r = torch.tensor([[0.9, 0.0]], requires_grad=True)
    log_sum_exp_minimum(r, torch.ones(1, 2, dtype=torch.bool), temperature=0.1).backward()
    assert r.grad is not None and r.grad[0, 0].item() > 0


def test_outcome_through_the_minimum() -> None:
    rewards_BS, mask_BS = step_rewards()
    logits_B = minimum_outcome_logits(rewards_BS, mask_BS)
    loss = outcome_loss(logits_B, STEP_OUTCOMES, outcome_weights(STEP_OUTCOMES))
    assert loss.item() == pytest.approx(1.087678, abs=1e-6)
    loss.backward()
    gradient = rewards_BS.grad
    assert gradient is not None
    # the wrong response that looks right, and the right one with a doubted step
    assert gradient[1, :3].tolist() == pytest.approx([0.18011, 0.48960, 0.29696], abs=6e-6)
    assert gradient[2, :3].tolist() == pytest.approx([-0.00001, -0.58900, -0.00020], abs=6e-6)
    assert not gradient[~mask_BS].any()
    torch.testing.assert_close(
        minimum_outcome_logits(rewards_BS, mask_BS, sharpness=8.0, bias=0.5), 2 * logits_B + 0.5
    )


def test_what_an_outcome_says_of_steps() -> None:
    mask_BS = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]).bool()
    labels_BS = last_step_labels(torch.tensor([0.0, 1.0, 0.0, NAN, 0.6]), mask_BS)
    expected = [[NAN, NAN, 0], [1, 1, NAN], [0, NAN, NAN], [NAN] * 3, [NAN] * 3]
    torch.testing.assert_close(labels_BS, torch.tensor(expected), equal_nan=True)


def test_cross_entropy_of_labelled_steps() -> None:
    rewards_BS, mask_BS = step_rewards()
    # r = tanh(d / 2), d the difference of the logits
    logits_BS = (2 * torch.atanh(rewards_BS.detach())).masked_fill(~mask_BS, NAN).requires_grad_()
    labels_BS = last_step_labels(STEP_OUTCOMES, mask_BS)
    assert int((~labels_BS.isnan()).sum()) == 9 and int(mask_BS.sum()) == 12
    weight_B = step_label_weights(labels_BS)
    loss = step_label_loss(logits_BS, labels_BS, weight_B)
    assert loss.item() == pytest.approx(0.441701, abs=1e-6)
    loss.backward()
    assert logits_BS.grad is not None
    # (p - 1) / 9 at a right step with r = 0.9, p = 0.95; p / 9 at the last step of the wrong response, r = 0.85
    assert logits_BS.grad[0, 1].item() == pytest.approx(-0.05 / 9, abs=1e-6)
    assert logits_BS.grad[1].tolist() == pytest.approx([0, 0, 0.925 / 9, 0], abs=1e-6)
    halves = [
        step_label_loss(logits_BS[m], labels_BS[m], weight_B[m]) for m in (slice(2), slice(2, 4))
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), loss)


def test_weights_of_labelled_steps() -> None:
    labels_BS = torch.tensor([[NAN, 0], [1, 1], [NAN, NAN], [1, NAN]])
    assert step_label_weights(labels_BS).tolist() == [1, 1, 0, 1]  # 4 responses, 4 labels
    assert step_label_weights(labels_BS[2:3]).tolist() == [0]
    assert step_label_loss(torch.ones(1, 2), labels_BS[2:3], torch.zeros(1)).item() == 0.0


@pytest.mark.parametrize(
    ("scores", "outcomes", "group_size", "expected"),
    [
        # pairs of 1 and 3 with 2 and 4: 0.6 is below 0.65, the other three are in order
        ([0.6, -0.6, 0.7, 0.65], OUTCOMES, 4, 0.75),
        # |da| 0.4, 1, 0.6: only the pair (0.6, 0) is in the wrong order
        ([3.0, 1.0, 2.0], [1.0, 0.6, 0.0], 3, 1.4 / 2.0),
        ([1.0, 2.0], [1.0, 1.0], 2, 0.5),  # no pair
        ([1.0, 0.0, 1.0, 2.0], [1.0, 0.0, 1.0, 1.0], 2, 0.75),  # (1 + 0.5) / 2
        ([0.0, 0.0], [1.0, 0.0], 2, 0.5),  # a tie, in either order
        ([0.0, 0.0], [0.0, 1.0], 2, 0.5),
        # the second prompt has no outcome, and the third response of the first has none
        ([1.0, 0.0, 9.0, 0.0, 1.0, 2.0], [1.0, 0.0, NAN, NAN, NAN, NAN], 3, 1.0),
    ],
)
def test_pair_accuracy(
    scores: list[float], outcomes: list[float], group_size: int, expected: float
) -> None:
    found = pair_accuracy(torch.tensor(scores), torch.tensor(outcomes), group_size=group_size)
    assert found == pytest.approx(expected)


def test_accuracy_without_a_label_is_nan() -> None:
    scores, none = torch.tensor([1.0, 2.0]), torch.tensor([NAN, NAN])
    assert math.isnan(pair_accuracy(scores, none, group_size=2))
    assert math.isnan(outcome_accuracy(scores, none))


def test_accuracy_against_the_verifier() -> None:
    outcomes = torch.tensor([*OUTCOMES, NAN])
    assert outcome_accuracy(torch.tensor([0.6, -0.6, 0.7, 0.65, 3.0]), outcomes) == 0.75
    # a score of 0 counts as wrong, as a step reward of 0 does
    assert outcome_accuracy(torch.zeros(5), outcomes) == 0.5


@pytest.mark.parametrize("bad", [1.5, -1.0])
def test_outcomes_out_of_range_are_refused_with_their_rows(bad: float) -> None:
    outcome_B = torch.tensor([1.0, bad])
    with pytest.raises(ValueError, match=r"outcomes must be in \[0, 1\].*responses \[1\]"):
        outcome_loss(torch.zeros(2), outcome_B, torch.ones(2))
    with pytest.raises(ValueError, match=r"responses \[1\]"):
        last_step_labels(outcome_B, torch.ones(2, 1, dtype=torch.bool))
