"""Grades responses in worker processes, under a time limit for each answer and one for the whole batch.

Every comparison of what a model wrote runs here, in a process that is killed when it exceeds the limit, and never in
the calling process: the readings bound every size they compute, and a hole in that must cost one answer, not a run.
What the calling process may do itself is to find the final answer in a text, in linear time.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pebble import ProcessFuture, ProcessPool

from pure_rlhf.grading import MAX_TIMEOUT_SECONDS
from pure_rlhf.grading.equality import RULES
from pure_rlhf.grading.final_answer import (
    ExtractionMode,
    Verdict,
    accepting_rule,
    extract_answer,
    grade,
    has_answer,
    vote_classes,
)

EXTRA_MEMORY_BYTES = 2 << 30
"""Address space that grading may add to a fresh worker: an absurd answer ends in a MemoryError, not in a dead host."""
START_SECONDS = 600.0
"""Limit of the start of the first worker."""
TESTS = "tests"
"""The rule that accepts a program: it passes all of them (`verifier.py`)."""
_RULE_NAMES = (*RULES, TESTS)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class GradeResult:
    """The verdict on one response; an answer that could not be compared is not correct and says why.

    Args:
        extracted: the final answer; None: the text holds none.
        rule: the rule that accepted it (`equality.RULES`, or `TESTS`), None where it is not correct.
        share: in [0, 1), what a program that is not correct earns by the tests that it passes.
        timed_out: the comparison was killed at its own limit, or at that of the batch.
        failed: the comparison raised an error or its process died.
    """

    extracted: str | None
    rule: str | None = None
    share: float = 0.0
    timed_out: bool = False
    failed: bool = False

    @property
    def correct(self) -> bool:
        return self.rule is not None


def verdict_code(result: GradeResult | None) -> float:
    """A verdict as a number that travels in a tensor: NaN unanswered, [0, 1) wrong, else 1 + the number of the rule."""
    if result is None:
        return math.nan
    return result.share if result.rule is None else 1.0 + _RULE_NAMES.index(result.rule)


def rule_of_code(code: float) -> str | None:
    """The rule of a `verdict_code`, None where there is none."""
    return _RULE_NAMES[int(code) - 1] if code >= 1 else None


class VerifierPool:
    """A pool of grading processes, started at the first answer. Usable from any thread and inside a Ray actor.

    Args:
        num_workers: processes.
        timeout_seconds: limit of one answer.
        batch_timeout_seconds: limit of one `grade_batch`; what is not graded then counts as timed out.
        strict: without the rules that accept what is not exactly the label (`equality.LENIENT`).
        grade: what runs in the workers, `final_answer.grade`.

    Example: `VerifierPool(2).grade_batch([r"so \\boxed{1/2}"], ["0.5"])[0].rule` is "number".
    """

    def __init__(
        self,
        num_workers: int,
        timeout_seconds: float = 10.0,
        *,
        batch_timeout_seconds: float = 30.0,
        strict: bool = False,
        grade: Callable[..., Verdict] = grade,
    ) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}")
        for name, value in (
            ("timeout_seconds", timeout_seconds),
            ("batch_timeout_seconds", batch_timeout_seconds),
        ):
            if not 0 < value <= MAX_TIMEOUT_SECONDS:
                raise ValueError(f"{name} must be > 0 and <= {MAX_TIMEOUT_SECONDS:g}, got {value}")
        self.num_workers = num_workers
        self.timeout_seconds = timeout_seconds
        self.batch_timeout_seconds = batch_timeout_seconds
        self.strict = strict
        self.grade = grade
        self._counts: Counter[str] = Counter()
        self._pool: ProcessPool | None = None
        self._futures: list[ProcessFuture] = []  # of the batches in progress

    def grade_batch(
        self, texts: Sequence[str], golds: Sequence[str | None], mode: ExtractionMode = "training"
    ) -> list[GradeResult | None]:
        """One result per text, in order, None where the label says unanswered (None, "" or "null").

        One hostile answer costs at most its own limit, and all of them together that of the batch.
        """
        results: list[GradeResult | None] = []
        pairs = dict.fromkeys(
            (text, gold)
            for text, gold in zip(texts, golds, strict=True)
            if gold is not None and has_answer(gold)
        )
        grade = functools.partial(self.grade, mode=mode, strict=self.strict)
        asked = dict(zip(pairs, self._ask(grade, list(pairs)), strict=True))
        for text, gold in zip(texts, golds, strict=True):
            if gold is None or not has_answer(gold):
                self._counts["without_answer"] += not self.answers(text, mode)
                results.append(None)
                continue
            result = _result(text, mode, *asked[text, gold])
            self._counts["without_answer"] += result.extracted is None
            results.append(result)
        self._counts["texts"] += len(texts)
        self._count([result for result in results if result is not None])
        return results

    def answers(self, text: str, mode: ExtractionMode) -> bool:
        """Whether a text that nothing is known to grade by holds an answer."""
        return extract_answer(text, mode) is not None

    def votes(
        self, problems: Sequence[Sequence[tuple[str | None, bool]]]
    ) -> list[list[int | None]]:
        """Which answers to a problem agree, from (final answer, whether it is correct) of each.

        Returns for each problem and answer: 0 where it equals the label, None for a response without an answer, and
        from 1 on the class of a wrong one (`final_answer.vote_classes`). Where comparing them takes too long, those
        agree that are written the same.

        Example: `votes([[("1/2", False), ("2", True), ("0.5", False)]])` is `[[1, 0, 1]]`.
        """
        wrong = [
            list(dict.fromkeys(answer for answer, correct in answers if answer and not correct))
            for answers in problems
        ]
        disputed = [index for index, answers in enumerate(wrong) if len(answers) > 1]
        compared = self._ask(vote_classes, [(wrong[index],) for index in disputed])
        outcomes = dict(zip(disputed, compared, strict=True))
        classes: list[dict[str, int]] = []
        for index, answers in enumerate(wrong):
            future, error = outcomes.get(index, (None, ""))
            agreed = range(len(answers)) if future is None or error else future.result()
            classes.append(dict(zip(answers, agreed, strict=True)))
        return [
            [
                0 if correct else None if answer is None else 1 + numbers.get(answer, len(numbers))
                for answer, correct in answers
            ]
            for answers, numbers in zip(problems, classes, strict=True)
        ]

    def drain_counters(self) -> dict[str, float]:
        """Metrics of all texts since the last call, answered or not."""
        counts, self._counts = self._counts, Counter()
        metrics = {
            f"verifier/{name}": float(counts[name])
            for name in ("timeouts", "failures", "past_deadline")
        }
        if counts["texts"]:
            metrics["reward/no_answer_frac"] = counts["without_answer"] / counts["texts"]
        if counts["accepted"]:
            metrics |= {
                f"reward/accepted_by_{rule}": counts[f"by_{rule}"] / counts["accepted"]
                for rule in RULES
            }
        return metrics

    @property
    def num_timeouts(self) -> int:
        """Comparisons killed at a limit since the counters were drained."""
        return self._counts["timeouts"] + self._counts["past_deadline"]

    @property
    def num_failures(self) -> int:
        """Comparisons that ended in an error since the counters were drained."""
        return self._counts["failures"]

    def close(self) -> None:
        """End all workers and wait for them; a later `grade_batch` starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()
            for future in self._futures:  # a batch that another thread still waits for
                future.cancel()
            self._futures = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(
        self, function: Callable[..., object], arguments: Sequence[tuple[Any, ...]]
    ) -> list[tuple[ProcessFuture, str]]:
        """Call the function with each of the arguments; what came of each, and what went wrong with it, "" for nothing.

        A pool breaks, for good, when a process of it is killed from outside while none of them works: what was asked of
        it then is asked once more, of another.
        """
        found: dict[int, tuple[ProcessFuture, str]] = {}
        asked: Sequence[int] = range(len(arguments))
        for _ in range(2):
            if not asked:
                break
            pool = self._start()
            futures = {place: self._submit(pool, function, *arguments[place]) for place in asked}
            errors = self._wait(list(futures.values()))
            found |= {place: (future, errors[future]) for place, future in futures.items()}
            asked = [place for place, future in futures.items() if _broke_off(future)]
            if asked:
                self.close()
        for _, error in found.values():
            self._counts[error] += 1
        return [found[place] for place in range(len(arguments))]

    def _start(self) -> ProcessPool:
        """The pool with its first process running; a stopped one where another thread closed it meanwhile."""
        pool = self._pool
        if pool is None:
            # spawn: a forked copy of a process that holds CUDA, gRPC or threads is not safe to use.
            pool = self._pool = ProcessPool(
                max_workers=self.num_workers,
                initializer=_prepare_worker,
                context=multiprocessing.get_context("spawn"),
            )
            # A spawned worker imports its owner's main module: seconds that no answer's limit and no batch's may pay.
            first = pool.schedule(_nothing)
            self._futures.append(first)
            try:
                first.result(timeout=START_SECONDS)
            except (CancelledError, BrokenProcessPool):
                if pool is self._pool:  # not closed by another thread: its first process died
                    raise
        return pool

    def _submit(
        self, pool: ProcessPool, function: Callable[..., object], *args: object
    ) -> ProcessFuture:
        try:
            future = pool.schedule(
                _limited,
                args=[function, self.timeout_seconds, *args],
                timeout=self.timeout_seconds,
            )
        except RuntimeError as error:
            future = ProcessFuture()
            if isinstance(error, BrokenProcessPool) or pool is self._pool:
                future.set_exception(BrokenProcessPool("broken before it was asked"))
            else:  # closed by another thread: what it was asked for counts as failed
                future.cancel()
        self._futures.append(future)
        return future

    def _wait(self, futures: list[ProcessFuture]) -> dict[ProcessFuture, str]:
        """Wait for all, at most until the batch's limit; what went wrong with each, "" for nothing."""
        deadline = time.monotonic() + self.batch_timeout_seconds
        errors: dict[ProcessFuture, str] = {}
        for future in futures:
            try:
                error = future.exception(timeout=max(0.0, deadline - time.monotonic()))
            except FutureTimeoutError:  # of this call, not of the comparison
                errors[future] = "past_deadline"
                continue
            except CancelledError as cancelled:
                error = cancelled
            if isinstance(error, FutureTimeoutError):
                errors[future] = "timeouts"
            else:
                errors[future] = "failures" if error is not None else ""
        if "past_deadline" in errors.values():
            self.close()  # what is stuck, and what waits behind it; the next batch gets new processes
        self._futures = [future for future in self._futures if not future.done()]
        return errors

    def _count(self, results: list[GradeResult]) -> None:
        for result in results:
            if result.rule is not None:
                self._counts["accepted"] += 1
                self._counts[f"by_{result.rule}"] += 1


