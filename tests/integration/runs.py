"""Starts real training runs as a user would, watches them, and checks that they leave nothing behind."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.command_lines import as_flags

ROOT = Path(__file__).parents[2]
MARK = "PURE_TEST_MARK"
SILENT = {  # no detector but one's own limit
    "alarm__no_answer_frac": 2,
    "alarm__single_step_rise": 2,
    "alarm__short_answer_ratio": 0,
    "alarm__repetition_frac": 2,
    "alarm__accuracy_drop": 2,
    "alarm__accuracy_collapse": 2,
    "alarm__kl_reference": 1e9,
    "alarm__clip_ratio": 2,
}
ROLLED_BACK = {  # the learning rate passes its limit at steps 4 and 6; only the first time is undone
    "actor__adam__lr": 1.6e-2,  # reached at the last of 16 optimiser steps: 2e-3 more after each rollout
    "actor__lr_scheduler": "constant_with_warmup",
    "actor__lr_warmup_ratio": 1.0,
    "max_steps": 8,
    "ckpt__max_num": 8,
    "alarm__window": 1,
    "alarm__action": "rollback",
    "alarm__max_rollbacks": 1,
    "alarm__limits": "policy/learning_rate>7e-3",
    **SILENT,
}


class Run:
    """A training process, its output so far, and the processes it started.

    Use as a context manager: at the end nothing of the run may be alive, and Ray's files are removed. `dashboard`: for
    `actor_names`; without it a run starts sooner.
    """

    def __init__(
        self, arguments: list[str], *, dashboard: bool = False, **environment: str
    ) -> None:
        arguments = arguments if dashboard else [*arguments, "--no_dashboard"]
        self.mark = uuid.uuid4().hex
        # Unix socket paths are short, so not below pytest's temporary folder.
        self.ray_folder = Path(tempfile.mkdtemp(prefix="pure-", dir="/tmp"))
        self.output = self.ray_folder / "output.txt"
        env = os.environ | {
            MARK: self.mark,
            "RAY_TMPDIR": str(self.ray_folder),
            "TMPDIR": str(self.ray_folder),  # vLLM leaves sockets there
            "PYTHONPATH": str(ROOT),
        }
        for name in ("RAY_ADDRESS", "WANDB_SERVICE"):  # of another Ray, of a test of this process
            env.pop(name, None)
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pure_rlhf.cli.train_pure", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=env | environment,
                cwd=ROOT,
            )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:  # it hangs, and does not end at its step's end
                self.process.kill()
                self.process.wait()
        if error[0] is not None:
            print(f"The run so far:\n{self.text[-6000:]}")  # pytest shows it with the failure
            for log in sorted(self.ray_folder.rglob("logs/*")):
                if (
                    log.name.startswith(("raylet.", "gcs_server.", "dashboard_agent."))
                    and log.stat().st_size
                ):
                    print(
                        f"The end of Ray's {log.name}:\n{log.read_text(errors='replace')[-3000:]}"
                    )
        leftover = self.family()
        for process in leftover:  # started by this test; do not leave them to the next one
            process.kill()
        shutil.rmtree(self.ray_folder, ignore_errors=True)
        if error[0] is None:
            assert leftover == [], f"processes of the run are still alive: {leftover}"

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def family(self) -> list[psutil.Process]:
        """Every living process that the run started."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != self.process.pid and self._is_of_the_run(process):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def _is_of_the_run(self, process: psutil.Process) -> bool:
        """By a mark in its environment; Ray's agents write their title over that, and have logs open."""
        environment = process.environ()
        return environment.get(MARK) == self.mark or (
            not environment
            and any(
                Path(file.path).is_relative_to(self.ray_folder) for file in process.open_files()
            )
        )

    def processes(self, title: str) -> list[psutil.Process]:
        """Those of the family whose title begins like this, or whose program has this name."""
        found = []
        for process in self.family():
            try:
                words = process.cmdline()
                if "".join(words).startswith(title) or Path(words[0]).name == title:
                    found.append(process)
            except (psutil.NoSuchProcess, IndexError):  # IndexError: a zombie's command line
                continue
        return found

    def wait(self, timeout: float = 1200) -> int:
        code = self.process.wait(timeout)
        deadline = time.time() + 30  # Ray's helpers take a moment to follow
        while self.family() and time.time() < deadline:
            time.sleep(0.5)
        return code

    def wait_for(self, condition: Callable[[], object], what: str, timeout: float = 900) -> None:
        deadline = time.time() + timeout
        while not condition():
            assert self.process.poll() is None, f"run ended before {what}:\n{self.text[-4000:]}"
            assert time.time() < deadline, f"no {what} within {timeout} s:\n{self.text[-4000:]}"
            time.sleep(0.5)

    def dashboard(self, path: str) -> dict:
        """JSON from the dashboard whose address and token the run printed; {} while it is not up."""
        address = re.search(
            r"Ray dashboard: (http://127\.0\.0\.1:\d+) \(it asks for the token in (.+)\)", self.text
        )
        if not address:
            return {}
        try:
            headers = {"Authorization": f"Bearer {Path(address[2]).read_text()}"}
            request = urllib.request.Request(address[1] + path, headers=headers)
            with urllib.request.urlopen(request, timeout=5) as reply:
                return json.load(reply)
        except (
            FileNotFoundError,  # the token goes with the run
            urllib.error.URLError,
            TimeoutError,
            ConnectionError,
            json.JSONDecodeError,
        ):
            return {}

    def actor_names(self) -> dict[str, int]:
        """Living actors by name, with their process ids."""
        actors = self.dashboard("/logical/actors").get("data", {}).get("actors", {})
        return {a["name"]: a["pid"] for a in actors.values() if a.get("state") == "ALIVE"}


