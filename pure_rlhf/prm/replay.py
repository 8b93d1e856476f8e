"""Rows with step labels that a PRM goes on learning from while it learns from outcomes, so that it does not forget.

The form of the file is that of PRM training: `prompt`, `completions` (the steps), `labels` (one a step, true: right).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pure_rlhf.algorithm.prm_losses import step_label_weights
from pure_rlhf.prm.conventions import PrmConvention, PrmLayout, PrmSample, pad_layouts
from pure_rlhf.types import StepRows, Tokenizer

COLUMNS = ("prompt", "completions", "labels")


@dataclass(frozen=True)
class LabelledResponse:
    """A response whose steps are known to be right or wrong, e.g. `("1 + 1?", ("1 + 1 = 3",), (False,))`."""

    prompt: str
    steps: tuple[str, ...]
    labels: tuple[bool, ...]


def parse_labelled_responses(rows: Sequence[object]) -> list[LabelledResponse]:
    """The rows of a file, checked.

    Raises:
        ValueError: there are none, or a row has not the columns, or not one label a step; the first such row is named.
    """
    found = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or any(column not in row for column in COLUMNS):
            raise ValueError(f"row {number}: the columns {', '.join(COLUMNS)} are needed")
        steps, labels = tuple(row["completions"]), tuple(row["labels"])
        if not steps or len(steps) != len(labels) or any(label not in (0, 1) for label in labels):
            raise ValueError(
                f"row {number}: needs one label, true or false, for each of its {len(steps)} steps"
            )
        found.append(LabelledResponse(row["prompt"], steps, tuple(map(bool, labels))))
    if not found:
        raise ValueError("there are no rows")
    return found


class Replay:
    """Draws from the rows of a file, laid out for a PRM.

    Args:
        max_tokens: longer rows are left out.
        seed: of the draws; those of a step do not depend on the steps before it, so a resumed run draws the same.

    Raises:
        ValueError: as `parse_labelled_responses`; or no row is short enough.
    """

    def __init__(
        self,
        rows: Sequence[object],
        convention: PrmConvention,
        tokenizer: Tokenizer,
        *,
        max_tokens: int,
        seed: int,
    ) -> None:
        self.seed = seed
        self.rows: list[tuple[PrmLayout, tuple[bool, ...]]] = []
        for row in parse_labelled_responses(rows):
            layout = convention.lay_out(PrmSample(row.prompt, row.prompt, row.steps), tokenizer)
            if len(layout.input_ids) <= max_tokens:
                self.rows.append((layout, row.labels))
        if not self.rows:
            raise ValueError(f"all rows are longer than {max_tokens} tokens")

    def draw(self, count: int, *, micro_batch_size: int, step: int) -> list[StepRows]:
        """`count` rows in micro-batches; every one of them weighs its labelled steps as one of the whole draw.

        Args:
            step: of the run, from 0.
        """
        generator = random.Random(f"{self.seed} {step}")
        chosen = generator.choices(self.rows, k=count)
        width = max(len(labels) for _, labels in chosen)
        labels_BS = torch.tensor(
            [[*map(float, labels), *[math.nan] * (width - len(labels))] for _, labels in chosen]
        )
        weight_B = step_label_weights(labels_BS)
        made = []
        for start in range(0, count, micro_batch_size):
            part = slice(start, start + micro_batch_size)
            inputs = pad_layouts([layout for layout, _ in chosen[part]], pad_token_id=0)
            labels = labels_BS[part, : inputs.read_index_BS.shape[1]]
            made.append(
                StepRows(
                    inputs=inputs,
                    mask_BS=~labels.isnan(),
                    outcome_B=torch.full((len(labels),), math.nan),
                    labels_BS=labels,
                    weight_B=weight_B[part],
                )
            )
        return made