def _broke_off(future: ProcessFuture) -> bool:
    """Whether it was lost with the pool, not by any doing of its own."""
    return (
        future.done()
        and not future.cancelled()
        and isinstance(future.exception(), BrokenProcessPool)
    )


def _result(text: str, mode: ExtractionMode, future: ProcessFuture, error: str) -> GradeResult:
    if not error:
        verdict: Verdict = future.result()
        return GradeResult(extracted=verdict.extracted, rule=verdict.rule)
    failed = error == "failures"
    return GradeResult(extracted=extract_answer(text, mode), timed_out=not failed, failed=failed)


def _prepare_worker() -> None:
    """Runs in a new worker before its first task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's business
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    accepting_rule(r"\sqrt{2}x", r"x\sqrt{2}")  # mpmath's caches are not charged to an answer
    # On top of what the interpreter maps already: a spawned child imports its owner's main module again.
    mapped_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = mapped_bytes + EXTRA_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _nothing() -> None:
    """The first task of a worker."""


def _limited(
    function: Callable[..., T], timeout_seconds: float, *args: object, **kwargs: object
) -> T:
    # If the owner dies, nobody is left to kill a stuck worker: the kernel's default alarm ends it.
    signal.alarm(math.ceil(timeout_seconds) + 5)
    try:
        return function(*args, **kwargs)
    finally:
        signal.alarm(0)
