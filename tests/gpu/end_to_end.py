"""The whole pipeline, three steps of `pure_rlhf.cli.train_pure` with random models, and what its metrics must say.

`shared` puts everything on one GPU, so the weights travel by CUDA IPC; `split` trains on one and generates on another,
so they travel by NCCL. That they arrive is seen in `sync/log_prob_gap`, of each step: the policy moves far in one step.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from tests.command_lines import as_flags
from tests.gpu.models import Setting

STEPS = 3
LARGEST_GAP = 0.05
"""nats. One update at this learning rate moves the log-probabilities of this model by 0.09, the two of a step by 0.14,
and bfloat16 leaves 0.011 (measured on 2 cores without a GPU): an engine that missed a sync is found out."""
LEARNING_RATE = 1e-4
MAX_NEW_TOKENS = 256

Placement = Literal["shared", "split"]
Row = dict[str, float]


class RunFailed(Exception):
    """The run ended with an error, or its metrics show that it was not one."""


def flags(setting: Setting, placement: Placement, run: Path) -> list[str]:
    """The arguments of `train_pure`."""
    values: dict[str, object] = {
        "placement": placement,
        "reward_mode": "PRMVR",
        "actor.model_name_or_path": setting.policy,
        "reward.model_name_or_path": setting.prm,
        "data.prompt_dataset": setting.problems,
        "output_dir": run,
        "data.max_len": 160 + MAX_NEW_TOKENS,
        "data.prompt_max_len": 160,
        "rollout.max_new_tokens": MAX_NEW_TOKENS if setting.device != "cpu" else 64,
        "rollout.batch_size": 8,
        "rollout.n_samples_per_prompt": 4,
        "rollout.micro_batch_size": 4,
        "rollout.temperature": 1.0,
        "train.batch_size": 16,
        "train.micro_batch_size": 2,
        "actor.adam.lr": LEARNING_RATE,
        "vllm.gpu_memory_utilization": 0.35 if placement == "shared" else 0.8,
        "max_steps": STEPS,
        "ckpt.save_steps": -1,
    }
    return as_flags(values)


def environment(setting: Setting, placement: Placement) -> dict[str, str]:
    """The GPUs that the run may see: the first, or the first two, of those that this process sees."""
    if setting.device == "cpu":
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(",")
    return {"CUDA_VISIBLE_DEVICES": ",".join(visible[: 1 if placement == "shared" else 2])}


def check(setting: Setting, placement: Placement) -> dict[str, Any]:
    """Run it, and judge what it wrote; returns the numbers of the report."""
    run = setting.folder / f"run_{placement}"
    command = [sys.executable, "-m", "pure_rlhf.cli.train_pure", *flags(setting, placement, run)]
    print(" ".join(command), flush=True)
    done = subprocess.run(command, env=os.environ | environment(setting, placement))
    if done.returncode:
        raise RunFailed(f"train_pure ended with exit code {done.returncode}; its log says why")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return judge([json.loads(line) for line in lines])


def judge(rows: list[Row]) -> dict[str, Any]:
    """The numbers of a run from the rows of its metrics.jsonl; times are means over all steps but the first.

    Raises:
        RunFailed: a step is missing, the engine did not hold the policy's weights, or nothing was learnt from.
    """
    if [row["step"] for row in rows] != list(range(1, STEPS + 1)):
        raise RunFailed(f"steps {[row['step'] for row in rows]} in place of 1 to {STEPS}")
    gaps = [row["sync/log_prob_gap"] for row in rows]
    if not all(gap < LARGEST_GAP for gap in gaps):  # also where one is not a number
        raise RunFailed(
            f"engine and policy are {gaps} nats apart, bound {LARGEST_GAP}: the weights did not arrive"
        )
    if not all(row["policy/grad_norm"] > 0 for row in rows):
        raise RunFailed(f"gradients {[row['policy/grad_norm'] for row in rows]}")
    if not all(row["sync/buckets"] > 0 for row in rows):
        raise RunFailed("no weights were sent")
    warm = rows[1:]
    tokens = [row["rollout/num_answers"] * row["rollout/response_length"] for row in warm]
    generation = mean(n / row["timing/generation"] for n, row in zip(tokens, warm, strict=True))
    whole = mean(n / row["timing/step"] for n, row in zip(tokens, warm, strict=True))
    phases = {
        key.removeprefix("timing/"): mean(row[key] for row in warm)
        for key in warm[0]
        if key.startswith("timing/") and not key.endswith("_per_kilotoken")
    }
    return {
        "tokens/s": whole,
        "tokens/s of generation": generation,
        "largest log-probability gap": max(gaps),
        "KL to the reference at last": rows[-1]["policy/kl_reference"],
        "phases": phases,
    }
