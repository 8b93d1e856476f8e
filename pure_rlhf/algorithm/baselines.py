"""What is subtracted from the rewards of an answer: baselines from the answers to the same prompt.

With c_k the payout of step k of an answer, O the sum of its c_k, L its length in tokens, n its
number of steps, m_k the tokens of step k without its terminator, G_t the return of token t, and
"peers" the other answers to the same prompt (estimator rloo) or all of them (reinforce_baseline),
`reward_baseline` is one of

    token    step k earns c_k - m_k * (sum of O over peers) / (sum of L over peers)
    step     step k earns c_k - mean over peers of O / n
             (equation 8 of the paper, which rejects it)
    return   token t gets G_t - mean over peers of (sum over t of G_t) / N, with N fixed
             (equation 7 of the paper, and the verl version)
    none     nothing is subtracted

`step` is biased: it is paid once per step, so of two answers with the same text and the same O, the
one with more steps pays more. `token` is paid per token of content, however the text is cut into
steps, and `return` does not depend on the answer's own steps at all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pure_rlhf.types import StepSpans

_STD_FLOOR = 1e-6


def peer_mean(values_B: Tensor, group_size: int, *, leave_one_out: bool = False) -> Tensor:
    """Returns, for each answer, the mean of the values of its peers.

    The peers are all answers to the same prompt, or with `leave_one_out` the others.
    Example: values [1, 2, 6] of one group give [3, 3, 3], or [4, 3.5, 1.5] with `leave_one_out`.
    """
    values_PG = values_B.reshape(-1, group_size)
    totals_P1 = values_PG.sum(dim=1, keepdim=True)
    if leave_one_out:
        return ((totals_P1 - values_PG) / (group_size - 1)).flatten()
    return (totals_P1 / group_size).expand_as(values_PG).flatten()


def step_baselines(
    payout_BS: Tensor,
    steps: StepSpans,
    length_B: Tensor,
    group_size: int,
    *,
    kind: str,
    leave_one_out: bool,
) -> Tensor:
    """Returns what each step pays under the baseline `kind` ("token" or "step")."""
    outcome_B = payout_BS.sum(dim=1)
    if kind == "step":
        per_step_B = outcome_B / steps.mask_BS.sum(dim=1)
        baseline_B = peer_mean(per_step_B, group_size, leave_one_out=leave_one_out)
        return baseline_B[:, None] * steps.mask_BS
    assert kind == "token"
    # The ratio of two means over the same peers is the ratio of the two sums.
    per_token_B = peer_mean(outcome_B, group_size, leave_one_out=leave_one_out) / peer_mean(
        length_B, group_size, leave_one_out=leave_one_out
    )
    return per_token_B[:, None] * steps.content_tokens_BS


def return_sums(payout_BS: Tensor, steps: StepSpans, length_B: Tensor) -> Tensor:
    """Returns, for each answer, the sum over its tokens of the returns that the payouts cause.

    A payout at the p-th token of an answer is part of the return of p tokens.
    Example: payouts 1 and 2 at the third and the last of five tokens give 3 * 1 + 5 * 2 = 13.
    """
    last_action_B = steps.end_BS.amax(dim=1)
    place_BS = steps.end_BS - last_action_B[:, None] + length_B[:, None]
    return (payout_BS * place_BS * steps.mask_BS).sum(dim=1)


def normalize_in_groups(
    returns_BA: Tensor, action_mask_BA: Tensor, length_B: Tensor, group_size: int
) -> Tensor:
    """Returns (return - mean) / (std + 1e-6) over the tokens of each group, 0 outside the answers.

    Every answer weighs the same whatever its length: the mean is the mean over answers of the mean
    over tokens; the variance is the same of the squared difference, times G / (G - 1). Where all
    tokens of an answer have one return R (verifiable rewards alone), this is GRPO's
    (R - mean R) / (std R + 1e-6), with the standard deviation of a sample.
    """
    mean_B = peer_mean(returns_BA.sum(dim=1) / length_B, group_size)
    centred_BA = (returns_BA - mean_B[:, None]).mul_(action_mask_BA)
    variance_B = peer_mean(
        torch.linalg.vector_norm(centred_BA, dim=1).square() / length_B, group_size
    )
    std_B = (variance_B * group_size / (group_size - 1)).sqrt()
    return centred_BA.div_(std_B[:, None] + _STD_FLOOR)
