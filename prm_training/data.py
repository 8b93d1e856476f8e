r"""Step-labelled rows to what the PRM is trained on.

A row is (prompt, steps, labels), one label per step, 1 for a right step. The token layout is `PureConvention` of
`pure_rlhf.prm.conventions`, the one that RL and evaluation read: each step is followed by the separator
token ("\n"), and only the separators carry a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from prm_training.selection import IGNORED, StepLabelledRow, problem_key
from prm_training.sources import RatedSolution, SourceForm, parse_row, source_form
from pure_rlhf.data import load_rows
from pure_rlhf.prm.conventions import PureConvention
from pure_rlhf.types import Tokenizer

NUM_BAD_ROWS_SHOWN = 10
PROBLEM_COLUMNS = ("problem", "question", "prompt")
SeparatorInSteps = Literal["refuse", "keep", "space"]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be trained on."""

    source: str
    row: int  # from 1
    reason: str


@dataclass(frozen=True)
class LoadedSource:
    """What a file or data set holds."""

    source: str
    num_rows: int
    forms: Counter[SourceForm]
    solutions: list[RatedSolution]
    bad_rows: list[BadRow]


def load_solutions(
    source: str, split: str, *, separator: str, separator_in_steps: SeparatorInSteps
) -> LoadedSource:
    """Read a JSON, JSONL (also .gz) or Parquet file, or a Hugging Face data set, and check every row.

    A step that holds the separator within its text is a bad row where `separator_in_steps` is "refuse": whoever
    finds the ends of steps by their token would see one step too many. "keep" is safe where they are read by
    position, as here; "space" puts a space in its place.

    Raises ValueError where the file is missing, empty or malformed.
    """
    raw_rows = load_rows(source, split)
    forms: Counter[SourceForm] = Counter()
    solutions: list[RatedSolution] = []
    bad_rows: list[BadRow] = []
    for number, row in enumerate(raw_rows, start=1):
        try:
            parsed = parse_row(row, number)
            if separator_in_steps == "space":
                parsed = [_without(solution, separator) for solution in parsed]
            elif separator_in_steps == "refuse":
                _refuse_separator(parsed, separator)
        except ValueError as error:
            bad_rows.append(BadRow(source, number, str(error)))
        else:
            forms[source_form(row)] += 1
            solutions += parsed
    return LoadedSource(source, len(raw_rows), forms, solutions, bad_rows)


def _without(solution: RatedSolution, separator: str) -> RatedSolution:
    steps = [" ".join(filter(None, step.split(separator))) for step in solution.steps]
    return replace(solution, steps=steps)


def _refuse_separator(solutions: Sequence[RatedSolution], separator: str) -> None:
    for solution in solutions:
        for number, step in enumerate(solution.steps, start=1):
            if separator in step:
                raise ValueError(
                    f"step {number} contains the separator {separator!r} (--separator_in_steps keep or space "
                    f"takes such rows): {step[:60]!r}"
                )


def describe_bad_rows(bad_rows: Sequence[BadRow], num_rows: dict[str, int]) -> list[str]:
    """One text for each source that has bad rows: how many of how many, and the first ten."""
    texts = []
    for source, count in Counter(bad.source for bad in bad_rows).items():
        of_source = [bad for bad in bad_rows if bad.source == source]
        lines = [f"{source}: {count} of {num_rows[source]} rows cannot be trained on"]
        lines += [f"  row {bad.row}: {bad.reason}" for bad in of_source[:NUM_BAD_ROWS_SHOWN]]
        if count > NUM_BAD_ROWS_SHOWN:
            lines.append(f"  and {count - NUM_BAD_ROWS_SHOWN} more")
        texts.append("\n".join([*lines, "  mend them, or leave them out with --skip_bad_rows"]))
    return texts


def load_problem_keys(source: str, split: str) -> dict[str, str]:
    """The problems of an evaluation file, as `problem_key` -> "file, row n"; raises ValueError for other files."""
    keys = {}
    for number, row in enumerate(load_rows(source, split), start=1):
        columns = row if isinstance(row, dict) else {}
        problem = next((columns[name] for name in PROBLEM_COLUMNS if name in columns), None)
        if not isinstance(problem, str):
            raise ValueError(
                f"--exclude_problems {source}, row {number}: no text in a column "
                f"{' or '.join(PROBLEM_COLUMNS)}; it has {', '.join(map(str, columns))}"
            )
        keys.setdefault(problem_key(problem), f"{source}, row {number}")
    return keys


