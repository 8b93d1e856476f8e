"""The metrics of a step's answers; `metric_table.py` declares them.

All answers at once, in O(tokens log tokens) at most.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pure_rlhf.types import StepSpans

REPETITION_NGRAM = 8
HIGH_REPETITION = 0.5
CALIBRATION_BINS = 5
GROUP_ACCURACY_BINS = ("none", "low", "middle", "high", "all")
REFLECTION_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        "wait,",
        r"recheck[,\s]",
        r"retry[,\s]",
        "try again",
        "alternatively,",
        "however,",
        r"rethink[,\s]",
        "let's check",
        "let's verify",
    )
)
"""Those of PURE's verl version."""


def rollout_metrics(
    *,
    steps: StepSpans,
    step_rewards_BS: Tensor | None,
    process_return_B: Tensor | None,
    verifiable_reward_B: Tensor,
    response_length_B: Tensor,
    truncated_B: Tensor,
    action_mask_BA: Tensor,
    kl_BA: Tensor | None,
    policy_log_probs_BA: Tensor | None,
    engine_log_probs_BA: Tensor | None,
    group_size: int,
    answer_ids_BA: Tensor | None = None,
    texts: Sequence[str] | None = None,
) -> dict[str, float]:
    """The metrics of one step's answers; a metric without data is left out, none is ever NaN.

    Args:
        step_rewards_BS: None where no PRM is used; then `process_return_B` is not read.
        verifiable_reward_B: 1 for a correct answer, else in [0, 1); NaN where the prompt has no known answer.
        response_length_B: tokens. truncated_B: bool.
        group_size: answers per prompt; the answers to one prompt are contiguous.
        answer_ids_BA: the tokens that `action_mask_BA` marks, for the repetition metrics.
        texts: the answers as text, for the reflection patterns.

    Example: returns [0.5, -0.5] with verifiable rewards [1, NaN] give an accuracy of 1.0, an
    answered share of 0.5 and an agreement of 1.0.
    """
    num_answers = len(verifiable_reward_B)
    if group_size < 1 or num_answers % group_size:
        raise ValueError(f"{num_answers} answers do not form groups of {group_size}")
    if step_rewards_BS is None:
        process_return_B = None
    lengths_B, cut_B = response_length_B.float(), truncated_B.float()
    correct_B, wrong_B = verifiable_reward_B == 1, verifiable_reward_B < 1
    found: dict[str, float | None] = {
        "rollout/num_answers": float(num_answers),
        "rollout/response_length": _mean(lengths_B),
        "rollout/response_length_min": lengths_B.min().item() if num_answers else None,
        "rollout/response_length_correct": _mean(lengths_B, correct_B),
        "rollout/response_length_wrong": _mean(lengths_B, wrong_B),
        "rollout/truncated_frac": _mean(cut_B),
        "rollout/truncated_frac_correct": _mean(cut_B, correct_B),
        "rollout/truncated_frac_wrong": _mean(cut_B, wrong_B),
        "policy/kl_reference": None if kl_BA is None else _mean(kl_BA, action_mask_BA),
    }
    if answer_ids_BA is not None:
        found |= _repetition_metrics(answer_ids_BA, action_mask_BA, verifiable_reward_B)
    found |= _step_metrics(steps, step_rewards_BS)
    found |= _reward_metrics(process_return_B, verifiable_reward_B)
    found |= _group_metrics(process_return_B, verifiable_reward_B, group_size)
    found |= _calibration_metrics(process_return_B, verifiable_reward_B)
    if texts:
        found["rollout/reflection_patterns"] = sum(map(count_reflections, texts)) / len(texts)
    if policy_log_probs_BA is not None and engine_log_probs_BA is not None:
        found |= _engine_metrics(policy_log_probs_BA, engine_log_probs_BA, action_mask_BA)
    return {
        key: value for key, value in found.items() if value is not None and math.isfinite(value)
    }


def ability_metrics(verifiable_reward_B: Tensor, is_program_B: Tensor) -> dict[str, float]:
    """Verified accuracy of programs and of final answers, each where there are some; nothing without any program.

    Args:
        is_program_B: bool; whether a response is graded by tests.
    """
    if not is_program_B.any():
        return {}
    correct_B, answered_B = (verifiable_reward_B == 1).float(), ~verifiable_reward_B.isnan()
    found = {
        "reward/accuracy_code": _mean(correct_B, answered_B & is_program_B),
        "reward/accuracy_math": _mean(correct_B, answered_B & ~is_program_B),
    }
    return {key: value for key, value in found.items() if value is not None}


