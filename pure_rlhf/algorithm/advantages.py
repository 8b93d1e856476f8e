"""Turns step rewards, verifiable reward and KL into the advantage of every token (stage 4).

    credit of the steps (`credit_assignment.py`) minus a token or step baseline (`baselines.py`),
    paid at the last token of the step
    + verifiable reward at the last token of the response - beta * KL at every token
    = token reward;   return of a token = sum of the rewards from it to the end (discount 1)
    advantage = return, minus the `return` baseline or normalised in its group where asked for,
    0 at separators and EOS and whitened over the batch where asked for

The two public versions of PURE differ in most of these choices: `docs/conventions.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pure_rlhf.algorithm.baselines import (
    ESTIMATORS,
    STEP_BASELINES,
    Comparison,
    Estimator,
    return_sums,
)
from pure_rlhf.algorithm.credit_assignment import assign_credit
from pure_rlhf.algorithm.settings import AdvantageSettings, find_setting_problems
from pure_rlhf.types import Advantages, StepSpans

_VARIANCE_FLOOR = 1e-8


def compute_advantages(
    settings: AdvantageSettings,
    *,
    group_size: int,
    max_response_tokens: int,
    kl_coef: float,
    step_rewards_BS: Tensor | None,
    steps: StepSpans,
    verifiable_reward_B: Tensor,
    kl_BA: Tensor | None,
    action_mask_BA: Tensor,
) -> Advantages:
    """Returns the advantages of one batch of responses; whitening is over all of it.

    Give it whole groups: baselines need all responses to a prompt. Give it the whole rollout where
    `settings.normalize` is on: the mean and the standard deviation are those of what it is given.

    Args:
        group_size: G, responses to each prompt, at least 2.
        max_response_tokens: N of the `return` baseline and of the length penalty: the length limit.
        kl_coef: beta, the weight of the KL penalty, at least 0.
        step_rewards_BS: rewards of the steps; not read in mode VR and may be None there.
        steps: where the steps end, from `split_steps` on the same batch.
        verifiable_reward_B: 1 for a right final answer, 0 for a wrong one, NaN for all responses to a
            prompt without a label: these earn exactly 0. In mode PRM only `process_reward_gate` reads it.
        kl_BA: estimate of the KL divergence from the reference at each token; None counts as 0.
        action_mask_BA: true (non-zero) at the response tokens.

    Raises:
        ValueError: settings out of range or at odds; a number of responses that is no multiple of the
            group size; rewards or KL that are not finite, verifiable rewards outside [0, 1], or a
            group in which only some responses have one (the responses are named).
    """
    _check(
        settings,
        num_responses=len(action_mask_BA),
        group_size=group_size,
        max_response_tokens=max_response_tokens,
        kl_coef=kl_coef,
    )
    # Multiplying by a float mask is several times faster than masked_fill with a boolean one.
    action_mask_BA = action_mask_BA.float()
    batch = _Batch(
        steps=steps,
        action_mask_BA=action_mask_BA,
        length_B=action_mask_BA.sum(dim=1),
        group_size=group_size,
        max_response_tokens=max_response_tokens,
        estimator=ESTIMATORS[settings.advantage_estimator],
    )
    credit_BS = _process_credit(settings, step_rewards_BS, steps)
    rewards = _Rewards(
        payout_BS=_process_payout(settings, credit_BS, verifiable_reward_B, batch),
        final_B=_final_payout(settings, verifiable_reward_B, batch),
        penalty_BA=_kl_penalty(kl_coef, kl_BA, action_mask_BA),
    )
    token_rewards_BA = _token_rewards(rewards, steps, action_mask_BA)
    returns_BA = suffix_sums(token_rewards_BA).mul_(action_mask_BA)
    advantages_BA = _centre(settings, returns_BA, rewards, batch)
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
    """Returns (advantage - mean) / std, with one mean and one std over the response tokens.

    Advantages must be 0 outside the responses, and are 0 there in the result.

    With `leave_out_zeros` the number of tokens n counts only those whose advantage is not exactly
    0, and the others are 0 in the result: the rule of the OpenRLHF version, where separators and
    EOS have advantage 0. As published, the sum of squares still runs over all response tokens, so
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
class _Batch:
    """The shape of a batch and whom its responses are compared with."""

    steps: StepSpans
    action_mask_BA: Tensor  # float
    length_B: Tensor  # float, in tokens
    group_size: int
    max_response_tokens: int
    estimator: Estimator

    @property
    def compared(self) -> Comparison:
        return Comparison(self.group_size, self.estimator.leave_one_out)


