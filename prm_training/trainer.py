"""`transformers.Trainer` with our order of rows and our held-out numbers.

The order is a function of seed and epoch, so that a run that is resumed in the middle of an epoch sees the rows that
the uninterrupted one would have seen. (Trainer's own length grouping draws from the global random state, which a
checkpoint holds for the middle of the epoch only.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from prm_training.selection import IGNORED
from pure_rlhf.prm.quality import step_metrics

MAX_BATCHES_SORTED = 50  # rows of so many batches are sorted together


class RowOrder:
    """The order of rows in an epoch: random or, with `grouped`, batches of like length in random order."""

    def __init__(self, lengths: list[int], batch_size: int, grouped: bool, seed: int) -> None:
        self.lengths, self.batch_size, self.grouped, self.seed = lengths, batch_size, grouped, seed

    def batches(self, epoch: int) -> list[list[int]]:
        """The rows of each forward pass; only the last one may be smaller."""
        generator = torch.Generator().manual_seed(self.seed + epoch)
        rows = torch.randperm(len(self.lengths), generator=generator).tolist()
        if self.grouped:
            many = self.batch_size * MAX_BATCHES_SORTED
            rows = [
                row
                for start in range(0, len(rows), many)
                for row in sorted(rows[start : start + many], key=lambda row: self.lengths[row])
            ]
        batches = [
            rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)
        ]
        if self.grouped:
            full = len(rows) // self.batch_size
            order = torch.randperm(full, generator=generator).tolist()
            batches = [batches[number] for number in order] + batches[full:]
        return batches


class _RowSampler(Sampler):
    def __init__(self, order: RowOrder, epoch: Callable[[], int]) -> None:
        self.order, self.epoch = order, epoch

    def __len__(self) -> int:
        return len(self.order.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter([row for batch in self.order.batches(self.epoch()) for row in batch])


def step_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int) -> Tensor:
    """Cross-entropy of a forward pass, summed over its labelled steps, per labelled step of the optimiser step.

    The token-classification models' own loss is a mean over the forward pass, which Trainer (transformers 5.15) adds
    up: its gradient would grow with the number of passes.
    """
    logits = outputs["logits"].float().flatten(0, -2)
    total = torch.nn.functional.cross_entropy(
        logits, labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / num_items_in_batch


class PrmTrainer(Trainer):
    """Trainer of a PRM or of its head; `measure` gives rewards and labels of the held-out steps."""

    def __init__(
        self, *, order: RowOrder, measure: Callable[[], tuple[Tensor, Tensor]], **arguments: Any
    ) -> None:
        super().__init__(compute_loss_func=step_loss, **arguments)
        self._order, self._measure = order, measure

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        return _RowSampler(self._order, lambda: int((self.state.epoch or 0.0) + 1e-6))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The numbers of `step_metrics`, logged."""
        numbers = step_metrics(*self._measure())
        metrics = {
            f"eval_{name}": value for name, value in numbers.items() if isinstance(value, float)
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    @property
    def measured(self) -> list[dict[str, float]]:
        """The held-out numbers so far, each with its step."""
        return [entry for entry in self.state.log_history if "eval_auc" in entry]


def last_complete_checkpoint(folder: Path) -> str | None:
    """The last checkpoint that was written to its end: `trainer_state.json` comes last."""
    found = {}
    for state_file in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/trainer_state.json"):
        try:
            found[TrainerState.load_from_json(str(state_file)).global_step] = state_file.parent
        except (json.JSONDecodeError, TypeError, FileNotFoundError):
            continue  # the process was killed while it wrote, or it is being rotated away
    return str(found[max(found)]) if found else None
