"""The main job on PURE's own published prompt file, with a small model whose tokenizer is trained on that text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.command_lines import as_flags
from tests.integration.runs import Run, metrics
from tests.shared_data import shared_file
from tests.tiny_models import save_models

pytestmark = pytest.mark.integration


def test_two_steps_on_the_published_prompts(tmp_path: Path) -> None:
    data = shared_file("pure/8k_math_879_answers.json.gz")
    with gzip.open(data, "rt", encoding="utf-8") as file:
        rows = json.load(file)
    assert len(rows) == 8523 and sum(row["answer"] != "null" for row in rows) == 879
    policy, prm = save_models(tmp_path, (row["question"] for row in rows[:2000]))
    flags = {
        "reward_mode": "PRMVR",
        "actor.model_name_or_path": policy,
        "reward.model_name_or_path": prm,
        "data.prompt_dataset": data,
        "data.input_key": "question",
        "data.prompt_max_len": 160,
        "data.max_len": 256,
        "output_dir": tmp_path / "run",
        "actor.num_gpus_per_node": 1,
        "ref.num_gpus_per_node": 1,
        "reward.num_gpus_per_node": 1,
        "vllm.num_engines": 1,
        "ds.attn_implementation": "sdpa",
        "rollout.max_new_tokens": 64,
        "rollout.batch_size": 16,
        "rollout.micro_batch_size": 16,
        "train.batch_size": 32,
        "train.micro_batch_size": 16,
        "max_steps": 2,
        "ckpt.save_steps": -1,
    }
    with Run(as_flags(flags)) as run:
        assert run.wait() == 0, run.text[-6000:]
    steps = metrics(tmp_path / "run")
    assert [row["step"] for row in steps] == [1, 2]
    assert 100 < steps[0]["data/prompts_dropped"] < 8000  # long prompts are dropped and counted
    # about one prompt in ten has a known answer; the others are trained on process rewards alone
    assert all(row.get("reward/answered_frac", 0.0) < 0.5 for row in steps)
    assert all(-1 <= row["reward/process_return"] <= 1 for row in steps)
