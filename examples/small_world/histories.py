"""What a run in the small world was in truth: a row of numbers for each training step, by the exact checker.

`python -m examples.small_world.histories RUN --setting NAME --output FILE.json.gz` reads a run directory (all sampled
answers are in `rollouts/`) and writes its history, a hundredth of its size, which is all that comparisons read.

Of the PRM on the answers that it meets, by the labels that PRM training has (up to the first wrong step):

* F1 on wrong steps and AUC, as in PRM training; recall by what is wrong with the first wrong step (`checker.DEFECTS`);
* what an outcome would teach it: of answers with a wrong verdict, how often the step with the lowest reward, which
  --prm_update outcome pushes most, is the first wrong one, beside how often a step drawn at random would be; of answers
  with a right verdict, how many have no wrong step, as --prm_update last_step takes for granted.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import tyro

from examples.small_world.checker import DEFECTS, first_defect, is_correct
from examples.small_world.problems import parse_problem
from examples.small_world.tokenizer import END_OF_TEXT
from pure_rlhf.prm.conventions import is_judged_wrong
from pure_rlhf.prm.quality import step_metrics
from pure_rlhf.report.figures import held_out_points

SMOOTHING_STEPS = 5
SIGNIFICANT_DIGITS = 5
RUN_NAME = re.compile(r"(.+)-seed(\d+)")

# what a step's row holds beside the truth -> key in metrics.jsonl
FROM_METRICS = {
    "process_return": "reward/process_return",
    "step_reward": "reward/step_reward",
    "steps_per_answer": "pure/steps_per_answer",
    "response_length": "rollout/response_length",
    "pair_accuracy": "prm/pair_accuracy",
    "held_out_f1": "prm/held_out_f1",
    "curriculum_yield": "curriculum/yield",
    "step_seconds": "timing/step",
    "staleness": "async/staleness",
    "answered_frac": "reward/answered_frac",
}


ALARM_METRICS = re.compile(
    "step|reward/(verifiable_accuracy|process_return|no_answer_frac|num_verified|accepted_by_.*)"
    "|pure/(single_step_frac|tokens_per_step)|rollout/(response_length|high_repetition_frac)"
    "|policy/(kl_reference|clip_ratio)|prm/(held_out_f1|outcome_accuracy|loss)"
)
"""Kept so that alarms can be found again with other thresholds."""


@dataclass(frozen=True)
class RunHistory:
    """One run: a row of numbers for each training step, and greedy held-out accuracy by step."""

    setting: str  # "PRM softmin none", "VR"
    seed: int
    rows: list[dict[str, float]]  # by step; keys: step, accuracy, solutions_right, steps_right, ...
    greedy: list[tuple[int, float]]  # step (0 is before training), pass@1
    num_greedy: int  # problems
    first_alarm: tuple[str, int] | None = None  # kind, step
    # what the alarms read, by step
    alarm_metrics: list[dict[str, float]] = field(default_factory=list)

    def column(self, key: str) -> list[float]:
        """One number for each step."""
        return [row[key] for row in self.rows]

    def smoothed(self, key: str) -> list[float]:
        """The mean of the last five steps, at each step."""
        return running_mean(self.column(key))

    def wall_clock(self) -> list[float]:
        """Seconds of training after each step: evaluations and checkpoints between the steps are left out."""
        return list(accumulate(self.column("step_seconds")))


def running_mean(values: Sequence[float], window: int = SMOOTHING_STEPS) -> list[float]:
    """Mean of the last `window` values at each place (of fewer at the beginning).

    Example: `running_mean([1.0, 3.0, 5.0], 2)` is `[1.0, 2.0, 4.0]`.
    """
    parts = [values[max(0, end - window) : end] for end in range(1, len(values) + 1)]
    return [sum(part) / len(part) for part in parts]


@dataclass(frozen=True)
class CheckedAnswer:
    """An answer and the truth of its steps."""

    is_right: bool  # its final answer
    verdicts: list[bool]
    defect: tuple[int, str] | None  # of its first wrong step
    rewards: list[float] | None  # of the PRM
    verdict: int | None  # of the verifier; None: training had no label


def check_answer(record: dict[str, Any]) -> CheckedAnswer:
    """Ask the checker about a row of `rollouts/`."""
    problem = parse_problem(record["prompt"])
    # the last step holds the end-of-text token, since it is a step's terminator
    steps = [step.removesuffix(END_OF_TEXT) for step in record["steps"]]
    defect = first_defect(problem, steps)
    num_right = len(steps) if defect is None else defect[0]
    return CheckedAnswer(
        is_right=is_correct(problem, record["text"]),
        verdicts=[place < num_right for place in range(len(steps))],
        defect=defect,
        rewards=record.get("step_rewards"),
        verdict=record.get("verifiable_reward"),
    )


def true_quality(answers: Sequence[CheckedAnswer]) -> dict[str, float]:
    """What is true of the answers of one step, as shares in [0, 1].

    `accuracy`: right final answers; `solutions_right`: answers that are right in every step and the final answer;
    `steps_right`: right steps (all steps before them right) among all steps.
    """
    num_steps = sum(len(answer.verdicts) for answer in answers)
    return {
        "accuracy": sum(answer.is_right for answer in answers) / len(answers),
        "solutions_right": sum(answer.is_right and all(answer.verdicts) for answer in answers)
        / len(answers),
        "steps_right": sum(sum(answer.verdicts) for answer in answers) / num_steps,
    }


def prm_quality(answers: Sequence[CheckedAnswer]) -> dict[str, float]:
    """How well the PRM's rewards of one step agree with the truth; empty without a PRM.

    `prm_f1`, `prm_auc`, `wrong_step_reward`: on labelled steps, left out where they are not defined.
    `seen KIND`, `caught KIND`: numbers of first wrong steps of each kind, and of those that the PRM calls wrong.
    `right steps`, `right steps called wrong`; `right ends`, `right ends called wrong`: the last steps of answers that
    are right in every step.
    """
    labelled = [
        (reward, verdict)
        for answer in answers
        if answer.rewards is not None
        for end in [answer.defect[0] + 1 if answer.defect else len(answer.verdicts)]
        for reward, verdict in zip(answer.rewards[:end], answer.verdicts[:end], strict=True)
    ]
    if not labelled:
        return {}
    rewards, labels = map(torch.tensor, zip(*labelled, strict=True))
    measured = step_metrics(rewards, labels.long())
    found = {"prm_f1": measured["f1_wrong_steps"], "prm_auc": measured["auc"]}
    if not labels.all():
        found["wrong_step_reward"] = rewards[~labels].mean().item()
    found |= defect_counts([answer for answer in answers if answer.rewards])
    for kind in DEFECTS:
        of_kind = [
            answer.rewards[answer.defect[0]]
            for answer in answers
            if answer.rewards and answer.defect and answer.defect[1] == kind
        ]
        found[f"caught {kind}"] = float(sum(map(is_judged_wrong, of_kind)))
    ends = [answer.rewards[-1] for answer in answers if answer.rewards and not answer.defect]
    for name, chosen in (("right steps", rewards[labels].tolist()), ("right ends", ends)):
        found[name] = float(len(chosen))
        found[f"{name} called wrong"] = float(sum(map(is_judged_wrong, chosen)))
    return {key: value for key, value in found.items() if value is not None}


def label_quality(answers: Sequence[CheckedAnswer]) -> dict[str, float]:
    """What the verdicts of one step would teach a PRM about steps; counts.

    `wrong verdicts`, of them `pushed is first wrong` and, of a step at random, `random is first wrong`;
    `right verdicts`, of them `all right`.
    """
    names = (
        "wrong verdicts",
        "pushed is first wrong",
        "random is first wrong",
        "right verdicts",
        "all right",
    )
    found: dict[str, float] = dict.fromkeys(names, 0.0)
    for answer in answers:
        if answer.verdict == 1:
            found["right verdicts"] += 1
            found["all right"] += all(answer.verdicts)
        elif answer.verdict == 0 and answer.rewards and answer.defect:
            pushed = min(range(len(answer.rewards)), key=answer.rewards.__getitem__)
            found["wrong verdicts"] += 1
            found["pushed is first wrong"] += pushed == answer.defect[0]
            found["random is first wrong"] += 1 / len(answer.rewards)
    return found


def read_history(run: Path, setting: str) -> RunHistory:
    """Read one run directory, whose name ends in `-seedN`."""
    name = RUN_NAME.fullmatch(run.name)
    assert name is not None, f"{run} is not named SETTING-seedN"
    rows, alarm_metrics = [], []
    for line in (run / "metrics.jsonl").open(encoding="utf-8"):
        metrics = json.loads(line)
        rollouts = run / "rollouts" / f"step_{metrics['step']:06d}.jsonl"
        answers = [check_answer(json.loads(answer)) for answer in rollouts.open(encoding="utf-8")]
        row = {"step": float(metrics["step"]), "num_answers": float(len(answers))}
        row |= true_quality(answers) | prm_quality(answers) | label_quality(answers)
        row |= {key: metrics[theirs] for key, theirs in FROM_METRICS.items() if theirs in metrics}
        rows.append(row | defect_counts(answers))  # of all, also where there is no PRM
        alarm_metrics.append({key: metrics[key] for key in metrics if ALARM_METRICS.fullmatch(key)})
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    # of the last step there may be two, "step N" and "after": one point
    greedy = {int(step): result["pass@1"] for step, result in held_out_points(rows, evaluation)}
    alarms = run / "alarms.jsonl"
    lines = alarms.read_text(encoding="utf-8").splitlines() if alarms.is_file() else []
    first = json.loads(lines[0]) if lines else None
    return RunHistory(
        setting=setting,
        seed=int(name[2]),
        rows=rows,
        greedy=sorted(greedy.items()),
        num_greedy=evaluation["before"]["n"],
        first_alarm=(first["kind"], first["step"]) if first else None,
        alarm_metrics=alarm_metrics,
    )


def defect_counts(answers: Sequence[CheckedAnswer]) -> dict[str, float]:
    """`seen KIND`: how often which defect is the first wrong step."""
    found = [answer.defect[1] for answer in answers if answer.defect]
    return {f"seen {kind}": float(found.count(kind)) for kind in DEFECTS}


def write_history(history: RunHistory, path: Path) -> None:
    """Write it as gzipped JSON, in columns; numbers keep five significant digits."""
    record = asdict(history)
    for key in ("rows", "alarm_metrics"):
        rows: list[dict[str, float]] = record[key]
        names = sorted({name for row in rows for name in row})
        record[key] = {name: [_rounded(row.get(name)) for row in rows] for name in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    # no time and no name inside: the same history gives the same file
    with draft.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        packed.write(json.dumps(record, separators=(",", ":")).encode())
    draft.replace(path)


def load_history(path: Path) -> RunHistory:
    """Read what `write_history` wrote."""
    record = json.loads(gzip.decompress(path.read_bytes()))
    for key in ("rows", "alarm_metrics"):
        columns: dict[str, list[float | None]] = record[key]
        count = len(next(iter(columns.values()), []))
        record[key] = [
            {name: value for name in columns if (value := columns[name][index]) is not None}
            for index in range(count)
        ]
    record["greedy"] = [tuple(point) for point in record["greedy"]]
    if record["first_alarm"]:
        record["first_alarm"] = tuple(record["first_alarm"])
    return RunHistory(**record)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{SIGNIFICANT_DIGITS}g}")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command line."""

    run: tyro.conf.Positional[Path]
    """A run directory named SETTING-seedN."""
    setting: str
    """The setting's name as the page shows it."""
    output: Path
    """The file, FILE.json.gz."""


def main() -> None:
    """Read, check, write."""
    arguments = tyro.cli(Arguments, description=__doc__)
    write_history(read_history(arguments.run, arguments.setting), arguments.output)


if __name__ == "__main__":
    main()
