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
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from code_sandbox.jobs import Job, Limits, Run
from code_sandbox.judge import TestVerdict, Verdict, judge
from code_sandbox.launch import MECHANISMS, Mechanism, SandboxError
from code_sandbox.problems import Problem, Test
from code_sandbox.worker import Worker

MAX_WORKERS = 256


@dataclass
class _Program:
    """A program of a batch, on its way."""

    source: str
    problem: Problem
    tests: tuple[Test, ...]
    verdicts: dict[int, TestVerdict] = field(default_factory=dict)
    begun: int = 0
    timeouts: int = 0
    failed: bool = False


@dataclass(frozen=True)
class _Task:
    """A test of a program, for a worker."""

    program: _Program
    number: int
    again: bool = False


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
        asked: dict[tuple[str, Problem], _Program] = {}
        for source, problem in programs:
            if (
                source is not None
                and not problem.special_checker
                and (source, problem) not in asked
            ):
                tests = problem.tests[:max_tests] if problem.kind != "asserts" else (Test("", ""),)
                asked[source, problem] = _Program(source, problem, tests)
        with self._lock:
            self._run(
                list(asked.values()), time.monotonic() + deadline_seconds, stop_at_first_failure
            )
        verdicts = []
        for source, problem in programs:
            if problem.special_checker:
                verdicts.append(
                    Verdict(
                        ungraded="several outputs are right, and only a checker of the problem's own knows which"
                    )
                )
            elif source is None:
                failed = TestVerdict(
                    passed=False, status="skipped", reason="the response has no Python block"
                )
                num_tests = len(problem.tests[:max_tests]) or 1
                verdicts.append(Verdict(tests=(failed,) * num_tests))
            else:
                program = asked[source, problem]
                verdicts.append(
                    Verdict(tests=tuple(program.verdicts[n] for n in range(len(program.tests))))
                )
        return verdicts

    def drain_counters(self) -> dict[str, int]:
        """How often each status was met since the last call, and `runs`."""
        counts, self._counts = self._counts, Counter()
        return dict(counts)

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

    def _run(self, programs: list[_Program], deadline: float, stop_at_first_failure: bool) -> None:
        """Run the tests until all have a verdict. An error on the way, such as Ctrl-C, ends the interpreters."""
        waiting = deque(programs)
        again: deque[_Task] = deque()
        tasks: dict[Worker, _Task] = {}
        try:
            if waiting:
                self._start()
            while waiting or again or tasks:
                if time.monotonic() >= deadline:
                    for worker in tasks:
                        worker.kill("past_deadline")
                    waiting.clear()
                    again.clear()
                for worker in self._workers:
                    if (
                        worker.active is None
                        and (task := self._next(waiting, again, stop_at_first_failure)) is not None
                    ):
                        tasks[worker] = task
                        worker.submit(_job(task), self._limits_of(task))
                if not tasks:
                    break
                for worker, run in self._wait(list(tasks), deadline):
                    task = tasks.pop(worker)
                    if run.status == "lost":
                        self._replace(worker)
                        if not task.again:
                            again.append(_Task(task.program, task.number, again=True))
                            continue
                    self._settle(task, run)
        except BaseException:
            self._close()
            raise
        for program in programs:
            for number in range(len(program.tests)):
                if number not in program.verdicts:
                    self._give(
                        program,
                        number,
                        TestVerdict(
                            passed=False,
                            status="past_deadline",
                            reason="the time of the batch was up",
                        ),
                    )

    def _next(
        self, waiting: deque[_Program], again: deque[_Task], stop_at_first_failure: bool
    ) -> _Task | None:
        """The next test that has to be run; those that need not be get their verdict."""
        if again:
            return again.popleft()
        while waiting:
            program = waiting[0]
            if program.timeouts >= self.timeouts_per_program or (
                program.failed and stop_at_first_failure
            ):
                for number in range(program.begun, len(program.tests)):
                    why = (
                        "a test before has failed"
                        if stop_at_first_failure
                        else "tests before have used up the program's time"
                    )
                    self._give(
                        program, number, TestVerdict(passed=False, status="skipped", reason=why)
                    )
                program.begun = len(program.tests)
            if program.begun == len(program.tests):
                waiting.popleft()
                continue
            program.begun += 1
            return _Task(program, program.begun - 1)
        return None

    def _limits_of(self, task: _Task) -> Limits:
        """Room for twice the expected output, where that is more than the limit."""
        expected = 2 * len(task.program.tests[task.number].expected.encode()) + 4096
        limits = self.limits
        if expected <= limits.output_bytes or task.program.problem.kind == "asserts":
            return limits
        return Limits(
            wall_seconds=limits.wall_seconds,
            cpu_seconds=limits.cpu_seconds,
            memory_bytes=limits.memory_bytes,
            output_bytes=expected,
            num_threads=limits.num_threads,
        )

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

    def _settle(self, task: _Task, run: Run) -> None:
        verdict = judge(task.program.problem, task.program.tests[task.number], run)
        task.program.failed |= not verdict.passed
        task.program.timeouts += run.status in ("time", "cpu")
        self._counts["runs"] += 1
        self._give(task.program, task.number, verdict)

    def _give(self, program: _Program, number: int, verdict: TestVerdict) -> None:
        program.verdicts[number] = verdict
        self._counts[verdict.status] += 1


def _job(task: _Task) -> Job:
    problem, test = task.program.problem, task.program.tests[task.number]
    return Job(
        source=task.program.source,
        stdin=test.input.encode(),
        function=problem.function,
        checks=problem.checks,
    )


__all__ = ["Limits", "SandboxError", "SandboxPool", "TestVerdict", "Verdict", "judge"]
