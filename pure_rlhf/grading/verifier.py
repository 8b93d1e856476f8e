"""Grades responses of both abilities: final answers of mathematics in `pool`, programs in `code_sandbox`.

A label says which it is: a text is a final answer, a `Problem` holds tests. Programs run in interpreters that the
kernel locks in, and their output is compared here, outside: the expected one is never where a program could read it
(docs/code_sandbox.md).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from code_sandbox.extraction import extract_program
from code_sandbox.problems import Problem
from code_sandbox.runner import Limits, SandboxPool
from code_sandbox.runner import Verdict as ProgramVerdict
from pure_rlhf.grading.final_answer import ExtractionMode
from pure_rlhf.grading.pool import TESTS, GradeResult, VerifierPool
from pure_rlhf.grading.program_settings import ProgramSettings

Label = str | Problem
"""What a response is graded by."""
LOST = "lost"
"""How a run ends whose interpreter died, twice."""
MOST_WORKERS = 16


def make_sandbox(programs: ProgramSettings) -> SandboxPool:
    """Starts nothing yet."""
    return SandboxPool(
        programs.workers or min(len(os.sched_getaffinity(0)), MOST_WORKERS),
        Limits(
            wall_seconds=programs.wall_seconds,
            cpu_seconds=programs.cpu_seconds,
            memory_bytes=programs.memory_mb << 20,
        ),
        mechanism=programs.mechanism,
        packages=programs.packages,
    )


class Verifier(VerifierPool):
    """A `VerifierPool` that grades programs too. Nothing of the sandbox is started before the first program.

    Args (besides those of a `VerifierPool`):
        programs: how they are run, and what they earn.

    Example: with the label `read_problem('{"inputs": ["2"], "outputs": ["4"]}')` a response whose last Python block is
    `print(int(input()) ** 2)` is correct, by the rule "tests".
    """

    def __init__(self, *args: Any, programs: ProgramSettings | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.programs = programs or ProgramSettings()
        self.sandbox = make_sandbox(self.programs)

    def grade_batch(
        self,
        texts: Sequence[str],
        golds: Sequence[Label | None],
        mode: ExtractionMode = "training",
        *,
        allow_asserts: bool = False,
    ) -> list[GradeResult | None]:
        """One result per text, in order, None where nothing is known to grade it by.

        Args:
            allow_asserts: also by tests that a program can read: where no reward is made of it.

        Raises:
            SandboxError: there is a program, and this host cannot lock it in.
        """
        found: dict[int, GradeResult | None] = {}
        answers = [i for i, gold in enumerate(golds) if not isinstance(gold, Problem)]
        graded = super().grade_batch(
            [texts[i] for i in answers],
            [gold for gold in golds if not isinstance(gold, Problem)],
            mode,
        )
        found |= dict(zip(answers, graded, strict=True))
        programs = {i: gold for i, gold in enumerate(golds) if isinstance(gold, Problem)}
        sources = {i: extract_program(texts[i]) for i in programs}
        verdicts = self.sandbox.grade_batch(
            [(sources[i], problem) for i, problem in programs.items()],
            deadline_seconds=self.programs.batch_timeout,
            max_tests=self.programs.max_tests,
            stop_at_first_failure=self.programs.score == "all",
            allow_asserts=allow_asserts,
        )
        for i, verdict in zip(programs, verdicts, strict=True):
            found[i] = self._result(sources[i], verdict)
        return [found[i] for i in range(len(texts))]

    def answers(self, text: str, mode: ExtractionMode) -> bool:
        """A final answer or a program: what a prompt without a label asks for is not known."""
        return super().answers(text, mode) or extract_program(text) is not None

    def drain_counters(self) -> dict[str, float]:
        """Also of the programs, where there were any."""
        counts, runs = Counter(self._counts), self.sandbox.drain_counters()
        metrics = super().drain_counters()
        if counts["programs"]:
            metrics |= {
                "verifier/programs_past_time": float(counts["programs_past_time"]),
                "verifier/program_runs": float(runs.get("runs", 0)),
                "verifier/program_runs_lost": float(runs.get(LOST, 0)),
            }
            if self.programs.score == "share":  # else no test is run after the first that fails
                metrics["reward/program_tests_passed"] = counts["tests_passed"] / counts["tests"]
        return metrics

    def close(self) -> None:
        """End all processes of both."""
        super().close()
        self.sandbox.close()

    def _result(self, source: str | None, verdict: ProgramVerdict) -> GradeResult | None:
        self._counts["texts"] += 1
        self._counts["without_answer"] += source is None
        if verdict.ungraded:
            return None
        statuses = Counter(test.status for test in verdict.tests)
        self._counts["programs"] += 1
        self._counts["programs_past_time"] += statuses["past_deadline"] > 0
        self._counts["tests"] += len(verdict.tests)
        self._counts["tests_passed"] += sum(test.passed for test in verdict.tests)
        earns_a_share = self.programs.score == "share" and not verdict.passed
        return GradeResult(
            extracted=source,
            rule=TESTS if verdict.passed else None,
            share=verdict.fraction if earns_a_share else 0.0,
            timed_out=statuses["past_deadline"] > 0,
            failed=statuses[LOST] > 0,
        )
