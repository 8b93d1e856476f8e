"""A step of ours beside a step of upstream OpenRLHF's: `python -m tests.benchmarks.upstream`.

Both train the same 3-million-parameter policy by RLOO on the same prompts, 16 x 4 answers, with a reference and a
reward model of the same size (upstream's gives an answer one number, ours is a PRM), one optimiser step. The answers
of a step have fixed lengths, the same in both: all alike, or with a long tail (quantiles of a log-normal distribution,
as answers of mathematics have). Programs in turn, and again, so that all of them see the same machine. Prints the
median of each phase, of the whole step, and the ratios. What upstream needs on a CPU host is in `upstream_host.py`.

    ours          as it comes: on a CPU host scoring waits for the last answer
    ours-early    scores while the rest is being written (--rollout.score_parts 32)
    ours-async    writes the next batch during the update (--train.async_steps 1)
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Literal

import tyro

from pure_rlhf import cpu_host
from tests.benchmarks.step import make_inputs
from tests.benchmarks.upstream_host import LENGTHS_VARIABLE, PHASES, TIMES_VARIABLE
from tests.command_lines import as_flags

Lengths = Literal["equal", "tail"]
Program = Literal["upstream", "upstream-async", "ours", "ours-early", "ours-async"]
ANSWERS, PROMPTS = 4, 16
MEAN_TOKENS, MOST_TOKENS = 96, 480
TAIL_SPREAD = 0.8  # of the logarithm of a length
MAX_LEN = 512
WARM_UP_STEPS = 2
ROOT = Path(__file__).parents[2]

OURS_PHASES = {
    "timing/generation": "generation",
    "timing/log_probs": "scoring",
    "timing/score_prm": "scoring",
    "timing/verify": "scoring",
    "timing/advantages": "scoring",
    "timing/policy_update": "update",
    "timing/weight_sync": "sync",
    "timing/step": "step",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The command line."""

    programs: tuple[Program, ...] = ("upstream", "ours", "ours-early", "ours-async")
    """Which to compare; ratios are to the first."""
    lengths: tuple[Lengths, ...] = ("equal", "tail")
    """Of the answers of a step."""
    rounds: int = 2
    """Runs of each program with each lengths."""
    steps: int = 8
    """Of a run; the first two are not counted."""


def answer_lengths(kind: Lengths) -> list[int]:
    """Tokens of the answers of one step, in a fixed random order; with about the same mean in both kinds."""
    count = ANSWERS * PROMPTS
    if kind == "equal":
        return [MEAN_TOKENS] * count
    # a log-normal distribution with mean m has its median at m exp(-s^2 / 2)
    tail = NormalDist(0, TAIL_SPREAD)
    shares = [tail.inv_cdf((place + 0.5) / count) - TAIL_SPREAD**2 / 2 for place in range(count)]
    lengths = [min(round(MEAN_TOKENS * math.exp(share)), MOST_TOKENS) for share in shares]
    random.Random(0).shuffle(lengths)
    return lengths


def flags_of(program: Program, folder: Path, output: Path, steps: int) -> dict[str, object]:
    """The command line of a program; what both have is set alike."""
    shared: dict[str, object] = {
        "actor.model_name_or_path": folder / "policy",
        "data.prompt_dataset": folder / "train.jsonl",
        "data.input_key": "question",
        "data.label_key": "answer",
        "data.input_template": "{}",
        "data.max_len": MAX_LEN,
        "actor.num_gpus_per_node": 1,
        "ref.num_gpus_per_node": 1,
        "reward.num_gpus_per_node": 1,
        "vllm.num_engines": 1,
        "vllm.gpu_memory_utilization": 0.5,
        "ds.attn_implementation": "sdpa",
        "ds.zero_stage": 2,
        "rollout.max_new_tokens": MOST_TOKENS,
        "rollout.batch_size": PROMPTS,
        "rollout.n_samples_per_prompt": ANSWERS,
        "rollout.micro_batch_size": 16,
        "rollout.temperature": 1.0,
        "train.batch_size": ANSWERS * PROMPTS,
        "train.micro_batch_size": 16,
        "algo.kl.init_coef": 0.001,
        "ckpt.save_steps": -1,
    }
    if program.startswith("ours"):
        return shared | {
            "reward.model_name_or_path": folder / "prm",
            "reward_mode": "PRM",
            "data.prompt_max_len": MAX_LEN - MOST_TOKENS,
            "output_dir": output,
            "max_steps": steps,
            "train.async_steps": int(program == "ours-async"),
        }
    return shared | {
        "reward.model_name_or_path": folder / "policy",
        "ds.param_dtype": cpu_host.parameter_type("auto"),
        "algo.advantage.estimator": "rloo",
        "data.max_samples": steps * PROMPTS,
        "ckpt.output_dir": output / "model",
        "ckpt.path": output / "checkpoints",
        "train.num_episodes": 1,
    }


