"""PRIME's worked batch: four responses to one prompt, log-ratios q of an implicit PRM, outcomes a.

       q                      S     a   steps end at the tokens
    1  0.2 -0.1 0.4 0.1       0.6   1   1, 3
    2  -0.3 -0.5 0.2          -0.6  0   0, 2
    3  0.1 0.3 0 0.5 -0.2     0.7   1   1, 3, 4
    4  0.75 -0.1              0.65  0   1

The largest return is 0.7 (response 3 from its first token on). Token 9 is a separator, 1 is EOS, 5 a word.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pure_rlhf.algorithm.advantages import compute_advantages
from pure_rlhf.algorithm.implicit_reward import implicit_rewards
from pure_rlhf.algorithm.settings import AdvantageSettings, convention_settings
from pure_rlhf.types import Advantages, StepSpans
from tests.unit.algorithm.six_answers import lay_out, place

BETA = 0.05
Q = [[0.2, -0.1, 0.4, 0.1], [-0.3, -0.5, 0.2], [0.1, 0.3, 0.0, 0.5, -0.2], [0.75, -0.1]]
OUTCOMES = [1.0, 0.0, 1.0, 0.0]
RESPONSES = [[5, 9, 5, 1], [9, 5, 1], [5, 9, 5, 9, 1], [5, 1]]


def prime_batch() -> tuple[StepSpans, Tensor, Tensor]:
    """Steps, `action_mask_BA` and q `(B, A)`."""
    steps, action_mask = lay_out(RESPONSES, [2, 2, 2, 2])
    return steps, action_mask, place(Q, action_mask)


def prime_advantages(
    spans: StepSpans, action_mask: Tensor, q_BA: Tensor, **changes: Any
) -> Advantages:
    """Advantages of the batch under `--convention prime`, with changed settings."""
    return compute_advantages(
        AdvantageSettings(**{**convention_settings("prime"), **changes}),
        group_size=4,
        max_response_tokens=8,
        kl_coef=0.0,
        step_rewards_BS=implicit_rewards(q_BA, spans, beta=BETA).rewards_BS,
        steps=spans,
        verifiable_reward_B=torch.tensor(OUTCOMES),
        kl_BA=None,
        action_mask_BA=action_mask,
    )
