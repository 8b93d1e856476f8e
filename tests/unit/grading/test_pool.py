"""The verifier pool: hostile answers are killed and counted, the others are unaffected, nothing is left behind."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from pure_rlhf.grading.equality import RULES
from pure_rlhf.grading.final_answer import ExtractionMode, Verdict, grade
from pure_rlhf.grading.pool import GradeResult, VerifierPool, rule_of_code, verdict_code
from pure_rlhf.monitoring.metric_table import check_declared

STUCK = r"\boxed{stuck}"


def grade_or_hang(text: str, label: str, mode: ExtractionMode, *, strict: bool) -> Verdict:
    """The verifier, but for one answer that never comes to an end and one that ends the process."""
    if "stuck" in text:
        time.sleep(600)
    if "crash" in text:
        raise MemoryError
    return grade(text, label, mode, strict=strict)


def worker_processes() -> list[psutil.Process]:
    """Children of this process that `multiprocessing` has spawned (other tests may have left others)."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(2, timeout_seconds=3.0, grade=grade_or_hang) as shared_pool:
        yield shared_pool


def right(answer: str, rule: str) -> GradeResult:
    return GradeResult(extracted=answer, rule=rule)


def test_without_labels_no_process_is_started() -> None:
    before = worker_processes()
    with VerifierPool(2) as idle_pool:
        assert idle_pool.grade_batch(["no box", r"\boxed{5}"], [None, "null"]) == [None, None]
        assert worker_processes() == before
        assert idle_pool.drain_counters()["reward/no_answer_frac"] == 0.5


def test_nothing_that_a_model_wrote_is_compared_outside_the_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("compared in the calling process")

    with VerifierPool(1) as quick_pool:
        quick_pool.grade_batch([r"\boxed{1}"], ["1"])  # the worker has its own modules
        for module in (
            "equality.equal",
            "final_answer.equal",
            "final_answer.read",
            "readings.read",
        ):
            monkeypatch.setattr(f"pure_rlhf.grading.{module}", refuse)
        results = quick_pool.grade_batch([r"\boxed{\frac12}", r"\boxed{3}"], ["0.5", "0.5"])
        assert [result and result.rule for result in results] == ["number", None]
        votes = quick_pool.votes([[("1/2", False), ("3", True), ("0.5", False), (None, False)]])
        assert votes == [[1, 0, 1, None]]


def test_hostile_answer_is_killed_and_counted_and_spares_the_others(pool: VerifierPool) -> None:
    pool.drain_counters()
    texts = [r"\boxed{x(x+1)}", STUCK, r"\boxed{(x+1)^2}", STUCK, r"\boxed{2\cos(x)\sin(x)}"]
    golds = ["x^2+x", "3", "x^2+1", "3", r"\sin(2x)"]
    results = pool.grade_batch(texts, golds)
    killed = GradeResult(extracted="stuck", timed_out=True)
    assert results == [
        right("x(x+1)", "expression"),
        killed,
        GradeResult(extracted="(x+1)^2"),
        killed,
        right(r"2\cos(x)\sin(x)", "expression"),
    ]
    assert pool.num_timeouts == 1, "equal comparisons are asked once"
    assert pool.num_failures == 0
    again = pool.grade_batch([r"\boxed{x+x}"], ["2x"])
    assert again == [right("x+x", "expression")], "a killed worker is replaced"


def test_processes_that_are_killed_while_they_wait_cost_no_verdict(pool: VerifierPool) -> None:
    """As the kernel does where memory is short. The library takes its pool for broken, for good, and lost every answer."""
    texts, golds = [r"\boxed{x+y}"] * 4, ["y+x"] * 4
    verdicts = pool.grade_batch(texts, golds)
    assert verdicts == [right("x+y", "expression")] * 4
    pool.drain_counters()
    for _ in range(2):
        workers = worker_processes()
        assert workers
        for worker in workers:
            worker.kill()
        assert pool.grade_batch(texts, golds) == verdicts
    assert pool.drain_counters()["verifier/failures"] == 0


def test_a_comparison_that_fails_is_counted(pool: VerifierPool) -> None:
    pool.drain_counters()
    assert pool.grade_batch([r"\boxed{crash}"], ["3"]) == [
        GradeResult(extracted="crash", failed=True)
    ]
    assert pool.drain_counters()["verifier/failures"] == 1


def test_a_batch_of_bombs_ends_at_the_deadline_of_the_batch() -> None:
    """256 answers that never end, each under a limit of a minute: the batch has its own."""
    texts = [rf"\boxed{{stuck}} {n}" for n in range(255)]
    labels = [str(n) for n in range(255)]
    with VerifierPool(
        2, timeout_seconds=60.0, batch_timeout_seconds=5.0, grade=grade_or_hang
    ) as bombed:
        bombed.grade_batch([r"\boxed{1}"], ["1"])  # the processes are there
        bombed.drain_counters()
        start = time.monotonic()
        results = bombed.grade_batch([r"\boxed{7}", *texts], ["7", *labels])
        assert time.monotonic() - start < 60
        assert results[0] == right("7", "written")
        assert all(result and result.timed_out and not result.correct for result in results[1:])
        assert bombed.drain_counters()["verifier/past_deadline"] == 255
        assert bombed.grade_batch([r"\boxed{2}"], ["2"]) == [right("2", "written")], "it goes on"