@dataclass(frozen=True, kw_only=True)
class _Rewards:
    """The three rewards of a response, with their coefficients."""

    payout_BS: Tensor  # of the steps, minus the token or step baseline
    final_B: Tensor  # verifiable reward and length penalty, at the last token
    penalty_BA: Tensor | None  # beta * KL, subtracted; None where there is none


def _check(
    settings: AdvantageSettings,
    *,
    num_responses: int,
    group_size: int,
    max_response_tokens: int,
    kl_coef: float,
) -> None:
    problems = find_setting_problems(settings, max_response_tokens=max_response_tokens)
    if group_size < 2:
        problems.append(
            f"group_size {group_size}: must be >= 2: every estimator compares the responses to one prompt"
        )
    elif num_responses % group_size:
        problems.append(
            f"the number of responses must be a multiple of group_size {group_size}, got {num_responses}; pass whole "
            "groups"
        )
    if not 0 <= kl_coef < torch.inf:
        problems.append(f"kl_coef {kl_coef}: must be >= 0; 0 turns the penalty off")
    if max_response_tokens < 1:
        problems.append(f"max_response_tokens {max_response_tokens}: must be >= 1")
    if problems:
        raise ValueError("; ".join(problems))


def _process_credit(
    settings: AdvantageSettings, step_rewards_BS: Tensor | None, steps: StepSpans
) -> Tensor:
    if not settings.uses_prm:
        return torch.zeros_like(steps.end_BS, dtype=torch.float32)
    if step_rewards_BS is None:
        raise ValueError(f"--reward_mode {settings.reward_mode} needs step rewards; got None")
    return assign_credit(step_rewards_BS, steps.mask_BS, settings)


def _process_payout(
    settings: AdvantageSettings, credit_BS: Tensor, verifiable_reward_B: Tensor, batch: _Batch
) -> Tensor:
    payout_BS = settings.process_reward_coef * credit_BS
    if settings.process_reward_gate == "not_wrong":
        payout_BS = payout_BS.masked_fill(verifiable_reward_B[:, None] == 0, 0.0)
    if settings.reward_baseline in ("return", "none"):
        return payout_BS
    baseline = STEP_BASELINES[settings.reward_baseline]
    return payout_BS - baseline(payout_BS, batch.steps, batch.length_B, batch.compared)


def length_penalty(length_B: Tensor, *, limit: int, buffer: int) -> Tensor:
    """Soft overlong punishment in [-1, 0] (DAPO, arXiv 2503.14476, eq. 13): 0 up to `limit - buffer` tokens, then
    down to -1 at the limit.

    Example: limit 100, buffer 20: 80 tokens earn 0, 90 earn -0.5, 100 earn -1.
    """
    return ((limit - buffer - length_B) / buffer).clamp(-1.0, 0.0)


def _final_payout(
    settings: AdvantageSettings, verifiable_reward_B: Tensor, batch: _Batch
) -> Tensor:
    """What the response as a whole earns at its last token, minus the scalar baseline."""
    reward_B = _verifiable_reward(settings, verifiable_reward_B, batch.group_size)
    if settings.length_penalty_coef > 0:
        reward_B = reward_B + settings.length_penalty_coef * length_penalty(
            batch.length_B, limit=batch.max_response_tokens, buffer=settings.length_penalty_buffer
        )
    if settings.verifiable_reward_baseline == "shared" or batch.estimator.normalize is not None:
        return reward_B  # centred with everything else
    return reward_B - batch.compared.mean(reward_B)


