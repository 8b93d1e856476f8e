"""What is asked of a warm interpreter, and what comes back: limits, job, run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Status = Literal[
    "ok", "error", "killed", "time", "cpu", "output", "past_deadline", "skipped", "lost"
]
"""How a run ended.

ok: exit code 0. error: another one, mostly of an exception. killed: by a signal (a crash, no memory). time, cpu,
output: at that limit. past_deadline: at that of the batch, or not begun. skipped: not begun, because the result cannot
change or the program has used up its time. lost: the warm interpreter itself died, twice.
"""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one run may use.

    Args:
        wall_seconds: from its start to its end; > 0. Generous, because a busy host takes it as well.
        cpu_seconds: processor time of all its threads, whole seconds; >= 1.
        memory_bytes: address space beyond that of the warm interpreter; >= 16 MiB.
        output_bytes: of its output, of its errors and of its result, each; >= 1.
        num_threads: threads that it may start, besides its first; >= 0.
    """

    wall_seconds: float = 10.0
    cpu_seconds: int = 5
    memory_bytes: int = 1 << 30
    output_bytes: int = 1 << 20
    num_threads: int = 256

    def __post_init__(self) -> None:
        if not 0 < self.wall_seconds < math.inf:
            raise ValueError(
                f"wall_seconds {self.wall_seconds}: must be > 0 and finite; a run without an end blocks its worker"
            )
        for name, low in (
            ("cpu_seconds", 1),
            ("memory_bytes", 16 << 20),
            ("output_bytes", 1),
            ("num_threads", 0),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= 1 << 50:
                raise ValueError(
                    f"{name} {value}: must be a whole number of at least {low} and at most 2^50"
                )


@dataclass(frozen=True, kw_only=True)
class Job:
    """One program with one input.

    Args:
        source: the program; any text, also one that is no program.
        stdin: its standard input; for a call the arguments, a JSON list.
        function: called with these arguments, else the program is run as it is.
        checks: source that is run after the program in the same process; it can be read there, so never for training.
    """

    source: str
    stdin: bytes = b""
    function: str | None = None
    checks: str | None = None


@dataclass(kw_only=True)
class Run:
    """How one job went.

    Args:
        status: how it ended.
        exit_code: where it was not killed.
        stdout, stderr, result: at most `output_bytes` of each, and what one more read brought.
        wall_seconds, cpu_seconds: what it took; the first includes waiting for a busy host.
        num_threads: threads that it asked for.
    """

    status: Status
    exit_code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    result: bytes = b""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    num_threads: int = 0
