"""What the driver does of a step, without any model: `python -m tests.benchmarks.driver`.

Responses of 1,024 tokens to prompts of 64, with a step every 25 tokens or so, go through all that the trainer's process
does with them: one `Experience` each, micro-batches, step rules, PRM inputs, step rewards back in their places, credit,
advantages, metrics, the responses that are kept, and into Ray's object store for the policy's ranks. Models and
grading are left out: what they would give is drawn at random.

Each size in a process of its own, for its peak of memory. The last column is the driver's share of a step of a 7B
policy with a 7B PRM on 8 H100, by a floor of what that step takes: 12 FLOPs a parameter and token (policy 2 and 6,
reference 2, PRM 2) at 40 % of 989 TFLOPS, and no time for generation.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
import torch
from torch import Tensor

from pure_rlhf import cpu_host

cpu_host.install()

from openrlhf.trainer.ppo_utils.experience import Experience  # noqa: E402

from pure_rlhf.algorithm.step_segmentation import split_steps  # noqa: E402
from pure_rlhf.config import ActorConfig, PureConfig, RewardConfig, RolloutConfig  # noqa: E402
from pure_rlhf.prm.conventions import PureConvention  # noqa: E402
from pure_rlhf.prm.step_labels import LabelledRows  # noqa: E402
from pure_rlhf.prm.token_inputs import single_separator_id  # noqa: E402
from pure_rlhf.workers.experience_maker import PureExperienceMaker  # noqa: E402
from pure_rlhf.workers.gpu_turns import OwnGpus  # noqa: E402
from pure_rlhf.workers.prm_reader import PrmReader  # noqa: E402
from pure_rlhf.workers.process_rewards import make_process_rewards  # noqa: E402
from pure_rlhf.workers.upstream import upstream_args  # noqa: E402
from tests.small_ray import small_ray  # noqa: E402
from tests.tiny_models import train_tokenizer  # noqa: E402

SIZES = (64, 512, 4096, 16384)
GROUP, PROMPT, RESPONSE, STEP = 8, 64, 1024, 25
RANKS = 4
REPEATS = 3
FLOOR_SECONDS_PER_TOKEN = 12 * 7.6e9 / (8 * 0.4 * 989e12)
ROOT = Path(__file__).parents[2]


class Maker(PureExperienceMaker):
    """The models' answers are random numbers of the right shape."""

    def make_experience(self, samples_list: list[Experience]) -> list[Experience]:
        for samples in samples_list:
            shape = samples.action_mask.shape
            samples.action_log_probs = -torch.rand(shape)
            samples.kl = torch.randn(shape) * 1e-3
            samples.info["kl"] = samples.info["logprobs_diff"] = torch.zeros(shape[0])
        return samples_list

    def _dispatch_forward(self, group: Any, sync_condition: bool, **kwargs: Any) -> list[Tensor]:
        return [torch.rand(read.shape) * 2 - 1 for read in kwargs["read_index"]]

    def _flatten_results(self, refs: list[Tensor], duplicate_factor: int) -> list[Tensor]:
        return refs


class Verifier:
    """No response is graded."""

    def grade_batch(self, texts: list[str], labels: list[str | None]) -> list[None]:
        return [None] * len(texts)

    def drain_counters(self) -> dict[str, float]:
        return {}


def make_maker(num: int, tokenizer: Any) -> Maker:
    config = PureConfig(
        reward_mode="PRM",
        actor=ActorConfig(num_gpus_per_node=RANKS),
        reward=RewardConfig(num_gpus_per_node=RANKS),
        rollout=RolloutConfig(batch_size=num // GROUP, n_samples_per_prompt=GROUP, score_parts=1),
    )
    reader = PrmReader(
        PureConvention(),
        prm_tokenizer=tokenizer,
        policy_tokenizer=tokenizer,
        questions={},
        step_separator="\n\n",
    )
    reader.separator_id = single_separator_id(tokenizer)
    return Maker(
        None,
        None,
        "prm",
        None,
        SimpleNamespace(value=0.001),
        SimpleNamespace(args=upstream_args(config)),
        tokenizer,
        settings=config,
        group_size=GROUP,
        max_response_tokens=RESPONSE,
        verifier=Verifier(),
        split=functools.partial(split_steps, separator_ids=[3], eos_token_ids=[1]),
        make_rewards=functools.partial(make_process_rewards, reader=reader, files=LabelledRows()),
        gpus=OwnGpus(),
    )


def make_samples(num: int) -> list[Experience]:
    """What the samples generator makes of the engines' responses."""
    total = PROMPT + RESPONSE
    ids = torch.randint(4, 300, (num, total))
    ids[torch.rand(num, total) < 1 / STEP] = 3
    ids[:, -1] = 1
    mask = torch.zeros(1, total - 1, dtype=torch.long)
    mask[:, PROMPT - 1 :] = 1
    return [
        Experience(
            sequences=ids[row : row + 1].clone(),
            attention_mask=torch.ones(1, total, dtype=torch.long),
            action_mask=mask.clone(),
            rollout_log_probs=-torch.rand(1, total - 1),
            prompts=[f"prompt {row // GROUP}"],
            labels=[None],
            rewards=torch.zeros(1),
            response_length=torch.tensor([float(RESPONSE)]),
            truncated=torch.tensor([False]),
            total_length=torch.tensor([float(total)]),
        )
        for row in range(num)
    ]


def ship(experiences: list[Experience]) -> None:
    """As `async_run_method_batch` sends each rank its part."""
    share = -(-len(experiences) // RANKS)
    references = [
        ray.put({"experience": experiences[start : start + share]})
        for start in range(0, len(experiences), share)
    ]
    del references


def measure(num: int) -> dict[str, float]:
    """Seconds of each part of a step, medians; and the peak of memory in bytes."""
    tokenizer = train_tokenizer(["However, let us see: 1 + 2 = 3.\n\nSo it is 3."] * 50)
    maker = make_maker(num, tokenizer)
    seconds: dict[str, list[float]] = {}
    for _ in range(REPEATS):
        samples = make_samples(num)
        start = time.perf_counter()
        experiences = maker.make_experience_batch(samples)
        made = time.perf_counter()
        ship(experiences)
        times = {"make": made - start, "ship": time.perf_counter() - made}
        for key in ("timing/score_prm", "timing/advantages", "timing/metrics"):
            times[key.removeprefix("timing/")] = maker.metrics[key]
        for key, value in times.items():
            seconds.setdefault(key, []).append(value)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    return medians | {"peak": peak}


def run_alone(num: int) -> None:
    """Print what `measure` finds, as JSON."""
    with small_ray(object_store_bytes=4 * 2**30):
        small = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
        found = measure(num)
    found["peak"] -= small
    print(json.dumps(found))


def main() -> None:
    """Measure all sizes and print the table."""
    print(
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads; milliseconds, medians of {REPEATS}"
    )
    columns = ("make", "score_prm", "advantages", "metrics", "ship")
    print(f"{'responses':>10}" + "".join(f"{column:>12}" for column in columns)
          + f"{'a response':>12}{'KiB each':>10}{'of a step':>11}")  # fmt: skip
    for num in SIZES:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.driver", str(num)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        spent = found["make"] + found["ship"]
        floor = num * (PROMPT + RESPONSE) * FLOOR_SECONDS_PER_TOKEN
        print(f"{num:>10,}" + "".join(f"{1000 * found[column]:>12.1f}" for column in columns)
              + f"{1000 * spent / num:>12.3f}{found['peak'] / num / 1024:>10.0f}{spent / floor:>11.1%}")  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_alone(int(sys.argv[1]))
    else:
        main()
