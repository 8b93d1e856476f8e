"""The metric table and the functions that compute the rollout metrics of a step.

`METRICS` is the one declaration of every key in `metrics.jsonl`: what it is reduced over, its unit,
what it means and what a bad trend looks like; docs, plots and tests are made from it, and an
undeclared key is an error. The signs of reward hacking of the paper (arXiv 2504.15275, section 5)
are among them: one giant step, empty steps, many short steps, and a process return that rises while
the verified accuracy falls.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pure_rlhf.types import StepSpans

REPETITION_NGRAM = 8
HIGH_REPETITION = 0.5

Reduction = Literal["token", "step", "sample", "group", "last"]


@dataclass(frozen=True)
class Metric:
    """One key of `metrics.jsonl`. `<name>` in a key stands for any name without a slash."""

    key: str
    reduction: Reduction  # a mean over these; "last" is a value of the whole step
    unit: str
    meaning: str
    bad_sign: str


_DECLARED = [
    Metric("reward/process_return", "sample", "reward",
           "value of an answer by the PRM: the sum of the credit of its steps, about the worst "
           "step reward in min-form",
           "rises while verifiable_accuracy falls: reward hacking"),
    Metric("reward/process_return_std", "group", "reward",
           "standard deviation of the process return among the answers to one prompt",
           "near 0: the PRM no longer tells answers apart"),
    Metric("reward/step_reward", "step", "-1 to 1",
           "PRM reward of a step", "rises with falling accuracy"),
    Metric("reward/worst_step", "sample", "-1 to 1",
           "lowest step reward of an answer", "near 1 with falling accuracy"),
    Metric("reward/verifiable_accuracy", "sample", "0 to 1",
           "share of correct final answers, over answers to prompts with a known answer", "falls"),
    Metric("reward/answered_frac", "sample", "0 to 1",
           "share of answers whose prompt has a known answer",
           "0 in mode VR or PRMVR: nothing can be verified"),
    Metric("reward/prm_verifier_agreement", "sample", "0 to 1",
           "share of verified answers where the sign of the process return and the verifier agree",
           "falls towards 0.5: the PRM is being exploited"),
    Metric("reward/false_positive_frac", "sample", "0 to 1",
           "share of verified answers with a positive process return and a wrong final answer",
           "rises: the PRM is being exploited"),
    Metric("reward/no_signal_group_frac", "group", "0 to 1",
           "share of prompts whose answers all earn the same: they teach nothing",
           "near 1: prompts too easy or too hard, or a collapsed policy"),
    Metric("reward/group_pass_frac", "group", "0 to 1",
           "share of verified prompts with at least one correct answer",
           "falls: exploration is lost"),
    Metric("reward/no_answer_frac", "sample", "0 to 1",
           "share of answers without a closed box", "rises: only thinking and never answering"),
    Metric("pure/steps_per_answer", "sample", "steps",
           "steps of an answer", "falls to 1, or explodes"),
    Metric("pure/tokens_per_step", "step", "tokens",
           "content tokens of a step", "explodes: one giant step"),
    Metric("pure/worst_step_position", "sample", "0 first to 1 last",
           "where the worst step stands, over answers of at least two steps",
           "moves to 1: steps are appended after the solution"),
    Metric("pure/single_step_frac", "sample", "0 to 1",
           "share of answers with one step", "rises to 1"),
    Metric("pure/empty_step_frac", "step", "0 to 1",
           "share of steps without content", "rises: free rewards"),
    Metric("rollout/num_answers", "last", "answers",
           "answers of the step", "differs between steps"),
    Metric("rollout/response_length", "sample", "tokens",
           "length of an answer", "collapses or hits the limit"),
    Metric("rollout/response_length_correct", "sample", "tokens",
           "length of the correct answers", "as above"),
    Metric("rollout/response_length_wrong", "sample", "tokens",
           "length of the wrong answers", "far above the correct"),
    Metric("rollout/truncated_frac", "sample", "0 to 1",
           "share of answers cut by the length limit", "rises"),
    Metric("rollout/repetition", "sample", "0 to 1",
           "share of the 8-grams of an answer that stood in it before (rep-8 of Welleck et al., "
           "arXiv 1908.04319)", "rises: the policy repeats itself"),
    Metric("rollout/high_repetition_frac", "sample", "0 to 1",
           "share of answers whose repetition is above one half", "not 0: collapse is near"),
    Metric("rollout/high_repetition_frac_correct", "sample", "0 to 1",
           "the same among the correct answers",
           "not 0: answers count as correct although they repeat themselves; the paper's run "
           "collapsed within 5 steps of it"),
    Metric("rollout/high_repetition_frac_wrong", "sample", "0 to 1",
           "the same among the wrong answers", "rises"),
    Metric("alarm/raised", "last", "alarms",
           "alarms that began at this step (alarms.jsonl says which)", "not 0"),
    Metric("policy/kl_reference", "token", "nats", "KL of the policy to the reference", "explodes"),
    Metric("policy/loss", "last", "", "PPO loss", "diverges"),
    Metric("policy/clip_ratio", "last", "0 to 1",
           "share of tokens whose ratio is clipped", "above 0.2"),
    Metric("policy/kl", "last", "nats",
           "KL of the updated policy to the one that sampled", "above 0.1"),
    Metric("policy/learning_rate", "last", "", "learning rate of the policy", "not the schedule"),
    Metric("policy/grad_norm", "last", "",
           "norm of the gradient before clipping", "explodes, or 0"),
    Metric("policy/entropy", "last", "nats",
           "entropy of the policy's next token", "falls to 0: collapse"),
    Metric("sync/log_prob_gap", "token", "nats",
           "mean |log-probability of policy - of engine| of the sampled tokens",
           "above 0.1: the engine does not hold the policy's weights"),
    Metric("sync/log_prob_gap_max", "last", "nats",
           "the largest such gap", "grows from step to step"),
    Metric("sync/buckets", "last", "buckets",
           "transfers of one weight sync", "0: nothing was sent"),
    Metric("sync/megabytes", "last", "MB", "size of one weight sync", "not the size of the policy"),
    Metric("data/prompts_dropped", "last", "prompts",
           "prompts longer than the limit, over the whole file", "many"),
    Metric("verifier/timeouts", "last", "answers",
           "comparisons killed at the time limit", "more than a few"),
    Metric("verifier/failures", "last", "answers",
           "comparisons that ended in an error", "more than a few"),
    Metric("timing/generation", "last", "s", "sampling the answers", "grows with the length"),
    Metric("timing/score_prm", "last", "s",
           "waiting for the PRM after the log-probabilities", "dominates the step"),
    Metric("timing/verify", "last", "s", "waiting for the verifier after both", "not near 0"),
    Metric("timing/log_probs", "last", "s",
           "log-probabilities of policy and reference", "dominates the step"),
    Metric("timing/advantages", "last", "s", "credit assignment and advantages", "not near 0"),
    Metric("timing/policy_update", "last", "s", "the PPO update", "grows with the length"),
    Metric("timing/weight_sync", "last", "s",
           "the policy's weights into the engines", "dominates the step"),
    Metric("timing/step", "last", "s",
           "the whole step, evaluation and checkpoints left out", "much above the sum"),
    Metric("eval/<name>/pass@1", "last", "0 to 1", "greedy accuracy on held-out problems", "falls"),
]  # fmt: skip

METRICS: dict[str, Metric] = {metric.key: metric for metric in _DECLARED}

_PATTERNS = [
    re.compile(re.escape(key).replace("<name>", "[^/]+")) for key in METRICS if "<name>" in key
]


def check_declared(keys: Iterable[str]) -> None:
    """Raise KeyError that names the keys which `METRICS` does not declare."""
    unknown = [
        key
        for key in keys
        if key not in METRICS and not any(pattern.fullmatch(key) for pattern in _PATTERNS)
    ]
    if unknown:
        raise KeyError(f"undeclared metrics {unknown}: declare them in algorithm/metrics.py")


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
) -> dict[str, float]:
    """The metrics of one step's answers; a metric without data is left out, none is ever NaN.

    Args:
        step_rewards_BS: None where no PRM is used; then `process_return_B` is not read.
        verifiable_reward_B: 0 or 1; NaN where the prompt has no known answer.
        response_length_B: tokens. truncated_B: bool.
        group_size: answers per prompt; the answers to one prompt are contiguous.
        answer_ids_BA: the tokens that `action_mask_BA` marks, for the repetition metrics.

    Example: returns [0.5, -0.5] with verifiable rewards [1, NaN] give an accuracy of 1.0, an
    answered share of 0.5 and an agreement of 1.0.
    """
    num_answers = len(verifiable_reward_B)
    if group_size < 1 or num_answers % group_size:
        raise ValueError(f"{num_answers} answers do not form groups of {group_size}")
    if step_rewards_BS is None:
        process_return_B = None
    lengths_B = response_length_B.float()
    found: dict[str, float | None] = {
        "rollout/num_answers": float(num_answers),
        "rollout/response_length": _mean(lengths_B),
        "rollout/response_length_correct": _mean(lengths_B, verifiable_reward_B == 1),
        "rollout/response_length_wrong": _mean(lengths_B, verifiable_reward_B == 0),
        "rollout/truncated_frac": _mean(truncated_B.float()),
        "policy/kl_reference": None if kl_BA is None else _mean(kl_BA, action_mask_BA),
    }
    if answer_ids_BA is not None:
        found |= _repetition_metrics(answer_ids_BA, action_mask_BA, verifiable_reward_B)
    found |= _step_metrics(steps, step_rewards_BS)
    found |= _reward_metrics(process_return_B, verifiable_reward_B)
    found |= _group_metrics(process_return_B, verifiable_reward_B, group_size)
    if policy_log_probs_BA is not None and engine_log_probs_BA is not None:
        gap_BA = (policy_log_probs_BA.float() - engine_log_probs_BA.float()).abs()
        found["sync/log_prob_gap"] = _mean(gap_BA, action_mask_BA)
        gaps = gap_BA[action_mask_BA.bool()]
        found["sync/log_prob_gap_max"] = gaps.max().item() if len(gaps) else None
    return {
        key: value for key, value in found.items() if value is not None and math.isfinite(value)
    }


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
        "rollout/high_repetition_frac_wrong": _mean(is_high_B, verifiable_reward_B == 0),
    }


def _step_metrics(steps: StepSpans, step_rewards_BS: Tensor | None) -> dict[str, float | None]:
    """Shape of the answers in steps, and the rewards of the steps."""
    mask_BS, content_BS = steps.mask_BS, steps.content_tokens_BS.float()
    num_steps_B = mask_BS.sum(-1)
    found = {
        "pure/steps_per_answer": _mean(num_steps_B.float()),
        "pure/single_step_frac": _mean((num_steps_B == 1).float()),
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


def _group_metrics(
    process_return_B: Tensor | None, verifiable_reward_B: Tensor, group_size: int
) -> dict[str, float | None]:
    """What the answers to one prompt have in common."""
    verified_PG = verifiable_reward_B.view(-1, group_size)
    answered_P = ~verified_PG.isnan().any(-1)
    flat_P = _spread(verified_PG.nan_to_num(0.0)) == 0
    found = {"reward/group_pass_frac": _mean((verified_PG == 1).any(-1).float(), answered_P)}
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
