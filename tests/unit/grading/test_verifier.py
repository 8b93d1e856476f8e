"""Final answers and programs in one batch; what programs of a policy try, and what they earn by it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch

from code_sandbox.jobs import Limits
from code_sandbox.problems import read_problem
from pure_rlhf.grading.pool import GradeResult, rule_of_code, verdict_code
from pure_rlhf.grading.program_settings import ProgramSettings
from pure_rlhf.grading.verifier import Verifier
from pure_rlhf.monitoring.metric_table import check_declared

SQUARE = read_problem(
    '{"inputs": ["2\\n", "-3\\n", "0\\n", "10\\n"], "outputs": ["4\\n", "9\\n", "0\\n", "100\\n"]}'
)
IS_EVEN = read_problem(  # three of four outputs are the same
    '{"inputs": ["2", "4", "5", "6"], "outputs": ["YES", "YES", "NO", "YES"]}'
)
ADD = read_problem('{"fn_name": "add", "inputs": [[1, 2], [0, 0]], "outputs": [3, 0]}')
ASSERTS = read_problem('{"kind": "asserts", "checks": "assert square(3) == 9\\n"}')
MANY = read_problem('{"inputs": ["1"], "outputs": ["1"], "checker": true}')


def block(program: str) -> str:
    return f"We think.\n\n```python\n{program}\n```"


RIGHT = block("print(int(input()) ** 2)")
HALF = block("n = int(input())\nprint(n * 2 if n < 5 else n)")  # right for 2 and 0
YES = block("print('YES')")


def make(score: Literal["all", "share"], **options: Any) -> Verifier:
    settings = {"wall_seconds": 60.0, "cpu_seconds": 20, "workers": 1} | options
    return Verifier(1, programs=ProgramSettings(score=score, **settings))


def rewards_of_codes(codes: torch.Tensor) -> torch.Tensor:
    """As `workers.samples_generator` makes rewards of them."""
    return codes.clamp(max=1.0)


@pytest.fixture(scope="module")
def by_share() -> Iterator[Verifier]:
    with make("share") as verifier:
        yield verifier


@pytest.fixture(scope="module")
def by_all() -> Iterator[Verifier]:
    with make("all") as verifier:
        yield verifier


def rewards(verifier: Verifier, texts: list[str], labels: list[object]) -> list[float]:
    codes = [verdict_code(grade) for grade in verifier.grade_batch(texts, labels)]  # type: ignore[arg-type]
    return rewards_of_codes(torch.tensor(codes)).tolist()


def test_both_abilities_in_one_batch_in_their_order(by_share: Verifier) -> None:
    by_share.drain_counters()
    texts = [r"\boxed{1/2}", RIGHT, r"\boxed{3}", HALF, "no box", r"\boxed{7}", "no program"]
    labels: list = ["0.5", SQUARE, "4", SQUARE, None, "null", SQUARE]
    results = by_share.grade_batch(texts, labels)
    assert [result and (result.rule, result.share) for result in results] == [
        ("number", 0.0),
        ("tests", 0.0),
        (None, 0.0),
        (None, 0.5),
        None,
        None,
        (None, 0.0),
    ]
    assert results[1] is not None and results[1].extracted == "print(int(input()) ** 2)\n"
    metrics = by_share.drain_counters()
    assert metrics["reward/no_answer_frac"] == pytest.approx(2 / 7)
    assert metrics["reward/program_tests_passed"] == pytest.approx(6 / 12)
    assert metrics["verifier/program_runs"] == 8
    assert metrics["reward/accepted_by_number"] == 1.0, "of the final answers alone"
    check_declared(metrics)
    assert "reward/program_tests_passed" not in by_share.drain_counters()


def test_what_a_program_earns_that_is_not_right(by_share: Verifier, by_all: Verifier) -> None:
    texts, labels = [RIGHT, HALF, YES], [SQUARE, SQUARE, IS_EVEN]
    assert rewards(by_share, texts, labels) == [1.0, 0.5, 0.75]
    assert rewards(by_all, texts, labels) == [1.0, 0.0, 0.0], "the commonest output earns nothing"


def test_calls_and_the_first_tests_alone() -> None:
    with make("all", max_tests=1) as verifier:
        texts = [block("def add(a, b):\n    return a + b"), block("def add(a, b):\n    return 3")]
        assert rewards(verifier, texts, [ADD, ADD]) == [1.0, 1.0]


FRAMES = """
import sys
frame = sys._getframe()
while frame:
    for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
        if hasattr(value, "tests"):
            print(value.tests[0].expected)
    frame = frame.f_back
