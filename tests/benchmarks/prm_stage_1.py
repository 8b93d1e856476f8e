"""What stage 1 saves by keeping the frozen backbone's outputs: `python -m tests.benchmarks.prm_stage_1`.

Fixed setting: a random Qwen2 of 15 million parameters, 192 rows of 100 to 260 tokens that share no prefix (so nothing
is won but by running the backbone once), 3 epochs, no dropout, float32, one thread. Pairs of runs in turn: the plain
way (the baseline of the ratio) and the kept outputs, each from the command line's settings to the saved model. Prints
the medians of their CPU seconds (with one thread those of a quiet machine's clock) and of the clock, the ratio of the
former (asked for: 2.5), and the largest difference between the two heads.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForTokenClassification

from prm_training.settings import PrmTrainingSettings
from prm_training.train_prm import train_prm

ASKED_RATIO = 2.5
NUM_PAIRS = 3
NUM_ROWS = 192


def make_inputs(folder: Path) -> None:
    """`folder/rows.jsonl` and `folder/policy`."""
    from tests.tiny_models import save_models

    generator = random.Random(0)
    rows = []
    for number in range(NUM_ROWS):
        steps = [
            " ".join(str(generator.randrange(10)) for _ in range(generator.randint(6, 12)))
            for _ in range(generator.randint(5, 10))
        ]
        labels = [generator.random() < 0.5 for _ in steps]
        rows.append({"prompt": f"What is {number}?", "completions": steps, "labels": labels})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_models(
        folder,
        [row["prompt"] for row in rows],
        hidden_size=448,
        intermediate_size=1216,
        num_hidden_layers=6,
        num_attention_heads=7,
        num_key_value_heads=7,
    )


def run(folder: Path, number: int, cache_features: bool) -> tuple[float, float, torch.Tensor]:
    """CPU and clock seconds of a run, and the trained head."""
    output = folder / f"{number}-{cache_features}"
    settings = PrmTrainingSettings(
        stage=1,
        model=str(folder / "policy"),
        train_data=str(folder / "rows.jsonl"),
        output_dir=output,
        cache_features=cache_features,
        learning_rate=1e-3,
        micro_batch_size=8,
        global_batch_size=32,
        dropout=0.0,
        bf16=False,
        threads=1,
    )
    started = time.process_time(), time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        train_prm(settings)
    cpu, clock = time.process_time() - started[0], time.perf_counter() - started[1]
    model = AutoModelForTokenClassification.from_pretrained(output, dtype=torch.float32)
    return cpu, clock, torch.cat([model.score.weight, model.score.bias[:, None]], dim=1)


def main() -> None:
    """Print the medians and their ratio; exit code 1 where less than asked for was reached."""
    cpu: dict[bool, list[float]] = {False: [], True: []}
    clock: dict[bool, list[float]] = {False: [], True: []}
    difference = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder)
        for number in range(NUM_PAIRS):
            heads = {}
            for kept in (False, True):
                cpu_seconds, clock_seconds, heads[kept] = run(folder, number, kept)
                cpu[kept].append(cpu_seconds)
                clock[kept].append(clock_seconds)
            difference = max(difference, float((heads[True] - heads[False]).abs().max()))
    plain, cached = statistics.median(cpu[False]), statistics.median(cpu[True])
    plain_clock, cached_clock = statistics.median(clock[False]), statistics.median(clock[True])
    pairs = ", ".join(f"{a / b:.2f}" for a, b in zip(cpu[False], cpu[True], strict=True))
    print(
        f"medians of {NUM_PAIRS} runs: plain {plain:.1f} s CPU, {plain_clock:.1f} s by the clock;"
    )
    print(f"    outputs kept {cached:.1f} s CPU, {cached_clock:.1f} s by the clock")
    print(f"ratio of CPU seconds: {plain / cached:.2f} (asked for: {ASKED_RATIO}); pairs: {pairs}")
    print(f"largest difference between the two heads: {difference:.1e}")
    sys.exit(plain / cached < ASKED_RATIO)


if __name__ == "__main__":
    main()