def _verifiable_reward(
    settings: AdvantageSettings, verifiable_reward_B: Tensor, group_size: int
) -> Tensor:
    """What the final answer earns; exactly 0 where there is no label."""
    reward_B = verifiable_reward_B.float()
    if not settings.uses_verifiable_reward:
        return torch.zeros(len(reward_B))
    unlabelled_B = reward_B.isnan()
    labelled_in_group_B = Comparison(group_size).mean((~unlabelled_B).float())
    bad_B = (labelled_in_group_B > 0) & (labelled_in_group_B < 1)
    bad_B |= ~unlabelled_B & ((reward_B < 0) | (reward_B > 1))
    if bad_B.any():
        raise ValueError(
            "verifiable rewards must be in [0, 1], or NaN for all responses to a prompt, but are not "
            f"for the responses {bad_B.nonzero().flatten().tolist()}"
        )
    if settings.verifiable_reward_range == "minus_one_zero":
        reward_B = reward_B - 1
    elif settings.verifiable_reward_range == "minus_one_one":
        reward_B = 2 * reward_B - 1
    return settings.verifiable_reward_coef * reward_B.masked_fill(unlabelled_B, 0.0)


def _kl_penalty(kl_coef: float, kl_BA: Tensor | None, action_mask_BA: Tensor) -> Tensor | None:
    if kl_coef == 0 or kl_BA is None:
        return None
    penalty_BA = (kl_BA.float() * kl_coef).mul_(action_mask_BA)
    if not penalty_BA.sum().isfinite():  # perhaps only outside the responses, where NaN * 0 is NaN
        penalty_BA = torch.where(action_mask_BA > 0, kl_BA.float() * kl_coef, 0.0)
    bad_rows = (~penalty_BA.sum(dim=1).isfinite()).nonzero().flatten().tolist()
    if bad_rows:
        raise ValueError(
            f"the KL divergence must be finite, but is not for the responses {bad_rows}; check the "
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
    return token_rewards_BA.scatter_add_(1, last_action_B1, rewards.final_B[:, None])


def _centre(
    settings: AdvantageSettings, returns_BA: Tensor, rewards: _Rewards, batch: _Batch
) -> Tensor:
    """Returns minus what they are compared with, where that is not in the payouts already."""
    if batch.estimator.normalize is not None:
        return _group_norm(settings, batch.estimator.normalize, returns_BA, rewards, batch)
    if settings.reward_baseline == "return":
        baseline_B = _baseline_of_returns(settings, rewards, batch)
        return (returns_BA - baseline_B[:, None]).mul_(batch.action_mask_BA)
    return returns_BA.clone()


def _baseline_of_returns(settings: AdvantageSettings, rewards: _Rewards, batch: _Batch) -> Tensor:
    """Mean over the compared of the sum of the returns of all their tokens, divided by N."""
    sums_B = return_sums(rewards.payout_BS, batch.steps, batch.length_B)
    if settings.verifiable_reward_baseline == "shared":
        sums_B = sums_B + rewards.final_B * batch.length_B
    if settings.kl_baselined and rewards.penalty_BA is not None:
        place_BA = batch.action_mask_BA.cumsum(dim=1)  # 1 at the first response token
        sums_B = sums_B - place_BA.mul_(rewards.penalty_BA).sum(dim=1)
    return batch.compared.mean(sums_B) / batch.max_response_tokens


def _group_norm(
    settings: AdvantageSettings,
    normalize: Callable[[Tensor, Tensor, Tensor, int], Tensor],
    returns_BA: Tensor,
    rewards: _Rewards,
    batch: _Batch,
) -> Tensor:
    """Normalises the returns in their groups; KL is in them only if it is baselined."""
    shape = (batch.action_mask_BA, batch.length_B, batch.group_size)
    if settings.kl_baselined or rewards.penalty_BA is None:
        return normalize(returns_BA, *shape)
    penalty_returns_BA = suffix_sums(rewards.penalty_BA).mul_(batch.action_mask_BA)
    return normalize(returns_BA + penalty_returns_BA, *shape) - penalty_returns_BA


def _zero_terminators(advantages_BA: Tensor, steps: StepSpans) -> None:
    """Sets the advantage of separators and EOS to 0; the end of a cut-off response is neither."""
    last_action_B1 = steps.end_BS.amax(dim=1, keepdim=True)
    cut_off_BS = steps.truncated_B[:, None] & (steps.end_BS == last_action_B1)
    row, step = (steps.mask_BS & ~cut_off_BS).nonzero(as_tuple=True)
    advantages_BA[row, steps.end_BS[row, step]] = 0.0
