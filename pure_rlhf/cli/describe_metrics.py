"""`python -m pure_rlhf.cli.describe_metrics > docs/metrics.md`: all metrics and alarms, from their tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields

from pure_rlhf.monitoring.alarms import DETECTORS, AlarmThresholds
from pure_rlhf.monitoring.metric_table import METRICS

REDUCTIONS = {
    "token": "mean over tokens",
    "step": "mean over steps of answers",
    "sample": "mean over answers",
    "group": "mean over prompts",
    "last": "one value",
}


_METRICS_INTRODUCTION = """\
# Metrics and alarms

Made by `python -m pure_rlhf.cli.describe_metrics` from `metric_table.py` and `alarms.py` in `pure_rlhf/monitoring/`; a
test fails when it is out of date. `metrics.jsonl` has one line a step. A metric that a step has no data for is left
out.

| key | over | unit | meaning | bad when it |
|---|---|---|---|---|
"""
_ALARMS_INTRODUCTION = """
## Alarms

Rules on means over the last `window` steps; the first window is the first `window` steps of the run, and no alarm
comes before two windows have passed. Thresholds are flags, `--alarm.<name>`. What an alarm does, `--alarm.action`:

* `warn` (default): a line in the terminal, one in `alarms.jsonl`, and a mark in every curve of `report.html`; it names
  the last checkpoint that is at least two windows old.
* `stop`: the same, and the run ends after the step.
* `rollback`: the same, and policy and optimiser go back to that checkpoint; steps and prompts go on, with
  `--alarm.rollback_factor` times the weight of the process rewards. After `--alarm.max_rollbacks` of them, or without
  such a checkpoint, the run ends. Made for PRMVR: with process rewards alone their weight cancels out in the normalised
  advantages, but for its balance with the KL penalty.
* `off`: nothing is looked for.

`--alarm.limits 'policy/entropy<0.05' 'timing/step>60'` adds bounds of your own on any metric of the first table (alarm
`limit`, on the mean of the window); a name that is not in it is refused before the run starts.

| alarm | rule |
|---|---|
"""
_MEASURED = """
## Measured

In the first small world with these thresholds (the runs one by one:
[first_world.md](first_world.md#credit-assignments-compared)). Collapse: 20 points of right final answers lost for good.

| runs | collapsed | alarm, steps after it began | right steps lost by then | other runs with an alarm |
|---|---|---|---|---|
| sum-form, process rewards only, learning rate 1e-4 or 2e-4 | 4 of 9 | 3 to 19 | 14 to 17 points | 2 of 5 (decaying) |
| min-form, process rewards only, learning rate 1e-4 | 5 of 6 | 1 to 14 | 9 to 17 points | 0 of 1 |
| healthy: learning rate 2e-5, all reward modes; 1e-4, 40 steps | 0 of 31 | | | 0 of 31 |
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
        + _MEASURED
    )


def _rows(rows: Iterable[Sequence[str]]) -> str:
    """Rows of a Markdown table."""
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows
    )


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
