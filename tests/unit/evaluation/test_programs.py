"""Benchmarks of code: rows in their forms, packed tests that are no tests, programs through the whole grading."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from code_sandbox.problems import ProblemError
from evaluation.answers import Answer
from evaluation.benchmarks import BENCHMARKS, CODE, MATHEMATICS, Problem, ProblemSet, load_problems
from evaluation.evaluate import _grade
from evaluation.programs import read_program_row, unpack_text
from pure_rlhf.grading.program_settings import ProgramSettings
from pure_rlhf.grading.verifier import Verifier
from tests.shared_data import ROOT as DATA

HUMANEVAL = {
    "prompt": 'def square(n):\n    """The square."""\n',
    "test": "def check(candidate):\n    assert candidate(3) == 9\n",
    "entry_point": "square",
}
MBPP = {"prompt": "Write square.", "test_list": ["assert square(3) == 9"], "test_imports": []}
LEETCODE = {
    "prompt_sft": "Write a solution.",
    "test": "my_solution = Solution()\nassert my_solution.f(**{'n': [3]}) == 3\n",
}


def packed(value: Any) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def live(private: str | None = None, **changes: Any) -> dict[str, Any]:
    public = [{"input": "3\n", "output": "9\n", "testtype": "stdin"}]
    return {
        "question_content": "Square it.",
        "public_test_cases": json.dumps(public),
        "private_test_cases": private,
        "starter_code": "",
    } | changes


def test_rows_in_their_forms() -> None:
    question, tests = read_program_row(HUMANEVAL, "humaneval", "row 1")
    assert question.endswith('"""The square."""\n```') and "check(square)" in (tests.checks or "")
    question, tests = read_program_row(MBPP, "mbpp", "row 1")
    assert question.startswith("Write square.") and "assert square(3) == 9" in question
    question, tests = read_program_row(LEETCODE, "leetcode", "row 1")
    assert question == "Write a solution." and "my_solution" in (tests.checks or "")


def test_private_tests_count_packed_or_not() -> None:
    more = json.dumps([{"input": "4\n", "output": "16\n", "testtype": "stdin"}])
    for private in (more, packed(more)):
        question, tests = read_program_row(live(private), "livecodebench", "row 1")
        assert [test.expected for test in tests.tests] == ["9\n", "16\n"]
        assert "standard input" in question
    functional = json.dumps([{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}])
    row = live(
        None,
        public_test_cases=functional,
        metadata=json.dumps({"func_name": "f"}),
        starter_code="class Solution:\n    def f(self, a, b):\n",
    )
    question, tests = read_program_row(row, "livecodebench", "row 1")
    assert (tests.kind, tests.function, tests.tests[0].input) == ("call", "f", "[[1, 2], 3]")
    assert "class Solution" in question


class Command:
    """What a hostile pickle holds: a call, made when it is read."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("/tmp/pure-was-here"),)


@pytest.mark.parametrize(
    "private",
    [
        packed(Command()),
        packed([Command()]),
        packed({"a": 1}),
        packed(b"[]"),
        base64.b64encode(zlib.compress(b"cos\nsystem\n(S'touch /tmp/pure-was-here'\ntR.")).decode(),
        base64.b64encode(zlib.compress(b"not a pickle")).decode(),
        base64.b64encode(b"not compressed").decode(),
        "not base64!",
        packed("[]")[:-8],
        base64.b64encode(zlib.compress(b"\x80\x04" + b"(" * 100_000)).decode(),
    ],
)
def test_a_pickle_that_is_no_text_is_refused_and_runs_nothing(private: str) -> None:
    mark = Path("/tmp/pure-was-here")
    mark.unlink(missing_ok=True)
    with pytest.raises(ProblemError, match="row 1, private_test_cases"):
        read_program_row(live(private), "livecodebench", "row 1")
    assert not mark.exists()


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.programs.MOST_UNPACKED_BYTES", 1000)
    assert unpack_text(packed("x" * 100), "here") == "x" * 100
    with pytest.raises(ProblemError, match="more than 1,000 bytes"):
        unpack_text(packed("x" * 10_000_000), "here")


