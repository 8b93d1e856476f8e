"""A run that goes on by itself: as which program, and when not."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pure_rlhf.cli import train_pure
from pure_rlhf.config import CheckpointConfig, PureConfig, TrainConfig


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The programs that were begun in place of this one."""
    begun: list[tuple[Any, ...]] = []
    monkeypatch.setattr(os, "execve", lambda *program: begun.append(program))
    return begun


def config(folder: Path, restarts: int) -> PureConfig:
    return PureConfig(
        train=TrainConfig(max_restarts=restarts), ckpt=CheckpointConfig(path=str(folder))
    )


def test_it_goes_on_from_the_last_checkpoint(
    tmp_path: Path, programs: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, environment = ["--max_steps", "4"], {"HOME": "/h"}
    train_pure._restart(config(tmp_path, 2), arguments, environment)
    assert programs == [] and "no checkpoint to go on from" in capsys.readouterr().err
    (tmp_path / "_actor/global_step3").mkdir(parents=True)
    (tmp_path / "_actor/global_step3/metric.json").touch()
    (tmp_path / "_actor/latest").write_text("global_step3\n")
    train_pure._restart(config(tmp_path, 0), arguments, environment)
    assert programs == []
    assert "with --ckpt.load_enable goes on from checkpoint global_step3." in (
        capsys.readouterr().err
    )
    train_pure._restart(config(tmp_path, 2), arguments, environment)
    ((program, words, env),) = programs
    assert program == sys.executable and words[1:3] == ["-m", "pure_rlhf.cli.train_pure"]
    assert words[3:] == ["--max_steps", "4", "--ckpt.load_enable"]
    assert env == {"HOME": "/h", "PURE_RESTARTS": "1"}
    assert "Restart 1 of --train.max_restarts 2, from checkpoint global_step3." in (
        capsys.readouterr().err
    )


def test_it_ends_when_it_has_gone_on_often_enough(
    tmp_path: Path, programs: list[tuple[Any, ...]]
) -> None:
    (tmp_path / "_actor/global_step3").mkdir(parents=True)
    (tmp_path / "_actor/global_step3/metric.json").touch()
    (tmp_path / "_actor/latest").write_text("global_step3")
    resumed = ["--ckpt.load_enable"]
    train_pure._restart(config(tmp_path, 2), resumed, {"PURE_RESTARTS": "1"})
    assert programs[0][1][3:] == resumed, "said once"
    train_pure._restart(config(tmp_path, 2), resumed, {"PURE_RESTARTS": "2"})
    assert len(programs) == 1
