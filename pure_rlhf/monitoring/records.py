"""The records of a run, as they stand in its files and travel from the trainer to the terminal.

`RunDirectory` writes and reads them; `report/` and the tests read them by these names.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class AlarmRecord(TypedDict):
    """A line of `alarms.jsonl`."""

    kind: str
    step: int
    message: str
    good_checkpoint: str | None  # relative to the run; the newest that is old enough
    rolled_back_to: NotRequired[int]  # the step of the checkpoint that was loaded


EvaluationRecord = TypedDict(
    "EvaluationRecord",
    {
        "pass@1": float,
        "n": int,  # problems
        "ci95": list[float],  # Wilson interval of pass@1
        "truncated": float,  # share of responses that the length limit cut off
        "no_answer": float,  # share of responses without a final answer
        "mean_tokens": float,
        "selection": NotRequired["EvaluationRecord"],  # of --eval.selection_dataset
    },
)
"""An entry of `evaluation.json`, under "before", "after" or "step N": greedy pass@1."""


class SelectionRecord(TypedDict):
    """The entry of a step where there is an --eval.selection_dataset alone."""

    selection: EvaluationRecord


class RolloutRecord(TypedDict):
    """A line of `rollouts/step_NNNNNN.jsonl`: one response for a person to read."""

    group: int  # the same for the responses to one prompt
    prompt: str
    answer: str | None  # the label; None: there is none
    text: str
    steps: list[str]
    step_rewards: list[float] | None  # None in mode VR
    advantages: list[float]  # mean over the tokens of each step
    verifiable_reward: int | None  # None without a label
    accepted_by: str | None  # the verifier's rule; None where it did not accept
    truncated: bool


class RunState(TypedDict):
    """What the trainer says of a run while it goes on."""

    phase: str
    step: int
    max_steps: int
    metrics: dict[str, float]  # of the last step
    alarms: list[AlarmRecord]  # since the start of this process