def run(
    program: Program, lengths: Lengths, settings: Settings, folder: Path, number: int
) -> list[dict[str, float]]:
    """Seconds of each phase of the steps that count.

    Raises:
        RuntimeError: the program failed.
    """
    output = folder / f"{program}-{lengths}-{number}"
    output.mkdir()
    times = output / "times.jsonl"
    flags = flags_of(program, folder, output, settings.steps)
    arguments = as_flags(flags)
    if program.startswith("ours"):
        arguments.append("--no_dashboard")
        if program == "ours-early":
            arguments += ["--rollout.score_parts", "32"]
    else:
        arguments.append("--vllm.enforce_eager")
        if program == "upstream-async":
            arguments.append("--train.async_enable")
    environment = os.environ | {
        LENGTHS_VARIABLE: json.dumps(answer_lengths(lengths)),
        TIMES_VARIABLE: str(times),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.benchmarks.upstream_host"]
    done = subprocess.run(
        [*command, program.split("-")[0], *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    path = output / "metrics.jsonl" if program.startswith("ours") else times
    if done.returncode or not path.exists():
        raise RuntimeError(f"{program} ended with {done.returncode}:\n{done.stdout[-5000:]}")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if program.startswith("ours"):
        rows = [_ours(row) for row in rows]
    return rows[WARM_UP_STEPS:]


def _ours(metrics: dict[str, float]) -> dict[str, float]:
    row: dict[str, float] = defaultdict(float)
    for key, name in OURS_PHASES.items():
        row[name] += metrics.get(key, 0.0)
    return dict(row) | {"tokens": metrics["rollout/response_length"]}


def main() -> None:
    """Run all programs in turn and print the tables."""
    settings = tyro.cli(Settings, description=__doc__, use_underscores=True)
    found: dict[tuple[Lengths, Program], list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder)
        for number in range(settings.rounds):
            for lengths in settings.lengths:
                for program in settings.programs:
                    found[lengths, program] += run(program, lengths, settings, folder, number)
    print(f"{os.cpu_count()} cores; seconds, medians")
    for lengths in settings.lengths:
        mean = statistics.fmean(answer_lengths(lengths))
        print(f"\n{PROMPTS} x {ANSWERS} answers, lengths {lengths}, {mean:.0f} tokens on average")
        columns = (*dict.fromkeys(PHASES.values()), "step", "tokens")
        print(
            f"{'':<16}{'steps':>6}"
            + "".join(f"{column:>12}" for column in columns)
            + f"{'ratio':>8}"
        )
        medians = {
            program: {
                column: statistics.median(row[column] for row in found[lengths, program])
                for column in columns
            }
            for program in settings.programs
        }
        first = medians[settings.programs[0]]["step"]
        for program, values in medians.items():
            cells = "".join(f"{values[column]:>12.3f}" for column in columns)
            print(
                f"{program:<16}{len(found[lengths, program]):>6}{cells}{values['step'] / first:>8.2f}"
            )


if __name__ == "__main__":
    main()
