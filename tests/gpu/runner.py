"""Runs checks in order, each in a process of its own with a time limit; what needs a failed one is left out.

A check is a command that ends with 0 and writes its numbers as JSON to the file that CHECK_RESULT names.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

RESULT_VARIABLE = "CHECK_RESULT"
GRACE_SECONDS = 10.0
"""Between asking the processes of a check to end and ending them."""
SAMPLE_SECONDS = 1.0

Outcome = Literal["passed", "failed", "timed out", "not run"]


@dataclass(frozen=True)
class Check:
    """One thing to prove; `needs` names checks without which it makes no sense, `left_out` says why it cannot run."""

    name: str
    command: tuple[str, ...]
    limit_seconds: float
    needs: tuple[str, ...] = ()
    left_out: str = ""


@dataclass(frozen=True)
class Result:
    """What became of a check; `gpu_gb` is the most that the fullest GPU held meanwhile, other programs included."""

    name: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0
    gpu_gb: float | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


def run_checks(
    checks: Sequence[Check], folder: Path, *, total_seconds: float, environment: dict[str, str]
) -> Iterator[Result]:
    """Yields the result of each check when it is there; what a check printed is in `folder/NAME.log`."""
    deadline = time.monotonic() + total_seconds
    passed: set[str] = set()
    for check in checks:
        missing = [name for name in check.needs if name not in passed]
        left = deadline - time.monotonic()
        if check.left_out:
            result = Result(check.name, "not run", check.left_out)
        elif missing:
            result = Result(check.name, "not run", f"needs {', '.join(missing)}")
        elif left <= 0:
            result = Result(check.name, "not run", f"the {total_seconds:g} s of all were over")
        else:
            result = _run(check, folder, min(check.limit_seconds, left), environment)
        if result.outcome == "passed":
            passed.add(check.name)
        yield result


def _run(check: Check, folder: Path, limit: float, environment: dict[str, str]) -> Result:
    log, numbers = folder / f"{check.name}.log", folder / f"{check.name}.json"
    start = time.monotonic()
    with log.open("w") as output, _GpuMemory() as memory:
        code = _run_limited(
            check.command, limit, output, environment | {RESULT_VARIABLE: str(numbers)}
        )
    seconds = time.monotonic() - start
    if code is None:
        outcome, reason = "timed out", f"after {limit:.0f} s"
    elif code or not numbers.is_file():
        outcome, reason = (
            "failed",
            f"exit code {code}: {_complaint(log.read_text(errors='replace'))}",
        )
    else:
        return Result(
            check.name, "passed", "", seconds, memory.most_gb, json.loads(numbers.read_text())
        )
    return Result(check.name, outcome, reason, seconds, memory.most_gb)


def _complaint(output: str) -> str:
    """The last line that looks like an exception's, else the last; libraries like to say goodbye after it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    exception = re.compile(r"(\[rank\d+\]: )?[\w.]+(Error|Exception|Failed)\b")
    exceptions = [line for line in lines if exception.match(line)]
    return (exceptions or lines or ["no output"])[-1]


def _run_limited(
    command: Sequence[str], limit: float, output: Any, environment: dict[str, str]
) -> int | None:
    """The exit code, or None at the limit; nothing that the command started is alive afterwards."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=os.environ | environment,
        start_new_session=True,
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its group is asked to end, so that Ray can clear up; what is left of it and of its children is killed."""
    children: list[psutil.Process] = []
    if process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):  # nobody of the group is left
        os.killpg(process.pid, signal.SIGKILL)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


class _GpuMemory:
    """Watches how full the fullest GPU gets while the context lasts; None where there is no driver."""

    def __init__(self) -> None:
        self.most_gb: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while (used := gpu_gb_used()) is not None:
            self.most_gb = max(self.most_gb or 0.0, used)
            if self._over.wait(SAMPLE_SECONDS):
                return

    def __enter__(self) -> _GpuMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def gpu_gb_used() -> float | None:
    """GB (10^9 bytes) in use on the fullest GPU of the host; None without a driver."""
    query = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    # a GPU that is cut into instances has no number here
    used = [float(line) for line in done.stdout.splitlines() if line.strip().isdigit()]
    return max(used) * 2**20 / 1e9 if used else None
