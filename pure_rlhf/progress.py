"""What the terminal shows while a run trains: a live bar, or one plain line a step where there is no terminal."""

from __future__ import annotations

import sys
from typing import Any

import ray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

POLL_SECONDS = 0.5

# metric, label, format: the few numbers of a step that fit a line
SHOWN = (
    ("reward/verifiable_accuracy", "accuracy", "{:.2f}"),
    ("reward/process_return", "process return", "{:+.2f}"),
    ("pure/steps_per_answer", "steps", "{:.1f}"),
    ("rollout/response_length", "tokens", "{:.0f}"),
    ("policy/kl_reference", "KL", "{:.3f}"),
    ("sync/log_prob_gap", "gap", "{:.3f}"),
    ("timing/step", "s/step", "{:.1f}"),
)


def describe(metrics: dict[str, float]) -> str:
    """One line for a person: the metrics of SHOWN that the step has."""
    return "  ".join(
        f"{label} {form.format(metrics[key])}" for key, label, form in SHOWN if key in metrics
    )


def describe_alarm(alarm: dict[str, Any]) -> str:
    """One line for a person, with what to go back to."""
    good = alarm["good_checkpoint"]
    remedy = (
        f"last checkpoint before it: {good}" if good else "no checkpoint from before it is kept"
    )
    return f"ALARM {alarm['kind']} at step {alarm['step']}: {alarm['message']}; {remedy}"


def follow(trainer: Any, result: ray.ObjectRef) -> Any:
    """Show the trainer's progress until `result` is there; returns it (or raises the worker's error)."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        return _follow_plainly(trainer, result)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=None)
        num_shown = 0
        while not ray.wait([result], timeout=POLL_SECONDS)[0]:
            state = _state(trainer)
            for alarm in state["alarms"][num_shown:]:
                progress.console.print(describe_alarm(alarm), style="bold red")
            num_shown = len(state["alarms"])
            line = f"{state['phase']}  {describe(state['metrics'])}"
            progress.update(
                task, description=line, completed=state["step"], total=state["max_steps"]
            )
    return ray.get(result)


def _follow_plainly(trainer: Any, result: ray.ObjectRef) -> Any:
    last: tuple[str, int] = ("", -1)
    num_shown = 0
    done = False
    while not done:
        done = bool(ray.wait([result], timeout=POLL_SECONDS)[0])
        state = _state(trainer) if not done else _last_state(trainer, result)
        for alarm in state["alarms"][num_shown:]:
            print(describe_alarm(alarm), flush=True)
        num_shown = len(state["alarms"])
        if (state["phase"], state["step"]) != last:
            last = (state["phase"], state["step"])
            line = f"[{state['phase']}] step {state['step']}/{state['max_steps']}  {describe(state['metrics'])}"
            print(line.rstrip(), flush=True)
    return ray.get(result)


def _last_state(trainer: Any, result: ray.ObjectRef) -> dict[str, Any]:
    ray.get(result)  # raises the worker's own error before the dead trainer is asked anything
    return _state(trainer)


def _state(trainer: Any) -> dict[str, Any]:
    return ray.get(trainer.progress.remote())
