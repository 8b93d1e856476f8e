"""The pool: verdicts, deadlines, what is not run, what is left behind, what is refused."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator

import psutil
import pytest

from code_sandbox.hostile.traps import processes_of
from code_sandbox.jobs import Limits
from code_sandbox.launch import SandboxError
from code_sandbox.problems import Case, Problem, read_problem
from code_sandbox.runner import SandboxPool

WIDE = Limits(wall_seconds=120.0, cpu_seconds=30)
DOUBLE = Problem(kind="stdin", tests=tuple(Case(f"{n}\n", f"{2 * n}\n") for n in range(5)))
RIGHT = "print(2 * int(input()))"
LATE = "import time\ntime.sleep(10 ** 6)"


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    with SandboxPool(2, WIDE) as shared:
        yield shared


def statuses(pool: SandboxPool, source: str | None, **settings: object) -> list[str]:
    (verdict,) = pool.grade_batch([(source, DOUBLE)], **settings)  # type: ignore[arg-type]
    return [test.status for test in verdict.tests]


def test_one_verdict_for_each_program_in_order(pool: SandboxPool) -> None:
    half = "n = int(input())\nprint(2 * n if n < 2 else 'no')"
    verdicts = pool.grade_batch(
        [(RIGHT, DOUBLE), (half, DOUBLE), (None, DOUBLE), ("syntax error", DOUBLE), (RIGHT, DOUBLE)]
    )
    assert [verdict.fraction for verdict in verdicts] == [1.0, 0.4, 0.0, 0.0, 1.0]
    assert [verdict.passed for verdict in verdicts] == [True, False, False, False, True]
    assert verdicts[1].tests[4].reason == "wrong output: no?"
    assert "SyntaxError" in verdicts[3].tests[0].reason
    assert verdicts[2].tests[0].reason == "the response has no Python block"


def test_equal_pairs_are_run_once_and_counted(pool: SandboxPool) -> None:
    pool.drain_counters()
    pool.grade_batch([(RIGHT, DOUBLE)] * 10)
    assert pool.drain_counters() == {"runs": 5, "ok": 5}
    assert pool.drain_counters() == {}


def test_only_so_many_tests(pool: SandboxPool) -> None:
    assert statuses(pool, RIGHT, max_tests=2) == ["ok", "ok"]
    assert statuses(pool, None, max_tests=2) == ["skipped", "skipped"]


def test_no_more_tests_after_the_first_failure() -> None:
    with SandboxPool(1, WIDE) as single:
        fails_at_1 = "n = int(input())\nprint(2 * n if n != 1 else 'no')"
        (verdict,) = single.grade_batch([(fails_at_1, DOUBLE)], stop_at_first_failure=True)
        assert [test.status for test in verdict.tests] == [
            "ok",
            "ok",
            "skipped",
            "skipped",
            "skipped",
        ]
        assert verdict.fraction == 0.2
        assert single.drain_counters() == {"runs": 2, "ok": 2, "skipped": 3}


def test_a_program_that_uses_up_its_time_is_given_up() -> None:
    with SandboxPool(1, Limits(wall_seconds=0.2), timeouts_per_program=2) as single:
        assert statuses(single, LATE) == ["time", "time", "skipped", "skipped", "skipped"]


def test_processor_time_is_limited_by_itself() -> None:
    with SandboxPool(
        1, Limits(wall_seconds=300.0, cpu_seconds=1), timeouts_per_program=1
    ) as single:
        (verdict,) = single.grade_batch([("while True: pass", DOUBLE)])
        assert verdict.tests[0].status == "cpu"
        # the limit counts ticks of the clock, on a busy host more than what was computed in them (0.89 s once)
        assert verdict.tests[0].cpu_seconds > 0.5


def test_the_batch_has_a_deadline() -> None:
    """Programs of which each may take a minute: what is not done by then is not passed, and the pool goes on."""
    with SandboxPool(2, Limits(wall_seconds=60.0)) as slow:
        slow.grade_batch([(RIGHT, DOUBLE)])
        verdicts = slow.grade_batch(
            [(f"{LATE} # {n}", DOUBLE) for n in range(20)], deadline_seconds=0.5
        )
        assert {test.status for verdict in verdicts for test in verdict.tests} == {"past_deadline"}
        assert all(verdict.fraction == 0.0 for verdict in verdicts)
        assert slow.grade_batch([(RIGHT, DOUBLE)])[0].passed


def test_special_checkers_are_marked_and_not_graded_wrong(pool: SandboxPool) -> None:
    problem = read_problem({"inputs": ["1"], "outputs": ["1"], "special_checker": True})
    (verdict,) = pool.grade_batch([("print(2)", problem)])
    assert verdict.tests == () and math.isnan(verdict.fraction) and not verdict.passed
    assert "checker" in verdict.ungraded


def test_asserts_are_for_evaluation_only(pool: SandboxPool) -> None:
    problem = Problem(kind="asserts", checks="assert add(1, 2) == 3\n")
    with pytest.raises(ValueError, match="for evaluation only"):
        pool.grade_batch([("def add(a, b): return a + b", problem)])
    programs = [
        "def add(a, b): return a + b",
        "def add(a, b): return 4",
        "import os\nos._exit(0)",
        "exit()",
        "raise ValueError",
    ]
    verdicts = pool.grade_batch([(program, problem) for program in programs], allow_asserts=True)
    assert [verdict.passed for verdict in verdicts] == [True, False, False, False, False]


def test_wrapped_values_are_right_both_ways(pool: SandboxPool) -> None:
    problem = read_problem({"fn_name": "f", "inputs": [[1], [2]], "outputs": [[1], [2]]})
    programs = ["def f(x): return x", "def f(x): return [x]", "def f(x): return [[x]]"]
    assert [v.passed for v in pool.grade_batch([(p, problem) for p in programs])] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"deadline_seconds": 0.0}, "deadline_seconds 0.0: must be > 0"),
        ({"deadline_seconds": math.nan}, "deadline_seconds nan"),
        ({"max_tests": 0}, "max_tests 0: must be >= 1"),
    ],
)
def test_settings_of_a_batch_have_bounds(
    settings: dict[str, object], message: str, pool: SandboxPool
) -> None:
    with pytest.raises(ValueError, match=message):
        pool.grade_batch([(RIGHT, DOUBLE)], **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_workers": 0}, "num_workers 0: must be in"),
        ({"num_workers": 1000}, "num_workers 1000: must be in"),
        ({"num_workers": 1, "timeouts_per_program": 0}, "timeouts_per_program 0"),
        (
            {"num_workers": 1, "mechanism": "hope"},
            "mechanism 'hope': must be one of landlock, bubblewrap",
        ),
    ],
)
def test_settings_of_a_pool_have_bounds(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SandboxPool(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"wall_seconds": 0.0}, "wall_seconds 0.0: must be > 0"),
        ({"wall_seconds": math.inf}, "wall_seconds inf"),
        ({"cpu_seconds": 0}, "cpu_seconds 0: must be a whole number of at least 1"),
        ({"cpu_seconds": 1.5}, "cpu_seconds 1.5"),
        ({"memory_bytes": 1000}, "memory_bytes 1000"),
        ({"output_bytes": 0}, "output_bytes 0"),
        ({"num_threads": -1}, "num_threads -1"),
    ],
)
def test_limits_have_bounds(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(**settings)  # type: ignore[arg-type]


def test_from_several_threads_at_once(pool: SandboxPool) -> None:
    results: list[float] = []

    def grade(number: int) -> None:
        results.append(pool.grade_batch([(f"{RIGHT} # {number}", DOUBLE)])[0].fraction)

    threads = [threading.Thread(target=grade, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1.0] * 5


def test_nothing_is_left_behind() -> None:
    """Processes, and descriptors of this process, after runs that end in every way."""
    before = set(os.listdir("/proc/self/fd"))
    pool = SandboxPool(2, Limits(wall_seconds=0.3, cpu_seconds=1))
    programs = [
        RIGHT,
        "print(1)",
        "1 / 0",
        LATE,
        "while True: print('x' * 1000)",
        "import os; os.abort()",
        None,
    ]
    pool.grade_batch([(program, DOUBLE) for program in programs] * 3)
    sessions = {worker.process.pid for worker in pool._workers}
    assert len(processes_of(sessions)) == 2, "the interpreters, and no copy of them"
    pool.close()
    assert processes_of(sessions) == []
    assert set(os.listdir("/proc/self/fd")) == before
    assert not [
        child for child in psutil.Process().children(recursive=True) if child.pid in sessions
    ]


def test_a_killed_interpreter_is_replaced_and_its_test_run_again() -> None:
    with SandboxPool(1, WIDE) as single:
        single.grade_batch([(RIGHT, DOUBLE)])
        first = single._workers[0].process
        first.kill()
        first.wait()
        (verdict,) = single.grade_batch([(RIGHT, DOUBLE)])
        assert verdict.passed
        assert single._workers[0].process.pid != first.pid


def test_the_copies_die_with_the_interpreter_and_the_interpreter_with_its_owner() -> None:
    with SandboxPool(1, Limits(wall_seconds=300.0)) as single:
        single.grade_batch([(RIGHT, DOUBLE)])
        worker = single._workers[0]
        session = {worker.process.pid}
        caller = threading.Thread(
            target=single.grade_batch, args=([(LATE, DOUBLE)],), kwargs={"deadline_seconds": 2.0}
        )
        caller.start()
        while len(processes_of(session)) < 2:
            caller.join(0.01)
        worker.process.kill()  # what the host's memory killer would do
        caller.join()
        while processes_of(session):
            caller.join(0.01)  # the kernel takes them down


def test_an_error_while_it_runs_ends_the_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as Ctrl-C: nothing runs on without its owner, and the next batch begins anew."""
    with SandboxPool(1, WIDE) as single:
        single.grade_batch([(RIGHT, DOUBLE)])
        session = {single._workers[0].process.pid}

        def interrupt(*arguments: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(SandboxPool, "_wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                single.grade_batch([(LATE, DOUBLE)])
        assert processes_of(session) == []
        assert single.grade_batch([(RIGHT, DOUBLE)])[0].passed


def test_closed_pool_starts_again(pool: SandboxPool) -> None:
    pool.close()
    assert pool.grade_batch([(RIGHT, DOUBLE)])[0].passed


def test_an_interpreter_that_does_not_start_is_named() -> None:
    with pytest.raises(SandboxError, match="/nowhere/python does not start"):
        SandboxPool(1, python="/nowhere/python").grade_batch([(RIGHT, DOUBLE)])


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(SandboxError, match="No module named 'no_such_package'"):
        SandboxPool(1, packages=["no_such_package"]).grade_batch([(RIGHT, DOUBLE)])


def test_a_program_cannot_write_to_the_terminal_through_a_reason(pool: SandboxPool) -> None:
    (verdict,) = pool.grade_batch([("print('\\x1b[31m\\x07' * 1000)", DOUBLE)])
    reason = verdict.tests[0].reason
    assert reason.isprintable() and len(reason) < 200
