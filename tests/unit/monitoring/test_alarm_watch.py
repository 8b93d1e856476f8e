"""What follows from an alarm: nothing, a warning, the end, or an earlier checkpoint and less weight on the PRM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pure_rlhf.monitoring.alarm_watch import AlarmSettings, AlarmWatch, Verdict
from pure_rlhf.monitoring.alarms import Alarm
from pure_rlhf.monitoring.run_directory import RunDirectory


def watch_of(folder: Path, **settings: Any) -> AlarmWatch:
    """One detector: a limit on a metric; windows of one step."""
    settings = {"window": 1, "limits": ("policy/loss>1",), **settings}
    return AlarmWatch(AlarmSettings(**settings), RunDirectory(folder))


def add_checkpoints(folder: Path, *steps: int) -> None:
    for step in steps:
        checkpoint = folder / f"checkpoints/_actor/global_step{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "metric.json").touch()


def feed(watch: AlarmWatch, losses: list[float], first: int = 1) -> list[Verdict]:
    return [
        watch.observe({"step": step, "policy/loss": loss})
        for step, loss in enumerate(losses, start=first)
    ]


def test_a_warning_is_written_and_the_run_goes_on(tmp_path: Path) -> None:
    add_checkpoints(tmp_path, 1, 2, 3)
    watch = watch_of(tmp_path)
    *quiet, loud = feed(watch, [0, 0, 0, 2])
    assert all(verdict == Verdict([]) for verdict in quiet)
    (record,) = loud.records
    assert (record["kind"], record["step"]) == ("limit", 4)
    # two windows before the alarm
    assert record["good_checkpoint"] == "checkpoints/_actor/global_step2"
    assert not loud.stop and loud.roll_back_to is None
    assert watch.run.read_alarms() == [record]
    assert feed(watch, [2], first=5) == [Verdict([])], "an alarm is raised where it begins"


@pytest.mark.parametrize(("action", "stops"), [("off", None), ("warn", False), ("stop", True)])
def test_what_the_action_says(tmp_path: Path, action: Any, stops: bool | None) -> None:
    *_, last = feed(watch_of(tmp_path, action=action), [0, 0, 0, 2])
    assert len(last.records) == (0 if stops is None else 1)
    assert last.stop == bool(stops)


def test_rolling_back_forgets_what_is_undone_and_ends_after_the_last(tmp_path: Path) -> None:
    add_checkpoints(tmp_path, 1, 2, 3, 4)
    watch = watch_of(tmp_path, action="rollback", max_rollbacks=1, rollback_factor=0.25)
    first = feed(watch, [0, 0, 0, 2])[-1]
    assert first.roll_back_to == 2 and not first.stop
    assert first.records[0]["rolled_back_to"] == 2
    assert watch.process_reward_factor == 0.25
    # the loss of step 4 is gone with the step: the same alarm begins anew at step 6, once too often
    assert feed(watch, [0], first=5) == [Verdict([])]
    (second,) = feed(watch, [2], first=6)
    assert second.stop and second.roll_back_to is None
    assert "rolled_back_to" not in second.records[0]


def test_without_a_checkpoint_that_is_old_enough_the_run_ends(tmp_path: Path) -> None:
    add_checkpoints(tmp_path, 3, 4)
    *_, last = feed(watch_of(tmp_path, action="rollback"), [0, 0, 0, 2])
    assert last.stop and last.records[0]["good_checkpoint"] is None


def test_a_resumed_run_remembers_its_roll_backs(tmp_path: Path) -> None:
    add_checkpoints(tmp_path, 1, 2)
    rows = [{"step": step, "policy/loss": loss} for step, loss in enumerate([0, 0, 0, 2], start=1)]
    watch = watch_of(tmp_path, action="rollback")
    assert [watch.observe(row).roll_back_to for row in rows] == [None, None, None, 2]
    resumed = watch_of(tmp_path, action="rollback")
    resumed.resume(rows)
    assert resumed.num_rollbacks == 1 and resumed.process_reward_factor == 0.5
    # what was undone is not in its history: the loss of step 5 is the beginning of an alarm again
    assert resumed.observe({"step": 5, "policy/loss": 2}).records


def test_an_alarm_that_no_detector_raised_names_the_newest_checkpoint(tmp_path: Path) -> None:
    add_checkpoints(tmp_path, 3, 7)
    record = watch_of(tmp_path).record(Alarm("curriculum", 8, "no prompts"))
    assert record["good_checkpoint"] == "checkpoints/_actor/global_step7"
