"""Runs the hostile programs one after the other in one warm interpreter, and says of each whether it was held."""

from __future__ import annotations

import json
from dataclasses import dataclass

from code_sandbox.hostile.attack import Attack
from code_sandbox.hostile.traps import MARK, Traps
from code_sandbox.jobs import Job, Limits, Run
from code_sandbox.judge import CaseVerdict, judge
from code_sandbox.problems import Case, Problem
from code_sandbox.worker import Worker

LIMITS = Limits(wall_seconds=30.0, cpu_seconds=10)
"""Of programs that end by themselves: wide, so that a busy host is not taken for a success of the sandbox."""
SHORT_LIMITS = Limits(wall_seconds=1.5, cpu_seconds=1, memory_bytes=512 << 20)
"""Of programs that run into a limit."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """How an attack went.

    Args:
        attack: which.
        verdict: of the run; never passed.
        problem: what is wrong with how it went, "" for nothing.
        output: the last lines of what it printed, for a reader.
    """

    attack: Attack
    verdict: CaseVerdict
    problem: str
    output: str


def run_attack(worker: Worker, attack: Attack, traps: Traps) -> Held:
    """Run an attack and look at its output, its end and the traps."""
    stdin, expected = "7\n", traps.stdin_expected
    if attack.function is not None:
        stdin, expected = "[7]", json.dumps(traps.call_expected)
    test = Case(stdin, expected)
    problem = Problem(
        kind="stdin" if attack.function is None else "call", tests=(test,), function=attack.function
    )
    source = attack.program(traps.names())
    run = run_one(
        worker, Job(source=source, stdin=stdin.encode(), function=attack.function), _limits(attack)
    )
    verdict = judge(problem, test, run)
    output = (run.stdout + run.stderr + run.result).decode(errors="replace")
    return Held(
        attack=attack,
        verdict=verdict,
        problem=_problem(attack, run, verdict, source, output, traps),
        output=output[-2000:],
    )


def run_one(worker: Worker, job: Job, limits: Limits) -> Run:
    """Run a job to its end."""
    worker.submit(job, limits)
    run = None
    while run is None:
        run = worker.wait(worker.time_left())
    return run


def _limits(attack: Attack) -> Limits:
    return SHORT_LIMITS if {"time", "cpu"} & set(attack.statuses) else LIMITS


def _problem(
    attack: Attack, run: Run, verdict: CaseVerdict, source: str, output: str, traps: Traps
) -> str:
    if verdict.passed:
        return "it passed"
    if "BREACH" in output:
        return f"it succeeded: {output[output.index('BREACH') :][:300]!r}"
    if any(
        secret in output and secret not in source
        for secret in (traps.secret, traps.stdin_expected, traps.call_expected)
    ):
        return f"it has seen what begins with {MARK}"
    if effects := traps.side_effects():
        return f"it left something behind: {'; '.join(effects)}"
    if run.status in ("lost", "past_deadline"):
        return f"its run was {run.status}"
    if attack.statuses and run.status not in attack.statuses:
        return (
            f"it ended as {run.status!r}, not as {' or '.join(attack.statuses)}: {output[-300:]!r}"
        )
    if attack.ending == "refused" and (
        "refused" not in output or run.status not in ("ok", "error")
    ):
        return f"it was not refused, it failed ({run.status}): {output[-300:]!r}"
    return ""
