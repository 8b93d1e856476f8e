"""What metrics, alarms, writing and logging cost of a step: at most 3 % is asked for.

    python -m tests.benchmarks.metrics_cost RUN/metrics.jsonl      the share of that run's median step
    python -m tests.benchmarks.metrics_cost --step_seconds 3.5     or of a given one

Two batches: 256 answers of up to 128 tokens (the small world) and of up to 1,024. A step of the large batch was not
measured where there is no GPU, so for both the shortest step is printed of which the cost is 3 %. Everything that the
trainer does for metrics is called as it calls it, alarms on a history of 1,000 steps; Weights & Biases offline.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pure_rlhf import cpu_host
from pure_rlhf.algorithm.step_segmentation import split_steps
from pure_rlhf.config import LoggerConfig, PureConfig, WandbConfig
from pure_rlhf.monitoring.alarms import AlarmThresholds, find_alarms
from pure_rlhf.monitoring.metric_table import METRICS, check_declared
from pure_rlhf.monitoring.rollout_metrics import rollout_metrics
from pure_rlhf.monitoring.run_directory import RunDirectory
from pure_rlhf.monitoring.sinks import RayMetrics
from tests.small_ray import small_ray
from tests.tiny_models import train_tokenizer

cpu_host.install()

from pure_rlhf.workers.upstream import upstream_args  # noqa: E402

TARGET_SHARE = 0.03
NUM_ANSWERS, GROUP_SIZE, PROMPT_TOKENS, STEP_TOKENS = 256, 4, 64, 25
EOS, SEPARATOR, FIRST_WORD, VOCABULARY = 1, 2, 3, 30_000
HISTORY = 1000
REPEATS = 7


def make_batch(max_tokens: int) -> dict[str, Any]:
    """Arguments of `rollout_metrics`: answers of random length with a step every 25 tokens or so."""
    generator = torch.Generator().manual_seed(0)
    width = PROMPT_TOKENS + max_tokens
    length_B = torch.randint(max_tokens // 4, max_tokens + 1, (NUM_ANSWERS,), generator=generator)
    sequences_BT = torch.randint(FIRST_WORD, VOCABULARY, (NUM_ANSWERS, width), generator=generator)
    sequences_BT[torch.rand(NUM_ANSWERS, width, generator=generator) < 1 / STEP_TOKENS] = SEPARATOR
    sequences_BT[torch.arange(NUM_ANSWERS), PROMPT_TOKENS + length_B - 1] = EOS
    position_A = torch.arange(width - 1)
    action_mask_BA = (position_A >= PROMPT_TOKENS - 1) & (
        position_A < PROMPT_TOKENS - 1 + length_B[:, None]
    )
    steps = split_steps(
        sequences_BT, action_mask_BA, separator_ids=[SEPARATOR], eos_token_ids=[EOS]
    )
    verifiable_reward_B = torch.randint(0, 2, (NUM_ANSWERS,), generator=generator).float()
    verifiable_reward_B.view(-1, GROUP_SIZE)[::3] = torch.nan
    log_probs_BA = -torch.rand(action_mask_BA.shape, generator=generator)
    return {
        "steps": steps,
        "step_rewards_BS": torch.rand(steps.mask_BS.shape, generator=generator) * 2 - 1,
        "process_return_B": torch.rand(NUM_ANSWERS, generator=generator) * 2 - 1,
        "verifiable_reward_B": verifiable_reward_B,
        "response_length_B": length_B,
        "truncated_B": length_B == max_tokens,
        "action_mask_BA": action_mask_BA,
        "kl_BA": torch.randn(action_mask_BA.shape, generator=generator),
        "policy_log_probs_BA": log_probs_BA,
        "engine_log_probs_BA": log_probs_BA + 0.01,
        "group_size": GROUP_SIZE,
        "answer_ids_BA": sequences_BT[:, 1:],
        "texts": ["However, let us see. " * (int(length) // 5) for length in length_B],
    }


def make_records(max_tokens: int, tokenizer: Any) -> list[dict[str, Any]]:
    """What is kept of 8 answers as long as the batch's, with their steps decoded."""
    num_steps = max_tokens // STEP_TOKENS
    ids = [number % 200 + 50 for number in range(STEP_TOKENS)]
    numbers = [0.123456789] * num_steps
    records = []
    for _ in range(8):
        steps = [tokenizer.decode(ids) for _ in range(num_steps)]
        numbers_of_steps = {"step_rewards": numbers, "advantages": numbers}
        records.append({"prompt": "word " * PROMPT_TOKENS, "steps": steps, **numbers_of_steps})
    return records


