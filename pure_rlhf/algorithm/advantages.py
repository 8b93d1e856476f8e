"""Turns step rewards, verifiable reward and KL into the advantage of every token (stage 4).

    credit of the steps (`credit_assignment.py`) minus a token or step baseline (`baselines.py`),
    paid at the last token of the step
    + verifiable reward at the last token of the answer - beta * KL at every token
    = token reward;   return of a token = sum of the rewards from it to the end (discount 1)
    advantage = return, minus the `return` baseline or normalised in its group where asked for,
    0 at separators and EOS and whitened over the batch where asked for

The two public versions of PURE differ in most of these choices: `docs/conventions.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pure_rlhf.algorithm.advantage_settings import find_setting_problems
from pure_rlhf.algorithm.baselines import (
    normalize_in_groups,
    peer_mean,
    return_sums,
    step_baselines,
)
from pure_rlhf.algorithm.credit_assignment import assign_credit
from pure_rlhf.types import Advantages, AdvantageSettings, StepSpans, convention_settings

__all__ = [
    "compute_advantages",
    "convention_settings",
    "find_setting_problems",
    "suffix_sums",
    "whiten",
]

_VARIANCE_FLOOR = 1e-8


def compute_advantages(
    settings: AdvantageSettings,
    *,
    step_rewards_BS: Tensor | None,
    steps: StepSpans,
    verifiable_reward_B: Tensor,
    kl_BA: Tensor | None,
    action_mask_BA: Tensor,
) -> Advantages:
    """Returns the advantages of one batch of answers; whitening is over all of it.

    Give it whole groups: baselines need all answers to a prompt. Give it the whole rollout where
    `settings.normalize` is on: the mean and the standard deviation are those of what it is given.

    Args:
        step_rewards_BS: rewards of the steps; not read in mode VR and may be None there.
        steps: where the steps end, from `split_steps` on the same batch.
        verifiable_reward_B: 1 for a right answer, 0 for a wrong one, NaN for all answers to a
            prompt without a known answer: these earn exactly 0. In mode PRM only
            `process_reward_gate` reads it.
        kl_BA: estimate of the KL divergence from the reference at each token; None counts as 0.
        action_mask_BA: true (non-zero) at the answer tokens.

    Raises:
        ValueError: settings out of range or at odds; a number of answers that is no multiple of the
            group size; rewards or KL that are not finite, verifiable rewards outside [0, 1], or a
            group in which only some answers have one (the answers are named).
    """
    _check(settings, num_answers=len(action_mask_BA))
    # Multiplying by a float mask is several times faster than masked_fill with a boolean one.
    action_mask_BA = action_mask_BA.float()
    length_B = action_mask_BA.sum(dim=1)
    credit_BS = _process_credit(settings, step_rewards_BS, steps)
    rewards = _Rewards(
        payout_BS=_process_payout(settings, credit_BS, steps, length_B, verifiable_reward_B),
        outcome_B=_outcome_payout(settings, verifiable_reward_B, length_B),
        penalty_BA=_kl_penalty(settings, kl_BA, action_mask_BA),
    )
    token_rewards_BA = _token_rewards(rewards, steps, action_mask_BA)
    returns_BA = suffix_sums(token_rewards_BA).mul_(action_mask_BA)
    if settings.estimator == "group_norm":
        advantages_BA = _group_norm(settings, returns_BA, rewards, action_mask_BA, length_B)
    elif settings.reward_baseline == "return":
        baseline_B = _baseline_of_returns(settings, rewards, steps, action_mask_BA, length_B)
        advantages_BA = (returns_BA - baseline_B[:, None]).mul_(action_mask_BA)
    else:
        advantages_BA = returns_BA.clone()

    if settings.mask_separator:
        _zero_terminators(advantages_BA, steps)
    if settings.normalize:
        advantages_BA = whiten(
            advantages_BA,
            action_mask_BA,
            leave_out_zeros=settings.mask_separator,
            variance=settings.normalization_variance,
        )
    return Advantages(
        advantages_BA=advantages_BA,
        returns_BA=returns_BA,
        process_return_B=credit_BS.sum(dim=1),
        token_rewards_BA=token_rewards_BA,
    )


def suffix_sums(values_BA: Tensor) -> Tensor:
    """Returns the sums from each position to the end. Example: [1, 2, 3] gives [6, 5, 3]."""
    return values_BA.flip(1).cumsum_(dim=1).flip(1)


def whiten(
    advantages_BA: Tensor, action_mask_BA: Tensor, *, leave_out_zeros: bool, variance: str
) -> Tensor:
    """Returns (advantage - mean) / std, with one mean and one std over the answer tokens.

    Advantages must be 0 outside the answers, and are 0 there in the result.

    With `leave_out_zeros` the number of tokens n counts only those whose advantage is not exactly
    0, and the others are 0 in the result: the rule of the OpenRLHF version, where separators and
    EOS have advantage 0. As published, the sum of squares still runs over all answer tokens, so
    each token that is left out adds mean^2 to it and the std is a little too large. An ordinary
    token whose advantage happens to be exactly 0 is left out too.

    variance: "population" divides the sum of squares by n and floors it at 1e-8; "sample" divides
    by n - 1 and adds 1e-8, as verl does.
    """
    assert variance in ("population", "sample")
    action_mask_BA = action_mask_BA.float()
    counted_mask_BA = advantages_BA != 0 if leave_out_zeros else action_mask_BA
    count = int(counted_mask_BA.count_nonzero())
    if count == 0:
        return advantages_BA.clone()
    mean = advantages_BA.sum() / count
    centred_BA = (advantages_BA - mean).mul_(action_mask_BA)
    sum_of_squares = torch.linalg.vector_norm(centred_BA).square()
    if variance == "population":
        inverse_std = (sum_of_squares / count).clamp(min=_VARIANCE_FLOOR).rsqrt()
    else:
        inverse_std = (sum_of_squares / max(count - 1, 1) + _VARIANCE_FLOOR).rsqrt()
    return centred_BA.mul_(inverse_std).mul_(counted_mask_BA)


@dataclass(frozen=True, kw_only=True)
class _Rewards:
    """The three rewards of an answer, with their coefficients."""

    payout_BS: Tensor  # of the steps, minus the token or step baseline
    outcome_B: Tensor  # verifiable reward and length penalty, at the last token
    penalty_BA: Tensor | None  # beta * KL, subtracted; None where there is none


def _check(settings: AdvantageSettings, *, num_answers: int) -> None:
    problems = find_setting_problems(settings)
    if settings.group_size > 0 and num_answers % settings.group_size:
        problems.append(
            f"the number of answers must be a multiple of group_size {settings.group_size}, got "
            f"{num_answers}; pass whole groups"
        )
    if problems:
        raise ValueError("; ".join(problems))


def _process_credit(
    settings: AdvantageSettings, step_rewards_BS: Tensor | None, steps: StepSpans
) -> Tensor:
    if "PRM" not in settings.reward_mode:
        return torch.zeros_like(steps.end_BS, dtype=torch.float32)
    if step_rewards_BS is None:
        raise ValueError(f"reward_mode {settings.reward_mode} needs step rewards; got None")
    return assign_credit(
        step_rewards_BS,
        steps.mask_BS,
        method=settings.credit_assignment,
        temperature=settings.credit_temperature,
        gamma=settings.credit_gamma,
    )


def _process_payout(
    settings: AdvantageSettings,
    credit_BS: Tensor,
    steps: StepSpans,
    length_B: Tensor,
    verifiable_reward_B: Tensor,
) -> Tensor:
    payout_BS = settings.process_reward_coef * credit_BS
    if settings.process_reward_gate == "not_wrong":
        payout_BS = payout_BS.masked_fill(verifiable_reward_B[:, None] == 0, 0.0)
    if settings.reward_baseline not in ("token", "step"):
        return payout_BS
    return payout_BS - step_baselines(
        payout_BS,
        steps,
        length_B,
        settings.group_size,
        kind=settings.reward_baseline,
        leave_one_out=settings.estimator == "rloo",
    )


def length_penalty(length_B: Tensor, *, limit: int, buffer: int) -> Tensor:
    """Soft overlong punishment in [-1, 0] (DAPO, arXiv 2503.14476, eq. 13): 0 up to `limit - buffer` tokens, then
    down to -1 at the limit.

    Example: limit 100, buffer 20: 80 tokens earn 0, 90 earn -0.5, 100 earn -1.
    """
    return ((limit - buffer - length_B) / buffer).clamp(-1.0, 0.0)


def _outcome_payout(
    settings: AdvantageSettings, verifiable_reward_B: Tensor, length_B: Tensor
) -> Tensor:
    """What the answer as a whole earns at its last token, minus the scalar baseline."""
    reward_B = _verifiable_reward(settings, verifiable_reward_B, len(length_B))
    if settings.length_penalty_coef > 0:
        assert settings.baseline_length is not None
        reward_B = reward_B + settings.length_penalty_coef * length_penalty(
            length_B, limit=settings.baseline_length, buffer=settings.length_penalty_buffer
        )
    if settings.verifiable_reward_baseline == "shared" or settings.estimator == "group_norm":
        return reward_B  # centred with everything else
    leave_one_out = settings.estimator == "rloo"
    return reward_B - peer_mean(reward_B, settings.group_size, leave_one_out=leave_one_out)


def _verifiable_reward(
    settings: AdvantageSettings, verifiable_reward_B: Tensor, num_answers: int
) -> Tensor:
    """What the final answer earns; exactly 0 where no answer is known."""
    reward_B = verifiable_reward_B.float()
    if "VR" not in settings.reward_mode:
        return torch.zeros(num_answers)
    unanswered_B = reward_B.isnan()
    answered_in_group_B = peer_mean((~unanswered_B).float(), settings.group_size)
    bad_B = (answered_in_group_B > 0) & (answered_in_group_B < 1)
    bad_B |= ~unanswered_B & ((reward_B < 0) | (reward_B > 1))
    if bad_B.any():
        raise ValueError(
            "verifiable rewards must be in [0, 1], or NaN for all answers to a prompt, but are not "
            f"for the answers {bad_B.nonzero().flatten().tolist()}"
        )
    if settings.verifiable_reward_range == "minus_one_zero":
        reward_B = reward_B - 1
    elif settings.verifiable_reward_range == "minus_one_one":
        reward_B = 2 * reward_B - 1
    return settings.verifiable_reward_coef * reward_B.masked_fill(unanswered_B, 0.0)


def _kl_penalty(
    settings: AdvantageSettings, kl_BA: Tensor | None, action_mask_BA: Tensor
) -> Tensor | None:
    if settings.kl_coef == 0 or kl_BA is None:
        return None
    penalty_BA = (kl_BA.float() * settings.kl_coef).mul_(action_mask_BA)
    if not penalty_BA.sum().isfinite():  # perhaps only outside the answers, where NaN * 0 is NaN
        penalty_BA = torch.where(action_mask_BA > 0, kl_BA.float() * settings.kl_coef, 0.0)
    bad_rows = (~penalty_BA.sum(dim=1).isfinite()).nonzero().flatten().tolist()
    if bad_rows:
        raise ValueError(
            f"the KL divergence must be finite, but is not for the answers {bad_rows}; check the "
            "log-probabilities of the policy and the reference"
        )
    return penalty_BA


def _token_rewards(rewards: _Rewards, steps: StepSpans, action_mask_BA: Tensor) -> Tensor:
    if rewards.penalty_BA is None:
        token_rewards_BA = torch.zeros_like(action_mask_BA)
    else:
        token_rewards_BA = rewards.penalty_BA.neg()
    # Steps that do not exist point at index 0 and add 0 there.
    token_rewards_BA.scatter_add_(1, steps.end_BS, rewards.payout_BS * steps.mask_BS)
    last_action_B1 = steps.end_BS.amax(dim=1, keepdim=True)
    return token_rewards_BA.scatter_add_(1, last_action_B1, rewards.outcome_B[:, None])


def _baseline_of_returns(
    settings: AdvantageSettings,
    rewards: _Rewards,
    steps: StepSpans,
    action_mask_BA: Tensor,
    length_B: Tensor,
) -> Tensor:
    """Mean over the peers of the sum of the returns of all their tokens, divided by N."""
    sums_B = return_sums(rewards.payout_BS, steps, length_B)
    if settings.verifiable_reward_baseline == "shared":
        sums_B = sums_B + rewards.outcome_B * length_B
    if settings.kl_baselined and rewards.penalty_BA is not None:
        place_BA = action_mask_BA.cumsum(dim=1)  # 1 at the first answer token
        sums_B = sums_B - place_BA.mul_(rewards.penalty_BA).sum(dim=1)
    assert settings.baseline_length is not None
    leave_one_out = settings.estimator == "rloo"
    peer_sums_B = peer_mean(sums_B, settings.group_size, leave_one_out=leave_one_out)
    return peer_sums_B / settings.baseline_length


def _group_norm(
    settings: AdvantageSettings,
    returns_BA: Tensor,
    rewards: _Rewards,
    action_mask_BA: Tensor,
    length_B: Tensor,
) -> Tensor:
    """Normalises the returns in their groups; KL is in them only if it is baselined."""
    if settings.kl_baselined or rewards.penalty_BA is None:
        return normalize_in_groups(returns_BA, action_mask_BA, length_B, settings.group_size)
    penalty_returns_BA = suffix_sums(rewards.penalty_BA).mul_(action_mask_BA)
    normalized_BA = normalize_in_groups(
        returns_BA + penalty_returns_BA, action_mask_BA, length_B, settings.group_size
    )
    return normalized_BA - penalty_returns_BA


def _zero_terminators(advantages_BA: Tensor, steps: StepSpans) -> None:
    """Sets the advantage of separators and EOS to 0; the end of a cut-off answer is neither."""
    last_action_B1 = steps.end_BS.amax(dim=1, keepdim=True)
    cut_off_BS = steps.truncated_B[:, None] & (steps.end_BS == last_action_B1)
    row, step = (steps.mask_BS & ~cut_off_BS).nonzero(as_tuple=True)
    advantages_BA[row, steps.end_BS[row, step]] = 0.0
