"""After a sync the real vLLM engine computes with the new weights, all of them, however they were cut into buckets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Qwen2ForCausalLM

from pure_rlhf.scratch import scratch_folder
from tests.conftest import RandomWorld
from tests.tiny_models import qwen2_config, train_tokenizer

pytestmark = pytest.mark.integration

NOISE = 0.02  # of bf16, nats
LARGE_BUCKET, SMALL_BUCKET = 2**20, 20_000  # the small one cuts q, k and v of a layer apart


@pytest.mark.parametrize("tied", [True, False])
def test_the_engine_computes_with_what_was_pushed(
    world: RandomWorld, tmp_path: Path, tied: bool
) -> None:
    folder = world.policy
    if not tied:
        folder = tmp_path / "untied"
        tokenizer = train_tokenizer(["some words"])
        config = qwen2_config(tokenizer, tie_word_embeddings=False)
        Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    for bucket_bytes in (SMALL_BUCKET, LARGE_BUCKET) if tied else (SMALL_BUCKET,):
        with scratch_folder() as temporary:  # vLLM leaves files in TMPDIR
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "tests.integration.sync_probe",
                    str(folder),
                    str(bucket_bytes),
                ],
                env=os.environ | {"TMPDIR": str(temporary)},
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode == 0, done.stderr[-3000:]
        result = json.loads(done.stdout.strip().splitlines()[-1])
        assert (result["buckets"] > 5) == (bucket_bytes == SMALL_BUCKET)
        (old_before, new_before), (old_after, new_after) = result["before"], result["after"]
        assert old_before < NOISE < 5 * NOISE < new_before
        assert new_after < NOISE < 5 * NOISE < old_after