def milliseconds(function: Callable[[int], object]) -> float:
    """Median wall-clock time of a call; the argument is the number of the call."""
    seconds = []
    for number in range(1, REPEATS + 1):
        start = time.perf_counter()
        function(number)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def history(metrics: dict[str, float], num_steps: int) -> list[dict[str, float]]:
    """A healthy run: the same metrics with some noise."""
    noise = random.Random(0)
    return [
        {"step": step, **{key: value * noise.uniform(0.95, 1.05) for key, value in metrics.items()}}
        for step in range(1, num_steps + 1)
    ]


def cost_of_metrics(max_tokens: int, folder: Path) -> dict[str, float]:
    """Milliseconds of what is done in every run."""
    tokenizer = train_tokenizer(["However, let us see: 1 + 2 = 3.\n\nSo it is 3."] * 50)
    batch, records = make_batch(max_tokens), make_records(max_tokens, tokenizer)
    metrics = rollout_metrics(**batch)
    run, rows = RunDirectory(folder), history(metrics, HISTORY)
    thresholds = AlarmThresholds()
    return {
        "rollout_metrics": milliseconds(lambda number: rollout_metrics(**batch)),
        f"find_alarms, {HISTORY:,} steps": milliseconds(lambda n: find_alarms(rows, thresholds)),
        "check_declared": milliseconds(lambda number: check_declared(metrics)),
        "write_metrics": milliseconds(lambda number: run.write_metrics(number, metrics)),
        "decode the steps that are kept": milliseconds(
            lambda n: make_records(max_tokens, tokenizer)
        ),
        "write_rollouts": milliseconds(lambda number: run.write_rollouts(number, records)),
    }


def cost_of_sinks(folder: Path) -> dict[str, float]:
    """Milliseconds of logging all metrics of one step elsewhere."""
    from openrlhf.utils.logging_utils import TensorboardLogger, WandbLogger

    os.environ |= {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
    logger = LoggerConfig(tensorboard_dir=str(folder), wandb=WandbConfig(enable=True))
    args = upstream_args(PureConfig(logger=logger))
    with small_ray():
        metrics = {key.replace("<name>", "held_out"): 0.123456789 for key in METRICS}
        gauges = RayMetrics("benchmark")
        wandb, tensorboard = WandbLogger(args), TensorboardLogger(args)
        found = {
            "Ray (always)": milliseconds(lambda number: gauges.log(number, metrics)),
            "TensorBoard": milliseconds(lambda number: tensorboard.log_train(number, metrics)),
            "Weights & Biases": milliseconds(lambda number: wandb.log_train(number, metrics)),
        }
        wandb.close()
        tensorboard.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("metrics", type=Path, nargs="?", help="metrics.jsonl of a run")
    parser.add_argument("--step_seconds", type=float, help="or the seconds of a step")
    arguments = parser.parse_args()
    step_seconds = arguments.step_seconds
    if arguments.metrics:
        rows = map(json.loads, arguments.metrics.read_text(encoding="utf-8").splitlines())
        step_seconds = statistics.median(row["timing/step"] for row in rows)
    if not step_seconds:
        parser.error("needs the metrics.jsonl of a run, or --step_seconds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = (cost_of_metrics(max_tokens, folder) for max_tokens in (128, 1024))
        sinks = cost_of_sinks(folder)
    print(f"{len(METRICS)} metrics; {torch.get_num_threads()} threads; median of {REPEATS}, ms")
    print(f"{'':<32}{'256 x 128':>12}{'256 x 1,024':>12}")
    for what in small | sinks:
        costs = (cost.get(what, sinks.get(what, 0.0)) for cost in (small, large))
        print(f"{what:<32}" + "".join(f"{value:>12.2f}" for value in costs))
    totals = [sum(cost.values()) + sum(sinks.values()) for cost in (small, large)]
    print(f"{'all':<32}" + "".join(f"{total:>12.2f}" for total in totals))
    print(
        f"{'3 % of a step of (s)':<32}"
        + "".join(f"{t / 1000 / TARGET_SHARE:>12.2f}" for t in totals)
    )
    share = totals[0] / 1000 / step_seconds
    verdict = "met" if share <= TARGET_SHARE else "MISSED"
    print(f"{share:.2%} of a step of {step_seconds:.2f} s with 256 x 128; 3 % asked for: {verdict}")


if __name__ == "__main__":
    main()
