"""The evaluation command with the real vLLM on the CPU: an untrained model on real benchmark files, killed half-way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import RandomWorld
from tests.shared_data import ROOT as DATA
from tests.shared_data import shared_file

pytestmark = pytest.mark.integration
CHECKOUT = Path(__file__).parents[2]
REPORTS = ("results.md", "results.json", "evaluation_report.html")


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    temporary = log.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    env = os.environ | {"PYTHONPATH": str(CHECKOUT), "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "evaluation.evaluate"]
    if (
        "PURE_VENV" in os.environ
    ):  # as in tests/run.sh; without it eval.sh would make an environment
        command = ["bash", str(CHECKOUT / "evaluation/eval.sh")]
    with log.open("ab") as file:
        return subprocess.Popen(
            [*command, *arguments], stdout=file, stderr=file, env=env, cwd=CHECKOUT
        )


def num_lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.rglob("*.jsonl"))


def engine_of(process: subprocess.Popen[bytes]) -> psutil.Process:
    children = psutil.Process(process.pid).children(recursive=True)
    return next(child for child in children if "spawn_main" in " ".join(child.cmdline()))


@pytest.mark.slow
def test_every_row_of_the_five_benchmarks_is_answered(world: RandomWorld, tmp_path: Path) -> None:
    for name in ("aime24/test.jsonl", "minerva_math/test.jsonl", "olympiadbench/test.jsonl.gz"):
        shared_file(name)
    flags = [str(world.policy), "--data_dir", str(DATA), "--max_new_tokens", "16"]
    log = tmp_path / "log.txt"
    assert start([*flags, "--output_dir", str(tmp_path / "out")], log).wait(900) == 0, (
        log.read_text()
    )
    results = json.loads((tmp_path / "out/results.json").read_text())
    (scores,) = results["scores"]["greedy"].values()
    assert {name: s["num_problems"] for name, s in scores.items()} == {
        "math500": 500, "minerva_math": 272, "olympiadbench": 675, "aime24": 30, "amc23": 40
    }  # fmt: skip
    assert all(s["score"] < 0.05 for s in scores.values())


def test_an_untrained_model_on_the_real_files_and_a_kill(
    world: RandomWorld, tmp_path: Path
) -> None:
    """Every row is answered; a run whose engine is killed half-way continues to the same reports."""
    for name in ("aime24/test.jsonl", "amc23/test.jsonl", "olympiadbench/test.jsonl.gz"):
        shared_file(name)
    flags = [str(world.policy), "--data_dir", str(DATA), "--max_problems", "30"]
    # 270 answers, and vLLM computes 256 at once: the last ones start when the first are done
    flags += ["--max_new_tokens", "48", "--num_samples", "2", "--published"]
    flags += ["--benchmarks", "aime24", "amc23", "olympiadbench"]
    whole, killed, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "log.txt"
    assert start([*flags, "--output_dir", str(whole)], log).wait(400) == 0, log.read_text()
    results = json.loads((whole / "results.json").read_text())
    for mode in ("greedy", "sampled"):
        scores = results["scores"][mode]["world0/policy"]
        assert {name: s["num_problems"] for name, s in scores.items()} == {
            "aime24": 30, "amc23": 30, "olympiadbench": 30
        }  # fmt: skip
        assert all(s["score"] < 0.1 and s["truncated"] > 0.5 for s in scores.values())

    arguments = [*flags, "--output_dir", str(killed)]
    process = start(arguments, log)
    while process.poll() is None and num_lines(killed) < 5:
        time.sleep(0.005)
    engine_of(process).kill()
    assert process.wait(60) == 1
    assert "the same command continues" in log.read_text()
    num_kept = num_lines(killed)
    assert 5 <= num_kept < num_lines(whole), "some are on disk, some are not"
    assert not (killed / "results.md").exists()
    first = next(killed.rglob("*.jsonl"))
    first.write_bytes(first.read_bytes() + b'{"problem": "39", "answ')  # as a kill may leave it
    assert start(arguments, log).wait(400) == 0, log.read_text()
    for name in REPORTS:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert num_lines(killed) == num_lines(whole)
    assert list((tmp_path / "temporary").iterdir()) == []