def exclude_problems(
    rows: Sequence[StepLabelledRow], excluded: dict[str, str]
) -> tuple[list[StepLabelledRow], list[dict[str, Any]]]:
    """The rows of other problems, and for each problem that was removed where it stands and its rows."""
    kept = []
    removed: dict[str, dict[str, Any]] = {}
    key_of = {prompt: problem_key(prompt) for prompt in {row.prompt for row in rows}}
    for row in rows:
        key = key_of[row.prompt]
        if key in excluded:
            entry = {"problem": row.prompt, "found_in": excluded[key], "rows": []}
            found = removed.setdefault(key, entry)["rows"]
            if row.row not in found[-1:]:
                found.append(row.row)
        else:
            kept.append(row)
    return kept, list(removed.values())


class PrmDataset(Dataset):
    """Tokenised rows: `input_ids`, `labels` (IGNORED but at the separators, where it may be 0 or 1)."""

    def __init__(
        self, rows: Sequence[StepLabelledRow], tokenizer: PreTrainedTokenizerBase, separator: str
    ) -> None:
        self.rows = list(rows)
        convention = PureConvention(separator)
        # Rows repeat prompts and steps: each text is encoded once.
        texts = list(dict.fromkeys(text for row in rows for text in (row.prompt, *row.steps)))
        encoded = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        ids_of = dict(zip(texts, encoded, strict=True))
        self.examples: list[dict[str, list[int]]] = []
        self.read_positions: list[list[int]] = []
        for row in rows:
            step_ids = [ids_of[step] for step in row.steps]
            # transformers sets the ids of special tokens at run time: a type checker does not see them
            layout = convention.lay_out_ids(
                ids_of[row.prompt], step_ids, cast(Tokenizer, tokenizer)
            )
            labels = [IGNORED] * len(layout.input_ids)
            for position, label in zip(layout.read_positions, row.labels, strict=True):
                labels[position] = label
            self.examples.append({"input_ids": layout.input_ids, "labels": labels})
            self.read_positions.append(layout.read_positions)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.examples[index]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(example["input_ids"]) for example in self.examples]

    def drop_longer(self, max_tokens: int, source: str) -> list[BadRow]:
        """Leave out the rows that are longer than the limit, and return them."""
        fits = [length <= max_tokens for length in self.lengths]
        bad_rows = [
            BadRow(
                source,
                row.row,
                f"{len(example['input_ids'])} tokens, the limit is {max_tokens} (--max_length)",
            )
            for row, example, fit in zip(self.rows, self.examples, fits, strict=True)
            if not fit
        ]
        self.rows = _where(self.rows, fits)
        self.examples = _where(self.examples, fits)
        self.read_positions = _where(self.read_positions, fits)
        return bad_rows


def _where(values: list[Any], chosen: Sequence[bool]) -> list[Any]:
    return [value for value, is_chosen in zip(values, chosen, strict=True) if is_chosen]


@dataclass(frozen=True)
class PadCollator:
    """Right-pads a batch to a multiple of `multiple` (few shapes are quicker) and makes tensors of it."""

    pad_token_id: int
    multiple: int = 16

    def __call__(self, examples: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
        width = self.width([len(example["input_ids"]) for example in examples])

        def padded(key: str, fill: int) -> Tensor:
            return torch.tensor([row[key] + [fill] * (width - len(row[key])) for row in examples])

        lengths_B = torch.tensor([len(row["input_ids"]) for row in examples])
        return {
            "input_ids": padded("input_ids", self.pad_token_id),
            "attention_mask": (torch.arange(width)[None] < lengths_B[:, None]).long(),
            "labels": padded("labels", IGNORED),
        }

    def width(self, lengths: Sequence[int]) -> int:
        """Tokens of a padded row of a batch with these rows."""
        return -(-max(lengths) // self.multiple) * self.multiple

    def padding_frac(self, lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
        """Share of padding among all tokens of the batches."""
        total = sum(self.width([lengths[row] for row in batch]) * len(batch) for batch in batches)
        return 1 - sum(lengths[row] for batch in batches for row in batch) / total
