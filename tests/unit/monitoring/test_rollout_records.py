"""What a person reads of a response: here, what it was graded by."""

from __future__ import annotations

import torch

from code_sandbox.problems import Problem, read_problem
from pure_rlhf.monitoring.records import RolloutRecord
from pure_rlhf.monitoring.rollout_records import SHOWN_CHARACTERS, rollout_records
from pure_rlhf.types import Advantages, StepSpans


def record_of(label: str | Problem | None, reward: float, code: float) -> RolloutRecord:
    advantages = torch.zeros(1, 2)
    (record,) = rollout_records(
        1,
        group_size=1,
        prompts=["p"],
        labels=[label],
        texts=["t"],
        sequences_BT=torch.tensor([[1, 2, 3]]),
        action_mask_BA=torch.tensor([[True, True]]),
        steps=StepSpans(
            end_BS=torch.tensor([[1]]),
            mask_BS=torch.tensor([[True]]),
            content_tokens_BS=torch.tensor([[2]]),
            truncated_B=torch.tensor([False]),
        ),
        step_rewards_BS=None,
        verifiable_reward_B=torch.tensor([reward]),
        verdict_code_B=torch.tensor([code]),
        truncated_B=torch.tensor([False]),
        advantages=Advantages(
            advantages_BA=advantages,
            returns_BA=advantages,
            token_rewards_BA=advantages,
            process_return_B=torch.zeros(1),
        ),
        decode=lambda ids: str(ids.tolist()),
    )
    return record


def test_of_tests_the_first_is_shown() -> None:
    problem = read_problem({"inputs": ["1 2\n", "5 5\n"], "outputs": ["3\n", "10\n"]})
    record = record_of(problem, 0.5, 0.5)
    assert record["label"] == r"2 tests, the first: input '1 2\n' -> '3\n'"
    assert (record["verifiable_reward"], record["accepted_by"]) == (0.5, None)
    call = read_problem({"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]})
    assert record_of(call, 1.0, 12.0)["label"] == "1 tests, the first: add(*[1, 2]) -> '3'"
    huge = read_problem({"inputs": ["9" * 10**6], "outputs": ["1"]})
    assert len(record_of(huge, 0.0, 0.0)["label"] or "") == SHOWN_CHARACTERS


def test_final_answers_are_shown_as_they_are() -> None:
    record = record_of("1/2", 1.0, 1.0)
    assert record["label"] == "1/2" and record["verifiable_reward"] == 1
    assert record_of(None, float("nan"), float("nan"))["verifiable_reward"] is None
