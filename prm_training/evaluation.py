"""How good a PRM is on held-out steps: a step is called wrong where its reward is negative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from prm_training.data import IGNORED, PadCollator, PrmDataset
from pure_rlhf.algorithm.batching import plan_batches
from pure_rlhf.algorithm.prm_scoring import logits_to_step_rewards

EVALUATION_BATCH_TOKENS = 16_384


@torch.no_grad()
def predict_step_rewards(
    model: torch.nn.Module, dataset: PrmDataset, collator: PadCollator
) -> tuple[Tensor, Tensor]:
    """Rewards in [-1, 1] and labels (1 = right) of all steps of the data set, as flat tensors."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rewards: list[Tensor] = []
    labels: list[Tensor] = []
    for rows in plan_batches(dataset.lengths, max_tokens=EVALUATION_BATCH_TOKENS):
        batch = collator([dataset[row] for row in rows])
        logits_BU2 = model(
            input_ids=batch["input_ids"].to(device),
            attention_mask=batch["attention_mask"].to(device),
        ).logits.cpu()
        is_step_BU = batch["labels"] != IGNORED
        rewards.append(logits_to_step_rewards(logits_BU2[is_step_BU]))
        labels.append(batch["labels"][is_step_BU])
    model.train(was_training)
    return torch.cat(rewards), torch.cat(labels)


def step_metrics(rewards: Tensor, labels: Tensor) -> dict[str, Any]:
    """Accuracy on right and on wrong steps, precision, recall and F1 of "wrong", and AUC.

    A number is None where it is not defined (no step of that kind).

    Example: rewards [0.9, -0.2, 0.4, -0.8], labels [1, 1, 0, 0] give accuracy 0.5 on right and 0.5 on wrong
    steps, F1 0.5, AUC 0.75.
    """
    is_wrong = labels == 0
    called_wrong = rewards < 0
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


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def summary_line(metrics: dict[str, Any]) -> str:
    """One line for a person."""
    names: Sequence[tuple[str, str]] = (
        ("F1 on wrong steps", "f1_wrong_steps"),
        ("accuracy on right steps", "accuracy_correct_steps"),
        ("on wrong steps", "accuracy_wrong_steps"),
        ("AUC", "auc"),
    )
    shown = [f"{name} {metrics[key]:.3f}" for name, key in names if metrics[key] is not None]
    return f"{', '.join(shown)} ({metrics['steps']} held-out steps)"