def timing_per_kilotoken(metrics: Mapping[str, float]) -> dict[str, float]:
    """Seconds of generation, log-probabilities and policy update per 1,000 tokens of the answers.

    Args:
        metrics: of one step, with the totals and the phases; a phase that is missing is left out.
    """
    kilotokens = metrics["rollout/num_answers"] * metrics["rollout/response_length"] / 1000
    phases = ("timing/generation", "timing/log_probs", "timing/policy_update")
    seconds = {phase: metrics[phase] for phase in phases if phase in metrics}
    for phase in seconds:  # all of it, also what went on beside something else
        seconds[phase] += metrics.get(f"{phase}_hidden", 0.0)
    return {
        f"{phase}_per_kilotoken": spent / kilotokens
        for phase, spent in seconds.items()
        if kilotokens > 0
    }


def count_reflections(text: str) -> int:
    """Matches of the nine published patterns in an answer.

    Example: "Wait, let's check: however, ..." has 3.
    """
    lowered = text.lower()
    return sum(len(pattern.findall(lowered)) for pattern in REFLECTION_PATTERNS)


def repetition_score(ids_BA: Tensor, mask_BA: Tensor, ngram: int = REPETITION_NGRAM) -> Tensor:
    """Share of the n-grams of each answer that stood in it before, in [0, 1]; 0 for fewer than n tokens.

    rep-n = 1 - distinct n-grams / n-grams (Welleck et al. 2020, arXiv 1908.04319), by hashing and sorting:
    O(A log A) for an answer, all answers at once. The marked tokens of a row are contiguous.

    Example (n = 2): the answer `5 6 5 6 5` has the 2-grams 56, 65, 56, 65: score 0.5.
    """
    batch_size, width = ids_BA.shape
    if width < ngram:
        return torch.zeros(batch_size)
    # A random polynomial modulo 2**64: two different n-grams of an answer share a hash about never.
    factors = torch.tensor([pow(0x9E3779B97F4A7C15, n + 1, 2**63) for n in range(ngram)])
    windows_BWN = ids_BA.long().unfold(1, ngram, 1)
    is_inside_BW = mask_BA.bool().unfold(1, ngram, 1).all(-1)
    outside = torch.iinfo(torch.int64).max
    hashes_BW = (windows_BWN * factors).sum(-1).masked_fill(~is_inside_BW, outside).sort(-1).values
    is_new_BW = torch.ones_like(hashes_BW, dtype=torch.bool)
    is_new_BW[:, 1:] = hashes_BW[:, 1:] != hashes_BW[:, :-1]
    num_distinct_B = (is_new_BW & (hashes_BW != outside)).sum(-1)
    num_ngrams_B = is_inside_BW.sum(-1)
    return 1 - (num_distinct_B / num_ngrams_B.clamp(min=1)).masked_fill(num_ngrams_B == 0, 1.0)


def _repetition_metrics(
    ids_BA: Tensor, mask_BA: Tensor, verifiable_reward_B: Tensor
) -> dict[str, float | None]:
    score_B = repetition_score(ids_BA, mask_BA)
    is_high_B = (score_B > HIGH_REPETITION).float()
    return {
        "rollout/repetition": _mean(score_B),
        "rollout/high_repetition_frac": _mean(is_high_B),
        "rollout/high_repetition_frac_correct": _mean(is_high_B, verifiable_reward_B == 1),
        "rollout/high_repetition_frac_wrong": _mean(is_high_B, verifiable_reward_B < 1),
    }


def _step_metrics(steps: StepSpans, step_rewards_BS: Tensor | None) -> dict[str, float | None]:
    """Shape of the answers in steps, and the rewards of the steps."""
    mask_BS, content_BS = steps.mask_BS, steps.content_tokens_BS.float()
    num_steps_B = mask_BS.sum(-1)
    found = {
        "pure/steps_per_answer": _mean(num_steps_B.float()),
        "pure/steps_per_answer_max": num_steps_B.max().item() if len(num_steps_B) else None,
        "pure/single_step_frac": _mean((num_steps_B == 1).float()),
        "pure/zero_step_frac": _mean(((content_BS * mask_BS).sum(-1) == 0).float()),
        "pure/tokens_per_step": _mean(content_BS, mask_BS),
        "pure/empty_step_frac": _mean((content_BS == 0).float(), mask_BS),
    }
    if step_rewards_BS is None or mask_BS.shape[-1] == 0:
        return found
    worst_B, index_B = step_rewards_BS.masked_fill(~mask_BS, math.inf).min(-1)
    position_B = index_B / (num_steps_B - 1).clamp(min=1)
    return found | {
        "reward/step_reward": _mean(step_rewards_BS, mask_BS),
        "reward/worst_step": _mean(worst_B, num_steps_B > 0),
        "pure/worst_step_position": _mean(position_B, num_steps_B > 1),
    }


def _reward_metrics(
    process_return_B: Tensor | None, verifiable_reward_B: Tensor
) -> dict[str, float | None]:
    """Process return, verified accuracy, and how far they agree."""
    answered_B = ~verifiable_reward_B.isnan()
    correct_B = verifiable_reward_B == 1
    found = {
        "reward/answered_frac": _mean(answered_B.float()),
        "reward/verifiable_accuracy": _mean(correct_B.float(), answered_B),
    }
    if process_return_B is None:
        return found
    positive_B = process_return_B > 0
    return found | {
        "reward/process_return": _mean(process_return_B),
        "reward/prm_verifier_agreement": _mean((positive_B == correct_B).float(), answered_B),
        "reward/false_positive_frac": _mean((positive_B & ~correct_B).float(), answered_B),
    }


