"""How well the rewards of a PRM agree with labels of steps: a step is called wrong where its reward is not positive.

Calibration: of the steps that the PRM calls right with probability p = (r + 1) / 2, a share p should be right.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pure_rlhf.prm.conventions import is_judged_wrong

NUM_CALIBRATION_BINS = 10


def step_metrics(rewards: Tensor, labels: Tensor) -> dict[str, Any]:
    """Accuracy on right and on wrong steps, precision, recall and F1 of "wrong", and AUC.

    A number is None where it is not defined (no step of that kind).

    Example: rewards [0.9, -0.2, 0.4, -0.8], labels [1, 1, 0, 0] give accuracy 0.5 on right and 0.5 on wrong
    steps, F1 0.5, AUC 0.75.
    """
    is_wrong = labels == 0
    called_wrong = is_judged_wrong(rewards)
    found = int((is_wrong & called_wrong).sum())
    num_wrong, num_called = int(is_wrong.sum()), int(called_wrong.sum())
    num_right = len(labels) - num_wrong
    return {
        "steps": len(labels),
        "wrong_steps": num_wrong,
        "accuracy_correct_steps": _ratio(num_right - (num_called - found), num_right),
        "accuracy_wrong_steps": _ratio(found, num_wrong),
        "precision_wrong_steps": _ratio(found, num_called),
        "f1_wrong_steps": _ratio(2 * found, num_wrong + num_called),
        "auc": area_under_curve(rewards[~is_wrong], rewards[is_wrong]),
        **calibration(rewards, labels),
    }


def area_under_curve(right_rewards: Tensor, wrong_rewards: Tensor) -> float | None:
    """Probability that a right step is rewarded more than a wrong one (ties count half)."""
    if len(right_rewards) == 0 or len(wrong_rewards) == 0:
        return None
    ordered = wrong_rewards.sort().values
    below = torch.searchsorted(ordered, right_rewards, side="left")
    not_above = torch.searchsorted(ordered, right_rewards, side="right")
    wins = (below + not_above).double().sum() / 2
    return float(wins / (len(right_rewards) * len(wrong_rewards)))


def calibration(rewards: Tensor, labels: Tensor) -> dict[str, Any]:
    """Calibration curve over ten bins of p = (r + 1) / 2, and the expected calibration error.

    The error is the mean over steps of |mean p - share of right steps| of the step's bin (Naeini et al. 2015).
    Example: rewards [0.9, 0.9], labels [1, 0]: p is 0.95 twice, half are right, the error is 0.45.
    """
    probabilities = (rewards.double() + 1) / 2
    bins = (probabilities * NUM_CALIBRATION_BINS).long().clamp(max=NUM_CALIBRATION_BINS - 1)
    curve = []
    for number in bins.unique().tolist():
        inside = bins == number
        curve.append(
            {
                "from": number / NUM_CALIBRATION_BINS,
                "steps": int(inside.sum()),
                "mean_probability": float(probabilities[inside].mean()),
                "share_right": float(labels[inside].double().mean()),
            }
        )
    error = sum(b["steps"] * abs(b["mean_probability"] - b["share_right"]) for b in curve)
    return {"expected_calibration_error": _ratio(error, len(labels)), "calibration": curve}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
