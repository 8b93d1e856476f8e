"""From step rewards to advantages with plain Python loops over answers and tokens.

A second implementation to compare with: it follows the definitions in `credit_assignment.py`,
`baselines.py` and `advantages.py` of `pure_rlhf/algorithm/`, one answer and one token at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pure_rlhf.algorithm.settings import AdvantageSettings
from pure_rlhf.types import StepSpans


@dataclass
class Answer:
    """One answer, with positions counted from its first token."""

    rewards: list[float]
    ends: list[int]
    contents: list[int]
    length: int
    first_action: int
    truncated: bool
    verifiable: float
    kl: list[float]


def loop_advantages(
    settings: AdvantageSettings,
    *,
    group_size: int,
    max_response_tokens: int,
    kl_coef: float,
    step_rewards_BS: Tensor,
    steps: StepSpans,
    verifiable_reward_B: Tensor,
    kl_BA: Tensor,
    action_mask_BA: Tensor,
) -> Tensor:
    """Returns `advantages_BA`, in float64."""
    answers = _read_answers(step_rewards_BS, steps, verifiable_reward_B, kl_BA, action_mask_BA)
    rows: list[list[float]] = []
    for start in range(0, len(answers), group_size):
        group = answers[start : start + group_size]
        rows.extend(_group_advantages(settings, group, max_response_tokens, kl_coef))
    for answer, row in zip(answers, rows, strict=True):
        if settings.mask_separator:
            for end in answer.ends:
                if not (answer.truncated and end == answer.length - 1):
                    row[end] = 0.0
    if settings.normalize:
        rows = _whiten(settings, rows)
    result = torch.zeros(action_mask_BA.shape, dtype=torch.float64)
    for index, (answer, row) in enumerate(zip(answers, rows, strict=True)):
        for position, value in enumerate(row):
            result[index, answer.first_action + position] = value
    return result


def _read_answers(
    step_rewards_BS: Tensor,
    steps: StepSpans,
    verifiable_reward_B: Tensor,
    kl_BA: Tensor,
    action_mask_BA: Tensor,
) -> list[Answer]:
    answers = []
    for row in range(len(action_mask_BA)):
        actions = action_mask_BA[row].nonzero().flatten().tolist()
        num_steps = int(steps.mask_BS[row].sum())
        answers.append(
            Answer(
                rewards=step_rewards_BS[row, :num_steps].tolist(),
                ends=[end - actions[0] for end in steps.end_BS[row, :num_steps].tolist()],
                contents=steps.content_tokens_BS[row, :num_steps].tolist(),
                length=len(actions),
                first_action=actions[0],
                truncated=bool(steps.truncated_B[row]),
                verifiable=float(verifiable_reward_B[row]),
                kl=kl_BA[row, actions[0] : actions[-1] + 1].tolist(),
            )
        )
    return answers


def credit_of(settings: AdvantageSettings, rewards: list[float]) -> list[float]:
    """The credit of the steps of one answer."""
    count = len(rewards)
    if settings.credit_assignment == "softmin":
        worst = min(rewards)
        weights = [math.exp((worst - r) / settings.credit_temperature) for r in rewards]
        return [w / sum(weights) * r for w, r in zip(weights, rewards, strict=True)]
    if settings.credit_assignment == "min":
        worst_step = rewards.index(min(rewards))
        return [r if k == worst_step else 0.0 for k, r in enumerate(rewards)]
    if settings.credit_assignment == "mean":
        return [r / count for r in rewards]
    if settings.credit_assignment == "sum":
        return list(rewards)
    if settings.credit_assignment == "log_sum_exp":
        scaled = [math.exp(-r / settings.credit_temperature) for r in rewards]
        value = -settings.credit_temperature * math.log(sum(scaled) / count)
        return [x / sum(scaled) * value for x in scaled]
    assert settings.credit_assignment == "gamma_decay"
    gamma = settings.credit_gamma
    returns = [
        sum(gamma ** (j - k) * rewards[j] for j in range(k, count)) for k in range(count + 1)
    ]
    return [returns[k] - returns[k + 1] for k in range(count)]


def _group_advantages(
    settings: AdvantageSettings, group: list[Answer], max_response_tokens: int, kl_coef: float
) -> list[list[float]]:
    size = len(group)

    def peers_of(i: int) -> list[int]:
        return [j for j in range(size) if settings.advantage_estimator != "rloo" or j != i]

    def mean_over_peers(i: int, value: Callable[[int], float]) -> float:
        return sum(value(j) for j in peers_of(i)) / len(peers_of(i))

    payouts = [[0.0] * len(answer.rewards) for answer in group]
    if "PRM" in settings.reward_mode:
        coef = settings.process_reward_coef
        payouts = [[coef * c for c in credit_of(settings, answer.rewards)] for answer in group]
    outcomes = [sum(payout) for payout in payouts]
    final_rewards = [_final_reward(settings, answer.verifiable) for answer in group]

    process, final, penalty = [], [], []
    for i, answer in enumerate(group):
        baselines = [0.0] * len(answer.rewards)
        if settings.reward_baseline == "step":
            mean = mean_over_peers(i, lambda j: outcomes[j] / len(payouts[j]))
            baselines = [mean] * len(answer.rewards)
        elif settings.reward_baseline == "token":
            rate = sum(outcomes[j] for j in peers_of(i)) / sum(group[j].length for j in peers_of(i))
            baselines = [rate * content for content in answer.contents]
        process_row, final_row = [0.0] * answer.length, [0.0] * answer.length
        for end, payout, baseline in zip(answer.ends, payouts[i], baselines, strict=True):
            process_row[end] += payout - baseline
        final_row[-1] = final_rewards[i]
        if (
            settings.verifiable_reward_baseline == "scalar"
            and settings.advantage_estimator != "group_norm"
        ):
            final_row[-1] -= mean_over_peers(i, lambda j: final_rewards[j])
        process.append(_returns(process_row))
        final.append(_returns(final_row))
        penalty.append(_returns([kl_coef * value for value in answer.kl]))

    # What the baseline of whole returns is made of, and what joins after it.
    inside = [list(row) for row in process]
    outside = [[0.0] * answer.length for answer in group]
    for i, answer in enumerate(group):
        shared = settings.verifiable_reward_baseline == "shared"
        for t in range(answer.length):
            if shared or settings.advantage_estimator == "group_norm":
                inside[i][t] += final[i][t]
            else:
                outside[i][t] += final[i][t]
            if settings.kl_baselined:
                inside[i][t] -= penalty[i][t]
            else:
                outside[i][t] -= penalty[i][t]
    if settings.advantage_estimator == "group_norm":
        inside = _normalize_group(inside)
    elif settings.reward_baseline == "return":
        sums = [sum(row) for row in inside]
        shifts = [mean_over_peers(i, lambda j: sums[j]) / max_response_tokens for i in range(size)]
        inside = [[g - shifts[i] for g in row] for i, row in enumerate(inside)]
    return [
        [a + b for a, b in zip(first, second, strict=True)]
        for first, second in zip(inside, outside, strict=True)
    ]


def _final_reward(settings: AdvantageSettings, verifiable: float) -> float:
    if "VR" not in settings.reward_mode or math.isnan(verifiable):
        return 0.0
    low, high = {"minus_one_zero": (-1, 0), "zero_one": (0, 1), "minus_one_one": (-1, 1)}[
        settings.verifiable_reward_range
    ]
    return settings.verifiable_reward_coef * (low + (high - low) * verifiable)


def _returns(rewards: list[float]) -> list[float]:
    total, returns = 0.0, []
    for reward in reversed(rewards):
        total += reward
        returns.append(total)
    return returns[::-1]


def _normalize_group(returns: list[list[float]]) -> list[list[float]]:
    size = len(returns)
    mean = sum(sum(row) / len(row) for row in returns) / size
    squares = sum(sum((g - mean) ** 2 for g in row) / len(row) for row in returns)
    std = math.sqrt(squares / (size - 1))
    return [[(g - mean) / (std + 1e-6) for g in row] for row in returns]


def _whiten(settings: AdvantageSettings, rows: list[list[float]]) -> list[list[float]]:
    values = [a for row in rows for a in row]
    skip_zeros = settings.mask_separator
    count = sum(1 for a in values if not (skip_zeros and a == 0.0))
    mean = sum(values) / count
    squares = sum((a - mean) ** 2 for a in values)
    if settings.normalization_variance == "population":
        std = math.sqrt(max(squares / count, 1e-8))
    else:
        std = math.sqrt(squares / (count - 1) + 1e-8)
    return [[0.0 if skip_zeros and a == 0.0 else (a - mean) / std for a in row] for row in rows]
