"""The metrics of a PRM that learns during RL (`prm/...`); `metric_table.py` declares them.

Two sources a step: what it said of the rollout before it was updated (`scoring_metrics`), and what the update
reported (`update_metrics`). Against the truth of steps, where that is known: `step_truth.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from pure_rlhf.algorithm.prm_losses import outcome_accuracy, pair_accuracy

UPDATE_KEYS = ("loss", "grad_norm", "learning_rate")


def scoring_metrics(
    *,
    score_B: Tensor,
    outcome_B: Tensor,
    rewards_BS: Tensor,
    mask_BS: Tensor,
    group_size: int,
    log_ratios_BA: Tensor | None = None,
    action_mask_BA: Tensor | None = None,
    largest_return: float | None = None,
) -> dict[str, float]:
    """How well the PRM tells the responses of a rollout apart; a metric without data is left out, none is ever NaN.

    Args:
        score_B: the logit of "right" that it is trained on, or anything of its sign and order: S of an implicit PRM,
            V of a classifier (`prm_losses.py`).
        outcome_B: in [0, 1]; NaN where there is no label.
        rewards_BS: of the spans that are paid. mask_BS: bool, true where there is one.
        log_ratios_BA: q of an implicit PRM, with the mask of the response tokens.
        largest_return: M of `ImplicitRewards`.

    Example: scores 0.6 -0.6 0.7 0.65 of one group with the outcomes 1 0 1 0 give a pair accuracy of 0.75.
    """
    found = {
        "prm/pair_accuracy": pair_accuracy(score_B, outcome_B, group_size=group_size),
        "prm/outcome_accuracy": outcome_accuracy(score_B, outcome_B),
        "prm/positive_reward_frac": (rewards_BS[mask_BS] > 0).double().mean().item(),
    }
    if log_ratios_BA is not None and action_mask_BA is not None:
        inside = log_ratios_BA[action_mask_BA.bool()]
        found["prm/drift"] = inside.double().abs().mean().item()
    if largest_return is not None:
        found["prm/largest_return"] = largest_return
    return {key: value for key, value in found.items() if math.isfinite(value)}


def update_metrics(reported: Mapping[str, float]) -> dict[str, float]:
    """What a PRM's `fit` reported, under its declared keys; empty where it had no row with a label.

    Raises:
        ValueError: loss or gradient norm are not finite; the PRM must not be used or saved any more.
    """
    bad = [
        f"{key} {reported[key]}" for key in UPDATE_KEYS if not math.isfinite(reported.get(key, 0.0))
    ]
    if bad:
        raise ValueError(
            f"the update of the PRM gave {' and '.join(bad)}: its weights are lost; go on from the last good "
            "checkpoint with a lower learning rate of the PRM"
        )
    return {f"prm/{key}": reported[key] for key in UPDATE_KEYS if key in reported}
