"""What follows from an alarm: a record of it, and whether the run goes on, ends, or goes back to an earlier step.

The detectors are `alarms.py`; loading a checkpoint is the trainer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pure_rlhf.bounds import Bounds
from pure_rlhf.monitoring.alarms import Alarm, AlarmThresholds, Row, find_alarms, without_undone
from pure_rlhf.monitoring.records import AlarmRecord
from pure_rlhf.monitoring.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class AlarmSettings(AlarmThresholds):
    """Alarms on collapse and reward hacking (docs/metrics.md)."""

    action: Literal["off", "warn", "stop", "rollback"] = "warn"
    """warn: one line in the terminal and in alarms.jsonl; stop: also end the run after the step, with the last
    checkpoint named that is at least two windows old; rollback: load that checkpoint and go on with less weight on
    the process rewards."""
    rollback_factor: Annotated[float, Bounds(low=0, high=1, remedy="0.5 halves the weight")] = 0.5
    """What each roll back multiplies the weight of the process rewards by, in [0, 1]."""
    max_rollbacks: Annotated[int, Bounds(low=0, remedy="0 ends the run at once")] = 3
    """The alarm after so many roll backs ends the run."""

    @property
    def safe_age(self) -> int:
        """Steps that a checkpoint must be older than an alarm: an average over a window shows a collapse late, so what
        was saved one window before it may be in it already."""
        return 2 * self.window


@dataclass(frozen=True)
class Verdict:
    """What the alarms of one step (`alarms.jsonl` records, oldest first) ask for."""

    records: list[AlarmRecord]
    roll_back_to: int | None = None  # a step whose checkpoint is there
    stop: bool = False


class AlarmWatch:
    """The history that the detectors look at, and how often the run went back.

    Every record is written to the run directory as soon as it arises.
    """

    def __init__(self, settings: AlarmSettings, run: RunDirectory) -> None:
        self.settings = settings
        self.run = run
        self.num_rollbacks = 0
        self._history: list[Row] = []  # rows of metrics.jsonl

    @property
    def process_reward_factor(self) -> float:
        """What the roll backs so far have left of the weight of the process rewards."""
        return self.settings.rollback_factor**self.num_rollbacks

    def resume(self, rows: Sequence[Row]) -> None:
        """Go on with a run that left these rows, and its alarms in the run directory."""
        alarms = self.run.read_alarms()
        self.num_rollbacks = len({a["step"] for a in alarms if "rolled_back_to" in a})
        self._history = without_undone(rows, alarms)

    def observe(self, row: Row) -> Verdict:
        """The alarms that begin at this step, and what --alarm.action makes of them."""
        settings = self.settings
        if settings.action == "off":
            return Verdict([])
        self._history.append(row)
        alarms = find_alarms(self._history, settings)
        if not alarms:
            return Verdict([])
        good = self.run.last_checkpoint(alarms[0].step - settings.safe_age)
        if settings.action == "rollback" and good and self.num_rollbacks < settings.max_rollbacks:
            step = int(good.rpartition("global_step")[2])
            self.num_rollbacks += 1
            self._history = [kept for kept in self._history if kept["step"] <= step]
            return Verdict([self._write(a, good, rolled_back_to=step) for a in alarms], step)
        return Verdict([self._write(a, good) for a in alarms], stop=settings.action != "warn")

    def record(self, alarm: Alarm) -> AlarmRecord:
        """An alarm that no detector raised, with the newest checkpoint."""
        return self._write(alarm, self.run.last_checkpoint(alarm.step))

    def _write(
        self, alarm: Alarm, good_checkpoint: str | None, rolled_back_to: int | None = None
    ) -> AlarmRecord:
        record: AlarmRecord = {
            "kind": alarm.kind,
            "step": alarm.step,
            "message": alarm.message,
            "good_checkpoint": good_checkpoint,
        }
        if rolled_back_to is not None:
            record["rolled_back_to"] = rolled_back_to
        self.run.write_alarm(record)
        return record
