"""The records of a run, as they stand in its files and travel from the trainer to the terminal.

`RunDirectory` writes and reads them; `report/` and the tests read them by these names.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

JsonObject = dict[str, object]
"""What was read from a file and is not known yet to be one of the records below."""

MetricRow = dict[str, float]
"""A line of `metrics.jsonl`: `step`, `wall_seconds`, and the metrics of the step by name (`metric_table.py`)."""


class ConfigRecord(TypedDict):
    """`config.json`."""

    config: JsonObject  # the settings, nested by group
    seed: int
    packages: dict[str, str]  # versions
    git_commit: str | None
    started: str  # ISO 8601


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
    label: str | None  # None: there is none
    text: str
    steps: list[str]
    step_rewards: list[float] | None  # None in mode VR
    advantages: list[float]  # mean over the tokens of each step
    verifiable_reward: float | None  # in [0, 1]; None without a label
    accepted_by: str | None  # the verifier's rule; None where it did not accept
    truncated: bool
    truth: NotRequired[
        list[bool | str | None]
    ]  # of each step by --step_labeller; a text says what is wrong


class RunState(TypedDict):
    """What the trainer says of a run while it goes on."""

    phase: str
    activity: str  # what of a step goes on
    step: int
    max_steps: int
    metrics: dict[str, float]  # of the last step
    alarms: list[AlarmRecord]  # since the start of this process
    notices: list[str]  # the same; what else a person should know


class CalibrationPoint(TypedDict):
    """Held-out steps to which a PRM gives about the same probability of being right."""

    mean_probability: float
    share_right: float
    steps: float


class PrmStageRecord(TypedDict):
    """`prm_evaluation.json` of one stage of a PRM's training; the figures have their own names."""

    name: str  # of its folder
    base: NotRequired[str]  # the folder that it went on from
    calibration: NotRequired[list[CalibrationPoint]]


class IntervalRecord(TypedDict):
    value: float
    interval: list[float]


class BestOfNRecord(TypedDict):
    """A result of `evaluation.best_of_n.best_of_n`."""

    name: str
    num_problems: int
    sizes: list[int]
    curves: dict[str, list[IntervalRecord]]  # by method, one entry a size


class LabelledStepsRecord(TypedDict):
    """One kind of defect; a result of `evaluation.labelled_steps.score_steps` with the name of the kind."""

    name: str
    num_wrong: int  # steps
    num_wrong_found: int
    wrong_found: IntervalRecord | None  # share of these; None where there is no wrong step
    num_right: int
    num_right_passed: int
    right_passed: IntervalRecord | None


class PrmRecord(TypedDict, total=False):
    """`prm.json`; empty where the PRM was neither trained nor measured here."""

    stages: list[PrmStageRecord]  # first to last
    best_of_n: list[BestOfNRecord]
    labelled_steps: list[LabelledStepsRecord]
