"""Labelled steps by kind of defect: reading files of them, and counting by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.labelled_steps import (
    kind_name,
    kind_sources,
    load_kind,
    repeated_kinds,
    score_steps,
    score_together,
)
from evaluation.scoring import wilson_interval
from pure_rlhf.prm.conventions import PrmSample

GOOD = {"prompt": "Q: 1+1+1? A:", "completions": ["1+1=2", "2+1=4"], "labels": [True, False]}


def test_a_file_is_a_kind_named_by_it(tmp_path: Path) -> None:
    path = tmp_path / "wrong_operation.jsonl.gz"
    # ratings, where there are some, do not count: the labels are what is asked for
    rows = [GOOD, GOOD | {"labels": [1, 1], "ratings": [1, 0]}]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    kind = load_kind(str(path))
    assert (kind.name, kind.source) == ("wrong operation", str(path))
    prompt = GOOD["prompt"]
    assert {s.sample for s in kind.solutions} == {PrmSample(prompt, prompt, ("1+1=2", "2+1=4"))}
    assert [s.labels for s in kind.solutions] == [(True, False), (True, True)]


def test_a_folder_is_its_files_of_rows(tmp_path: Path) -> None:
    for name in ("omission.jsonl", "none.json", "README.md", "guess.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "old.jsonl").mkdir()
    found = kind_sources(str(tmp_path))
    assert [kind_name(source) for source in found] == ["guess", "none", "omission"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no file that ends in \.json, \.jsonl"):
        kind_sources(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="nothing: there is no such file or folder"):
        kind_sources(str(tmp_path / "nothing"))


def test_two_files_of_one_kind_are_refused() -> None:
    (said,) = repeated_kinds(["a/omission.jsonl", "b/omission.json", "a/none.jsonl"])
    assert "a/omission.jsonl and b/omission.json are both the kind 'omission'" in said


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([1], "is a list; expected an object with columns prompt, completions, labels"),
        ({"prompt": "?", "steps": ["a"]}, "has no column 'completions' and 'labels'"),
        (GOOD | {"labels": [True]}, "2 steps and 1 labels: each step needs one label"),
        (GOOD | {"labels": [True, "false"]}, "the label of step 2 is 'false'"),
        (GOOD | {"labels": [True, None]}, "the label of step 2 is None"),
        (GOOD | {"labels": [True, 0.0]}, "the label of step 2 is 0.0"),
        (GOOD | {"labels": [2, True]}, "the label of step 1 is 2"),
        (GOOD | {"completions": "1+1=2"}, "completions must be a non-empty list of steps"),
        (GOOD | {"completions": [], "labels": []}, "must be a non-empty list of steps"),
        (GOOD | {"completions": ["1+1=2", 4]}, "step 2 is empty or no text: 4"),
        (GOOD | {"prompt": " "}, "the prompt must be a non-empty text"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: Any, said: str) -> None:
    path = tmp_path / "omission.json"
    path.write_text(json.dumps([GOOD, row, row]))
    with pytest.raises(ValueError, match=r"omission\.json: 2 of 3 rows cannot be used") as error:
        load_kind(str(path))
    assert "row 2 and 1 more: " in str(error.value) and said in str(error.value)


def test_a_file_without_a_row(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(ValueError, match=r"none\.jsonl holds no rows"):
        load_kind(str(tmp_path / "none.jsonl"))


def test_counts_by_hand() -> None:
    labels = [[True, False], [False, False], [True, True, False]]
    rewards = [[0.5, -0.5], [0.0, 0.25], [-0.1, 0.9, 0.3]]
    scores = score_steps(labels, rewards)
    # a reward of 0 is judged wrong
    assert (scores["num_solutions"], scores["num_wrong"], scores["num_wrong_found"]) == (3, 4, 2)
    assert scores["wrong_found"] == {"value": 0.5, "interval": wilson_interval(2, 4)}
    assert (scores["num_right"], scores["num_right_passed"]) == (3, 2)
    assert scores["right_passed"] == {"value": 2 / 3, "interval": wilson_interval(2, 3)}
    # right: 0.5, -0.1, 0.9 against wrong: -0.5, 0, 0.25, 0.3, pair by pair
    assert score_together(labels, rewards) == {**scores, "auc": (4 + 1 + 4) / 12}


def test_what_was_not_asked_has_no_share() -> None:
    scores = score_together([[True, True]], [[0.5, -0.5]])
    assert scores["wrong_found"] is None and scores["auc"] is None
    assert scores["right_passed"]["value"] == 0.5
    assert score_together([[False]], [[0.5]])["right_passed"] is None