def test_the_bombs_that_once_took_minutes_are_refused_before_they_are_computed() -> None:
    bombs = [r"9^{9^{9^{9}}}", r"\binom{872}{p}", r"(i)_{659}", "((9!)!)!", r"2^{2^{100}}"]
    with VerifierPool(2, timeout_seconds=10.0) as quick_pool:
        results = quick_pool.grade_batch([rf"\boxed{{{bomb}}}" for bomb in bombs * 20], ["3"] * 100)
        assert not any(result and (result.correct or result.timed_out) for result in results)
        assert quick_pool.num_timeouts == 0


def test_unanswered_prompts_have_no_result_and_counters_are_drained() -> None:
    with VerifierPool(1) as quick_pool:
        labels = [None, "null", "", "7"]
        texts = [r"\boxed{7}", "no box", r"\boxed{1", r"\boxed{7.0}"]
        assert quick_pool.grade_batch(texts, labels) == [None, None, None, right("7.0", "number")]
        counters = {f"verifier/{name}": 0.0 for name in ("timeouts", "failures", "past_deadline")}
        drained = quick_pool.drain_counters()
        check_declared(drained)
        assert drained == counters | {
            "reward/no_answer_frac": 0.5,
            **{f"reward/accepted_by_{rule}": float(rule == "number") for rule in RULES},
        }
        assert quick_pool.drain_counters() == counters


def test_strict_does_without_the_lenient_rules() -> None:
    texts, labels = [r"\boxed{5\text{ cm}}", r"\boxed{5}"], ["5", "5"]
    with VerifierPool(1) as lenient, VerifierPool(1, strict=True) as strict:
        assert [r and r.rule for r in lenient.grade_batch(texts, labels)] == [
            "missing_unit",
            "written",
        ]
        assert [r and r.rule for r in strict.grade_batch(texts, labels)] == [None, "written"]


def test_a_verdict_travels_as_a_number() -> None:
    for rule in RULES:
        code = verdict_code(right("5", rule))
        assert code > 0 and rule_of_code(code) == rule
    assert verdict_code(GradeResult(extracted="5")) == 0 and rule_of_code(0.0) is None
    assert math.isnan(verdict_code(None)) and rule_of_code(math.nan) is None


def test_votes_where_comparing_takes_too_long_go_by_what_is_written() -> None:
    with VerifierPool(1, batch_timeout_seconds=1e-6) as late:
        assert late.votes([[("1/2", False), ("0.5", False), ("1/2", False)]]) == [[1, 2, 1]]


def test_works_outside_the_main_thread(pool: VerifierPool) -> None:
    results: list[GradeResult | None] = []
    thread = threading.Thread(
        target=lambda: results.extend(pool.grade_batch([r"\boxed{\frac{2x}{4}}"], [r"\frac{x}{2}"]))
    )
    thread.start()
    thread.join()
    assert results == [right(r"\frac{2x}{4}", "expression")]


def test_close_leaves_no_process_even_while_one_is_stuck() -> None:
    before = {process.pid for process in worker_processes()}
    stuck_pool = VerifierPool(
        1, timeout_seconds=60.0, batch_timeout_seconds=60.0, grade=grade_or_hang
    )
    caller = threading.Thread(target=stuck_pool.grade_batch, args=([STUCK], ["3"]), daemon=True)
    caller.start()
    while not {process.pid for process in worker_processes()} - before:
        caller.join(0.05)
    stuck_pool.close()
    caller.join(10)
    assert not caller.is_alive()
    assert {process.pid for process in worker_processes()} <= before
    assert not [child for child in multiprocessing.active_children() if child.pid not in before]


def test_closed_pool_starts_again(pool: VerifierPool) -> None:
    pool.close()
    assert pool.grade_batch([r"\boxed{a+b}"], ["b+a"]) == [right("a+b", "expression")]


@pytest.mark.parametrize(
    ("num_workers", "timeout", "batch_timeout"),
    [(0, 1.0, 1.0), (1, 0.0, 1.0), (1, math.inf, 1.0), (1, math.nan, 1.0), (1, 1.0, math.inf)],
)
def test_bad_settings_are_refused(num_workers: int, timeout: float, batch_timeout: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        VerifierPool(num_workers, timeout, batch_timeout_seconds=batch_timeout)


def test_texts_and_golds_must_match_in_number(pool: VerifierPool) -> None:
    with pytest.raises(ValueError, match="zip"):
        pool.grade_batch([r"\boxed{1}"], [])
