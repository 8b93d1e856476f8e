"""A PRM on a held-out split: its rewards there (`pure_rlhf/prm/quality.py` makes numbers of them), and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prm_training.data import PadCollator, PrmDataset
from prm_training.features import FeatureDataset, batch_tokens
from prm_training.selection import IGNORED
from pure_rlhf.prm.batching import plan_batches
from pure_rlhf.prm.quality import NUM_CALIBRATION_BINS
from pure_rlhf.prm.token_inputs import logits_to_step_rewards


@torch.no_grad()
def predict_step_rewards(
    model: torch.nn.Module, dataset: PrmDataset, collator: PadCollator
) -> tuple[Tensor, Tensor]:
    """Rewards in [-1, 1] and labels (1 = right) of all steps of the data set, as flat tensors.

    Where torch.distributed runs, each rank takes its part, and all get everything.
    """
    is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if is_distributed else 0
    num_ranks = torch.distributed.get_world_size() if is_distributed else 1
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rewards = [torch.empty(0)]
    labels = [torch.empty(0, dtype=torch.long)]
    batches = plan_batches(dataset.lengths, max_tokens=batch_tokens(device))
    for rows in batches[rank::num_ranks]:
        batch = collator([dataset[row] for row in rows])
        logits_BU2 = model(
            input_ids=batch["input_ids"].to(device),
            attention_mask=batch["attention_mask"].to(device),
        ).logits.cpu()
        is_step_BU = batch["labels"] != IGNORED
        rewards.append(logits_to_step_rewards(logits_BU2[is_step_BU]))
        labels.append(batch["labels"][is_step_BU])
    model.train(was_training)
    found = torch.cat(rewards), torch.cat(labels)
    if is_distributed:
        parts: list[tuple[Tensor, Tensor]] = [found] * num_ranks
        torch.distributed.all_gather_object(parts, found)
        found = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    return found


@torch.no_grad()
def predict_from_features(score: torch.nn.Module, dataset: FeatureDataset) -> tuple[Tensor, Tensor]:
    """The same from kept outputs of the backbone; `score` is the model's head."""
    weight = next(score.parameters())
    slots = torch.tensor([slot for row in dataset.plan.slots for slot in row])
    logits = score(dataset.table.to(weight.device, weight.dtype)).cpu()[slots]
    labels = torch.tensor([label for row in dataset.plan.labels for label in row])
    return logits_to_step_rewards(logits), labels


def save_calibration_plot(metrics: dict[str, Any], file: Path) -> None:
    """The calibration curve, and how many steps each of its points stands for, as a picture."""
    from matplotlib.figure import Figure

    curve = metrics["calibration"]
    figure = Figure(figsize=(5, 5), layout="constrained")
    upper, lower = figure.subplots(2, height_ratios=(3, 1), sharex=True)
    upper.plot((0, 1), (0, 1), color="0.6", linestyle="--", label="perfectly calibrated")
    x = [point["mean_probability"] for point in curve]
    upper.plot(x, [point["share_right"] for point in curve], "o-", label="this PRM")
    upper.set(ylabel="share of right steps", xlim=(0, 1), ylim=(0, 1))
    upper.set_title(
        f"{metrics['steps']} held-out steps, expected calibration error "
        f"{metrics['expected_calibration_error']:.3f}",
        fontsize=10,
    )
    upper.legend(loc="upper left")
    left = [point["from"] for point in curve]
    width = 1 / NUM_CALIBRATION_BINS
    lower.bar(left, [point["steps"] for point in curve], width, align="edge", edgecolor="white")
    lower.set(xlabel="probability of a right step", ylabel="steps")
    figure.savefig(file, dpi=120)


def summary_line(metrics: dict[str, Any]) -> str:
    """One line for a person."""
    names: Sequence[tuple[str, str]] = (
        ("F1 on wrong steps", "f1_wrong_steps"),
        ("accuracy on right steps", "accuracy_correct_steps"),
        ("on wrong steps", "accuracy_wrong_steps"),
        ("AUC", "auc"),
        ("calibration error", "expected_calibration_error"),
    )
    shown = [f"{name} {metrics[key]:.3f}" for name, key in names if metrics[key] is not None]
    return f"{', '.join(shown)} ({metrics['steps']} held-out steps)"
