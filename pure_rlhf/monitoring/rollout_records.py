"""Some responses of a step as a person reads them: the rows of `rollouts/`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from code_sandbox.problems import Problem
from pure_rlhf.grading.pool import rule_of_code
from pure_rlhf.monitoring.records import RolloutRecord
from pure_rlhf.prm.step_labels import LabelledSteps
from pure_rlhf.types import Advantages, StepSpans

SHOWN_CHARACTERS = 400
"""Of the label of a problem of code."""


def rollout_records(
    count: int,
    *,
    group_size: int,
    prompts: Sequence[str],
    labels: Sequence[str | Problem | None],
    texts: Sequence[str],
    sequences_BT: Tensor,
    action_mask_BA: Tensor,
    steps: StepSpans,
    step_rewards_BS: Tensor | None,
    verifiable_reward_B: Tensor,
    verdict_code_B: Tensor,
    truncated_B: Tensor,
    advantages: Advantages,
    truth: LabelledSteps | None = None,
    decode: Callable[[Tensor], str],
) -> list[RolloutRecord]:
    """The first `count` responses.

    Args:
        step_rewards_BS: None in mode VR.
        verifiable_reward_B: in [0, 1]; NaN without a label. `verdict_code_B` says by which rule (`grading.pool`).
        decode: token ids of a step -> its text.
    """
    records: list[RolloutRecord] = []
    for i, verdict in enumerate(verifiable_reward_B[:count].tolist()):
        ends = steps.end_BS[i][steps.mask_BS[i]].tolist()
        start = int(action_mask_BA[i].int().argmax())
        bounds = list(zip([start, *[end + 1 for end in ends[:-1]]], ends, strict=True))
        rewards = None if step_rewards_BS is None else step_rewards_BS[i][steps.mask_BS[i]].tolist()
        record: RolloutRecord = {
            "group": i // group_size,
            "prompt": prompts[i],
            "label": _shown(labels[i]),
            "text": texts[i],
            # action index a is the prediction of token a + 1
            "steps": [decode(sequences_BT[i, a + 1 : b + 2]) for a, b in bounds],
            "step_rewards": rewards,
            "advantages": [float(advantages.advantages_BA[i, a : b + 1].mean()) for a, b in bounds],
            "verifiable_reward": None if math.isnan(verdict) else round(verdict, 4),
            "accepted_by": rule_of_code(float(verdict_code_B[i])),
            "truncated": bool(truncated_B[i]),
        }
        if truth is not None:
            right = truth.labels_BS[i, : len(bounds)].tolist()
            record["truth"] = [
                None if math.isnan(label) else True if label else defect or False
                for label, defect in zip(right, truth.defects[i], strict=True)
            ]
        records.append(record)
    return records


def _shown(label: str | Problem | None) -> str | None:
    """A final answer; of tests the first, cut."""
    if not isinstance(label, Problem):
        return label
    if label.kind == "asserts":
        return f"asserts: {label.checks}"[:SHOWN_CHARACTERS]
    first = label.tests[0]
    called = f"{label.function}(*{first.input})" if label.function else f"input {first.input!r}"
    return f"{len(label.tests)} tests, the first: {called} -> {first.expected!r}"[:SHOWN_CHARACTERS]
