r"""Step-labelled rows to what the PRM is trained on.

A row is (prompt, completions, labels), the form of TRL and of `trl-lib/prm800k`: one label per step, true for a
right step. The token layout is `prm_token_ids` of `pure_rlhf.algorithm.prm_scoring`, the one that RL feeds: each
step is followed by the separator token ("\n"), and only the separators carry a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from pure_rlhf.algorithm.prm_scoring import prm_token_ids, single_separator_id
from pure_rlhf.data import load_rows

COLUMNS = ("prompt", "completions", "labels")
IGNORED = -100
NUM_BAD_ROWS_SHOWN = 10


@dataclass(frozen=True)
class StepLabelledRow:
    """One solution, or a part of it, e.g. `StepLabelledRow("1+1+1?", ["1+1=2", "2+1=4"], [1, 0])`."""

    prompt: str
    steps: list[str]
    labels: list[int]


class BadRowsError(ValueError):
    """Rows that cannot be trained on; the message names file, row and reason of the first ten."""

    def __init__(self, source: str, reasons: Sequence[tuple[int, str]], num_rows: int) -> None:
        super().__init__(source, reasons, num_rows)
        self.source, self.reasons, self.num_rows = source, reasons, num_rows

    def __str__(self) -> str:
        shown = [f"  row {row}: {reason}" for row, reason in self.reasons[:NUM_BAD_ROWS_SHOWN]]
        hidden = len(self.reasons) - len(shown)
        if hidden:
            shown.append(f"  and {hidden} more")
        title = f"{self.source}: {len(self.reasons)} of {self.num_rows} rows cannot be trained on"
        remedy = "mend them, or leave them out with --skip_bad_rows"
        return "\n".join([title, *shown, remedy])


def load_labelled_rows(
    source: str, split: str, *, skip_bad_rows: bool = False
) -> tuple[list[StepLabelledRow], int]:
    """Read a JSON, JSONL (also .gz) or Parquet file, or a Hugging Face data set; check every row.

    Returns the good rows and how many bad ones were left out (0 unless `skip_bad_rows`).

    Raises:
        ValueError: the file is missing, empty or malformed, or no row is left.
        BadRowsError: rows are bad and `skip_bad_rows` is false.
    """
    raw_rows = load_rows(source, split)
    reasons = [(number, row_problem(row)) for number, row in enumerate(raw_rows, start=1)]
    bad = [(number, reason) for number, reason in reasons if reason is not None]
    if bad and not skip_bad_rows:
        raise BadRowsError(source, bad, len(raw_rows))
    if len(bad) == len(raw_rows):
        raise ValueError(f"{source}: no row is left, all {len(bad)} are bad; row 1: {bad[0][1]}")
    rows = [
        StepLabelledRow(row["prompt"], list(row["completions"]), [int(v) for v in row["labels"]])
        for row, (_, reason) in zip(raw_rows, reasons, strict=True)
        if reason is None
    ]
    return rows, len(bad)


def row_problem(row: Any) -> str | None:
    """Why a row cannot be trained on, or None."""
    if not isinstance(row, dict):
        return f"expected an object with {', '.join(COLUMNS)}, got {type(row).__name__}"
    missing = [column for column in COLUMNS if column not in row]
    if missing:
        return f"no column {', '.join(missing)}; it has {', '.join(map(str, row))}"
    prompt, steps, labels = (row[column] for column in COLUMNS)
    if not isinstance(prompt, str) or not prompt.strip():
        return f"the prompt must be a non-empty text, got {prompt!r}"
    if not isinstance(steps, list | tuple) or not steps:
        return f"completions must be a non-empty list of steps, got {steps!r}"
    if not isinstance(labels, list | tuple) or len(labels) != len(steps):
        count = len(labels) if isinstance(labels, list | tuple) else repr(labels)
        return f"{len(steps)} steps and {count} labels: each step needs one label"
    for number, (step, label) in enumerate(zip(steps, labels, strict=True), start=1):
        if not isinstance(step, str) or not step.strip():
            return f"step {number} is empty or no text: {step!r}"
        if not isinstance(label, bool | int) or label not in (0, 1):
            return f"the label of step {number} is {label!r}; allowed are true, false, 1, 0"
    return None


class PrmDataset(Dataset):
    """Tokenised rows: `input_ids`, `labels` (IGNORED but at the separators, where it is 0 or 1)."""

    def __init__(
        self, rows: Sequence[StepLabelledRow], tokenizer: PreTrainedTokenizerBase, separator: str
    ) -> None:
        separator_id = single_separator_id(tokenizer, separator)
        texts = [text for row in rows for text in (row.prompt, *row.steps)]
        encoded = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
        self.examples: list[dict[str, list[int]]] = []
        for row in rows:
            prompt_ids = next(encoded)
            step_ids = [next(encoded) for _ in row.steps]
            input_ids, read_positions = prm_token_ids(prompt_ids, step_ids, separator_id)
            labels = [IGNORED] * len(input_ids)
            for position, label in zip(read_positions, row.labels, strict=True):
                labels[position] = label
            self.examples.append({"input_ids": input_ids, "labels": labels})

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.examples[index]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(example["input_ids"]) for example in self.examples]

    def require_at_most(self, max_tokens: int, source: str) -> None:
        """Raise BadRowsError when a row is longer than the limit."""
        reasons = [
            (number, f"{length} tokens, the limit is {max_tokens} (--max_length)")
            for number, length in enumerate(self.lengths, start=1)
            if length > max_tokens
        ]
        if reasons:
            raise BadRowsError(source, reasons, len(self))


@dataclass(frozen=True)
class PadCollator:
    """Right-pads a batch to a multiple of `multiple` (few shapes are quicker) and makes tensors of it."""

    pad_token_id: int
    multiple: int = 16

    def __call__(self, examples: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
        longest = max(len(example["input_ids"]) for example in examples)
        width = -(-longest // self.multiple) * self.multiple

        def padded(key: str, fill: int) -> Tensor:
            return torch.tensor([row[key] + [fill] * (width - len(row[key])) for row in examples])

        lengths_B = torch.tensor([len(row["input_ids"]) for row in examples])
        return {
            "input_ids": padded("input_ids", self.pad_token_id),
            "attention_mask": (torch.arange(width)[None] < lengths_B[:, None]).long(),
            "labels": padded("labels", IGNORED),
        }
