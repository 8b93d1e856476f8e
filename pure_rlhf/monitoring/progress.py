"""What the terminal shows while a run trains: one line a step, and under them a live bar where there is a terminal.

Whoever watches also sees that nothing goes on any more, and hands on the wish to stop.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import ray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pure_rlhf.monitoring.records import AlarmRecord, RunState

if TYPE_CHECKING:
    from ray.actor import ActorHandle

POLL_SECONDS = 0.5
STOPPED = "stopped"
"""The last phase of a run that was asked to stop."""


class PhaseTimeoutError(Exception):
    """Something took longer than --train.phase_timeout."""

    def __init__(self, phase: str, seconds: float) -> None:
        super().__init__(
            f"{phase} took more than {seconds:g} s (--train.phase_timeout); a worker hangs, or that is too short"
        )


class StoppedError(Exception):
    """The run was asked to stop, and did after the step that is its argument."""


class StopRequest:
    """A handler of signals: the first asks a run that trains to stop after its step; the next one stops it at once."""

    def __init__(self) -> None:
        self.is_made = False
        self.is_training = False

    def __call__(self, *signal: object) -> None:
        if self.is_made or not self.is_training:
            raise KeyboardInterrupt
        self.is_made = True


# metric and form: the few numbers of a step that fit a line of 80 columns
SHOWN = (
    ("reward/verifiable_accuracy", "accuracy {:.2f}"),
    ("reward/process_return", "return {:+.2f}"),
    ("pure/steps_per_answer", "steps {:.1f}"),
    ("rollout/response_length", "tokens {:.0f}"),
    ("policy/kl_reference", "KL {:.3f}"),
    ("timing/step", "{:.1f} s"),
)


def describe(metrics: dict[str, float]) -> str:
    """One line for a person: the metrics of SHOWN that the step has."""
    return "  ".join(form.format(metrics[key]) for key, form in SHOWN if key in metrics)


def describe_alarm(alarm: AlarmRecord) -> str:
    """One line for a person, with what to go back to or what the run went back to."""
    good = alarm["good_checkpoint"]
    if "rolled_back_to" in alarm:
        remedy = f"rolled back to step {alarm['rolled_back_to']}"
    elif good:
        remedy = f"last checkpoint before it: {good}"
    else:
        remedy = "no checkpoint from before it is kept"
    return f"ALARM {alarm['kind']} at step {alarm['step']}: {alarm['message']}; {remedy}"


def new_lines(before: RunState, now: RunState) -> list[str]:
    """What to print when the trainer's `progress()` has gone from one state to another: step, alarms, phase.

    Example: `step  40/500  accuracy 0.68  return +0.55  steps 4.1  tokens 40  KL 0.010  3.3 s`.
    """
    lines = []
    if (
        now["step"] != before["step"] and now["metrics"]
    ):  # none: made by a program that this one goes on with
        total = str(now["max_steps"])
        lines.append(f"step {now['step']:>{len(total)}}/{total}  {describe(now['metrics'])}")
    lines += [describe_alarm(alarm) for alarm in now["alarms"][len(before["alarms"]) :]]
    lines += now["notices"][len(before["notices"]) :]
    if now["phase"] != before["phase"]:
        lines.append(f"{now['phase']} ...")
    return lines


def make_bar(console: Console) -> Progress:
    """Phase, bar, steps done, time gone and time left in one line; nothing where there is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        expand=True,
        speed_estimate_period=3600,  # seconds: steps may take minutes
    )


class _Watch:
    """How long a run has been at the same thing."""

    def __init__(self, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self._last: tuple[object, ...] = ()
        self._since = time.monotonic()

    def look(self, state: RunState) -> None:
        """Raises: PhaseTimeoutError where it has been for too long."""
        now = state["phase"], state["activity"], state["step"]
        if now != self._last:
            self._last, self._since = now, time.monotonic()
        elif time.monotonic() - self._since > self.limit_seconds:
            doing = state["activity"] or state["phase"]
            raise PhaseTimeoutError(f"{doing} of step {state['step'] + 1}", self.limit_seconds)


def follow(
    trainer: ActorHandle,
    result: ray.ObjectRef,
    *,
    phase_timeout: float = math.inf,
    stop: StopRequest | None = None,
    check: Callable[[], None] = lambda: None,
) -> Any:
    """Show the trainer's progress until `result` is there; returns it (or raises the worker's error).

    Args:
        check: called again and again; raises where there is nothing left to wait for.

    Raises:
        PhaseTimeoutError: the run did the same for longer than `phase_timeout` seconds.
        StoppedError: it has stopped because it was asked to.
    """
    console = Console(file=sys.stdout)
    state: RunState = {
        "phase": "", "activity": "", "step": 0, "max_steps": 0, "metrics": {}, "alarms": [], "notices": []
    }  # fmt: skip
    watch = _Watch(phase_timeout)
    asked = False
    with make_bar(console) as bar:
        task = bar.add_task("", total=None)
        done = False
        while not done:
            done = bool(ray.wait([result], timeout=POLL_SECONDS)[0])
            if done:
                ray.get(result)  # raises the worker's own error before the dead trainer is asked
            check()
            told = trainer.progress.remote()
            while not ray.wait([told], timeout=POLL_SECONDS)[0]:
                watch.look(state)
                check()
            before, state = state, cast("RunState", ray.get(told))
            watch.look(state)
            if stop is not None:
                stop.is_training = state["phase"] == "training"
                if stop.is_made and not asked:
                    trainer.stop_after_step.remote()
                    asked = True
            for line in new_lines(before, state):
                style = "bold red" if line.startswith("ALARM") else None
                # lines in a file are not broken
                console.print(
                    line,
                    style=style,
                    markup=False,
                    highlight=False,
                    soft_wrap=not console.is_terminal,
                )
            bar.update(
                task,
                description=state["activity"] or state["phase"],
                completed=state["step"],
                total=state["max_steps"],
            )
    if state["phase"] == STOPPED:
        raise StoppedError(state["step"])
    return ray.get(result)
