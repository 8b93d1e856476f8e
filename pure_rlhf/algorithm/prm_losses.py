"""What a PRM that learns during RL is trained with, and how well it tells responses apart.

The only label is the outcome a of a response: 1 for a right final answer, 0 for a wrong one, between them a share of
passed tests, NaN where the prompt has no label. Two ways to learn from it:

    outcome    cross entropy of sigma(logit) against a, with
               implicit PRM       logit = beta * S, S = sum of the log-ratios (PRIME, arXiv 2502.01456)
               PURE's classifier  logit = sharpness * V + bias, V = -T log((1/n) sum_k exp(-r_k / T))
    last step  what an outcome says for sure of steps: of a wrong response the last one, which states the final
               answer, is wrong, and nothing of the others; of a right one all are right

V is the log-sum-exp minimum and not PURE's softmin, sum_k softmax(-r/T)_k r_k: the gradient of V is softmax(-r/T),
positive and of sum 1, whereas that of softmin is negative for r_k > softmin + T, so that training with it would push
the good steps of right responses down.

All losses take logits. The public PRIME versions take the sigmoid first: from a logit of 17 on (float32) the gradient
of a confident mistake is then exactly 0; here it is 1.

Every loss is a mean over the rows of what it is given, weighted by `weight_B`. With the weights below, computed once
for the whole rollout, the mean of the losses of equal micro-batches is the mean over the labelled responses (or
labelled steps) of the rollout, wherever they fell.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pure_rlhf.algorithm.credit_assignment import log_sum_exp_minimum


def implicit_outcome_logits(log_ratios_BA: Tensor, *, beta: float) -> Tensor:
    """Returns beta * S, `(B,)`: the logit of "right" of an implicit PRM.

    Args:
        log_ratios_BA: of `implicit_reward.log_ratios`, 0 outside the responses.
    """
    return beta * log_ratios_BA.float().sum(dim=1)


def minimum_outcome_logits(
    rewards_BS: Tensor,
    mask_BS: Tensor,
    *,
    temperature: float = 0.1,
    sharpness: float = 4.0,
    bias: float = 0.0,
) -> Tensor:
    """Returns sharpness * V + bias, `(B,)`: the logit of "right" of a PRM that scores steps.

    Args:
        rewards_BS: r_k in [-1, 1], with their gradient. mask_BS: true where the step exists.
        temperature: T, in units of the rewards.
    """
    return (
        sharpness * log_sum_exp_minimum(rewards_BS.float(), mask_BS, temperature=temperature) + bias
    )


def outcome_weights(outcome_B: Tensor) -> Tensor:
    """Returns N / N_labelled for the responses with an outcome, 0 for the others (all 0 where there is none).

    Example: outcomes 1 NaN 0 NaN give 2 0 2 0.
    """
    labelled_B = ~outcome_B.isnan()
    return labelled_B.float() * (len(outcome_B) / max(int(labelled_B.sum()), 1))


def outcome_loss(logits_B: Tensor, outcome_B: Tensor, weight_B: Tensor) -> Tensor:
    """Returns the mean over rows of weight * cross entropy of sigma(logit) against the outcome.

    Args:
        outcome_B: in [0, 1]; NaN where the weight is 0.
        weight_B: of `outcome_weights` on the whole rollout.

    Example: logits 0 give ln 2, whatever the outcomes.
    """
    _check_outcomes(outcome_B)
    target_B = outcome_B.float().nan_to_num(0.0)
    loss_B = binary_cross_entropy_with_logits(logits_B.float(), target_B, reduction="none")
    return (loss_B * weight_B).mean()


def last_step_labels(outcome_B: Tensor, mask_BS: Tensor) -> Tensor:
    """Returns the labels of steps that an outcome is sound for: 1 right, 0 wrong, NaN not known.

    Outcome 1: every step is right. Outcome 0: the last step is wrong. NaN or a fraction: nothing is known.

    Example: outcomes 0 and 1 with three and two steps give [NaN, NaN, 0] and [1, 1, NaN].
    """
    _check_outcomes(outcome_B)
    num_steps_B1 = mask_BS.sum(dim=1, keepdim=True)
    places_S = torch.arange(mask_BS.shape[1], device=mask_BS.device)
    is_last_BS = places_S == num_steps_B1 - 1
    labels_BS = torch.full(mask_BS.shape, math.nan, device=mask_BS.device)
    labels_BS[(outcome_B == 1)[:, None] & mask_BS] = 1.0
    labels_BS[(outcome_B == 0)[:, None] & is_last_BS] = 0.0
    return labels_BS


def step_label_weights(labels_BS: Tensor) -> Tensor:
    """Returns N / (labelled steps of the rollout) for responses with a labelled step, 0 for the others.

    Example: labels [NaN, 0], [1, 1] and [NaN, NaN] give 1 1 0.
    """
    labelled_BS = ~labels_BS.isnan()
    num_labelled = max(int(labelled_BS.sum()), 1)
    return labelled_BS.any(dim=1).float() * (len(labels_BS) / num_labelled)


def step_label_loss(step_logits_BS: Tensor, labels_BS: Tensor, weight_B: Tensor) -> Tensor:
    """Returns the mean over rows of weight * (sum over labelled steps of the cross entropy of sigma(logit)).

    The same loss as that of PRM training (stage 2), so that rows of its data set may stand in the batch.

    Args:
        step_logits_BS: logit of "right" minus logit of "wrong" of each step; not its reward, from which a saturated
            step could not come back.
        labels_BS: in [0, 1]; NaN where the step has none or does not exist.
        weight_B: of `step_label_weights` on the whole rollout: then the loss is the mean over its labelled steps.
    """
    labelled_BS = ~labels_BS.isnan()
    # A logit outside the steps may be anything, and NaN * 0 is NaN.
    logits_BS = step_logits_BS.float().masked_fill(~labelled_BS, 0.0)
    target_BS = labels_BS.float().nan_to_num(0.0)
    loss_BS = binary_cross_entropy_with_logits(logits_BS, target_BS, reduction="none")
    return ((loss_BS * labelled_BS).sum(dim=1) * weight_B).mean()


def pair_accuracy(score_B: Tensor, outcome_B: Tensor, *, group_size: int) -> float:
    """Returns how often the response with the better outcome has the higher score, among the responses to one prompt.

    Mean over prompts of the mean over pairs of responses with different outcomes, weighted by the difference. A
    prompt without such a pair counts 0.5, as published; responses without an outcome form no pairs, and a prompt
    with fewer than two outcomes does not count. A tie is half right (in the public version it depends on the order, and
    at the first step all scores are 0).

    Args:
        score_B: S or V, any scale. outcome_B: in [0, 1] or NaN; the responses to one prompt are contiguous.

    Returns: in [0, 1]; NaN where no prompt counts.
    """
    score_PG = score_B.double().view(-1, group_size)
    outcome_PG = outcome_B.double().view(-1, group_size)
    labelled_PG = ~outcome_PG.isnan()
    outcome_PG = outcome_PG.nan_to_num(0.0)
    difference_PGG = outcome_PG[:, :, None] - outcome_PG[:, None, :]
    is_pair_PGG = labelled_PG[:, :, None] & labelled_PG[:, None, :]
    # Every pair once: as (better, worse).
    weight_PGG = difference_PGG.clamp(min=0) * is_pair_PGG
    ahead_PGG = ((score_PG[:, :, None] - score_PG[:, None, :]).sign() + 1) / 2
    total_P = weight_PGG.sum(dim=(1, 2))
    right_P = (weight_PGG * ahead_PGG).sum(dim=(1, 2))
    accuracy_P = torch.where(total_P > 0, right_P / total_P, 0.5)
    return accuracy_P[labelled_PG.sum(dim=1) >= 2].mean().item()


def outcome_accuracy(score_B: Tensor, outcome_B: Tensor) -> float:
    """Returns the share of labelled responses where score > 0 and outcome > 1/2 say the same; NaN without a label."""
    labelled_B = ~outcome_B.isnan()
    agrees_B = (score_B > 0) == (outcome_B > 0.5)
    return agrees_B[labelled_B].double().mean().item()


def _check_outcomes(outcome_B: Tensor) -> None:
    bad_B = (outcome_B < 0) | (outcome_B > 1)  # NaN is neither
    if bad_B.any():
        raise ValueError(
            "outcomes must be in [0, 1], or NaN where there is no label, but are not for the responses "
            f"{bad_B.nonzero().flatten().tolist()}"
        )
