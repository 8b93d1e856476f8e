"""Implicit process rewards (PRIME, arXiv 2502.01456): rewards of spans from log-ratios of two language models.

    q_t = log pi_prm(y_t | x, y_<t) - log pi_ref(y_t | x, y_<t)    at every token of the response, in nats
    S   = sum of q over the response;  beta * S is the logit of "the final answer is right" (`prm_losses.py`)
    reward of a span = sum of q over its tokens, the separator too:
        normalised by the largest return M of the rollout ("largest_return", as published), or times beta ("none")

A span is a token, a step or the whole response: `token_spans`, `split_steps` and `response_spans` of
`step_segmentation.py` give all three the same form, so that credit assignment and advantages do not know of it.

While the PRM is still its reference, q is 0 but for rounding, and division by M would make returns of size 1 of
that: below a floor of M all rewards are exactly 0. The default floor stops no more than the rounding of float32: where
PRM and reference are computed in bfloat16 in different ways, 0.002 nats a token over 256 responses of 100 tokens make
an M of 0.07. Compute both alike (then q is exactly 0), or raise the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pure_rlhf.types import StepSpans

Normalization = Literal["largest_return", "none"]

RETURN_FLOOR = 1e-4
"""M in nats below which rewards are 0."""
_EPSILON = 1e-6  # of both public versions


@dataclass(frozen=True, kw_only=True)
class ImplicitRewards:
    """What the implicit PRM pays, and the size that it was divided by."""

    rewards_BS: Tensor  # float32, of the spans; 0 where there is none
    largest_return: float  # M in nats, before normalisation


def log_ratios(
    prm_log_probs_BA: Tensor, reference_log_probs_BA: Tensor, action_mask_BA: Tensor
) -> Tensor:
    """Returns q in nats, float32, exactly 0 outside the responses (whatever stands there, NaN too).

    The gradient goes to both; give the reference detached.

    Raises:
        ValueError: a log-ratio inside a response is not finite (the responses are named).
    """
    difference_BA = prm_log_probs_BA.float() - reference_log_probs_BA.float()
    q_BA = torch.where(action_mask_BA.bool(), difference_BA, 0.0)
    bad_rows = (~q_BA.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if bad_rows:
        raise ValueError(
            f"log-ratios of the implicit PRM must be finite, but are not for the responses {bad_rows} of "
            f"{len(q_BA)}; check the checkpoints of the PRM and of its reference, and the PRM's learning rate"
        )
    return q_BA


def sum_over_spans(values_BA: Tensor, spans: StepSpans) -> Tensor:
    """Returns the sum of the values over the tokens of each span, 0 where there is no span.

    Args:
        values_BA: one value a token, 0 outside the responses.

    Example: values 1 2 3 4 with spans that end at the tokens 1 and 3 give [3, 7].
    """
    num_rows, num_actions = values_BA.shape
    # Sums of a span's own values, not differences of running sums, which would round at the size of the sum.
    ends_BA = torch.zeros(num_rows, num_actions, dtype=torch.int64, device=values_BA.device)
    ends_BA.scatter_add_(1, spans.end_BS, spans.mask_BS.long())
    span_BA = ends_BA.cumsum(dim=1) - ends_BA  # ends before the token; past the response: too many
    num_spans = spans.end_BS.shape[1]
    sums_BS = values_BA.new_zeros(num_rows, num_spans)
    return sums_BS.scatter_add(1, span_BA.clamp(max=num_spans - 1), values_BA)


def implicit_rewards(
    log_ratios_BA: Tensor,
    spans: StepSpans,
    *,
    beta: float,
    normalization: Normalization = "largest_return",
    return_floor: float = RETURN_FLOOR,
) -> ImplicitRewards:
    """Returns the rewards of the spans. Give it the whole rollout: M is the largest over all of it.

    M is the largest absolute return, the sum of a response's spans from one of them on. "largest_return" divides
    by M + 1e-6, so that no return is above 1; single rewards may be, and beta cancels. In the public versions M is
    that of one data-parallel rank, so that the ranks' rewards differ in scale; here they do not.

    Args:
        log_ratios_BA: q of `log_ratios`, 0 outside the responses.
        spans: what is paid.
        beta: weight of a nat, above 0; read where `normalization` is "none".
        return_floor: M in nats below which all rewards are exactly 0; read by "largest_return".

    Example: q = 0.2 -0.1 0.4 0.1, one span a token: returns 0.6 0.4 0.5 0.1, so M = 0.6 and the rewards are a third,
    -1/6, 2/3 and 1/6.
    """
    sums_BS = sum_over_spans(log_ratios_BA.detach().float(), spans)
    returns_BS = sums_BS.flip(1).cumsum(dim=1)
    largest = returns_BS.abs().max().item()
    if normalization == "none":
        rewards_BS = beta * sums_BS
    elif largest < return_floor:
        rewards_BS = torch.zeros_like(sums_BS)
    else:
        rewards_BS = sums_BS / (largest + _EPSILON)
    return ImplicitRewards(rewards_BS=rewards_BS, largest_return=largest)


def rewards_of_steps(rewards_BS: Tensor, spans: StepSpans, steps: StepSpans) -> Tensor:
    """Returns what each step of the text earns, for reports: the sum over the spans that end in it.

    Args:
        rewards_BS: of `spans`, whatever their granularity.
        steps: of `split_steps` on the same batch.

    Example: token rewards 0.1 0.2 0.3 of a response whose steps end at the tokens 0 and 2 give [0.1, 0.5].
    """
    num_actions = 1 + int(torch.max(spans.end_BS.max(), steps.end_BS.max()))
    paid_BA = rewards_BS.new_zeros(len(rewards_BS), num_actions)
    paid_BA.scatter_add_(1, spans.end_BS, rewards_BS * spans.mask_BS)
    return sum_over_spans(paid_BA, steps)