def metrics(run_folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def kept_responses(run_folder: Path, step: int) -> list[dict[str, Any]]:
    """The responses that a step kept. They may hold what `splitlines` takes for the end of a line (U+2028, U+0085)."""
    text = (run_folder / "rollouts" / f"step_{step:06d}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def largest_change(a: Path, b: Path) -> float:
    """Between the weights of two model folders."""
    before, after = (load_file(folder / "model.safetensors") for folder in (a, b))
    assert before.keys() <= after.keys()  # upstream also writes the tied output layer
    return max(float((before[name].float() - after[name].float()).abs().max()) for name in before)


def assert_prime_learned(folder: Path, policy: Path, *, learning_rate: float) -> None:
    """Of a run of PRIME: three steps from `policy`, each with a checkpoint, of which the last two are kept."""
    rows = metrics(folder)
    first = rows[0]
    # as long as the PRM is its reference, both computed alike, nothing is paid
    assert first["prm/drift"] == 0 and first["prm/largest_return"] == 0
    assert first["prm/positive_reward_frac"] == 0
    # of other micro-batches than the reference's, so up to rounding
    assert first["prm/loss"] == pytest.approx(math.log(2), abs=0.005)
    assert first["prm/grad_norm"] > 0 and first["prm/learning_rate"] == learning_rate
    assert rows[1]["prm/drift"] > 0 and rows[1]["prm/largest_return"] > 0
    assert all(row["timing/prm_update"] > 0 for row in rows)
    answers = [answer for step in (1, 2, 3) for answer in kept_responses(folder, step)]
    assert all(len(answer["steps"]) == len(answer["step_rewards"]) for answer in answers)

    checkpoints = folder / "checkpoints"
    kept = {path.name for path in (checkpoints / "_actor").glob("global_step*")}
    assert kept == {"global_step2", "global_step3"}
    assert {path.name for path in (checkpoints / "_prm").glob("global_step*")} == kept
    assert not (checkpoints / "_prm/latest").exists()
    for model in ("prm", "model"):
        AutoModelForCausalLM.from_pretrained(folder / model)
    assert largest_change(policy, folder / "prm") > 1e-3
    assert largest_change(folder / "model", folder / "prm") > 1e-3
    record = json.loads((folder / "prm/prm_reference.json").read_text())
    assert record["model"] == str(policy)


def small_world_flags(output_dir: Path, problems: Path, **changes: object) -> list[str]:
    """A short run in the small world in which all that a run can have has state: a PRM that learns, a curriculum, an
    adaptive KL penalty, an evaluation and a best checkpoint. `a__b=1` changes or adds `--a.b 1`.

    Args:
        problems: a folder for the held-out problems.
    """
    world = ROOT / "examples" / "small_world" / "world"
    problems.mkdir(exist_ok=True)
    rows = (world / "test.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for place, name in enumerate(("held_out", "selection")):
        (problems / f"{name}.jsonl").write_text("".join(rows[16 * place : 16 * place + 16]))
    values: dict[str, object] = {
        "actor.model_name_or_path": world / "policy",
        "reward.model_name_or_path": world / "prm",
        "data.prompt_dataset": world / "train_answered.jsonl",
        "eval.dataset": problems / "held_out.jsonl",
        "eval.selection_dataset": problems / "selection.jsonl",
        "eval.steps": 2,
        "output_dir": output_dir,
        "data.max_len": 192,
        "data.prompt_max_len": 96,
        "rollout.max_new_tokens": 96,
        "rollout.batch_size": 4,
        "rollout.n_samples_per_prompt": 4,
        "rollout.temperature": 1.0,
        "rollout.micro_batch_size": 8,
        "train.batch_size": 16,
        "train.micro_batch_size": 8,
        "actor.adam.lr": 1e-4,
        "ds.attn_implementation": "eager",
        "prm_update": "outcome",
        "prm.adam.lr": 1e-4,
        "curriculum.method": "remove_extreme",
        "curriculum.max_rounds": 20,
        "algo.kl.init_coef": 0.01,
        "algo.kl.target": 0.01,
        "algo.kl.horizon": 100,
    }
    values |= {name.replace("__", "."): value for name, value in changes.items()}
    return as_flags(values)


def without_machine(row: dict[str, float]) -> dict[str, float]:
    """A row of metrics without what depends on the machine, or on what happened to it."""
    return {
        key: value
        for key, value in row.items()
        if not key.startswith(("timing/", "wall")) and key != "rollout/engines_replaced"
    }


def assert_same_run(ours: Path, theirs: Path) -> None:
    """The same steps, metrics, responses, evaluations and weights, to the last digit."""
    rows, expected = metrics(ours), metrics(theirs)
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for mine, other in zip(rows, expected, strict=True):
        step = int(mine["step"])
        assert kept_responses(ours, step) == kept_responses(theirs, step), f"step {step}"
        assert without_machine(mine) == without_machine(other), f"step {step}"
    kept = [json.loads((folder / "evaluation.json").read_text()) for folder in (ours, theirs)]
    assert kept[0] == kept[1]
    for model in ("model", "prm"):
        if (theirs / model).exists():
            assert largest_change(theirs / model, ours / model) == 0, model
