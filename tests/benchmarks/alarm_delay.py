"""When alarms come, against the truth of every step: `python -m tests.benchmarks.alarm_delay RUNS [RUNS ...]`.

RUNS: folders of runs that `examples/scripts/compare_credit_assignment.sh` made (comparison-.../runs). The alarms are
found again in each metrics.jsonl with today's default thresholds; the truth is what the checker says of all
sampled answers, as means over five steps. A row a run: the first alarm, the step at which the share of right steps
is 20 points below its best so far and stays there, the same for right final answers (`collapse` of compare.py), and
how much of the share of right steps was lost when the alarm came. Exit code 1 where an alarm came too late.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tyro

from examples.tiny_math.compare import RUN_NAME, RunHistory, collapse_index, read_history
from pure_rlhf.monitoring.alarms import Alarm, AlarmThresholds, find_alarms


def replay(run: Path) -> list[Alarm]:
    """The alarms of a finished run with the default thresholds."""
    text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    thresholds = AlarmThresholds()
    return [a for end in range(1, len(rows) + 1) for a in find_alarms(rows[:end], thresholds)]


def lost_at(history: RunHistory, key: str) -> int | None:
    """The step at which 20 points of `key` were lost for good."""
    index = collapse_index(history.smoothed(key))
    return None if index is None else int(history.rows[index]["step"])


def lost_by(history: RunHistory, step: int) -> float:
    """How far the share of right steps was below its best at a step, in points."""
    shares = history.smoothed("steps_right")[:step]
    return 100 * (max(shares) - shares[-1])


def main(runs: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Print a Markdown table of all finished runs in the folders."""
    print(
        "| run | greedy before, best, after | first alarm | 20 points of right steps lost | collapse | lost then |"
    )
    print("|---|---|---|---|---|---|")
    late = 0
    for run in sorted(path for folder in runs for path in folder.glob("*-seed*")):
        if not (RUN_NAME.fullmatch(run.name) and (run / "report.html").is_file()):
            continue
        history, alarms = read_history(run, run.name), replay(run)
        greedy = [value for _, value in history.greedy]
        lost = lost_at(history, "steps_right")
        first = f"{alarms[0].kind}, step {alarms[0].step}" if alarms else "none"
        then = f"{lost_by(history, alarms[0].step):.0f} points" if alarms else ""
        late += lost is not None and (not alarms or alarms[0].step >= lost)
        print(
            f"| {run.name} | {greedy[0]:.1%}, {max(greedy):.1%}, {greedy[-1]:.1%} | {first} | {lost or 'no'} "
            f"| {lost_at(history, 'accuracy') or 'no'} | {then} |"
        )  # fmt: skip
    sys.exit(late > 0)


if __name__ == "__main__":
    tyro.cli(main)
