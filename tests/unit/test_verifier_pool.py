"""The verifier pool: hostile answers are killed and counted, the others are unaffected, nothing is
left behind.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator

import psutil
import pytest

from pure_rlhf.algorithm.metrics import check_declared
from pure_rlhf.workers.verifier_pool import GradeResult, VerifierPool

HOSTILE = r"\boxed{9^{9^{9^{9}}}}"


def worker_processes() -> list[psutil.Process]:
    """Children of this process without the resource tracker of `multiprocessing`, which lives as
    long as we do.
    """
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(2, timeout_seconds=3.0) as shared_pool:
        yield shared_pool


def test_plain_answers_start_no_process() -> None:
    before = worker_processes()
    with VerifierPool(2) as quick_pool:
        results = quick_pool.grade_batch(
            [r"so \boxed{42}", r"so \boxed{41}", "no box", r"\boxed{1,2}"],
            ["42", "42", "42", "2, 1"],
        )
        assert worker_processes() == before
    assert results == [
        GradeResult(correct=True, extracted="42"),
        GradeResult(correct=False, extracted="41"),
        GradeResult(correct=False, extracted=None),
        GradeResult(correct=True, extracted="1,2"),
    ]


def test_hostile_answer_is_killed_and_counted_and_spares_the_others(pool: VerifierPool) -> None:
    timeouts_before = pool.num_timeouts
    texts = [r"\boxed{x(x+1)}", HOSTILE, r"\boxed{(x+1)^2}", HOSTILE, r"\boxed{2\cos(x)\sin(x)}"]
    golds = ["x^2+x", "3", "x^2+1", "3", r"\sin(2x)"]
    results = pool.grade_batch(texts, golds)
    right = [GradeResult(correct=True, extracted=text[7:-1]) for text in texts]
    wrong = GradeResult(correct=False, extracted=texts[2][7:-1])
    killed = GradeResult(correct=False, extracted=HOSTILE[7:-1], timed_out=True)
    assert results == [right[0], killed, wrong, killed, right[4]]
    assert pool.num_timeouts == timeouts_before + 1, "equal comparisons are asked once"
    assert pool.num_failures == 0
    again = pool.grade_batch([r"\boxed{x+x}"], ["2x"])
    assert again == [GradeResult(correct=True, extracted="x+x")], "a killed worker is replaced"


def test_unanswered_prompts_have_no_result_and_counters_are_drained() -> None:
    quick_pool = VerifierPool(1)
    labels = [None, "null", "", "7"]
    results = quick_pool.grade_batch([r"\boxed{7}", "no box", r"\boxed{1", r"\boxed{7}"], labels)
    assert results == [None, None, None, GradeResult(correct=True, extracted="7")]
    counters = {"verifier/timeouts": 0.0, "verifier/failures": 0.0}
    assert quick_pool.drain_counters() == {**counters, "reward/no_answer_frac": 0.5}
    assert quick_pool.drain_counters() == counters
    check_declared([*counters, "reward/no_answer_frac"])


def test_works_outside_the_main_thread(pool: VerifierPool) -> None:
    results: list[GradeResult | None] = []
    thread = threading.Thread(
        target=lambda: results.extend(pool.grade_batch([r"\boxed{\frac{2x}{4}}"], [r"\frac{x}{2}"]))
    )
    thread.start()
    thread.join()
    assert results == [GradeResult(correct=True, extracted=r"\frac{2x}{4}")]


def test_close_leaves_no_process_even_while_one_is_stuck() -> None:
    before = {process.pid for process in worker_processes()}
    stuck_pool = VerifierPool(1, timeout_seconds=60.0)
    caller = threading.Thread(target=stuck_pool.grade_batch, args=([HOSTILE], ["3"]), daemon=True)
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
    assert pool.grade_batch([r"\boxed{a+b}"], ["b+a"]) == [
        GradeResult(correct=True, extracted="a+b")
    ]


@pytest.mark.parametrize(("num_workers", "timeout_seconds"), [(0, 1.0), (1, 0.0)])
def test_bad_settings_are_refused(num_workers: int, timeout_seconds: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        VerifierPool(num_workers, timeout_seconds)


def test_texts_and_golds_must_match_in_number(pool: VerifierPool) -> None:
    with pytest.raises(ValueError, match="zip"):
        pool.grade_batch([r"\boxed{1}"], [])
