"""Times the way from step rewards to advantages, beside a plain loop, on one thread.

    python -m tests.benchmarks.advantages

1,024 answers of up to 2,048 tokens and 60 steps, both conventions. Prints the median time of ours,
of the plain loop, and their ratio; ends with an error if the two do not agree. The target, under
50 ms on one core, is held against CPU time, which does not depend on what else the machine does.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pure_rlhf.algorithm.advantages import compute_advantages
from pure_rlhf.algorithm.settings import AdvantageSettings, convention_settings
from pure_rlhf.algorithm.step_segmentation import split_steps
from pure_rlhf.types import StepSpans
from tests.unit.algorithm.loop_reference import loop_advantages

NUM_ANSWERS, MAX_ANSWER_TOKENS, MAX_STEPS, GROUP_SIZE = 1024, 2048, 60, 4
PROMPT_TOKENS, PAD, EOS, SEPARATOR, WORD = 64, 0, 1, 2, 3
TARGET_SECONDS = 0.050


def make_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns `sequences_BT` and `action_mask_BA` of answers of random length and steps."""

    def draw(low: int, high: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    length_B = draw(256, MAX_ANSWER_TOKENS + 1, (NUM_ANSWERS,))
    length_B[0] = MAX_ANSWER_TOKENS
    sequences_BT = torch.full((NUM_ANSWERS, PROMPT_TOKENS + MAX_ANSWER_TOKENS), WORD)
    num_steps_B = draw(1, MAX_STEPS + 1, (NUM_ANSWERS,))
    num_steps_B[0] = MAX_STEPS
    for row in range(NUM_ANSWERS):
        length, num_steps = int(length_B[row]), int(num_steps_B[row])
        places = torch.randperm(length - 1, generator=generator)[: num_steps - 1]
        sequences_BT[row, PROMPT_TOKENS + places] = SEPARATOR
        if row % 8 or row == 0:  # every eighth answer is cut off by the length limit
            sequences_BT[row, PROMPT_TOKENS + length - 1] = EOS
        sequences_BT[row, PROMPT_TOKENS + length :] = PAD
    position_A = torch.arange(PROMPT_TOKENS + MAX_ANSWER_TOKENS - 1)
    action_mask_BA = position_A >= PROMPT_TOKENS - 1
    action_mask_BA = action_mask_BA & (position_A < PROMPT_TOKENS - 1 + length_B[:, None])
    return sequences_BT, action_mask_BA


def median_seconds(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Returns the medians of CPU time and of wall-clock time."""
    cpu_seconds, wall_seconds = [], []
    for _ in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        function()
        cpu_seconds.append(time.process_time() - cpu_start)
        wall_seconds.append(time.perf_counter() - wall_start)
    return statistics.median(cpu_seconds), statistics.median(wall_seconds)


def benchmark(name: str, steps: StepSpans, action_mask_BA: Tensor, rewards: list[Tensor]) -> bool:
    """Prints one line; returns whether both implementations agree."""
    step_rewards_BS, verifiable_reward_B, kl_BA = rewards
    settings = AdvantageSettings(**convention_settings(name))
    batch: dict[str, Any] = {
        "group_size": GROUP_SIZE,
        "max_response_tokens": MAX_ANSWER_TOKENS,
        "kl_coef": 0.001,
    }

    def ours() -> Tensor:
        return compute_advantages(
            settings,
            **batch,
            step_rewards_BS=step_rewards_BS,
            steps=steps,
            verifiable_reward_B=verifiable_reward_B,
            kl_BA=kl_BA,
            action_mask_BA=action_mask_BA,
        ).advantages_BA

    def plain_loop() -> Tensor:
        return loop_advantages(
            settings,
            **batch,
            step_rewards_BS=step_rewards_BS,
            steps=steps,
            verifiable_reward_B=verifiable_reward_B,
            kl_BA=kl_BA,
            action_mask_BA=action_mask_BA,
        )

    ours()
    our_seconds, our_wall_seconds = median_seconds(ours, repeats=21)
    loop_seconds, _ = median_seconds(plain_loop, repeats=3)
    difference = float((ours() - plain_loop()).abs().max())
    verdict = "met" if our_seconds < TARGET_SECONDS else "MISSED"
    sys.stdout.write(
        f"{name:9s} ours {our_seconds * 1e3:5.1f} ms (wall clock {our_wall_seconds * 1e3:5.1f})   "
        f"plain loop {loop_seconds * 1e3:6.0f} ms   ratio {loop_seconds / our_seconds:4.0f}   "
        f"largest difference {difference:.1e}   "
        f"target 50 ms {verdict}\n"
    )
    return difference < 1e-3


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    sequences_BT, action_mask_BA = make_batch(generator)

    def split() -> StepSpans:
        return split_steps(
            sequences_BT, action_mask_BA, separator_ids=[SEPARATOR], eos_token_ids=[EOS]
        )

    steps = split()
    sys.stdout.write(
        f"{NUM_ANSWERS} answers, up to {MAX_ANSWER_TOKENS} tokens, {steps.mask_BS.shape[1]} steps; "
        f"one thread; split_steps takes {median_seconds(split, repeats=11)[0] * 1e3:.1f} ms\n"
    )
    step_rewards_BS = torch.rand(steps.mask_BS.shape, generator=generator) * 2 - 1
    verifiable_reward_B = torch.randint(0, 2, (NUM_ANSWERS,), generator=generator).float()
    verifiable_reward_B.view(-1, GROUP_SIZE)[::3] = torch.nan
    kl_BA = torch.randn(action_mask_BA.shape, generator=generator)
    rewards = [step_rewards_BS, verifiable_reward_B, kl_BA]
    agreed = [benchmark(name, steps, action_mask_BA, rewards) for name in ("openrlhf", "verl")]
    if not all(agreed):
        raise SystemExit("the two implementations do not agree")


if __name__ == "__main__":
    main()
