"""The vLLM backend gives the scores of the default one; in a process of its own, as vLLM needs its environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pure_rlhf import cpu_host
from pure_rlhf.prm.conventions import PrmSample
from pure_rlhf.prm.scorer import PrmScorer
from pure_rlhf.scratch import scratch_folder
from tests.unit.prm.test_scorer import SAMPLES, save_pure, save_qwen

pytestmark = pytest.mark.integration

# Two engines one after the other: the first must give everything back. A budget below the longest answer makes vLLM
# read that one in parts.
SCORE = """
import json, sys, torch
from pure_rlhf.prm.scorer import PrmScorer
from tests.integration.test_vllm_scoring import samples
rewards = []
for folder in sys.argv[1:]:
    with PrmScorer(
        folder, backend="vllm", dtype=torch.float32, max_tokens_per_batch=128
    ) as scorer:
        rewards.append(scorer.score(samples()))
print(json.dumps(rewards))
"""


def samples() -> list[PrmSample]:
    return [*SAMPLES, PrmSample("Long?", "Long?", ("We add 2 + 5.", "So 7") * 20)]


def test_vllm_gives_the_scores_of_transformers(tmp_path: Path) -> None:
    folders = [tmp_path / "pure", tmp_path / "qwen"]
    torch.manual_seed(0)
    for folder, save in zip(folders, (save_pure, save_qwen), strict=True):
        folder.mkdir()
        save(folder)
    with scratch_folder() as temporary:  # vLLM leaves files in TMPDIR
        done = subprocess.run(
            [sys.executable, "-c", SCORE, *map(str, folders)],
            env=os.environ | cpu_host.environment() | {"TMPDIR": str(temporary)},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=500,
        )
    from_vllm = json.loads(done.stdout.splitlines()[-1])
    for folder, rewards in zip(folders, from_vllm, strict=True):
        expected = PrmScorer(str(folder), dtype=torch.float32).score(samples())
        flat = [reward for row in expected for reward in row]
        assert max(flat) - min(flat) > 0.05
        for got, want in zip(rewards, expected, strict=True):
            assert got == pytest.approx(want, abs=1e-4)