def _calibration_metrics(
    process_return_B: Tensor | None, verifiable_reward_B: Tensor
) -> dict[str, float | None]:
    """How often answers are right to which the PRM gives about the same p = (return + 1) / 2.

    The expected calibration error is the mean of |mean p - accuracy| over bins of equal width, weighted by
    their answers (Guo et al. 2017, arXiv 1706.04599, equation 3).
    """
    answered_B = ~verifiable_reward_B.isnan()
    if process_return_B is None or not answered_B.any():
        return {}
    p = ((process_return_B[answered_B].double() + 1) / 2).clamp(0, 1)
    correct = verifiable_reward_B[answered_B].double()
    index = (p * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    num_answers, sum_p, num_correct = (
        torch.bincount(index, weights, minlength=CALIBRATION_BINS)
        for weights in (torch.ones_like(p), p, correct)
    )
    found: dict[str, float | None] = {
        "reward/prm_calibration_error": ((sum_p - num_correct).abs().sum() / len(p)).item()
    }
    accuracies = (num_correct / num_answers).tolist()
    for name, count, accuracy in zip(
        calibration_bins(), num_answers.tolist(), accuracies, strict=True
    ):
        found[f"prm_calibration/{name}/answers"] = count
        found[f"prm_calibration/{name}/accuracy"] = accuracy  # NaN without answers: left out
    return found


def calibration_bins() -> list[str]:
    """Names of the ranges of p: `0.0-0.2` to `0.8-1.0`."""
    width = 1 / CALIBRATION_BINS
    return [f"{n * width:.1f}-{(n + 1) * width:.1f}" for n in range(CALIBRATION_BINS)]


def _group_accuracies(verified_PG: Tensor) -> dict[str, float | None]:
    """Share of the verified prompts whose share of correct answers lies in each bin."""
    group_size = verified_PG.shape[-1]
    num_correct_P = (verified_PG == 1).sum(-1)
    is_mixed_P = (num_correct_P > 0) & (num_correct_P < group_size)
    is_low_P, is_high_P = 3 * num_correct_P <= group_size, 3 * num_correct_P >= 2 * group_size
    shares = (
        num_correct_P == 0,
        is_mixed_P & is_low_P,
        is_mixed_P & ~is_low_P & ~is_high_P,
        is_mixed_P & is_high_P,
        num_correct_P == group_size,
    )
    return {
        f"group/accuracy_{name}": _mean(share_P.float())
        for name, share_P in zip(GROUP_ACCURACY_BINS, shares, strict=True)
    }


def _engine_metrics(
    policy_log_probs_BA: Tensor, engine_log_probs_BA: Tensor, action_mask_BA: Tensor
) -> dict[str, float | None]:
    """How far policy and engine agree about the sampled tokens."""
    difference = (policy_log_probs_BA.float() - engine_log_probs_BA.float())[action_mask_BA.bool()]
    if not len(difference):
        return {}
    gap, ratio = difference.abs(), difference.exp()
    return {
        "sync/log_prob_gap": _mean(gap),
        "sync/log_prob_gap_max": gap.max().item(),
        "sync/importance_ratio_mean": _mean(ratio),
        "sync/importance_ratio_max": ratio.max().item(),
    }


def _group_metrics(
    process_return_B: Tensor | None, verifiable_reward_B: Tensor, group_size: int
) -> dict[str, float | None]:
    """What the answers to one prompt have in common."""
    verified_PG = verifiable_reward_B.view(-1, group_size)
    answered_P = ~verified_PG.isnan().any(-1)
    flat_P = _spread(verified_PG.nan_to_num(0.0)) == 0
    found = {"reward/group_pass_frac": _mean((verified_PG == 1).any(-1).float(), answered_P)}
    found |= _group_accuracies(verified_PG[answered_P])
    if process_return_B is not None:
        returns_PG = process_return_B.float().view(-1, group_size)
        # Rounding of the PRM's arithmetic is not a signal.
        flat_P &= _spread(returns_PG) < 1e-6
        found["reward/process_return_std"] = _mean(returns_PG.std(-1, correction=0))
    return found | {"reward/no_signal_group_frac": _mean(flat_P.float())}


def _spread(values_PG: Tensor) -> Tensor:
    return values_PG.amax(-1) - values_PG.amin(-1)


def _mean(values: Tensor, mask: Tensor | None = None) -> float | None:
    """Mean over all values, or over those where the mask is True; None when there is none."""
    chosen = values.flatten() if mask is None else values[mask.bool()]
    return chosen.double().mean().item() if len(chosen) else None
