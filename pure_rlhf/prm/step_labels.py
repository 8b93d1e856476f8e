"""Labels of steps for a PRM that learns during RL: from a file, or from a function of the user's.

    Replay        rows that it goes on learning from, so that it does not forget what it was trained on
    HeldOutRows   rows that it never learns from, to see whether it forgets
    label_steps   what the function of `--step_labeller` says of the responses of a rollout

The form of a file is that of PRM training: `prompt`, `completions` (the steps), `labels` (one a step, true: right).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pure_rlhf.algorithm.prm_losses import step_label_weights
from pure_rlhf.prm.conventions import PrmConvention, PrmLayout, PrmSample, pad_layouts
from pure_rlhf.types import PrmInputs, StepRows, Tokenizer

StepLabeller = Callable[[str, Sequence[str]], Sequence[bool | str | None]]
"""From the rendered prompt and the texts of a response's steps: of each whether it is right, None: not known; a text
instead of False names what is wrong."""
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


LaidOutRow = tuple[PrmLayout, tuple[bool, ...]]


def lay_out_rows(
    rows: Sequence[object], convention: PrmConvention, tokenizer: Tokenizer, *, max_tokens: int
) -> list[LaidOutRow]:
    """The rows of a file as a PRM reads them, with their labels; those that are longer are left out.

    Raises:
        ValueError: as `parse_labelled_responses`; or no row is short enough.
    """
    found = []
    for row in parse_labelled_responses(rows):
        layout = convention.lay_out(PrmSample(row.prompt, row.prompt, row.steps), tokenizer)
        if len(layout.input_ids) <= max_tokens:
            found.append((layout, row.labels))
    if not found:
        raise ValueError(f"all rows are longer than {max_tokens} tokens")
    return found


def _labels_of(rows: Sequence[LaidOutRow]) -> Tensor:
    """`(B, S)`, 1 right, 0 wrong, NaN where a row has no step any more."""
    width = max(len(labels) for _, labels in rows)
    return torch.tensor(
        [[*map(float, labels), *[math.nan] * (width - len(labels))] for _, labels in rows]
    )


@dataclass(frozen=True)
class HeldOutRows:
    """Rows to measure a PRM on."""

    inputs: PrmInputs
    labels_BS: Tensor  # 1 right, 0 wrong, NaN where there is no step

    @classmethod
    def of(cls, rows: Sequence[LaidOutRow]) -> HeldOutRows:
        """All of them, padded."""
        return cls(
            pad_layouts([layout for layout, _ in rows], pad_token_id=0),
            _labels_of(rows),
        )


class Replay:
    """Draws from rows of `lay_out_rows`.

    Args:
        seed: of the draws; those of a step do not depend on the steps before it, so a resumed run draws the same.
    """

    def __init__(self, rows: Sequence[LaidOutRow], *, seed: int) -> None:
        self.rows = rows
        self.seed = seed

    def draw(self, count: int, *, micro_batch_size: int, step: int) -> list[StepRows]:
        """`count` rows in micro-batches; every one of them weighs its labelled steps as one of the whole draw.

        Args:
            step: of the run, from 0.
        """
        generator = random.Random(f"{self.seed} {step}")
        chosen = generator.choices(self.rows, k=count)
        labels_BS = _labels_of(chosen)
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


@dataclass(frozen=True)
class LabelledSteps:
    """What a function said of the steps of a rollout."""

    labels_BS: Tensor  # 1 right, 0 wrong, NaN not known or no step
    defects: list[list[str | None]]
    """Of each step what is wrong, "wrong" without a name; None: right or not known."""

    def first_defects(self) -> list[str | None]:
        """Of each response what is wrong with its first wrong step; None: nothing that is known."""
        return [next(filter(None, names), None) for names in self.defects]


def label_steps(
    labeller: StepLabeller,
    prompts: Sequence[str],
    texts: Sequence[Sequence[str]],
    mask_BS: Tensor,
) -> LabelledSteps:
    """Ask the function about every response.

    Args:
        prompts: rendered, one a response. texts: of the steps. mask_BS: of the steps.

    Raises:
        ValueError: it did not give one of True, False, None and a text for each step of a response.
    """
    labels_BS = torch.full(mask_BS.shape, math.nan)
    defects = []
    for row, (prompt, steps) in enumerate(zip(prompts, texts, strict=True)):
        labels = list(labeller(prompt, steps))
        if len(labels) != len(steps) or not all(
            label is None or isinstance(label, bool | str) for label in labels
        ):
            raise ValueError(
                f"--step_labeller: gave {labels} for a response of {len(steps)} steps; it must give True, False, None "
                "or a text for each"
            )
        labels_BS[row, : len(labels)] = torch.tensor(
            [math.nan if label is None else float(label is True) for label in labels]
        )
        defects.append([None if label in (None, True) else label or "wrong" for label in labels])
    return LabelledSteps(labels_BS.masked_fill(~mask_BS, math.nan), defects)


@dataclass(frozen=True)
class LabelledRows:
    """The files of a PRM that learns."""

    replay: Replay | None = None
    held_out: HeldOutRows | None = None
