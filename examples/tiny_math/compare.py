"""Runs of the small world side by side: `python -m examples.tiny_math.compare RUNS --output_dir DIR`.

Reads the run directories that `examples/scripts/compare_credit_assignment.sh` leaves (all sampled answers are in
`rollouts/`), asks the exact checker for the truth of every step, and writes comparison.json and comparison.html.

Definitions, written down before the first run. All on the answers sampled in training, smoothed by the mean of the last
five steps:

* accuracy: share of answers whose final answer is right (by the checker, also where no answer was given to training);
* collapse: the first step from which accuracy stays at least 20 points below its highest value so far, to the end of
  the run. A dip that recovers is none;
* exploitation: the PRM's return is higher at the end than at the step of the highest accuracy, while accuracy has
  fallen at least 10 points since; it begins at that step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from examples.tiny_math.checker import check_steps, is_correct
from examples.tiny_math.problems import parse_problem
from examples.tiny_math.progress import Progress
from examples.tiny_math.tokenizer import END_OF_TEXT
from pure_rlhf.report.figures import held_out_points

SMOOTHING_STEPS = 5
COLLAPSE_POINTS = 0.20
EXPLOITATION_POINTS = 0.10
RUN_NAME = re.compile(r"(PRM|VR|PRMVR)-([a-z_]+)-seed(\d+)")

# what a step's row holds beside the truth -> key in metrics.jsonl
FROM_METRICS = {
    "process_return": "reward/process_return",
    "step_reward": "reward/step_reward",
    "steps_per_answer": "pure/steps_per_answer",
    "response_length": "rollout/response_length",
}


@dataclass(frozen=True)
class RunHistory:
    """One run: a row of numbers for each training step, and greedy held-out accuracy by step."""

    setting: str  # "PRM softmin"; "VR" has no credit assignment that matters
    seed: int
    rows: list[dict[str, float]]  # by step; keys: step, accuracy, solutions_right, steps_right, ...
    greedy: list[tuple[int, float]]  # step (0 is before training), pass@1
    num_greedy: int  # problems

    def column(self, key: str) -> list[float]:
        """One number for each step."""
        return [row[key] for row in self.rows]

    def smoothed(self, key: str) -> list[float]:
        """The mean of the last five steps, at each step."""
        return running_mean(self.column(key))


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


def exploitation_index(accuracy: Sequence[float], process_return: Sequence[float]) -> int | None:
    """Index of the highest accuracy where the return rose and accuracy fell 10 points after it; None otherwise."""
    peak = max(range(len(accuracy)), key=lambda index: accuracy[index])
    fell = accuracy[peak] - accuracy[-1] >= EXPLOITATION_POINTS - 1e-9
    return peak if fell and process_return[-1] > process_return[peak] else None


def true_quality(answers: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What the checker says of the answers of one step, as shares in [0, 1].

    `accuracy`: right final answers; `solutions_right`: answers that are right in every step and the final answer;
    `steps_right`: right steps (all steps before them right) among all steps.
    """
    num_final = num_solutions = num_right = num_steps = 0
    for answer in answers:
        problem = parse_problem(answer["prompt"])
        final = is_correct(problem, answer["text"])
        # the last step holds the end-of-text token, since it is a step's terminator
        verdicts = check_steps(
            problem, [step.removesuffix(END_OF_TEXT) for step in answer["steps"]]
        )
        num_final += final
        num_solutions += final and all(verdicts)
        num_right += sum(verdicts)
        num_steps += len(verdicts)
    return {
        "accuracy": num_final / len(answers),
        "solutions_right": num_solutions / len(answers),
        "steps_right": num_right / num_steps,
    }


