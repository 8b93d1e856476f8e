"""What a run is doing now, for the terminal (`progress.py`) and, in progress.json, for whoever else watches it."""

from __future__ import annotations

from pure_rlhf.monitoring.records import AlarmRecord, RunState
from pure_rlhf.monitoring.run_directory import RunDirectory


class RunStatus:
    """The trainer's account of itself. `state` may be read from another thread: it is replaced, never changed."""

    def __init__(self, run: RunDirectory, max_steps: int) -> None:
        self._run = run
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
        self.state = {**self.state, "phase": phase, "activity": ""}
        self._run.write_progress(self.state)

    def begin(self, activity: str) -> None:
        """What of a step goes on: generation, scoring, the update, the weight sync, the evaluation, the checkpoint."""
        self.state = {**self.state, "activity": activity}
        self._run.write_progress(self.state)

    def step_done(self, step: int, metrics: dict[str, float]) -> None:
        """A step was made."""
        self.state = {**self.state, "step": step, "metrics": metrics}

    def raise_alarms(self, *alarms: AlarmRecord) -> None:
        """Alarms were raised."""
        self.state = {**self.state, "alarms": [*self.state["alarms"], *alarms]}

    def tell(self, notice: str) -> None:
        """Something else that a person should know."""
        self.state = {**self.state, "notices": [*self.state["notices"], notice]}
