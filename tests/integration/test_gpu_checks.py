"""The checks of a GPU host (tests/gpu), the same functions on the CPU, with a model of two layers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PASSED = ("install", "models", "engine_eager", "zero2", "prm", "zero3", "zero2_offload", "warm_up")


def test_the_checks_pass_on_a_cpu(tmp_path: Path) -> None:
    """vLLM, DeepSpeed's ZeRO-2 (also with the optimiser in host memory) and ZeRO-3, the PRM's scorer, SFT."""
    page = tmp_path / "page.md"
    command = [sys.executable, "-m", "tests.gpu", "--device", "cpu", "--report", str(page)]
    command += ["--only", "engine_eager", "zero2_offload", "zero3", "prm", "warm_up"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = page.read_text()
    assert "**No GPU: this run shows the program, not a GPU**" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert [(row[0].strip("| "), row[1]) for row in rows] == [(name, "passed") for name in PASSED]
    assert all("tokens/s" in row[-1] for row in rows[2:])