@pytest.mark.parametrize(
    ("row", "form", "said"),
    [
        ({}, "humaneval", "prompt: must be a text"),
        ({**HUMANEVAL, "entry_point": "a b"}, "humaneval", "must be the name of a function"),
        ({"prompt": "q", "test_list": []}, "mbpp", "'test_list' must be a list"),
        ({"prompt_sft": "q"}, "leetcode", "test: must be a text"),
        (live(public_test_cases="{"), "livecodebench", "is no packed text"),
        (live(public_test_cases="[}"), "livecodebench", "is not JSON"),
    ],
)
def test_a_bad_row_is_named(row: dict, form: Any, said: str) -> None:
    with pytest.raises(ProblemError, match=f"row 7.*{said}"):
        read_program_row(row, form, "row 7")


@pytest.mark.parametrize(
    ("program", "correct"),
    [
        (
            "class Solution:\n    def f(self, n: List[int]) -> int:\n        return reduce(add, n, 0)",
            False,
        ),
        (
            "class Solution:\n    def f(self, n: List[int]) -> int:\n        return sum(accumulate(n))",
            True,
        ),
        (
            "from __future__ import annotations\nclass Solution:\n    def f(self, n: List[int]) -> int:\n"
            "        return sum(n)",
            True,
        ),
    ],
)
def test_what_a_site_has_imported_need_not_be(program: str, correct: bool) -> None:
    _, tests = read_program_row(LEETCODE, "leetcode", "row 1")
    with Verifier(1, programs=ProgramSettings(workers=1)) as verifier:
        (grade,) = verifier.grade_batch([f"```python\n{program}\n```"], [tests], allow_asserts=True)
    assert grade is not None and grade.correct == correct


def test_programs_are_graded_and_do_not_vote() -> None:
    _, tests = read_program_row(HUMANEVAL, "humaneval", "row 1")

    def answer(program: str) -> Answer:
        text = f"```python\n{program}\n```"
        return Answer(text=text, num_tokens=1, truncated=False, correct=False, extracted=None)

    right, wrong = "def square(n):\n    return n * n", "def square(n):\n    return n + n"
    boxed = Answer(text=r"\boxed{4}", num_tokens=1, truncated=False, correct=False, extracted=None)
    rows: list = [(tests, answer(right)), (tests, answer(wrong)), ("4", boxed), ("4", boxed)]
    with Verifier(1, programs=ProgramSettings(max_tests=None, workers=1)) as verifier:
        programs, mathematics = _grade(rows, [2, 2], verifier)
    assert [(a.correct, a.rule, a.vote) for a in programs] == [
        (True, "tests", None),
        (False, None, None),
    ]
    assert [a.vote for a in mathematics] == [0, 0]


def test_a_file_of_a_benchmark(tmp_path: Path) -> None:
    folder = tmp_path / "leetcode"
    folder.mkdir()
    (folder / "20240121-Jul.jsonl").write_text((json.dumps(LEETCODE) + "\n") * 180)
    found = load_problems("leetcode", tmp_path)
    assert len(found.problems) == 180 and found.problems[0].answer == "asserts"
    changed = {**LEETCODE, "test": LEETCODE["test"] + "\n"}
    (folder / "20240121-Jul.jsonl").write_text(
        (json.dumps(LEETCODE) + "\n") * 179 + json.dumps(changed) + "\n"
    )
    assert load_problems("leetcode", tmp_path).digest() != found.digest()
    assert set(CODE) | set(MATHEMATICS) == set(BENCHMARKS)


def test_a_label_is_the_answer_or_the_tests() -> None:
    _, tests = read_program_row(MBPP, "mbpp", "row 1")
    assert Problem(id="0", question="q", answer="4").label == "4"
    assert Problem(id="0", question="q", answer="asserts", tests=tests).label is tests
    plain = ProblemSet(name="x", problems=[Problem(id="0", question="q", answer="4")], source="x")
    assert plain.digest() == "1c382fb77eb86e41", "answers that are on disk belong to it"


@pytest.mark.skipif(
    not (DATA / "aimo_validation").is_dir(), reason="the real data sets are not here"
)
def test_amc_as_prime_counts_it() -> None:
    assert len(load_problems("amc83", DATA).problems) == 83
