"""Which test is to be run next, and what has become of those that were: the bookkeeping of one batch."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from code_sandbox.jobs import Job, Limits, Run
from code_sandbox.judge import CaseVerdict, judge
from code_sandbox.problems import SITE_IMPORTS, Case, Problem


@dataclass(eq=False)
class Program:
    """A program of a batch, on its way.

    Args:
        source: of it.
        problem: whose tests they are.
        tests: those of them that count.
    """

    source: str
    problem: Problem
    tests: tuple[Case, ...]
    verdicts: dict[int, CaseVerdict] = field(default_factory=dict)
    begun: int = 0
    timeouts: int = 0
    failed: bool = False


@dataclass(frozen=True, eq=False)
class Task:
    """A test of a program, for a worker; `again` after a worker was lost with it."""

    program: Program
    number: int
    again: bool = False

    @property
    def test(self) -> Case:
        return self.program.tests[self.number]

    def job(self) -> Job:
        problem, source = self.program.problem, self.program.source
        # nothing may stand before an import from the future
        if problem.site_imports and "from __future__" not in source:
            source = f"{SITE_IMPORTS}\n{source}"
        return Job(
            source=source,
            stdin=self.test.input.encode(),
            function=problem.function,
            checks=problem.checks,
        )

    def limits(self, limits: Limits) -> Limits:
        """With room for twice the expected output, where that is more than the limit."""
        room = 2 * len(self.test.expected.encode()) + 4096
        return dataclasses.replace(limits, output_bytes=max(room, limits.output_bytes))


class Batch:
    """The tests of some programs, in order.

    Args:
        programs: all of them.
        timeouts_per_program: tests at the time limit, after which a program's others are skipped.
        stop_at_first_failure: skip the others after any that failed.
    """

    def __init__(
        self, programs: list[Program], *, timeouts_per_program: int, stop_at_first_failure: bool
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._programs = programs
        self._timeouts_per_program = timeouts_per_program
        self._stop_at_first_failure = stop_at_first_failure
        self._waiting = deque(programs)
        self._again: deque[Task] = deque()

    def next(self) -> Task | None:
        """The next test that has to be run; those before it that need not be get their verdict."""
        if self._again:
            return self._again.popleft()
        while self._waiting:
            program = self._waiting[0]
            if reason := self._no_more(program):
                for number in range(program.begun, len(program.tests)):
                    self._give(
                        program, number, CaseVerdict(passed=False, status="skipped", reason=reason)
                    )
                program.begun = len(program.tests)
            if program.begun < len(program.tests):
                program.begun += 1
                return Task(program, program.begun - 1)
            self._waiting.popleft()
        return None

    def settle(self, task: Task, run: Run) -> None:
        """A run has ended: compare, or run it once more."""
        if run.status == "lost" and not task.again:
            self._again.append(Task(task.program, task.number, again=True))
            return
        verdict = judge(task.program.problem, task.test, run)
        task.program.failed |= not verdict.passed
        task.program.timeouts += run.status in ("time", "cpu")
        self.counts["runs"] += 1
        self._give(task.program, task.number, verdict)

    def give_up(self) -> None:
        """The time is up: what has not begun will not."""
        self._waiting.clear()
        self._again.clear()

    def finish(self) -> None:
        """Whatever has no verdict by now gets one."""
        for program, number in self._without_verdict():
            late = CaseVerdict(
                passed=False, status="past_deadline", reason="the time of the batch was up"
            )
            self._give(program, number, late)

    def _without_verdict(self) -> Iterator[tuple[Program, int]]:
        for program in self._programs:
            yield from (
                (program, number)
                for number in range(len(program.tests))
                if number not in program.verdicts
            )

    def _no_more(self, program: Program) -> str:
        if program.failed and self._stop_at_first_failure:
            return "a test before has failed"
        if program.timeouts >= self._timeouts_per_program:
            return "tests before have used up the program's time"
        return ""

    def _give(self, program: Program, number: int, verdict: CaseVerdict) -> None:
        program.verdicts[number] = verdict
        self.counts[verdict.status] += 1
