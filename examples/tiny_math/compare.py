"""Runs of the small world side by side: `python -m examples.tiny_math.compare RUNS --page PAGE --output_dir DIR ...`.

Reads the run directories that the `compare_*.sh` of `examples/scripts/` leave (all sampled answers are in `rollouts/`),
asks the exact checker for the truth of every step, and writes comparison.json and comparison.html.

Definitions, written down before the first run. All on the answers sampled in training, smoothed by the mean of the last
five steps:

* accuracy: share of answers whose final answer is right (by the checker, also where no answer was given to training);
* collapse: the first step from which accuracy stays at least 20 points below its highest value so far, to the end of
  the run. A dip that recovers is none;
* exploitation: the PRM's return is higher at the end than at the step of the highest accuracy, while accuracy has
  fallen at least 10 points since; it begins at that step.

Of the PRM on the answers that it meets, by the labels that PRM training has (up to the first wrong step):

* F1 on wrong steps and AUC, as in PRM training; recall by what is wrong with the first wrong step (`checker.DEFECTS`);
* what an outcome would teach it: of answers with a wrong verdict, how often the step with the lowest reward, which
  --prm_update outcome pushes most, is the first wrong one, beside how often a step drawn at random would be; of answers
  with a right verdict, how many have no wrong step, as --prm_update last_step takes for granted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
import tyro

from examples.tiny_math.checker import DEFECTS, first_defect, is_correct
from examples.tiny_math.problems import parse_problem
from examples.tiny_math.progress import Progress
from examples.tiny_math.tokenizer import END_OF_TEXT
from pure_rlhf.prm.conventions import is_judged_wrong
from pure_rlhf.prm.quality import step_metrics
from pure_rlhf.report.figures import held_out_points

SMOOTHING_STEPS = 5
COLLAPSE_POINTS = 0.20
EXPLOITATION_POINTS = 0.10
RUN_NAME = re.compile(r"(.+)-seed(\d+)")
PageName = Literal["credit", "online_prm", "prime", "async"]

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


@dataclass(frozen=True)
class RunHistory:
    """One run: a row of numbers for each training step, and greedy held-out accuracy by step."""

    setting: str  # "PRM softmin none", "VR"
    seed: int
    rows: list[dict[str, float]]  # by step; keys: step, accuracy, solutions_right, steps_right, ...
    greedy: list[tuple[int, float]]  # step (0 is before training), pass@1
    num_greedy: int  # problems
    first_alarm: tuple[str, int] | None = None  # kind, step

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


def collapse_index(accuracy: Sequence[float]) -> int | None:
    """Index from which accuracy stays 20 points below its highest earlier value to the end; None if it does not.

    Example: `[0.3, 0.9, 0.65, 0.9, 0.6, 0.5]` collapses at index 4 (the dip at 2 recovers).
    """
    found: int | None = None
    highest = float("-inf")
    for index, value in enumerate(accuracy):
        highest = max(highest, value)
        if highest - value < COLLAPSE_POINTS - 1e-9:
            found = None
        elif found is None:
            found = index
    return found


def lowest_after_a_fall(values: Sequence[float]) -> float:
    """Where the largest fall from an earlier value ended.

    Example: of `[0.3, 0.9, 0.65, 0.9, 0.8]` it is 0.65, of values that only rise the first.
    """
    highest, fall, lowest = values[0], 0.0, values[0]
    for value in values:
        highest = max(highest, value)
        if highest - value > fall:
            fall, lowest = highest - value, value
    return lowest


def exploitation_index(accuracy: Sequence[float], process_return: Sequence[float]) -> int | None:
    """Index of the highest accuracy where the return rose and accuracy fell 10 points after it; None otherwise."""
    peak = max(range(len(accuracy)), key=lambda index: accuracy[index])
    fell = accuracy[peak] - accuracy[-1] >= EXPLOITATION_POINTS - 1e-9
    return peak if fell and process_return[-1] > process_return[peak] else None


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
    for kind in DEFECTS:
        of_kind = [
            answer.rewards[answer.defect[0]]
            for answer in answers
            if answer.rewards and answer.defect and answer.defect[1] == kind
        ]
        found[f"seen {kind}"] = float(len(of_kind))
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
    rows = []
    for line in (run / "metrics.jsonl").open(encoding="utf-8"):
        metrics = json.loads(line)
        rollouts = run / "rollouts" / f"step_{metrics['step']:06d}.jsonl"
        answers = [check_answer(json.loads(answer)) for answer in rollouts.open(encoding="utf-8")]
        row = {"step": float(metrics["step"])}
        row |= true_quality(answers) | prm_quality(answers) | label_quality(answers)
        row |= {key: metrics[theirs] for key, theirs in FROM_METRICS.items() if theirs in metrics}
        rows.append(row)
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
    )


def run_summary(history: RunHistory) -> dict[str, Any]:
    """What the tables show of one run; shares are in [0, 1], steps count from 1, None is "not within the run"."""
    accuracy, right = history.smoothed("accuracy"), history.smoothed("solutions_right")
    steps = [int(row["step"]) for row in history.rows]
    has_prm = "process_return" in history.rows[0]
    exploited = (
        exploitation_index(accuracy, history.smoothed("process_return")) if has_prm else None
    )
    collapsed = collapse_index(accuracy)
    peak = max(range(len(accuracy)), key=lambda index: accuracy[index])
    summary = {
        "setting": history.setting,
        "seed": history.seed,
        "steps": steps[-1],
        "greedy_before": history.greedy[0][1],
        "greedy_best": max(value for _, value in history.greedy),
        "greedy_after": history.greedy[-1][1],
        "accuracy_peak": accuracy[peak],
        "accuracy_peak_step": steps[peak],
        "accuracy_last": accuracy[-1],
        "solutions_right_best": max(right),
        "solutions_right_lowest": lowest_after_a_fall(right),
        "solutions_right_last": right[-1],
        "exploitation_step": None if exploited is None else steps[exploited],
        "collapse_step": None if collapsed is None else steps[collapsed],
        "first_alarm": history.first_alarm,
    }
    for name, key in (("prm_f1", "prm_f1"), ("pair_accuracy", "pair_accuracy")):
        found = [row[key] for row in history.rows if key in row]
        first, last = found[:SMOOTHING_STEPS], found[-SMOOTHING_STEPS:]
        summary |= {f"{name}_first": fmean(first), f"{name}_last": fmean(last)} if found else {}
    held_out = [row["held_out_f1"] for row in history.rows if "held_out_f1" in row]
    if held_out:
        summary |= {"held_out_f1_first": held_out[0], "held_out_f1_last": held_out[-1]}
    if "step_seconds" in history.rows[0]:
        seconds = sorted(history.column("step_seconds"))
        summary["step_seconds"] = seconds[len(seconds) // 2]
    return summary


def total(histories: Sequence[RunHistory], key: str, *, last: int | None = None) -> float:
    """The sum of a count over the runs, over all steps or the last ones."""
    return sum(row.get(key, 0.0) for run in histories for row in run.rows[-(last or 0) :])


def steps_to_reach(histories: Sequence[RunHistory], target: float) -> int | None:
    """First step with a full window where the mean over seeds of the smoothed accuracy reaches the target."""
    columns = [history.smoothed("accuracy") for history in histories]
    means = [fmean(values) for values in zip(*columns, strict=False)]
    full = range(SMOOTHING_STEPS - 1, len(means))
    reached = [index for index in full if means[index] >= target]
    return int(histories[0].rows[reached[0]]["step"]) if reached else None


def finished_runs(folder: Path, cells: Sequence[str], steps: int) -> list[RunHistory]:
    """The histories of all runs of the cells that reached the last step, in the order of the cells and seeds."""
    runs = [
        (cell, path)
        for cell in cells
        for path in sorted(folder.glob(f"{cell.replace(' ', '-')}-seed*"))
        if (path / "report.html").is_file()
    ]
    histories = [
        read_history(run, cell)
        for cell, run in Progress("checking every step").track(runs, len(runs))
    ]
    assert all(history.rows[-1]["step"] == steps for history in histories), "a run of other length"
    return histories


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command line."""

    runs: tyro.conf.Positional[Path]
    """Folder of run directories named CELL-seedN."""
    page: PageName
    """What is asked of the runs."""
    cells: str
    """Names of the settings, separated by semicolons."""
    output_dir: Path
    """Where comparison.json and comparison.html are written."""
    steps: int
    """Training steps of every run."""
    learning_rate: float
    """Of the policy, for the page."""
    note: str = ""
    """Further settings, for the page."""


def main() -> None:
    """Read, check, write."""
    from examples.tiny_math.compare_page import render_comparison

    arguments = tyro.cli(Arguments, description=__doc__)
    cells = arguments.cells.split(";")
    histories = finished_runs(arguments.runs, cells, arguments.steps)
    if not histories:
        raise SystemExit(f"error: {arguments.runs} holds no finished run")
    world = json.loads((arguments.runs.parents[1] / "world" / "world.json").read_text())
    summaries = [run_summary(history) for history in histories]
    facts = {
        "page": arguments.page,
        "steps": arguments.steps,
        "learning_rate": arguments.learning_rate,
        "note": arguments.note,
        "world": world,
    }
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    record = json.dumps({**facts, "runs": summaries}, indent=2) + "\n"
    (arguments.output_dir / "comparison.json").write_text(record, encoding="utf-8")
    page = arguments.output_dir / "comparison.html"
    page.write_text(render_comparison(histories, summaries, facts), encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
