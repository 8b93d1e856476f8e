"""Stage 1 without running the frozen backbone again in every epoch: what it says at the labelled steps is kept.

The backbone is causal, so its output at a step depends on the steps before it only: rows that share a prefix share
its outputs, and each is computed once. The head is then trained on them through the same `Trainer`, on the rows in
the same order and with the same loss, and is the model's own `score`: nothing has to be put back. The weights at the
end are those of the plain way within rounding. (Dropout before the head draws other numbers. Dropout within the
backbone, which no known base model asks for, would be off.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import PreTrainedModel, TrainingArguments

from prm_training.data import PadCollator, PrmDataset
from prm_training.selection import IGNORED, step_nodes
from pure_rlhf.prm.batching import plan_batches

CPU_BATCH_TOKENS = (
    1024  # with 8192 a forward pass takes a third longer a token: the caches overflow
)
GPU_BATCH_TOKENS = 16_384
MAX_MEMORY_FRAC = 0.5  # of what is free


@dataclass(frozen=True)
class FeaturePlan:
    """Which outputs of the backbone are kept: those at the labelled steps, each distinct one once."""

    slots: list[list[int]]  # row of the feature table for each labelled step of each row
    labels: list[list[int]]
    num_slots: int
    runs: list[tuple[int, list[int], list[int]]]  # (row to run, positions to keep, their slots)

    def num_bytes(self, hidden_size: int, dtype: torch.dtype) -> int:
        """Size of the feature table."""
        return self.num_slots * hidden_size * dtype.itemsize


def plan_features(dataset: PrmDataset) -> FeaturePlan:
    """Choose the rows to run, the longest of those that share prefixes first.

    Example: rows with the steps A B and A C, all labelled: both are run, A is kept from the first, 3 slots.
    """
    paths = step_nodes(dataset.rows)
    slot_of: dict[int, int] = {}
    runs = []
    for row in sorted(range(len(paths)), key=lambda row: -len(paths[row])):
        labels = dataset.rows[row].labels
        new = [
            (position, slot_of.setdefault(node, len(slot_of)))
            for node, position, label in zip(
                paths[row], dataset.read_positions[row], labels, strict=True
            )
            if label != IGNORED and node not in slot_of
        ]
        if new:
            runs.append((row, [position for position, _ in new], [slot for _, slot in new]))
    labelled = [
        [
            (slot_of[node], label)
            for node, label in zip(path, row.labels, strict=True)
            if label != IGNORED
        ]
        for path, row in zip(paths, dataset.rows, strict=True)
    ]
    return FeaturePlan(
        slots=[[slot for slot, _ in row] for row in labelled],
        labels=[[label for _, label in row] for row in labelled],
        num_slots=len(slot_of),
        runs=runs,
    )


def memory_verdict(num_bytes: int) -> tuple[bool, str]:
    """Whether that much may be kept in memory, and a sentence that says so."""
    free = psutil.virtual_memory().available
    fits = num_bytes <= MAX_MEMORY_FRAC * free
    verdict = "kept in memory" if fits else "too much, so the backbone runs in every epoch"
    return fits, f"the backbone's outputs take {_gib(num_bytes)} of {_gib(free)} free: {verdict}"


def batch_tokens(device: torch.device) -> int:
    """Tokens, padding included, of a forward pass without gradients."""
    return CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"


class FeatureDataset(Dataset):
    """The labelled steps of each row: `features` (steps, hidden size) and `labels` (0 or 1)."""

    def __init__(self, plan: FeaturePlan, table: Tensor) -> None:
        self.plan, self.table = plan, table

    def __len__(self) -> int:
        return len(self.plan.slots)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {
            "features": self.table[self.plan.slots[index]],
            "labels": torch.tensor(self.plan.labels[index]),
        }


def collate_features(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """All steps of a batch, one below the other."""
    return {key: torch.cat([row[key] for row in rows]) for key in ("features", "labels")}


@torch.no_grad()
def compute_features(
    model: PreTrainedModel,
    dataset: PrmDataset,
    plan: FeaturePlan,
    collator: PadCollator,
    arguments: TrainingArguments,
    name: str,
) -> FeatureDataset:
    """Run the backbone over the planned rows; with several ranks each runs its part, into one shared file.

    In float32, or in bfloat16 where that is what the head would compute in.
    """
    dtype = torch.bfloat16 if arguments.bf16 else torch.float32
    table, file = _table(plan.num_slots, model.config.hidden_size, dtype, arguments, name)
    lengths = [positions[-1] + 1 for _, positions, _ in plan.runs]
    num_ranks = arguments.world_size
    backbone, device = model.base_model, arguments.device
    batches = plan_batches(lengths, max_tokens=batch_tokens(device), num_ranks=num_ranks)
    per_rank = len(batches) // num_ranks
    mine = batches[arguments.process_index * per_rank :][:per_rank]
    model.to(device).eval()  # type: ignore[arg-type]
    for batch in tqdm(mine, desc=f"backbone over {name}", disable=arguments.process_index > 0):
        runs = [plan.runs[number] for number in batch]
        inputs = collator(
            [
                {key: values[: positions[-1] + 1] for key, values in dataset[row].items()}
                for row, positions, _ in runs
            ]
        )
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=arguments.bf16):
            hidden_BUH = backbone(
                input_ids=inputs["input_ids"].to(device),
                attention_mask=inputs["attention_mask"].to(device),
                use_cache=False,
            ).last_hidden_state
        for hidden_UH, (_, positions, slots) in zip(hidden_BUH, runs, strict=True):
            table[slots] = hidden_UH[positions].to("cpu", dtype)
    if file is not None:
        torch.distributed.barrier()
        file.unlink(missing_ok=True)  # the mapping stays until the processes end
    return FeatureDataset(plan, table)


def _table(
    num_slots: int, hidden_size: int, dtype: torch.dtype, arguments: TrainingArguments, name: str
) -> tuple[Tensor, Path | None]:
    if arguments.world_size == 1:
        return torch.empty(num_slots, hidden_size, dtype=dtype), None
    assert arguments.output_dir is not None
    file = Path(arguments.output_dir) / f"features_{name}.bin"
    file.parent.mkdir(parents=True, exist_ok=True)
    size = num_slots * hidden_size
    flat = torch.from_file(str(file), shared=True, size=size, dtype=dtype)
    torch.distributed.barrier()
    return flat.view(num_slots, hidden_size), file


class HeadOnly(nn.Module):
    """Dropout and score head of a token-classification model, over kept outputs of its backbone."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        assert isinstance(model.dropout, nn.Dropout) and isinstance(model.score, nn.Linear)
        self.dropout, self.score = model.dropout, model.score

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Logits of (steps, hidden size) features."""
        return {"logits": self.score(self.dropout(features.to(self.score.weight.dtype)))}
