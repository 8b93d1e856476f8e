"""PRM training as a user runs it: killed and resumed, and in its two stages on real PRM800K rows."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForTokenClassification, Qwen2ForCausalLM

from prm_training.trainer import last_complete_checkpoint
from tests.command_lines import as_flags
from tests.conftest import RandomWorld
from tests.integration.runs import ROOT
from tests.shared_data import shared_file
from tests.tiny_models import qwen2_config, train_tokenizer

KILL_AFTER_STEP = 16  # in the middle of the second epoch of 12 steps


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(stage: int, model: Path, rows: Path, output: Path, *flags: str) -> list[str]:
    values = {
        "stage": stage,
        "model": model,
        "train_data": rows,
        "eval_data": rows,
        "output_dir": output,
        "learning_rate": 1e-3,
        "epochs": 3,
        "micro_batch_size": 4,
        "global_batch_size": 8,
        "threads": 1,
        "save_steps": 2,
    }
    given = as_flags(values)
    return [sys.executable, "-m", "prm_training.train_prm", *given, "--bf16", "False", *flags]


def saved_step(output: Path) -> int:
    checkpoint = last_complete_checkpoint(output)
    return int(checkpoint.rsplit("-", 1)[1]) if checkpoint else 0


@pytest.mark.integration
@pytest.mark.parametrize("stage", [1, 2])
def test_a_killed_run_goes_on_to_the_same_weights(
    stage: int, world: RandomWorld, tmp_path: Path
) -> None:
    """With dropout, which the random state of the checkpoint must bring back; stage 1 with kept outputs."""
    rows = [
        {
            "prompt": f"What is {n}?",
            "completions": [f"So {n}", "Done"],
            "labels": [n % 2, n % 3 == 0],
        }
        for n in range(96)
    ]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    model = world.policy if stage == 1 else world.prm
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(stage, model, file, whole), cwd=ROOT, check=True, capture_output=True)

    process = subprocess.Popen(
        command(stage, model, file, killed),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while saved_step(killed) < KILL_AFTER_STEP:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL if stage == 1 else signal.SIGTERM)
    process.wait()
    step = saved_step(killed)
    assert process.returncode < 0 and step < 36
    assert not (killed / "prm_evaluation.json").exists()

    done = subprocess.run(
        command(stage, model, file, killed, "--resume"),
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"going on from {killed}/checkpoint-{step}" in done.stdout
    states = [
        AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).state_dict()
        for folder in (whole, killed)
    ]
    for name, expected in states[0].items():
        torch.testing.assert_close(states[1][name], expected, atol=1e-6, rtol=0, msg=name)
    start = AutoModelForTokenClassification.from_pretrained(
        model, dtype=torch.float32, num_labels=2
    )
    trained = states[0]["score.weight"] - start.state_dict()["score.weight"]
    assert trained.abs().max() > 1e-3
    reports = [json.loads((f / "prm_evaluation.json").read_text()) for f in (whole, killed)]
    assert reports[0]["auc"] == pytest.approx(reports[1]["auc"], abs=1e-4)
    assert [e["step"] for e in reports[1]["during_training"]] == [9, 18, 27, 36]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("stage", "deepspeed"),
    [(1, "False"), (2, "True"), pytest.param(2, "False", marks=pytest.mark.slow)],
)
def test_two_ranks_train_what_one_does(
    stage: int, deepspeed: str, world: RandomWorld, tmp_path: Path
) -> None:
    """As on two GPUs: each rank half of every batch, in stage 1 half of the kept outputs, in stage 2 with ZeRO."""
    rows = [
        {
            "prompt": f"What is {n}?",
            "completions": [f"So {n}"] * (1 + n % 3),
            "labels": [n % 2] * (1 + n % 3),
        }
        for n in range(48)
    ]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    model = world.policy if stage == 1 else world.prm
    states, reports, gradients = [], [], []
    for ranks in (1, 2):
        output = tmp_path / f"{ranks}_ranks"
        flags = ["--dropout", "0", "--no-length_grouping", "--epochs", "2", "--micro_batch_size"]
        flags += [str(4 // ranks)]  # two forward passes a rank and batch
        launcher = []
        if ranks == 2:
            flags += ["--deepspeed", deepspeed]
            launcher = ["-m", "pure_rlhf.cli.torchrun", "--standalone", "--nproc_per_node", "2"]
        python, *rest = command(stage, model, file, output, *flags)
        done = subprocess.run(
            [python, *launcher, *rest],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        assert not list(tmp_path.glob("torchelastic_*"))
        trained = AutoModelForTokenClassification.from_pretrained(output, dtype=torch.float32)
        states.append(trained.state_dict())
        reports.append(json.loads((output / "prm_evaluation.json").read_text()))
        log = json.loads((output / "checkpoint-12" / "trainer_state.json").read_text())
        gradients.append([row["grad_norm"] for row in log["log_history"] if "grad_norm" in row])
        assert not list(output.glob("features_*.bin"))
    assert len(gradients[0]) == 1
    for state, report, gradient in zip(states, reports, gradients, strict=True):
        for name, expected in states[0].items():
            torch.testing.assert_close(state[name], expected, atol=5e-6, rtol=0, msg=name)
        # AdamW forgives a loss of another scale; clipping does not
        assert gradient == pytest.approx(gradients[0], rel=1e-3)
        assert report["steps"] == 96 and report["optimizer_steps"] == 12
        assert report["auc"] == pytest.approx(reports[0]["auc"], abs=1e-3)


def prm800k(name: str) -> list[dict[str, Any]]:
    with gzip.open(shared_file(f"prm800k/{name}.jsonl.gz"), "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def make_inputs(folder: Path) -> dict[str, str]:
    """2,000 training rows, 400 held-out ones of MATH-500 problems, and a random Qwen2 of 4 million parameters."""
    generator = random.Random(0)
    rows = prm800k("prm800k_train_2pct_decoded")
    rows += generator.sample(prm800k("prm800k_phase1_train.trl"), 2000 - len(rows))
    held_out = generator.sample(prm800k("prm800k_phase1_test.trl"), 400)
    tokenizer = train_tokenizer(
        [text for row in rows for text in (row["prompt"], *row["completions"])], vocab_size=4000
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 6}
    model = Qwen2ForCausalLM(qwen2_config(tokenizer, num_attention_heads=4, **sizes))
    model.save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    return {
        "MODEL": str(folder / "policy"),
        "DATA": str(write_rows(folder / "train.jsonl", rows)),
        "EVAL_DATA": str(write_rows(folder / "held_out.jsonl", held_out)),
        "PYTHON": sys.executable,
        "MICRO_BATCH_SIZE": "8",
        "GLOBAL_BATCH_SIZE": "32",
    }


@pytest.mark.slow
def test_both_scripts_on_2000_rows_of_prm800k(tmp_path: Path) -> None:
    """Both stages from the shipped scripts in under 20 minutes; the learning rates suit a random small model."""
    environment = os.environ | make_inputs(tmp_path)
    flags = ["--separator_in_steps", "keep", "--prefixes", "each_step_once", "--skip_bad_rows"]
    flags += [
        "--exclude_problems",
        str(shared_file("math500/test.jsonl.gz")),
        "--max_length",
        "2048",
    ]
    started = time.monotonic()
    reports = []
    for stage, rate, epochs in ((1, "3e-3", "3"), (2, "1e-3", "2")):
        output = tmp_path / f"stage_{stage}"
        environment |= {"OUTPUT_DIR": str(output), "LEARNING_RATE": rate, "EPOCHS": epochs}
        script = ["bash", str(ROOT / f"prm_training/train_stage_{stage}.sh"), *flags]
        done = subprocess.run(script, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        assert "2000 rows" in done.stdout and "0 rows removed" in done.stdout
        assert "6 bad rows left out" in done.stdout  # over 2,048 tokens
        environment["MODEL"] = str(output)
        reports.append(json.loads((output / "prm_evaluation.json").read_text()))
        assert (output / "calibration.png").stat().st_size > 5_000
        assert "F1 on wrong steps" in (output / "README.md").read_text()
    assert time.monotonic() - started < 20 * 60
    # a random model of 4 million parameters learns little of problems that it has not seen (AUC 0.557; chance 0.5)
    assert reports[1]["auc"] > 0.52
