"""`python -m pure_rlhf.cli.describe_metrics > docs/metrics.md`: all metrics and alarms, from their tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields

from pure_rlhf.algorithm.alarms import DETECTORS, AlarmThresholds
from pure_rlhf.algorithm.metrics import METRICS

REDUCTIONS = {
    "token": "mean over tokens",
    "step": "mean over steps of answers",
    "sample": "mean over answers",
    "group": "mean over prompts",
    "last": "one value",
}


_METRICS_INTRODUCTION = """\
# Metrics and alarms

Made by `python -m pure_rlhf.cli.describe_metrics` from `pure_rlhf/algorithm/metrics.py` and `alarms.py`; a test fails
when it is out of date. `metrics.jsonl` has one line a step. A metric that a step has no data for is left out.

| key | over | unit | meaning | bad when it |
|---|---|---|---|---|
"""
_ALARMS_INTRODUCTION = """
## Alarms

Rules on means over the last `window` steps; the first window is the first `window` steps of the run, and no alarm
comes before two windows have passed. Thresholds are flags, `--alarm.<name>`. `--alarm.action warn` (default) prints
a line and writes `alarms.jsonl`; `stop` also ends the run after the step; both name the last checkpoint that is at
least two windows old. `off` looks for nothing.

| alarm | rule |
|---|---|
"""


def metrics_page() -> str:
    """The page as Markdown."""
    metrics = (
        (f"`{m.key}`", REDUCTIONS[m.reduction], m.unit, m.meaning, m.bad_sign)
        for m in METRICS.values()
    )
    alarms = ((f"`{detector.kind}`", detector.definition) for detector in DETECTORS)
    thresholds = ((f"`{field.name}`", str(field.default)) for field in fields(AlarmThresholds))
    return (
        _METRICS_INTRODUCTION
        + _rows(metrics)
        + _ALARMS_INTRODUCTION
        + _rows(alarms)
        + "\n| threshold | default |\n|---|---|\n"
        + _rows(thresholds)
    )


def _rows(rows: Iterable[Sequence[str]]) -> str:
    """Rows of a Markdown table."""
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows
    )


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
