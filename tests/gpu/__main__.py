"""`python -m tests.gpu`: runs the checks on the GPUs of this host and writes the report. See `tests/gpu/__init__.py`.

    --report FILE       default: docs/gpu_report.md
    --only NAME ...     these checks, and what they need
    --device cpu        try the program on a CPU, with a model of two layers; needs --report

Exit codes: 0 all checks that ran passed; 1 one failed; 2 wrong arguments; 3 there is no GPU and nothing was run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pure_rlhf import cpu_host
from pure_rlhf.placement import visible_gpus
from tests.gpu.report import host_lines, report
from tests.gpu.runner import Check, Result, run_checks

ROOT = Path(__file__).parents[2]
TOTAL_SECONDS = 600.0
CPU_PATIENCE = 6.0
"""Times as long may a check take on a CPU, which other programs may share."""
NOTHING_RUN = 3


def checks(device: str, folder: Path, num_gpus: int) -> list[Check]:
    """The checks in their order; on a CPU those that do not need a GPU to mean something."""

    def one(name: str, limit: float, *needs: str, left_out: str = "", program: str = "") -> Check:
        command = [sys.executable, "-m", "tests.gpu.checks", program or name]
        command += ["--folder", str(folder), "--device", device]
        return Check(name, tuple(command), limit * patience, needs, left_out)

    patience = CPU_PATIENCE if device == "cpu" else 1.0
    no_gpu = "needs a GPU" if device == "cpu" else ""
    tiny = "tiny_models" if device == "cpu" else ""
    models = ("install", "models")
    whole = (*models, "engine_eager", "zero2", "prm")
    return [
        one("install", 120),
        one("models", 90, "install", program=tiny),
        one("engine_eager", 120, *models),
        one("zero2", 60, *models),
        one("prm", 60, *models),
        # what matters most comes before what may find no time left
        one("shared", 240, *whole),
        one("split", 240, *whole, left_out="" if num_gpus > 1 or no_gpu else "needs two GPUs"),
        one("engine_graphs", 150, *models, "engine_eager", left_out=no_gpu),
        one("zero3", 60, *models),
        one("zero2_offload", 60, *models, "zero2"),
        one("zero3_offload", 60, *models, "zero3"),
        one("prm_vllm", 120, *models),
        one("warm_up", 90, *models),
    ]


def chosen(all_checks: Sequence[Check], names: Sequence[str]) -> list[Check]:
    """Those of these names and what they need, in order; all where no name is given."""
    if not names:
        return list(all_checks)
    wanted = set(names)
    for check in reversed(all_checks):
        if check.name in wanted:
            wanted |= set(check.needs)
    return [check for check in all_checks if check.name in wanted]


def run(
    all_checks: Sequence[Check],
    folder: Path,
    page: Path,
    environment: dict[str, str],
    total_seconds: float = TOTAL_SECONDS,
) -> int:
    """Run them, write the page after each, say on the terminal how it stands; returns the exit code."""
    host, results = host_lines(), list[Result]()
    for result in run_checks(
        all_checks, folder, total_seconds=total_seconds, environment=environment
    ):
        results.append(result)
        reason = f": {result.reason}" if result.reason else ""
        print(f"{result.name:14s} {result.outcome}{reason} ({result.seconds:.0f} s)", flush=True)
        page.write_text(report(results, host), encoding="utf-8")
    bad = [result.name for result in results if result.outcome in ("failed", "timed out")]
    print(f"Report: {page}")
    if bad:
        print(f"{', '.join(bad)}: not passed; their output is in {folder}", file=sys.stderr)
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    num_gpus = visible_gpus()
    if options.device == "cuda" and num_gpus == 0:
        print("There is no GPU here: nothing was run, no report was written.", file=sys.stderr)
        return NOTHING_RUN
    if options.device == "cpu" and options.report is None:
        parser.error("--device cpu needs --report: docs/gpu_report.md is for GPUs")
    # short, because Ray's sockets lie below it
    folder = Path(tempfile.mkdtemp(prefix="pure-gpu-", dir="/tmp"))
    all_checks = checks(options.device, folder, num_gpus)
    if unknown := set(options.only) - {check.name for check in all_checks}:
        parser.error(f"--only: no check {', '.join(sorted(unknown))}")
    environment = {"PURE_HOST": "gpu", "PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(folder)}
    # the checks need neither, and must not wait for a network
    environment |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "RAY_ADDRESS": ""}
    if options.device == "cpu":
        environment |= cpu_host.environment() | {"PURE_HOST": "cpu"}
    try:
        code = run(
            chosen(all_checks, options.only),
            folder,
            options.report or ROOT / "docs/gpu_report.md",
            environment,
            TOTAL_SECONDS * (CPU_PATIENCE if options.device == "cpu" else 1),
        )
    finally:
        for large in (folder / "models", *folder.glob("run_*/model")):
            shutil.rmtree(large, ignore_errors=True)
    if code == 0:
        shutil.rmtree(folder)
    return code


if __name__ == "__main__":
    sys.exit(main())
