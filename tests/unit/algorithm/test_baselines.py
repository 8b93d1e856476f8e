"""Baselines and estimators: hand-computed numbers, and the bias of the step baseline."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pure_rlhf.algorithm.advantages import compute_advantages
from pure_rlhf.algorithm.baselines import Comparison, return_sums
from pure_rlhf.types import Advantages
from tests.unit.algorithm.six_answers import (
    arguments_for,
    assert_rows,
    lay_out,
    place,
    settings_for,
)

NAN = float("nan")


def test_mean_over_the_compared() -> None:
    values = torch.tensor([1.0, 2.0, 6.0, 0.0, 3.0, 0.0])
    assert Comparison(3).mean(values).tolist() == [3, 3, 3, 1, 1, 1]
    assert Comparison(3, leave_one_out=True).mean(values).tolist() == [4, 3.5, 1.5, 1.5, 0, 1.5]


def test_return_sums() -> None:
    # Payouts 1 and 2 at the third and the last of five tokens: 3 * 1 + 5 * 2. Three tokens, one
    # step.
    steps, action_mask = lay_out([[5, 5, 9, 5, 1], [5, 5, 1]], [2, 3])
    payout = torch.tensor([[1.0, 2.0], [4.0, NAN]]).nan_to_num()
    assert return_sums(payout, steps, action_mask.sum(1)).tolist() == [13, 12]


def test_reinforce_baseline_takes_the_whole_group() -> None:
    # Rate of A: (-1/4 + 1/2 + 1) / 10 = 1/8; of B: (1/4 - 1/2 - 0.6) / 14 = -0.85 / 14. Verifiable
    # reward of A: 0, -1, 0 minus -1/3. The first steps of A1 (1/8 - 1/8) and A2 (1/4 - 2/8) earn 0;
    # the second ones -3/8 - 1/8 and 1/4 - 1/8.
    settings = settings_for(
        "openrlhf", advantage_estimator="reinforce_baseline", kl_coef=0.0, mask_separator=False
    )
    third, rate_b = 1 / 3, -0.85 / 14
    expected = [
        [-0.5 + third] * 4,
        [0.125 - 1 + third] * 4,
        [0.875 + third] * 2,
        [0.25 - 2 * rate_b] * 4,
        [-0.5 - 3 * rate_b] * 4,
        [3 * (-0.2 - rate_b)] * 2 + [2 * (-0.2 - rate_b)] * 2 + [-0.2 - rate_b] * 2,
    ]
    assert_rows(settings, expected)


def test_group_norm_with_verifiable_rewards_alone_is_grpo() -> None:
    # A: rewards 0, -1, 0 have the mean -1/3 and the sample variance (1/9 + 4/9 + 1/9) / 2 = 1/3.
    # B: nothing known, exactly 0.
    settings = settings_for(
        "openrlhf",
        advantage_estimator="group_norm",
        reward_baseline="none",
        reward_mode="VR",
        kl_coef=0.0,
        mask_separator=False,
    )
    std = 0.577350269 + 1e-6
    right, wrong = 1 / 3 / std, -2 / 3 / std
    assert_rows(settings, [[right] * 4, [wrong] * 4, [right] * 2, [0] * 4, [0] * 4, [0] * 6])


@pytest.mark.parametrize("kl_baselined", [False, True])
def test_group_norm_of_process_rewards(kl_baselined: bool) -> None:
    # Two answers of two tokens, one step each, rewards 1 and 0; KL 1 at the last token of the
    # first. Without KL the returns are 1, 1 and 0, 0: mean 1/2, variance (1/4 + 1/4) / (2 - 1) =
    # 1/2; the penalty 0.5 is then subtracted. With KL inside they are 0.5, 0.5 and 0, 0: mean 1/4,
    # variance (1/16 + 1/16) / 1 = 1/8.
    steps, action_mask = lay_out([[5, 1], [5, 1]], [2, 2])
    result = compute_advantages(
        **arguments_for(
            "openrlhf",
            group_size=2,
            reward_mode="PRM",
            credit_assignment="sum",
            advantage_estimator="group_norm",
            reward_baseline="none",
            kl_coef=0.5,
            kl_baselined=kl_baselined,
            mask_separator=False,
            normalize=False,
        ),
        step_rewards_BS=torch.tensor([[1.0], [0.0]]),
        steps=steps,
        verifiable_reward_B=torch.zeros(2),
        kl_BA=place([[0, 1], [0, 0]], action_mask),
        action_mask_BA=action_mask,
    )
    if kl_baselined:
        std = 0.353553391 + 1e-6
        expected = [[0.25 / std] * 2, [-0.25 / std] * 2]
    else:
        std = 0.707106781 + 1e-6
        expected = [[0.5 / std - 0.5] * 2, [-0.5 / std] * 2]
    torch.testing.assert_close(result.advantages_BA, place(expected, action_mask))


def one_group(answers: list[list[int]], rewards: list[list[float]], **changes: Any) -> Advantages:
    """Process rewards alone, no KL, no mask, no whitening."""
    steps, action_mask = lay_out(answers, [2] * len(answers))
    width = max(map(len, rewards))
    settings = {"reward_mode": "PRM", "mask_separator": False, "normalize": False, **changes}
    return compute_advantages(
        **arguments_for("openrlhf", group_size=len(answers), kl_coef=0.0, **settings),
        step_rewards_BS=torch.tensor([row + [NAN] * (width - len(row)) for row in rewards]),
        steps=steps,
        verifiable_reward_B=torch.full((len(answers),), NAN),
        kl_BA=None,
        action_mask_BA=action_mask,
    )


@pytest.mark.parametrize("outcome", [0.4, -0.4])
def test_step_baseline_is_biased_by_the_number_of_steps(outcome: float) -> None:
    # The same text in two steps (blank line, token 9) and in one (line feed, token 7), and both
    # are worth the same.
    answers, rewards = [[5, 5, 9, 5, 5, 1], [5, 5, 7, 5, 5, 1]], [[outcome] * 2, [outcome]]

    def first_advantages(**changes: Any) -> list[float]:
        result = one_group(answers, rewards, **changes)
        torch.testing.assert_close(result.process_return_B, torch.tensor([outcome, outcome]))
        return result.advantages_BA[:, 1].tolist()

    # Two steps pay outcome / 1 each, so that outcome - 2 * outcome is left; one step pays half an
    # outcome. The two get opposite signs: where outcomes are positive the policy learns to avoid
    # blank lines, where they are negative to add them.
    step = first_advantages(reward_baseline="step")
    assert step == pytest.approx([-outcome, outcome / 2])
    # Each token of content pays outcome / 6: 4 in the first, 5 in the second (the line feed is
    # content, the blank line is not, as published). One blank line costs one sixth.
    token = first_advantages(reward_baseline="token")
    assert token == pytest.approx([outcome - 4 * outcome / 6, outcome - 5 * outcome / 6])
    # The two steps of the first earn outcome / 2 at the third and the sixth of 6 tokens, the second
    # the outcome at the sixth: sums of returns 4.5 and 6 times the outcome, over N = 12.
    by_return = first_advantages(reward_baseline="return", max_response_tokens=12)
    assert by_return == pytest.approx([outcome - outcome * 6 / 12, outcome - outcome * 4.5 / 12])


def test_empty_steps_pay_no_token_baseline() -> None:
    # Steps of 0, 0 and 1 tokens against one of 1 token and the same outcome 0.6: the rate for the
    # first is 0.6 / 2, paid by its third step alone.
    result = one_group([[9, 9, 5, 1], [5, 1]], [[0.6] * 3, [0.6]], reward_baseline="token")
    assert result.token_rewards_BA[0, 1:5].tolist() == pytest.approx([0.2, 0.2, 0, 0.2 - 0.3])


def test_two_hundred_steps() -> None:
    answers = [[5, 9] * 199 + [5, 1], [5, 1]]
    result = one_group(answers, [[0.5] * 200, [0.5]], reward_baseline="none")
    assert result.process_return_B.tolist() == pytest.approx([0.5, 0.5])
    assert result.advantages_BA[0, 1].item() == pytest.approx(0.5)
    assert result.advantages_BA[0, 400].item() == pytest.approx(0.5 / 200)


def test_answers_worth_the_same_have_no_advantage() -> None:
    in_steps = one_group([[5, 9, 5, 1]] * 3, [[0.3, 0.3]] * 3, reward_baseline="step")
    torch.testing.assert_close(in_steps.advantages_BA[:, 1], torch.zeros(3), atol=1e-6, rtol=0)
    # Equal returns at every token: the standard deviation is 0 and must not blow rounding up.
    normalized = one_group(
        [[5, 5, 1]] * 3, [[0.3]] * 3, advantage_estimator="group_norm", reward_baseline="none"
    )
    assert normalized.advantages_BA.abs().max() < 0.1
