"""What a run is doing now, for the terminal (`progress.py`) and, in progress.json, for whoever else watches it."""

from __future__ import annotations

import threading
from typing import Any, cast

from pure_rlhf.monitoring.records import AlarmRecord, RunState
from pure_rlhf.monitoring.run_directory import RunDirectory


class RunStatus:
    """The trainer's account of itself, from several threads; `state` is replaced, never changed, so it may be read."""

    def __init__(self, run: RunDirectory, max_steps: int) -> None:
        self._run = run
        self._lock = threading.Lock()
        self.state: RunState = {
            "phase": "starting",
            "activity": "",
            "step": 0,
            "max_steps": max_steps,
            "metrics": {},
            "alarms": [],
            "notices": [],
        }

    @property
    def step(self) -> int:
        """The last step that was made."""
        return self.state["step"]

    def enter(self, phase: str) -> None:
        """A phase of the run: evaluating before training, training, evaluating after training, saving."""
        self._change(phase=phase, activity="")
        self._run.write_progress(self.state)

    def begin(self, activity: str) -> None:
        """What of a step goes on: generation, scoring, the update, the weight sync, the evaluation, the checkpoint."""
        self._change(activity=activity)
        self._run.write_progress(self.state)

    def step_done(self, step: int, metrics: dict[str, float]) -> None:
        """A step was made."""
        self._change(step=step, metrics=metrics)

    def raise_alarms(self, *alarms: AlarmRecord) -> None:
        """Alarms were raised."""
        with self._lock:
            self.state = {**self.state, "alarms": [*self.state["alarms"], *alarms]}

    def tell(self, notice: str) -> None:
        """Something else that a person should know."""
        with self._lock:
            self.state = {**self.state, "notices": [*self.state["notices"], notice]}

    def _change(self, **changes: Any) -> None:
        with self._lock:
            self.state = cast("RunState", {**self.state, **changes})
