"""The lines and the bar of a run: what is said when, in 80 columns."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from pure_rlhf.monitoring.progress import make_bar, new_lines

METRICS = {
    "reward/verifiable_accuracy": 0.684,
    "reward/process_return": 0.551,
    "pure/steps_per_answer": 14.14,
    "rollout/response_length": 1039.6,
    "policy/kl_reference": 0.0097,
    "timing/step": 123.26,
    "policy/loss": 0.2,
}
ALARM = {"kind": "kl", "step": 9, "message": "KL to the reference is 2.00", "good_checkpoint": None}


def state(**changes: Any) -> dict[str, Any]:
    before = {
        "phase": "training", "activity": "generation", "step": 9, "max_steps": 500, "metrics": METRICS,
        "alarms": [], "notices": [],
    }  # fmt: skip
    return before | changes


def test_one_line_for_a_step_and_none_while_nothing_changes() -> None:
    (line,) = new_lines(state(step=8), state())
    assert line == "step   9/500  accuracy 0.68  return +0.55  steps 14.1  tokens 1040  KL 0.010  123.3 s"  # fmt: skip
    assert new_lines(state(), state()) == []
    metrics = {"timing/step": 3.0}  # a metric that the mode does not have is left out
    assert new_lines(state(step=8), state(metrics=metrics)) == ["step   9/500  3.0 s"]


def test_a_line_of_the_small_world_fits_80_columns() -> None:
    metrics = METRICS | {"pure/steps_per_answer": 4.1, "rollout/response_length": 39, "timing/step": 3.3}  # fmt: skip
    (line,) = new_lines(state(step=8), state(metrics=metrics))
    assert len(line) <= 80


def test_step_alarm_and_phase_are_said_in_the_order_in_which_they_came() -> None:
    lines = new_lines(state(step=8), state(alarms=[ALARM], phase="evaluating after training"))
    assert [line.split()[0] for line in lines] == ["step", "ALARM", "evaluating"]
    assert lines[1] == (
        "ALARM kl at step 9: KL to the reference is 2.00; no checkpoint from before it is kept"
    )
    assert new_lines(state(alarms=[ALARM]), state(alarms=[ALARM])) == []


def test_an_alarm_says_what_to_go_back_to() -> None:
    kept = ALARM | {"good_checkpoint": "checkpoints/_actor/global_step4"}
    (line,) = new_lines(state(), state(alarms=[kept]))
    assert line.endswith("last checkpoint before it: checkpoints/_actor/global_step4")
    (line,) = new_lines(state(), state(alarms=[kept | {"rolled_back_to": 4}]))
    assert line.endswith("rolled back to step 4")


def test_the_bar_shows_everything_in_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    bar = make_bar(console)
    bar.add_task("evaluating before training", total=500, completed=40)
    with console.capture() as captured:
        console.print(bar.get_renderable())
    (line,) = captured.get().splitlines()
    assert len(line) <= 80
    for part in ("evaluating before training", " 40/500", "0:00:00", "left", "-:--:--"):
        assert part in line


def test_there_is_no_bar_where_there_is_no_terminal() -> None:
    output = io.StringIO()
    with make_bar(Console(file=output)) as bar:
        bar.add_task("training", total=500)
    assert output.getvalue() == ""
