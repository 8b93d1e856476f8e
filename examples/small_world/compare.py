"""Runs of the small world side by side: `python -m examples.small_world.compare HISTORIES --page PAGE ...`.

Reads the histories that the `compare_*.sh` of `examples/scripts/` leave (`histories.py`), writes comparison.json and
comparison.html.

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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import tyro

from examples.small_world.histories import SMOOTHING_STEPS, RunHistory, load_history

COLLAPSE_POINTS = 0.20
EXPLOITATION_POINTS = 0.10
PageName = Literal["rewards", "online_prm", "prime", "async", "claim"]


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


def read_histories(folder: Path, cells: Sequence[str], steps: int) -> list[RunHistory]:
    """The histories of all runs of the cells, in the order of the cells and seeds; all have reached the last step."""
    paths = [
        path
        for cell in cells
        for path in sorted(folder.glob(f"{cell.replace(' ', '-')}-seed*.json.gz"))
    ]
    histories = [load_history(path) for path in paths]
    assert all(history.rows[-1]["step"] == steps for history in histories), "a run of other length"
    return histories


def recalls_of_prms(world: Path) -> dict[str, dict[str, float]]:
    """Of each PRM that was measured ("strong" is the world's own): the share that it finds of each kind of defect."""
    found = {}
    for file in sorted(world.glob("prm*/measured/prm_report.json")):
        report = json.loads(file.read_text(encoding="utf-8"))
        name = file.parents[1].name.removeprefix("prm_blind_to_")
        found["strong" if name == "prm" else name] = {
            kind["name"]: kind["wrong_found"]["value"]
            for kind in report["labelled_steps"]
            if kind["wrong_found"]
        }
    return found


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command line."""

    histories: tyro.conf.Positional[Path]
    """Folder of histories named CELL-seedN.json.gz."""
    world: Path
    """The small world that they ran in, for the page."""
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
    from examples.small_world.claim_page import render_claim
    from examples.small_world.compare_page import render_comparison

    arguments = tyro.cli(Arguments, description=__doc__)
    cells = arguments.cells.split(";")
    histories = read_histories(arguments.histories, cells, arguments.steps)
    if not histories:
        raise SystemExit(f"error: {arguments.histories} holds no history of these cells")
    world = json.loads((arguments.world / "world.json").read_text(encoding="utf-8"))
    summaries = [run_summary(history) for history in histories]
    facts = {
        "page": arguments.page,
        "steps": arguments.steps,
        "learning_rate": arguments.learning_rate,
        "note": arguments.note,
        "world": world,
        "prms": recalls_of_prms(arguments.world),
    }
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    record = json.dumps({**facts, "runs": summaries}, indent=2) + "\n"
    (arguments.output_dir / "comparison.json").write_text(record, encoding="utf-8")
    page = arguments.output_dir / "comparison.html"
    if arguments.page == "claim":
        text = render_claim(histories, facts)
    else:
        text = render_comparison(histories, summaries, facts)
    page.write_text(text, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
