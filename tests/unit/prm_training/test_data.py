"""Rows to token ids, and every kind of bad row named with file, number and reason."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from prm_training.data import (
    IGNORED,
    BadRowsError,
    PadCollator,
    PrmDataset,
    StepLabelledRow,
    load_labelled_rows,
    row_problem,
)
from tests.conftest import RandomWorld

GOOD = {"prompt": "1+1+1?", "completions": ["1+1=2", "2+1=4"], "labels": [True, False]}


def write_rows(path: Path, rows: list[Any]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": [1]}, "2 steps and 1 labels"),
        ({"labels": [1, 2]}, "label of step 2 is 2"),
        ({"labels": [1, -1]}, "label of step 2 is -1"),
        ({"labels": [1, "0"]}, "label of step 2 is '0'"),
        ({"labels": [1, 1.0]}, "label of step 2 is 1.0"),
        ({"labels": None}, "2 steps and None labels"),
        ({"completions": [], "labels": []}, "non-empty list"),
        ({"completions": "1+1=2"}, "non-empty list"),
        ({"completions": ["1+1=2", "  "]}, "step 2 is empty"),
        ({"completions": ["1+1=2", None]}, "step 2 is empty or no text"),
        ({"prompt": ""}, "prompt must be a non-empty text"),
        ({"prompt": 7}, "prompt must be a non-empty text"),
    ],
)
def test_reason_of_a_bad_row(change: dict[str, Any], reason: str) -> None:
    found = row_problem(GOOD | change)
    assert found is not None and reason in found


def test_good_rows_and_rows_of_another_form() -> None:
    assert row_problem(GOOD) is None
    assert row_problem(GOOD | {"labels": [1, 0]}) is None
    assert "got list" in str(row_problem([1]))
    assert "no column labels; it has prompt, completions, x" in str(
        row_problem({"prompt": "", "completions": [], "x": 1})
    )


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_bad_rows_stop_or_are_counted(tmp_path: Path, name: str) -> None:
    source = write_rows(tmp_path / name, [GOOD, GOOD | {"labels": [1]}, GOOD])
    with pytest.raises(BadRowsError) as caught:
        load_labelled_rows(source, "train")
    message = str(caught.value)
    assert source in message and "1 of 3 rows" in message
    assert "row 2: 2 steps and 1 labels" in message and "--skip_bad_rows" in message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message
    rows, num_skipped = load_labelled_rows(source, "train", skip_bad_rows=True)
    assert rows == [StepLabelledRow("1+1+1?", ["1+1=2", "2+1=4"], [1, 0])] * 2
    assert num_skipped == 1


def test_only_the_first_ten_bad_rows_are_shown(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [GOOD | {"prompt": ""}] * 13)
    with pytest.raises(BadRowsError, match="and 3 more"):
        load_labelled_rows(source, "train")
    with pytest.raises(ValueError, match="no row is left"):
        load_labelled_rows(source, "train", skip_bad_rows=True)


def test_empty_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no rows"):
        load_labelled_rows(write_rows(tmp_path / "empty.jsonl", []), "train")
    with pytest.raises(ValueError, match="no such file"):
        load_labelled_rows(str(tmp_path / "none.jsonl"), "train")


def test_labels_stand_at_the_separators_only(world: RandomWorld) -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.policy)
    dataset = PrmDataset([StepLabelledRow("1+1?", ["So 2", "2"], [1, 0])], tokenizer, "\n")
    example = dataset[0]
    (separator,) = tokenizer.encode("\n")
    prompt, first, second = (tokenizer.encode(text) for text in ("1+1?", "So 2", "2"))
    assert example["input_ids"] == [*prompt, *first, separator, *second, separator]
    unlabelled = [IGNORED] * (len(prompt) + len(first))
    assert example["labels"] == [*unlabelled, 1, *[IGNORED] * len(second), 0]


def test_long_rows_are_refused_with_their_length(world: RandomWorld) -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.policy)
    rows = [StepLabelledRow("1", ["2"], [1]), StepLabelledRow("1" * 50, ["2"], [1])]
    dataset = PrmDataset(rows, tokenizer, "\n")
    length = dataset.lengths[1]
    with pytest.raises(BadRowsError, match=f"row 2: {length} tokens, the limit is {length - 1}"):
        dataset.require_at_most(length - 1, "rows.jsonl")
    dataset.require_at_most(length, "rows.jsonl")


def test_a_separator_of_several_tokens_is_refused(world: RandomWorld) -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.policy)
    with pytest.raises(ValueError, match="exactly one token"):
        PrmDataset([StepLabelledRow("1", ["2"], [1])], tokenizer, "9#9#")


def test_collator_pads_on_the_right_to_a_multiple() -> None:
    batch = PadCollator(pad_token_id=9, multiple=4)(
        [
            {"input_ids": [1, 2, 3, 4, 5], "labels": [IGNORED] * 4 + [1]},
            {"input_ids": [6, 7], "labels": [IGNORED, 0]},
        ]
    )
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 9, 9, 9], [6, 7, 9, 9, 9, 9, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1] * 5 + [0] * 3, [1] * 2 + [0] * 6]
    assert batch["labels"].tolist()[1] == [IGNORED, 0, *[IGNORED] * 6]
