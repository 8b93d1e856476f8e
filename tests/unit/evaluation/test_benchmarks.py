"""The declarations, the rules that find an answer, and files that are not what they should be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks import BENCHMARKS, FIVE, find_answer, load_problems
from evaluation.report import load_published
from tests.shared_data import ROOT as DATA
from tests.shared_data import shared_file

AMC_ROW = {"problem": "2 + 3?", "answer": 5.0}


def write_amc(folder: Path, rows: list[Any]) -> Path:
    (folder / "amc23").mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "amc23" / "test.jsonl").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("value", "rule", "expected"),
    [
        ("025", "as_is", "025"),
        (27.0, "as_is", "27"),
        (0.5, "as_is", "0.5"),
        (r"first \boxed{1}, then \boxed{\frac{1}{2}}", "last_box", r"\frac{1}{2}"),
        ("no box", "last_box", None),
        ("3 * 4 = 12\n#### 1,200", "after_hashes", "1200"),
        ("no hashes", "after_hashes", None),
        (["$2n$"], "only_item", "$2n$"),
        (["1", "2"], "only_item", None),
        (None, "as_is", None),
    ],
)
def test_find_answer(value: Any, rule: Any, expected: str | None) -> None:
    assert find_answer(value, rule) == expected


def test_a_good_local_copy(tmp_path: Path) -> None:
    problem_set = load_problems("amc23", write_amc(tmp_path, [AMC_ROW] * 40))
    assert [problem.id for problem in problem_set.problems] == [str(i) for i in range(40)]
    assert problem_set.problems[0].answer == "5"
    other = load_problems(
        "amc23", write_amc(tmp_path / "b", [AMC_ROW] * 39 + [{**AMC_ROW, "answer": 6}])
    )
    assert other.digest() != problem_set.digest()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([AMC_ROW] * 39, "holds 39 rows, expected 40"),
        ([AMC_ROW] * 39 + [{"problem": "?", "gold": 1}], "row 40 has no column 'answer'; its columns are"),
        ([AMC_ROW] * 39 + [{"problem": " ", "answer": 1}], "row 40: column 'problem' must be a non-empty"),
        ([AMC_ROW] * 39 + [{"problem": "?", "answer": None}], "row 40: column 'answer' holds no answer"),
        ([AMC_ROW] * 39 + ["text"], "row 40 is a str"),
        ([], "holds no rows"),
    ],
)  # fmt: skip
def test_a_wrong_local_copy(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_problems("amc23", write_amc(tmp_path, rows))


def test_missing_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        load_problems("amc23", tmp_path)
    (tmp_path / "math500").mkdir()
    whole = gzip.compress(json.dumps({"problem": "?" * 999, "answer": "1"}).encode())
    (tmp_path / "math500" / "test.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises((ValueError, EOFError)):
        load_problems("math500", tmp_path)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"did you mean math500.*Known: aime24, aime25, amc23"):
        load_problems("math50", None)
    with pytest.raises(ValueError, match="declared without a hub data set: give --data_dir"):
        load_problems("olympiadbench_674", None)


def test_a_problem_file(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text('{"question": "1 + 1?", "answer": 2}\n')
    problem_set = load_problems(str(path), None)
    assert (problem_set.name, problem_set.problems[0].answer) == (f"file:{tmp_path.name}/test", "2")


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "aime25"])
def test_the_real_files(name: str) -> None:
    source = BENCHMARKS[name].local
    assert source is not None
    shared_file(source.location)
    problem_set = load_problems(name, DATA)
    assert len(problem_set.problems) == source.num_problems
    assert not any(problem.question.endswith(r"\boxed{}.") for problem in problem_set.problems)


def test_olympiadbench_says_which_copy() -> None:
    for name, size in (("olympiadbench", 675), ("olympiadbench_674", 674)):
        source = BENCHMARKS[name].local
        assert source is not None
        assert f"copy of {size} rows" in source.note


def test_published_averages_are_the_means() -> None:
    published = load_published()
    assert set(published["benchmarks"]) == set(FIVE) and len(published["rows"]) == 16
    corrected = [row for row in published["rows"] if "average_printed" in row]
    assert [(row["method"], row["average"], row["average_printed"]) for row in corrected] == [
        ("PURE-PRM", 48.3, 49.3)
    ]
    for row in published["rows"]:
        assert sum(row["scores"]) / 5 == pytest.approx(row["average"], abs=0.0501)


def test_the_table_of_prime_has_its_slip_noted() -> None:
    published = load_published("published_prime")
    assert set(published["benchmarks"]) <= set(BENCHMARKS) and len(published["rows"]) == 10
    corrected = [row for row in published["rows"] if "average_printed" in row]
    assert [(row["method"], row["average"], row["average_printed"]) for row in corrected] == [
        ("RLOO, step 240", 38.1, 36.9)
    ]
    for row in published["rows"]:
        assert sum(row["scores"]) / 7 == pytest.approx(row["average"], abs=0.0501)