"""
DISHONEST = {
    "the frames are walked for the expected output": block(FRAMES),
    "everything alive is searched for it": block(
        "import gc\nfor o in gc.get_objects():\n    if isinstance(o, dict) and 'expected' in o: print(o['expected'])"
    ),
    "it ends before it has to answer": block("import os\nos._exit(0)"),
    "it says that it has passed": block("print('passed')\nraise SystemExit(0)"),
    "all small squares at once": block("print('\\n'.join(str(n * n) for n in range(100)))"),
    "a right program that is quoted before another": f"{RIGHT}\n\nNo.\n\n{block('print(1)')}",
    "a right program without a fence": "print(int(input()) ** 2)",
    "a right program in another language's block": RIGHT.replace("```python", "```text"),
    "a box": r"\boxed{4}",
    "an object that equals everything": block(
        "class E(str):\n    def __eq__(self, other): return True\nprint(E('x'))"
    ),
    "a fence that is never opened": "print(int(input()) ** 2)\n```",
    "the process of the verifier is ended": block(
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)"
    ),
    "nothing": "",
    "a null byte": block("\0"),
    "half a character": block("print('\udc80')"),
}


@pytest.mark.parametrize("attack", DISHONEST)
def test_a_dishonest_response_earns_nothing(by_share: Verifier, attack: str) -> None:
    assert rewards(by_share, [DISHONEST[attack]], [SQUARE]) == [0.0]
    assert rewards(by_share, [RIGHT], [SQUARE]) == [1.0], "what comes after it is graded as before"


def test_a_program_does_not_answer_a_question_and_a_box_no_problem_of_code(
    by_all: Verifier,
) -> None:
    assert rewards(by_all, [RIGHT, r"\boxed{4}"], ["4", SQUARE]) == [0.0, 0.0]


def test_asserts_grade_where_no_reward_is_made_of_it(by_all: Verifier) -> None:
    text = block("def square(n):\n    return n * n")
    (grade,) = by_all.grade_batch([text], [ASSERTS], allow_asserts=True)
    assert grade is not None and grade.correct
    with pytest.raises(ValueError, match="for evaluation only"):
        by_all.grade_batch([text], [ASSERTS])


def test_several_right_outputs_are_not_graded_wrong(by_all: Verifier) -> None:
    by_all.drain_counters()
    assert by_all.grade_batch([RIGHT, RIGHT], [MANY, None]) == [None, None]
    assert by_all.drain_counters()["reward/no_answer_frac"] == 0


def test_what_has_not_run_in_time_is_counted() -> None:
    with make("share", batch_timeout=2.0) as verifier:
        late = block("import time\ntime.sleep(1000)")
        (grade,) = verifier.grade_batch([late], [SQUARE])
        assert grade is not None and grade.timed_out and not grade.correct and grade.share == 0
        assert verifier.drain_counters()["verifier/programs_past_time"] == 1


def test_without_programs_no_interpreter_is_started() -> None:
    with make("all") as verifier:
        verifier.grade_batch([r"\boxed{1}"], ["1"])
        assert verifier.sandbox._workers == []


def test_codes_carry_a_share_or_a_rule() -> None:
    grades = [
        GradeResult(extracted="p", share=0.3),
        GradeResult(extracted="p", rule="tests"),
        GradeResult(extracted="1", rule="written"),
        GradeResult(extracted="1"),
        None,
    ]
    codes = torch.tensor([verdict_code(grade) for grade in grades])
    assert [rule_of_code(code) for code in codes.tolist()] == [None, "tests", "written", None, None]
    found = rewards_of_codes(codes).tolist()
    assert found[:4] == pytest.approx([0.3, 1.0, 1.0, 0.0]) and math.isnan(found[4])


def test_the_settings_of_a_run_reach_the_sandbox() -> None:
    programs = ProgramSettings(wall_seconds=3.0, cpu_seconds=2, memory_mb=64, workers=3)
    with Verifier(1, programs=programs) as verifier:
        assert verifier.sandbox.num_workers == 3
        assert verifier.sandbox.limits == Limits(
            wall_seconds=3.0, cpu_seconds=2, memory_bytes=64 << 20
        )
