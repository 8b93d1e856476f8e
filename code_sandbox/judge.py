"""What a run is worth: the comparison of what came out with what was expected, in the trusted process."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from code_sandbox.compare import NotJsonError, equal_output, equal_value, read_json
from code_sandbox.inside import ASSERTS_PASSED
from code_sandbox.jobs import Run, Status
from code_sandbox.problems import Case, Problem


@dataclass(frozen=True, kw_only=True)
class CaseVerdict:
    """What became of one test.

    Args:
        passed: exit code 0 within the limits, and the output is the expected one.
        status: how the run ended (`worker.Status`).
        reason: why it has not passed, one line; "" if it has. Holds words of the program: not to be trusted.
        wall_seconds, cpu_seconds: what it took.
    """

    passed: bool
    status: Status
    reason: str = ""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one program.

    Args:
        tests: in the order of the problem; empty where nothing is graded.
        ungraded: why there is no verdict; "" if there is one.
    """

    tests: tuple[CaseVerdict, ...] = ()
    ungraded: str = ""

    @property
    def passed(self) -> bool:
        """All tests."""
        return bool(self.tests) and all(test.passed for test in self.tests)

    @property
    def fraction(self) -> float:
        """Share of the tests, in [0, 1]; NaN where nothing is graded."""
        return sum(test.passed for test in self.tests) / len(self.tests) if self.tests else math.nan


def judge(problem: Problem, test: Case, run: Run) -> CaseVerdict:
    """Compare what came out of a run with what was expected. Here, and not where the program ran."""
    reason = _why_not(problem, test, run)
    return CaseVerdict(
        passed=not reason,
        status=run.status,
        reason=reason,
        wall_seconds=run.wall_seconds,
        cpu_seconds=run.cpu_seconds,
    )


def _why_not(problem: Problem, test: Case, run: Run) -> str:
    if run.status == "error":
        lines = run.stderr.decode(errors="replace").strip().splitlines()
        return f"ended with code {run.exit_code}: {_shown(lines[-1] if lines else 'no message')}"
    if run.status != "ok":
        return {
            "killed": "ended by a signal (a crash, or no memory left on the host)",
            "time": "not done within the wall time",
            "cpu": "not done within the processor time",
            "output": "more output than allowed",
            "past_deadline": "the time of the batch was up",
            "lost": "the interpreter that ran it died, twice",
        }[run.status]
    if problem.kind == "stdin":
        return (
            ""
            if equal_output(test.expected, run.stdout)
            else f"wrong output: {_shown(run.stdout.decode(errors='replace'))}"
        )
    try:
        value = read_json(run.result)
    except NotJsonError as error:
        return f"no result: {_shown(str(error))}"
    if problem.kind == "asserts":
        return "" if value == ASSERTS_PASSED else "the checks did not come to their end"
    expected = json.loads(test.expected)
    if equal_value(expected, value) or (problem.wrapped and equal_value(expected[0], value)):
        return ""
    return f"wrong value: {_shown(run.result.decode(errors='replace'))}"


def _shown(text: str) -> str:
    """At most 120 characters of a program's words, none of which a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text[:120])
