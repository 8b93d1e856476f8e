"""When alarms come, against the truth of every step: `python -m tests.benchmarks.alarm_delay HISTORIES [...]`.

HISTORIES: folders of what the `compare_*.sh` of `examples/scripts/` keep of their runs (docs/claim has ours). Alarms
are found again with today's default thresholds, which were set on runs of another world: none of these runs has been
used for them. The truth is what the checker says of all sampled answers, as means over five steps.

Two kinds of run: it *fell* where the share of answers that are right in every step was once 20 points below its best
so far (`claim.fall_at`); it is *healthy* where it never was 10 points below. Runs in between are counted as neither.
Printed: of the runs that fell, how many raised an alarm, how many not later than the fall, and the delay in steps; of
the healthy ones, how many raised one; shares with 95 % Wilson intervals; then a row a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import tyro

from evaluation.scoring import wilson_interval
from examples.small_world.claim import fall_at
from examples.small_world.histories import RunHistory, load_history
from pure_rlhf.monitoring.alarms import Alarm, AlarmThresholds, find_alarms

HEALTHY_POINTS = 0.10


def replay(history: RunHistory) -> list[Alarm]:
    """The alarms of a run with the default thresholds."""
    rows, thresholds = history.alarm_metrics, AlarmThresholds()
    return [a for end in range(1, len(rows) + 1) for a in find_alarms(rows[:end], thresholds)]


def fell_at(history: RunHistory) -> int | None:
    """The step at which 20 points of right solutions were lost."""
    index = fall_at(history.smoothed("solutions_right"))
    return None if index is None else int(history.rows[index]["step"])


def is_healthy(history: RunHistory) -> bool:
    """Whether right solutions were never 10 points below their best so far."""
    return fall_at(history.smoothed("solutions_right"), HEALTHY_POINTS) is None


def share(hits: Sequence[bool]) -> str:
    """Example: "9 of 9 (70 to 100 %)"."""
    if not hits:
        return "0 of 0"
    low, high = wilson_interval(sum(hits), len(hits))
    return f"{sum(hits)} of {len(hits)} ({100 * low:.0f} to {100 * high:.0f} %)"


def main(histories: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Print the summary and a Markdown table of all runs in the folders."""
    runs = [load_history(path) for folder in histories for path in sorted(folder.glob("*.json.gz"))]
    alarms = [replay(run) for run in runs]
    fallen = [
        (step, found)
        for run, found in zip(runs, alarms, strict=True)
        if (step := fell_at(run)) is not None
    ]
    healthy = [bool(found) for run, found in zip(runs, alarms, strict=True) if is_healthy(run)]
    delays = sorted(found[0].step - step for step, found in fallen if found)
    print(f"{len(runs)} runs: {len(fallen)} fell, {len(healthy)} are healthy")
    print(f"fell, with an alarm: {share([bool(found) for _, found in fallen])}")
    in_time = [bool(found) and found[0].step <= step for step, found in fallen]
    print(f"fell, with an alarm not later than the fall: {share(in_time)}")
    if delays:
        print(
            f"first alarm after the fall, steps: median {median(delays):+g}, {delays[0]:+} to {delays[-1]:+}"
        )
    print(f"healthy, with an alarm: {share(healthy)}\n")
    print("| run | right solutions: best, end | fell at step | first alarm |")
    print("|---|---|---|---|")
    for run, found in zip(runs, alarms, strict=True):
        right = run.smoothed("solutions_right")
        first = f"{found[0].kind}, step {found[0].step}" if found else "none"
        print(
            f"| {run.setting}, seed {run.seed} | {max(right):.1%}, {right[-1]:.1%} | {fell_at(run) or 'no'} | {first} |"
        )


if __name__ == "__main__":
    tyro.cli(main)