def read_history(run: Path) -> RunHistory:
    """Read one run directory, whose name is `MODE-CREDIT-seedN`."""
    name = RUN_NAME.fullmatch(run.name)
    assert name is not None, f"{run} is not named MODE-CREDIT-seedN"
    mode, credit, seed = name.groups()
    rows = []
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        metrics = json.loads(line)
        text = (run / "rollouts" / f"step_{metrics['step']:06d}.jsonl").read_text(encoding="utf-8")
        row = {"step": float(metrics["step"])}
        row |= true_quality([json.loads(answer) for answer in text.splitlines()])
        row |= {key: metrics[theirs] for key, theirs in FROM_METRICS.items() if theirs in metrics}
        rows.append(row)
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    # of the last step there may be two, "step N" and "after": one point
    greedy = {int(step): result["pass@1"] for step, result in held_out_points(rows, evaluation)}
    return RunHistory(
        setting=mode if mode == "VR" else f"{mode} {credit}",
        seed=int(seed),
        rows=rows,
        greedy=sorted(greedy.items()),
        num_greedy=evaluation["before"]["n"],
    )


def run_summary(history: RunHistory) -> dict[str, Any]:
    """What the table shows of one run; accuracies are shares, steps count from 1, None is "not within the run"."""
    accuracy = history.smoothed("accuracy")
    steps = [int(row["step"]) for row in history.rows]
    has_prm = "process_return" in history.rows[0]
    exploited = (
        exploitation_index(accuracy, history.smoothed("process_return")) if has_prm else None
    )
    collapsed = collapse_index(accuracy)
    peak = max(range(len(accuracy)), key=lambda index: accuracy[index])
    return {
        "setting": history.setting,
        "seed": history.seed,
        "steps": steps[-1],
        "greedy_before": history.greedy[0][1],
        "greedy_best": max(value for _, value in history.greedy),
        "greedy_after": history.greedy[-1][1],
        "accuracy_peak": accuracy[peak],
        "accuracy_peak_step": steps[peak],
        "accuracy_last": accuracy[-1],
        "solutions_right_last": history.smoothed("solutions_right")[-1],
        "exploitation_step": None if exploited is None else steps[exploited],
        "collapse_step": None if collapsed is None else steps[collapsed],
    }


def steps_to_reach(histories: Sequence[RunHistory], target: float) -> int | None:
    """First step with a full window where the mean over seeds of the smoothed accuracy reaches the target."""
    columns = [history.smoothed("accuracy") for history in histories]
    means = [sum(values) / len(values) for values in zip(*columns, strict=False)]
    full = range(SMOOTHING_STEPS - 1, len(means))
    reached = [index for index in full if means[index] >= target]
    return int(histories[0].rows[reached[0]]["step"]) if reached else None


def finished_runs(folder: Path, steps: int) -> list[RunHistory]:
    """The histories of all runs that reached the last step, by setting and seed."""
    runs = [
        path
        for path in sorted(folder.glob("*-seed*"))
        if RUN_NAME.fullmatch(path.name) and (path / "report.html").is_file()
    ]
    histories = [
        read_history(run) for run in Progress("checking every step").track(runs, len(runs))
    ]
    assert all(history.rows[-1]["step"] == steps for history in histories), "a run of other length"
    return sorted(histories, key=lambda history: (history.setting, history.seed))


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command line."""

    runs: tyro.conf.Positional[Path]
    """Folder of run directories named MODE-CREDIT-seedN."""
    output_dir: Path
    """Where comparison.json and comparison.html are written."""
    steps: int
    """Training steps of every run."""
    gamma: float
    """Discount of gamma_decay, for the page."""
    learning_rate: float
    """Of the policy, for the page."""


def main() -> None:
    """Read, check, write."""
    from examples.tiny_math.compare_page import render_comparison

    arguments = tyro.cli(Arguments, description=__doc__)
    histories = finished_runs(arguments.runs, arguments.steps)
    if not histories:
        raise SystemExit(f"error: {arguments.runs} holds no finished run")
    world = json.loads((arguments.runs.parents[1] / "world" / "world.json").read_text())
    summaries = [run_summary(history) for history in histories]
    facts = {
        "steps": arguments.steps,
        "gamma": arguments.gamma,
        "learning_rate": arguments.learning_rate,
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
