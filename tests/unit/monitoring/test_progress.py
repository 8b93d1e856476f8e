"""The lines and the bar of a run: what is said when, in 80 columns."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import NodeDiedError
from rich.console import Console

from pure_rlhf.monitoring import progress
from pure_rlhf.monitoring.progress import (
    PhaseTimeoutError,
    StoppedError,
    StopRequest,
    follow,
    make_bar,
    new_lines,
)

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


class Trainer:
    """A trainer's handle; `progress` tells one state after the other, and the result is there after the last."""

    def __init__(self, states: Iterable[dict[str, Any]]) -> None:
        self.states = list(states)
        self.told = 0
        self.was_asked_to_stop = False
        self.progress = SimpleNamespace(remote=lambda: "progress")
        self.stop_after_step = SimpleNamespace(remote=self._stop)

    def _stop(self) -> None:
        self.was_asked_to_stop = True

    def wait(self, references: list[str], timeout: float) -> tuple[list[str], list[str]]:
        is_ready = references == ["progress"] or self.told >= len(self.states) - 1
        return (references, []) if is_ready else ([], references)

    def get(self, reference: str) -> Any:
        if reference == "result":
            return "evaluations"
        self.told += 1
        return self.states[min(self.told, len(self.states)) - 1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second goes by whenever it is looked at."""
    seconds = itertools.count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(seconds)))


def watch(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    monkeypatch.setattr(progress.ray, "wait", trainer.wait)
    monkeypatch.setattr(progress.ray, "get", trainer.get)
    handle: Any = trainer
    result: Any = "result"
    return follow(handle, result, **options)


def test_a_phase_has_a_limit_and_a_run_has_none(
    monkeypatch: pytest.MonkeyPatch, clock: None
) -> None:
    """As long as what goes on changes, it may go on for ever."""
    lively = [state(step=n // 2, activity=("scoring", "the update")[n % 2]) for n in range(60)]
    assert watch(Trainer(lively), monkeypatch, phase_timeout=5) == "evaluations"
    hanging = [*lively, *[state(step=41, activity="the weight sync")] * 20]
    with pytest.raises(PhaseTimeoutError, match=r"^the weight sync of step 42 took more than 5 s"):
        watch(Trainer(hanging), monkeypatch, phase_timeout=5)


@pytest.mark.parametrize("num_looks", [0, 3])
def test_where_ray_is_gone_nothing_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, num_looks: int
) -> None:
    """Before the trainer is asked, and while its answer does not come."""
    looks = itertools.count()

    def check() -> None:
        if next(looks) >= num_looks:
            raise NodeDiedError("gone")

    trainer = Trainer([state()] * 3)
    monkeypatch.setattr(trainer, "wait", lambda references, timeout: ([], references))
    with pytest.raises(NodeDiedError, match="gone"):
        watch(trainer, monkeypatch, check=check)


def test_the_first_wish_to_stop_waits_for_the_step_and_the_second_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = StopRequest()
    with pytest.raises(KeyboardInterrupt):
        stop()  # nothing is trained yet
    stopping = Trainer([state(), state(), state(phase="stopped", step=10)])
    watch(Trainer([state(), state()]), monkeypatch, stop=stop)
    stop()
    with pytest.raises(KeyboardInterrupt):
        stop()
    with pytest.raises(StoppedError, match="10"):
        watch(stopping, monkeypatch, stop=stop)
    assert stopping.was_asked_to_stop


def test_what_a_program_goes_on_with_is_no_step_of_its_own() -> None:
    resumed = state(step=8, metrics={}, notices=["rollout-0 died"])
    assert new_lines(state(step=0, metrics={}), resumed) == ["rollout-0 died"]
