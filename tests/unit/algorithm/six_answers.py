"""A batch of six answers of different shapes, 2 prompts x 3 answers, to compute by hand.

Token 9 is a separator, 1 is EOS, 5 6 7 are words, 3 the prompt, 0 padding. With the credit
temperature T = 1 / ln 3, softmax(-r / T) has the weights 3^-r. O is the sum of the credits, L the
length, m the tokens of each step without its terminator, n the number of steps; KL names its
non-zero tokens.

       answer        step rewards      weights   credits      O      L  m        n  solved  KL
    A1 5 9 6 1       0.5, -0.5         1 : 3     1/8, -3/8   -1/4    4  1, 1     2  yes     0.5 @ 0
    A2 5 6 9 7       0.5,  0.5         1 : 1     1/4,  1/4    1/2    4  2, 1     2  no
    A3 5 1           1                 1         1            1      2  1        1  yes     0.25 @ 0
    B1 9 5 6 1       0,    1           3 : 1     0,    1/4    1/4    4  0, 2     2  unknown 1 @ 2
    B2 5 6 7 1       -0.5              1         -1/2        -1/2    4  3        1  unknown
    B3 5 9 6 9 7 1   -0.6, -0.6, -0.6  1:1:1     -0.2 each   -0.6    6  1, 1, 1  3  unknown

A2 was cut off by the length limit. The first step of B1 is empty. The prompts have 2 and 3 tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pure_rlhf.algorithm.advantages import compute_advantages
from pure_rlhf.algorithm.settings import AdvantageSettings, convention_settings
from pure_rlhf.algorithm.step_segmentation import split_steps
from pure_rlhf.types import Advantages, StepSpans

TEMPERATURE = 0.9102392266268373  # 1 / ln 3
ANSWERS = [
    [5, 9, 6, 1],
    [5, 6, 9, 7],
    [5, 1],
    [9, 5, 6, 1],
    [5, 6, 7, 1],
    [5, 9, 6, 9, 7, 1],
]
PROMPT_LENGTHS = [2, 2, 2, 3, 3, 3]
STEP_REWARDS = [[0.5, -0.5], [0.5, 0.5], [1.0], [0.0, 1.0], [-0.5], [-0.6, -0.6, -0.6]]
SOLVED = [1.0, 0.0, 1.0, float("nan"), float("nan"), float("nan")]
KL = [[0.5, 0, 0, 0], [0] * 4, [0.25, 0], [0, 0, 1, 0], [0] * 4, [0] * 6]


def lay_out(
    answers: list[list[int]], prompt_lengths: list[int], extra_padding: int = 0
) -> tuple[StepSpans, Tensor]:
    """Returns the steps and `action_mask_BA` of answers in the tokens above."""
    lengths = [p + len(a) for p, a in zip(prompt_lengths, answers, strict=True)]
    width = max(lengths) + extra_padding
    sequences = torch.zeros(len(answers), width, dtype=torch.int64)
    action_mask = torch.zeros(len(answers), width - 1, dtype=torch.bool)
    for row, (answer, prompt_length) in enumerate(zip(answers, prompt_lengths, strict=True)):
        sequences[row, :prompt_length] = 3
        sequences[row, prompt_length : lengths[row]] = torch.tensor(answer)
        action_mask[row, prompt_length - 1 : lengths[row] - 1] = True
    return split_steps(sequences, action_mask, separator_ids=[9], eos_token_ids=[1]), action_mask


def place(rows: list[list[float]], action_mask_BA: Tensor) -> Tensor:
    """Puts one list per answer at its answer tokens, 0 elsewhere."""
    result = torch.zeros(action_mask_BA.shape)
    for row, values in enumerate(rows):
        result[row, action_mask_BA[row]] = torch.tensor(values, dtype=torch.float32)
    return result


def pad_rows(rows: list[list[float]], width: int) -> Tensor:
    return torch.tensor([row + [float("nan")] * (width - len(row)) for row in rows])


def six_answer_advantages(arguments: dict[str, Any]) -> tuple[Advantages, Tensor]:
    """Returns the result for the six answers, and their action mask."""
    steps, action_mask = lay_out(ANSWERS, PROMPT_LENGTHS)
    result = compute_advantages(
        **arguments,
        step_rewards_BS=pad_rows(STEP_REWARDS, 3),
        steps=steps,
        verifiable_reward_B=torch.tensor(SOLVED),
        kl_BA=place(KL, action_mask),
        action_mask_BA=action_mask,
    )
    return result, action_mask


def arguments_for(
    convention: str,
    *,
    group_size: int = 3,
    kl_coef: float = 0.1,
    max_response_tokens: int = 8,
    **changes: Any,
) -> dict[str, Any]:
    """Arguments of `compute_advantages` for a convention with changed settings."""
    return {
        "settings": AdvantageSettings(**{**convention_settings(convention), **changes}),
        "group_size": group_size,
        "kl_coef": kl_coef,
        "max_response_tokens": max_response_tokens,
    }


def settings_for(convention: str, **changes: Any) -> dict[str, Any]:
    """A convention as the hand-computed numbers use it: beta = 0.1, N = 8, not whitened."""
    return arguments_for(
        convention, **{"credit_temperature": TEMPERATURE, "normalize": False, **changes}
    )


def assert_rows(arguments: dict[str, Any], expected: list[list[float]]) -> None:
    """Compares the advantages of the six answers with one list per answer."""
    result, action_mask = six_answer_advantages(arguments)
    torch.testing.assert_close(
        result.advantages_BA, place(expected, action_mask), atol=2e-6, rtol=2e-6
    )
