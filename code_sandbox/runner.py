"""Grades many programs on their tests over some warm interpreters, with one deadline for all, and compares outside.

    with SandboxPool(2) as pool:
        verdicts = pool.grade_batch([("print(input())", read_problem(label))], deadline_seconds=60)
    verdicts[0].fraction, verdicts[0].passed

What a test costs is bounded (`Limits`), and so is what a program costs: after some tests that ran into the time limit
its others are not run. What is not run when the batch's time is up is not passed, and says so."""

from __future__ import annotations

import math
import select
import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from code_sandbox.batch import Batch, Program, Task
from code_sandbox.jobs import Limits, Run
from code_sandbox.judge import CaseVerdict, Verdict
from code_sandbox.launch import MECHANISMS, Mechanism, SandboxError
from code_sandbox.problems import Case, Problem
from code_sandbox.worker import Worker

MAX_WORKERS = 256
SPECIAL_CHECKER = "several outputs are right, and only a checker of the problem's own knows which"
NO_PROGRAM = CaseVerdict(passed=False, status="skipped", reason="the response has no Python block")


class SandboxPool:
    """Warm interpreters, started at the first batch. Usable from any thread; batches wait for each other.

    Args:
        num_workers: interpreters, each with one run at a time; in [1, 256].
        limits: of one run.
        mechanism: what keeps files away: "landlock"; "bubblewrap" only where it is asked for.
        packages: what programs may import besides the standard library, such as ("numpy",).
        timeouts_per_program: tests at the time limit, after which a program's others are not run; >= 1.
        python: executable of the interpreter, by default this one.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        num_workers: int,
        limits: Limits | None = None,
        *,
        mechanism: Mechanism = "landlock",
        packages: Sequence[str] = (),
        timeouts_per_program: int = 2,
        python: str | None = None,
    ) -> None:
        if not 1 <= num_workers <= MAX_WORKERS:
            raise ValueError(
                f"num_workers {num_workers}: must be in [1, {MAX_WORKERS}]; one for each core is enough"
            )
        if timeouts_per_program < 1:
            raise ValueError(
                f"timeouts_per_program {timeouts_per_program}: must be >= 1; at 0 nothing would be run"
            )
        if mechanism not in MECHANISMS:
            raise ValueError(f"mechanism {mechanism!r}: must be one of {', '.join(MECHANISMS)}")
        self.num_workers = num_workers
        self.limits = limits or Limits()
        self.mechanism: Mechanism = mechanism
        self.packages = tuple(packages)
        self.timeouts_per_program = timeouts_per_program
        self.python = python
        self._workers: list[Worker] = []
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def grade_batch(
        self,
        programs: Sequence[tuple[str | None, Problem]],
        *,
        deadline_seconds: float = 300.0,
        max_tests: int | None = None,
        stop_at_first_failure: bool = False,
        allow_asserts: bool = False,
    ) -> list[Verdict]:
        """One verdict for each program, in order. Equal pairs are run once.

        Args:
            programs: source, None for a response without a program, and the problem.
            deadline_seconds: of all of it; > 0.
            max_tests: only the first so many of each problem; None: all.
            stop_at_first_failure: no more tests of a program of which one has failed; the share is then a lower bound.
            allow_asserts: run problems whose tests are asserts: their programs can read them, so for evaluation only.

        Raises:
            SandboxError: the sandbox cannot be used on this host.
            ValueError: an argument is out of range, or asserts are not allowed.
        """
        if not 0 < deadline_seconds < math.inf:
            raise ValueError(f"deadline_seconds {deadline_seconds}: must be > 0 and finite")
        if max_tests is not None and max_tests < 1:
            raise ValueError(
                f"max_tests {max_tests}: must be >= 1, or None for all; without a test every program would pass"
            )
        if not allow_asserts and any(problem.kind == "asserts" for _, problem in programs):
            raise ValueError(
                "problems of kind 'asserts' hold their answers where the program can read them: "
                "for evaluation only (allow_asserts=True)"
            )
        asked: dict[tuple[str, Problem], Program] = {}
        for source, problem in programs:
            if (
                source is not None
                and not problem.special_checker
                and (source, problem) not in asked
            ):
                asked[source, problem] = Program(source, problem, _tests(problem, max_tests))
        with self._lock:
            if asked:
                batch = Batch(
                    list(asked.values()),
                    timeouts_per_program=self.timeouts_per_program,
                    stop_at_first_failure=stop_at_first_failure,
                )
                self._run(batch, deadline_seconds)
        verdicts = []
        for source, problem in programs:
            if problem.special_checker:
                verdicts.append(Verdict(ungraded=SPECIAL_CHECKER))
            elif source is None:
                verdicts.append(Verdict(tests=(NO_PROGRAM,) * len(_tests(problem, max_tests))))
            else:
                given = asked[source, problem].verdicts
                verdicts.append(Verdict(tests=tuple(given[number] for number in sorted(given))))
        return verdicts

    def drain_counters(self) -> dict[str, int]:
        """How often each status was met since the last call, and `runs`."""
        counts, self._counts = self._counts, Counter()
        return dict(counts)

    def try_out(self) -> None:
        """Start the interpreters now.

        Raises:
            SandboxError: the sandbox cannot be used on this host.
            ValueError: a package cannot be imported.
        """
        _ = self.counts_threads

    @property
    def counts_threads(self) -> bool:
        """Whether threads of programs can be counted; not where the container's own supervisor listens to them."""
        with self._lock:
            try:
                self._start()
            except BaseException:
                self._close()
                raise
            return all(worker.counts_threads for worker in self._workers)

    def close(self) -> None:
        """End all interpreters and wait for them; a later batch starts new ones."""
        with self._lock:
            self._close()

    def __enter__(self) -> SandboxPool:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        new = [self._worker() for _ in range(self.num_workers - len(self._workers))]
        self._workers += new
        for worker in new:  # they start side by side
            worker.wait_ready()

    def _worker(self) -> Worker:
        return Worker(python=self.python, mechanism=self.mechanism, packages=self.packages)

    def _close(self) -> None:
        while self._workers:
            self._workers.pop().close()

    def _run(self, batch: Batch, deadline_seconds: float) -> None:
        """Run the tests until all have a verdict. An error on the way, such as Ctrl-C, ends the interpreters."""
        tasks: dict[Worker, Task] = {}
        try:
            self._start()
            deadline = (
                time.monotonic() + deadline_seconds
            )  # the start of interpreters is no program's fault
            while True:
                if time.monotonic() >= deadline:
                    batch.give_up()
                    for worker in tasks:
                        worker.kill("past_deadline")
                for worker in self._workers:
                    if worker not in tasks and (task := batch.next()) is not None:
                        tasks[worker] = task
                        worker.submit(task.job(), task.limits(self.limits))
                if not tasks:
                    break
                for worker, run in self._wait(list(tasks), deadline):
                    if run.status == "lost":
                        self._replace(worker)
                    batch.settle(tasks.pop(worker), run)
        except BaseException:
            self._close()
            raise
        batch.finish()
        self._counts += batch.counts

    @staticmethod
    def _wait(workers: list[Worker], deadline: float) -> list[tuple[Worker, Run]]:
        """Wait until something happens; the runs that have ended."""
        poll = select.poll()
        for worker in workers:
            for descriptor in worker.descriptors():
                poll.register(descriptor, select.POLLIN)
        left = min(deadline - time.monotonic(), *(worker.time_left() for worker in workers))
        events = dict(poll.poll(1000 * max(left, 0.001)))
        ended = []
        for worker in workers:
            run = worker.look(events)
            if run is not None:
                ended.append((worker, run))
        return ended

    def _replace(self, worker: Worker) -> None:
        worker.close()
        new = self._workers[self._workers.index(worker)] = self._worker()
        new.wait_ready()


def _tests(problem: Problem, max_tests: int | None) -> tuple[Case, ...]:
    """Those that count; asserts are one."""
    return problem.tests[:max_tests] if problem.kind != "asserts" else (Case("", ""),)


__all__ = ["CaseVerdict", "Limits", "SandboxError", "SandboxPool", "Verdict"]
