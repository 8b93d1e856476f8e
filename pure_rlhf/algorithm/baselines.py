"""What is subtracted from the rewards of a response: baselines from the responses to the same prompt.

With c_k the payout of step k of a response, R the sum of its c_k, L its length in tokens, n its
number of steps, m_k the tokens of step k without its terminator, G_t the return of token t, and
"compared" the responses to the same prompt that it is compared with (`--advantage_estimator` rloo:
its peers, the others; reinforce_baseline: all of them), `--reward_baseline` is one of

    token    step k earns c_k - m_k * (sum of R over compared) / (sum of L over compared)
    step     step k earns c_k - mean over compared of R / n
             (equation 8 of the paper, which rejects it)
    return   token t gets G_t - mean over compared of (sum over t of G_t) / N, with N fixed
             (equation 7 of the paper, and the verl version)
    none     nothing is subtracted

`step` is biased: it is paid once per step, so of two responses with the same text and the same R, the
one with more steps pays more. `token` is paid per token of content, however the text is cut into
steps, and `return` does not depend on the response's own steps at all.

`token` and `step` are functions registered in `STEP_BASELINES`; `return` needs the returns and stands in
`advantages.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pure_rlhf.types import StepSpans

_STD_FLOOR = 1e-6


@dataclass(frozen=True)
class Comparison:
    """Which responses each one is compared with: those to the same prompt, or with `leave_one_out` the others."""

    group_size: int
    leave_one_out: bool = False

    def mean(self, values_B: Tensor) -> Tensor:
        """Returns, for each response, the mean of the values of those that it is compared with.

        Example: values [1, 2, 6] of one group give [3, 3, 3], or [4, 3.5, 1.5] with `leave_one_out`.
        """
        values_PG = values_B.reshape(-1, self.group_size)
        totals_P1 = values_PG.sum(dim=1, keepdim=True)
        if self.leave_one_out:
            return ((totals_P1 - values_PG) / (self.group_size - 1)).flatten()
        return (totals_P1 / self.group_size).expand_as(values_PG).flatten()


StepBaseline = Callable[[Tensor, StepSpans, Tensor, Comparison], Tensor]
"""From the payouts of the steps `(B, S)`, the steps, the lengths `(B,)` in tokens and whom to compare with: what each
step pays, `(B, S)`, 0 where there is no step."""

STEP_BASELINES: dict[str, StepBaseline] = {}


def _step_baseline(name: str) -> Callable[[StepBaseline], StepBaseline]:
    def register(function: StepBaseline) -> StepBaseline:
        STEP_BASELINES[name] = function
        return function

    return register


@_step_baseline("token")
def _per_token(
    payout_BS: Tensor, steps: StepSpans, length_B: Tensor, compared: Comparison
) -> Tensor:
    # The ratio of two means over the same responses is the ratio of the two sums.
    per_token_B = compared.mean(payout_BS.sum(dim=1)) / compared.mean(length_B)
    return per_token_B[:, None] * steps.content_tokens_BS


@_step_baseline("step")
def _per_step(
    payout_BS: Tensor, steps: StepSpans, length_B: Tensor, compared: Comparison
) -> Tensor:
    per_step_B = payout_BS.sum(dim=1) / steps.mask_BS.sum(dim=1)
    return compared.mean(per_step_B)[:, None] * steps.mask_BS


def return_sums(payout_BS: Tensor, steps: StepSpans, length_B: Tensor) -> Tensor:
    """Returns, for each response, the sum over its tokens of the returns that the payouts cause.

    A payout at the p-th token of a response is part of the return of p tokens.
    Example: payouts 1 and 2 at the third and the last of five tokens give 3 * 1 + 5 * 2 = 13.
    """
    last_action_B = steps.end_BS.amax(dim=1)
    place_BS = steps.end_BS - last_action_B[:, None] + length_B[:, None]
    return (payout_BS * place_BS * steps.mask_BS).sum(dim=1)


def normalize_in_groups(
    returns_BA: Tensor, action_mask_BA: Tensor, length_B: Tensor, group_size: int
) -> Tensor:
    """Returns (return - mean) / (std + 1e-6) over the tokens of each group, 0 outside the responses.

    Every response weighs the same whatever its length: the mean is the mean over responses of the mean
    over tokens; the variance is the same of the squared difference, times G / (G - 1). Where all
    tokens of a response have one return R (verifiable rewards alone), this is GRPO's
    (R - mean R) / (std R + 1e-6), with the standard deviation of a sample.
    """
    group = Comparison(group_size)
    mean_B = group.mean(returns_BA.sum(dim=1) / length_B)
    centred_BA = (returns_BA - mean_B[:, None]).mul_(action_mask_BA)
    variance_B = group.mean(torch.linalg.vector_norm(centred_BA, dim=1).square() / length_B)
    std_B = (variance_B * group_size / (group_size - 1)).sqrt()
    return centred_BA.div_(std_B[:, None] + _STD_FLOOR)


@dataclass(frozen=True)
class Estimator:
    """One `--advantage_estimator`: whom a response is compared with, and how token returns are centred by it."""

    leave_one_out: bool
    normalize: Callable[[Tensor, Tensor, Tensor, int], Tensor] | None = None
    """In place of a baseline: `normalize_in_groups`, or something of its form."""


ESTIMATORS = {
    "rloo": Estimator(leave_one_out=True),
    "reinforce_baseline": Estimator(leave_one_out=False),
    "group_norm": Estimator(leave_one_out=False, normalize=normalize_in_groups),
}
