"""Grades answers in worker processes, each comparison under a hard time limit.

Comparing a hostile answer (`9^{9^{9^9}}`) with a label can take forever inside one C call, where
neither a thread nor a signal handler can stop it; `math-verify`'s own limits use signals and fail
outside a main thread, which is where a Ray actor runs. So every comparison that needs computer
algebra runs in a process that is killed when it exceeds the limit, and what notation decides
(`quick_verdict`) never leaves the calling process.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import signal
from collections.abc import Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pebble import ProcessFuture, ProcessPool

from pure_rlhf.algorithm.verifiable_reward import (
    ExtractionMode,
    extract_answer,
    has_answer,
    is_equivalent,
    quick_verdict,
)

EXTRA_MEMORY_BYTES = 4 << 30
"""Address space that grading may add to a fresh worker: a huge power ends in a MemoryError, not in
a dead host.
"""


@dataclass(frozen=True, kw_only=True)
class GradeResult:
    """The verdict on one text; an answer that could not be compared is not correct and says why."""

    correct: bool
    extracted: str | None  # None: the text holds no final answer
    timed_out: bool = False
    failed: bool = False  # the comparison raised an error or its process died


class VerifierPool:
    """A pool of grading processes, started at the first answer that needs one.

    Usable from any thread and inside a Ray actor.

    Example: `VerifierPool(2).grade_batch([r"so \\boxed{1/2}"], ["0.5"])[0].correct` is True.
    """

    def __init__(self, num_workers: int, timeout_seconds: float = 10.0) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}")
        if timeout_seconds <= 0:
            raise ValueError(f"timeout_seconds must be > 0, got {timeout_seconds}")
        self.num_workers = num_workers
        self.timeout_seconds = timeout_seconds
        self.num_texts = 0
        self.num_without_answer = 0
        self.num_timeouts = 0
        self.num_failures = 0
        self._pool: ProcessPool | None = None
        self._futures: list[ProcessFuture] = []  # of the batches in progress

    def grade_batch(
        self, texts: Sequence[str], golds: Sequence[str | None], mode: ExtractionMode = "training"
    ) -> list[GradeResult | None]:
        """One result per text, in order, None where the label says unanswered (None, "" or "null").

        One hostile answer costs at most its own time limit.
        """
        results: list[GradeResult | None] = []
        pending: dict[int, tuple[str, ProcessFuture]] = {}
        seen: dict[tuple[str, str], ProcessFuture] = {}
        for index, (text, gold) in enumerate(zip(texts, golds, strict=True)):
            answer = extract_answer(text, mode)
            self.num_texts += 1
            self.num_without_answer += answer is None
            if gold is None or not has_answer(gold):
                results.append(None)
                continue
            verdict = quick_verdict(answer, gold)
            if answer is None or verdict is not None:
                results.append(GradeResult(correct=bool(verdict), extracted=answer))
                continue
            # The answers to one prompt repeat each other; the same comparison is asked once.
            future = seen.get((answer, gold))
            if future is None:
                future = seen[answer, gold] = self._schedule(answer, gold)
            pending[index] = (answer, future)
            results.append(None)
        for index, (answer, future) in pending.items():
            results[index] = _result(answer, future)
        self._count(list(seen.values()))
        return results

    def drain_counters(self) -> dict[str, float]:
        """Metrics of all texts since the last call, answered or not."""
        metrics = {
            "verifier/timeouts": float(self.num_timeouts),
            "verifier/failures": float(self.num_failures),
        }
        if self.num_texts:
            metrics["reward/no_answer_frac"] = self.num_without_answer / self.num_texts
        self.num_texts = self.num_without_answer = self.num_timeouts = self.num_failures = 0
        return metrics

    def close(self) -> None:
        """End all workers and wait for them; a later `grade_batch` starts new ones."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None
            for future in self._futures:  # a batch that another thread still waits for
                future.cancel()
            self._futures = []

    def __enter__(self) -> VerifierPool:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _schedule(self, answer: str, gold: str) -> ProcessFuture:
        if self._pool is None:
            # spawn: a forked copy of a process that holds CUDA, gRPC or threads is not safe to use.
            self._pool = ProcessPool(
                max_workers=self.num_workers,
                initializer=_prepare_worker,
                context=multiprocessing.get_context("spawn"),
            )
        future = self._pool.schedule(
            _compare, args=[answer, gold, self.timeout_seconds], timeout=self.timeout_seconds
        )
        self._futures.append(future)
        return future

    def _count(self, futures: list[ProcessFuture]) -> None:
        for future in futures:
            error = _error(future)
            self.num_timeouts += isinstance(error, FutureTimeoutError)
            self.num_failures += error is not None and not isinstance(error, FutureTimeoutError)
        self._futures = [future for future in self._futures if not future.done()]


def _error(future: ProcessFuture) -> BaseException | None:
    """Wait for a comparison; what went wrong, or None."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _result(answer: str, future: ProcessFuture) -> GradeResult:
    error = _error(future)
    if error is None:
        return GradeResult(correct=future.result(), extracted=answer)
    timed_out = isinstance(error, FutureTimeoutError)
    return GradeResult(correct=False, extracted=answer, timed_out=timed_out, failed=not timed_out)


def _prepare_worker() -> None:
    """Runs in a new worker before its first task, so that loading sympy is not charged to an
    answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's business
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    is_equivalent(r"\sqrt{2}x", r"x\sqrt{2}")
    # On top of what the interpreter maps already: a spawned child imports its owner's main module
    # again.
    mapped_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = mapped_bytes + EXTRA_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _compare(answer: str, gold: str, timeout_seconds: float) -> bool:
    # If the owner dies, nobody is left to kill a stuck worker: the kernel's default alarm ends it.
    signal.alarm(math.ceil(timeout_seconds) + 5)
    try:
        return is_equivalent(answer, gold)
    finally:
        signal.alarm(0)
