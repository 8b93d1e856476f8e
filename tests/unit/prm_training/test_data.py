"""Rows to token ids; rows that are too long or hold the separator are named with file, number and reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from prm_training.data import (
    BadRow,
    LoadedSource,
    PadCollator,
    PrmDataset,
    describe_bad_rows,
    load_problem_keys,
    load_solutions,
)
from prm_training.selection import IGNORED, StepLabelledRow
from pure_rlhf.prm.conventions import PrmSample, PureConvention
from tests.conftest import RandomWorld
from tests.tiny_models import train_tokenizer

GOOD = {"prompt": "1+1+1?", "completions": ["1+1=2", "2+1=4"], "labels": [True, False]}
WITH_SEPARATOR = {"prompt": "1?", "completions": ["So\n\n1"], "labels": [True]}


def write_rows(path: Path, rows: list[Any]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return str(path)


def load(source: str, separator_in_steps: Any = "refuse") -> LoadedSource:
    return load_solutions(source, "train", separator="\n", separator_in_steps=separator_in_steps)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_bad_rows_are_found_beside_good_ones(tmp_path: Path, name: str) -> None:
    source = write_rows(tmp_path / name, [GOOD, GOOD | {"labels": [1]}, GOOD])
    loaded = load(source)
    assert [s.row for s in loaded.solutions] == [1, 3] and loaded.num_rows == 3
    assert loaded.bad_rows == [BadRow(source, 2, "2 steps and 1 labels: each step needs one label")]
    (text,) = describe_bad_rows(loaded.bad_rows, {source: 3})
    assert source in text and "1 of 3 rows" in text
    assert "row 2: 2 steps and 1 labels" in text and "--skip_bad_rows" in text


def test_only_the_first_ten_bad_rows_of_a_file_are_shown() -> None:
    bad_rows = [BadRow("a", n, "no") for n in range(13)] + [BadRow("b", 1, "no")]
    first, second = describe_bad_rows(bad_rows, {"a": 20, "b": 2})
    assert first.count("  row ") == 10 and "and 3 more" in first and "13 of 20" in first
    assert second.count("  row ") == 1 and "1 of 2" in second


def test_steps_that_contain_the_separator(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [GOOD, WITH_SEPARATOR])
    (bad,) = load(source).bad_rows
    assert bad.row == 2 and "step 1 contains the separator '\\n'" in bad.reason
    assert load(source, "keep").solutions[1].steps == ["So\n\n1"]
    assert load(source, "space").solutions[1].steps == ["So 1"]


def test_empty_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no rows"):
        load(write_rows(tmp_path / "empty.jsonl", []))
    with pytest.raises(ValueError, match="no such file"):
        load(str(tmp_path / "none.jsonl"))


def test_evaluation_problems_need_a_known_column(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "test.jsonl", [{"question": "1?"}, {"text": "2?"}])
    with pytest.raises(ValueError, match="row 2: no text in a column problem or question"):
        load_problem_keys(source, "test")


def test_labels_stand_at_the_separators_only(world: RandomWorld) -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.policy)
    dataset = PrmDataset([StepLabelledRow("1+1?", ["So 2", "2"], [1, 0])], tokenizer, "\n")
    example = dataset[0]
    (separator,) = tokenizer.encode("\n")
    prompt, first, second = (tokenizer.encode(text) for text in ("1+1?", "So 2", "2"))
    assert example["input_ids"] == [*prompt, *first, separator, *second, separator]
    unlabelled = [IGNORED] * (len(prompt) + len(first))
    assert example["labels"] == [*unlabelled, 1, *[IGNORED] * len(second), 0]


def test_rows_are_laid_out_as_the_pure_convention_reads_them() -> None:
    """A tokenizer with a beginning-of-sequence token puts it first, as TRL's trainer did."""
    tokenizer = train_tokenizer(["How much? Two. Three."])
    tokenizer.add_special_tokens({"bos_token": "<|bos|>"})
    row = StepLabelledRow("How much?", ["Two.", "Three."], [1, 0])
    read = PureConvention().lay_out(PrmSample("", row.prompt, tuple(row.steps)), tokenizer)
    dataset = PrmDataset([row], tokenizer, "\n")
    assert dataset[0]["input_ids"] == read.input_ids
    assert read.input_ids[0] == tokenizer.bos_token_id
    assert dataset.read_positions == [read.read_positions]


def test_long_rows_are_left_out_with_their_length(world: RandomWorld) -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.policy)
    rows = [StepLabelledRow("1", ["2"], [1], 1), StepLabelledRow("1" * 50, ["2"], [1], 9)]
    dataset = PrmDataset(rows, tokenizer, "\n")
    length = dataset.lengths[1]
    assert dataset.drop_longer(length, "rows.jsonl") == [] and len(dataset) == 2
    reason = f"{length} tokens, the limit is {length - 1} (--max_length)"
    assert dataset.drop_longer(length - 1, "rows.jsonl") == [BadRow("rows.jsonl", 9, reason)]
    assert len(dataset) == len(dataset.rows) == len(dataset.read_positions) == 1


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


def test_share_of_padding() -> None:
    # widths 4 and 8: 3 of 4 + 4 of 4, then 5 of 8: 12 of 16 tokens are real
    collator = PadCollator(pad_token_id=9, multiple=4)
    assert collator.padding_frac([3, 4, 5], [[0, 1], [2]]) == 0.25
