"""Advantages against numbers that were worked out by hand.

The batch of six answers, with its credits, is in `six_answers.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pure_rlhf.algorithm.advantages import compute_advantages, suffix_sums, whiten
from tests.unit.algorithm.six_answers import (
    arguments_for,
    assert_rows,
    lay_out,
    pad_rows,
    place,
    settings_for,
    six_answer_advantages,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("baseline", "expected_rewards", "expected"),
    [
        (
            "token",
            # O_A = -0.4, O_B = 0.5, L_A = 7, L_B = 5. A pays 0.5/5 = 0.1 per token: 0 - 0.2 and
            # -0.4 - 0.3, and its verifiable reward is -1 - 0. B gets 0.5 + 4 * 0.4/7 + 1.
            [[0, 0, -0.2, 0, 0, 0, -1.7], [0, 0, 0, 0, 1.72857]],
            [[-1.9, -1.9, 0, -1.7, -1.7, -1.7, 0], [1.72857] * 4 + [0]],
        ),
        (
            "step",
            # A pays 0.5/1 per step: 0 - 0.5 and -0.4 - 0.5 - 1. B gets 0.5 + 0.4/2 + 1.
            [[0, 0, -0.5, 0, 0, 0, -1.9], [0, 0, 0, 0, 1.7]],
            [[-2.4, -2.4, 0, -1.9, -1.9, -1.9, 0], [1.7] * 4 + [0]],
        ),
    ],
)
def test_published_worked_example(
    baseline: Any, expected_rewards: list[list[float]], expected: list[list[float]]
) -> None:
    steps, action_mask = lay_out([[5, 5, 9, 5, 5, 5, 1], [5, 5, 5, 5, 1]], [2, 2])
    result = compute_advantages(
        **arguments_for(
            "openrlhf", group_size=2, kl_coef=0.001, reward_baseline=baseline, normalize=False
        ),
        step_rewards_BS=pad_rows([[0.8, -0.4], [0.5]], 2),
        steps=steps,
        verifiable_reward_B=torch.tensor([0.0, 1.0]),
        kl_BA=None,
        action_mask_BA=action_mask,
    )
    expected_rewards_BA = place(expected_rewards, action_mask)
    # The table rounds away the 5e-6 that the better step of A earns, and 1e-5 of O_A.
    torch.testing.assert_close(result.token_rewards_BA, expected_rewards_BA, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        result.advantages_BA, place(expected, action_mask), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(result.process_return_B, torch.tensor([-0.39999263, 0.5]))


# Token baseline: the rate is O over L of the two others, and step k pays rate * m_k.
#   A1 (1/2 + 1) / (4 + 2) = 1/4; A2 (-1/4 + 1) / (4 + 2) = 1/8; A3 (-1/4 + 1/2) / (4 + 4) = 1/32
#   B1 (-1/2 - 0.6) / (4 + 6) = -0.11; B2 (1/4 - 0.6) / 10 = -0.035; B3 (1/4 - 1/2) / 8 = -1/32
# Verifiable reward: A has 0, -1, 0, minus the mean of the others: 1/2, -1, 1/2. B has exactly 0.
# Rewards per token, and returns (sums from the right):
#   A1 -0.05, 1/8 - 1/4, 0, -3/8 - 1/4 + 1/2  = -0.05, -0.125, 0, -0.125
#   A2 0, 0, 1/4 - 2/8, 1/4 - 1/8 - 1         = 0, 0, 0, -0.875
#   A3 -0.025, 1 - 1/32 + 1/2                 = -0.025, 1.46875
#   B1 0 + 0 * 0.11, 0, -0.1, 1/4 + 0.22      = 0, 0, -0.1, 0.47
#   B2 0, 0, 0, -1/2 + 0.105                  = 0, 0, 0, -0.395
#   B3 -0.2 + 1/32 at each of 1, 3, 5         = -0.16875
OPENRLHF_TOKEN_RETURNS = [
    [-0.3, -0.25, -0.125, -0.125],
    [-0.875, -0.875, -0.875, -0.875],
    [1.44375, 1.46875],
    [0.37, 0.37, 0.37, 0.47],
    [-0.395, -0.395, -0.395, -0.395],
    [-0.50625, -0.50625, -0.3375, -0.3375, -0.16875, -0.16875],
]
# Separators and EOS become 0; the last token of A2, which was cut off, does not.
OPENRLHF_TOKEN = [
    [-0.3, 0, -0.125, 0],
    [-0.875, -0.875, 0, -0.875],
    [1.44375, 0],
    [0, 0.37, 0.37, 0],
    [-0.395, -0.395, -0.395, 0],
    [-0.50625, 0, -0.3375, 0, -0.16875, 0],
]
# Step baseline: mean of O / n of the two others, paid by every step.
#   A1 (1/4 + 1) / 2 = 0.625; A2 (-1/8 + 1) / 2 = 0.4375; A3 (-1/8 + 1/4) / 2 = 0.0625
#   B1 (-1/2 - 0.2) / 2 = -0.35; B2 (1/8 - 0.2) / 2 = -0.0375; B3 (1/8 - 1/2) / 2 = -0.1875
# Rewards:
#   A1 -0.05, 1/8 - 0.625, 0, -3/8 - 0.625 + 1/2       = -0.05, -0.5, 0, -0.5
#   A2 0, 0, 1/4 - 0.4375, 1/4 - 0.4375 - 1            = 0, 0, -0.1875, -1.1875
#   A3 -0.025, 1 - 0.0625 + 1/2                        = -0.025, 1.4375
#   B1 0.35 (an empty step has a step baseline), 0, -0.1, 1/4 + 0.35
#   B2 0, 0, 0, -1/2 + 0.0375                          = 0, 0, 0, -0.4625
#   B3 -0.2 + 0.1875 at each of 1, 3, 5                = -0.0125
OPENRLHF_STEP = [
    [-1.05, 0, -0.5, 0],
    [-1.375, -1.375, 0, -1.1875],
    [1.4125, 0],
    [0, 0.5, 0.5, 0],
    [-0.4625, -0.4625, -0.4625, 0],
    [-0.0375, 0, -0.025, 0, -0.0125, 0],
]
# verl: half the credit, 0 or 1 for the answer, nothing centred. Rewards, returns G and their sum:
#   A1 -0.05, 1/16, 0, -3/16 + 1   G = 0.825, 0.875, 0.8125, 0.8125      3.325
#   A2 0, 0, 1/8, 1/8 + 0          G = 0.25, 0.25, 0.25, 0.125           0.875
#   A3 -0.025, 1/2 + 1             G = 1.475, 1.5                        2.975
#   B1 0, 0, -0.1, 1/8             G = 0.025, 0.025, 0.025, 0.125        0.2
#   B2 0, 0, 0, -1/4               G = -0.25 each                       -1
#   B3 -0.1 at each of 1, 3, 5     G = -0.3, -0.3, -0.2, -0.2, -0.1, -0.1   -1.2
# Baseline: mean over the two others of that sum, over N = 8 (so the sum of both over 16).
#   A1 3.85 / 16 = 0.240625; A2 6.3 / 16 = 0.39375; A3 4.2 / 16 = 0.2625
#   B1 -2.2 / 16 = -0.1375; B2 -1 / 16 = -0.0625; B3 -0.8 / 16 = -0.05
VERL = [
    [0.584375, 0.634375, 0.571875, 0.571875],
    [-0.14375, -0.14375, -0.14375, -0.26875],
    [1.2125, 1.2375],
    [0.1625, 0.1625, 0.1625, 0.2625],
    [-0.1875, -0.1875, -0.1875, -0.1875],
    [-0.25, -0.25, -0.15, -0.15, -0.05, -0.05],
]


def test_openrlhf_convention() -> None:
    assert_rows(settings_for("openrlhf"), OPENRLHF_TOKEN)
    assert_rows(settings_for("openrlhf", mask_separator=False), OPENRLHF_TOKEN_RETURNS)
    result, action_mask = six_answer_advantages(settings_for("openrlhf"))
    torch.testing.assert_close(result.returns_BA, place(OPENRLHF_TOKEN_RETURNS, action_mask))
    torch.testing.assert_close(
        result.process_return_B, torch.tensor([-0.25, 0.5, 1, 0.25, -0.5, -0.6])
    )


def test_openrlhf_convention_with_the_step_baseline() -> None:
    assert_rows(settings_for("openrlhf", reward_baseline="step"), OPENRLHF_STEP)


def test_openrlhf_convention_whitened() -> None:
    # 24 tokens, 14 of them not 0. Their sum is -0.425 - 2.625 + 1.44375 + 0.74 - 1.185 - 1.0125 =
    # -3.06375, so the mean is -3.06375 / 14 = -0.218839286. Their squares sum to 0.105625 +
    # 2.296875 + 2.084414063 + 0.2738 + 0.468075 + 0.398671875 = 5.627460938. Over all 24 tokens
    # (the ten zeros are in it, as published) sum of (a - mean)^2 = 5.627460938 - 2 * 0.670468862 +
    # 24 * 0.047890633 = 5.435898406, and over 14 that is 0.388278458 = 0.623119938^2.
    mean, std = -0.218839286, 0.623119938
    expected = [[(a - mean) / std if a else 0.0 for a in row] for row in OPENRLHF_TOKEN]
    assert expected[2][0] == pytest.approx(2.668169, abs=1e-6)
    assert_rows(settings_for("openrlhf", normalize=True), expected)


def test_verl_convention() -> None:
    assert_rows(settings_for("verl"), VERL)


def test_verl_convention_whitened() -> None:
    # All 24 tokens count. Sum: 2.3625 - 0.7 + 2.45 + 0.75 - 0.75 - 0.9 = 3.2125; mean 0.133854167.
    # Squares: 1.3980078125 + 0.134218750 + 3.001562500 + 0.148125 + 0.140625 + 0.175 =
    # 4.9975390625; minus 24 * mean^2 = 0.430006510 leaves 4.567532552; over 23 that is 0.198588372;
    # its root, with 1e-8 added, 0.445632564.
    mean, std = 0.133854167, 0.445632564
    expected = [[(a - mean) / std for a in row] for row in VERL]
    assert expected[0][0] == pytest.approx(1.010969, abs=1e-6)
    assert_rows(settings_for("verl", normalize=True), expected)


def test_return_baseline_as_in_the_paper() -> None:
    # The process part has the baseline of token returns over N = 8, the verifiable reward is
    # centred by itself and KL has no baseline. Sums over tokens of the process returns alone:
    #   A1 1/8 * 2 - 3/8 * 4 = -1.25; A2 1/4 * 3 + 1/4 * 4 = 1.75; A3 1 * 2 = 2
    #   B1 0 * 1 + 1/4 * 4 = 1; B2 -1/2 * 4 = -2; B3 -0.2 * (2 + 4 + 6) = -2.4
    # Baselines: A1 3.75 / 16 = 0.234375; A2 0.75 / 16 = 0.046875; A3 0.5 / 16 = 0.03125;
    #   B1 -4.4 / 16 = -0.275; B2 -1.4 / 16 = -0.0875; B3 -1 / 16 = -0.0625
    # Returns with KL and the centred reward (1/2, -1, 1/2):
    #   A1 0.2, 0.25, 0.125, 0.125; A2 -0.5, -0.5, -0.5, -0.75; A3 1.475, 1.5
    #   B1 0.15, 0.15, 0.15, 0.25; B2 -0.5; B3 -0.6, -0.6, -0.4, -0.4, -0.2, -0.2
    settings = settings_for("openrlhf", reward_baseline="return", mask_separator=False)
    expected = [
        [-0.034375, 0.015625, -0.109375, -0.109375],
        [-0.546875, -0.546875, -0.546875, -0.796875],
        [1.44375, 1.46875],
        [0.425, 0.425, 0.425, 0.525],
        [-0.4125] * 4,
        [-0.5375, -0.5375, -0.3375, -0.3375, -0.1375, -0.1375],
    ]
    assert_rows(settings, expected)


def test_no_baseline() -> None:
    settings = settings_for("openrlhf", reward_baseline="none", reward_mode="PRM", kl_coef=0.0)
    expected = [
        [-0.25, 0, -0.375, 0],
        [0.5, 0.5, 0, 0.25],
        [1, 0],
        [0, 0.25, 0.25, 0],
        [-0.5, -0.5, -0.5, 0],
        [-0.6, 0, -0.4, 0, -0.2, 0],
    ]
    assert_rows(settings, expected)


def test_suffix_sums() -> None:
    assert suffix_sums(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[6.0, 5.0, 3.0]]


def test_whiten_counts() -> None:
    # Values 1, 3, 0 in the answer, one position outside. All three count: mean 4/3, squares
    # 1/9 + 25/9 + 16/9 = 42/9, over 3 or over 2. Without the zero: mean 2, squares 1 + 1 + 4 = 6
    # (the zero stays in the sum), over 2 or over 1.
    values = torch.tensor([[1.0, 3.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True, False]])
    for leave_out, variance, mean, var in (
        (False, "population", 4 / 3, 42 / 27),
        (False, "sample", 4 / 3, 42 / 18),
        (True, "population", 2, 3),
        (True, "sample", 2, 6),
    ):
        result = whiten(values, mask, leave_out_zeros=leave_out, variance=variance)
        std = var**0.5
        last = 0.0 if leave_out else (0 - mean) / std
        expected = [[(1 - mean) / std, (3 - mean) / std, last, 0.0]]
        torch.testing.assert_close(result, torch.tensor(expected))


def test_whiten_of_nothing_is_nothing() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    for variance in ("population", "sample"):
        result = whiten(torch.zeros(2, 3), mask, leave_out_zeros=True, variance=variance)
        assert result.tolist() == [[0.0] * 3] * 2


def test_no_process_reward_for_answers_that_the_verifier_calls_wrong() -> None:
    """Good (0.8) and bad (-0.5) steps of wrong answers earn nothing; unanswered ones keep theirs."""
    steps, action_mask = lay_out([[5, 1], [5, 1], [5, 1], [5, 1]], [2] * 4)
    result = compute_advantages(
        **arguments_for(
            "openrlhf",
            group_size=2,
            reward_mode="PRM",
            process_reward_gate="not_wrong",
            reward_baseline="none",
            normalize=False,
        ),
        step_rewards_BS=torch.tensor([[0.8], [-0.5], [0.3], [0.6]]),
        steps=steps,
        verifiable_reward_B=torch.tensor([0.0, 0.0, NAN, NAN]),
        kl_BA=None,
        action_mask_BA=action_mask,
    )
    expected = place([[0, 0], [0, 0], [0, 0.3], [0, 0.6]], action_mask)
    torch.testing.assert_close(result.token_rewards_BA, expected)
    torch.testing.assert_close(result.process_return_B, torch.tensor([0.8, -0.5, 0.3, 0.6]))
