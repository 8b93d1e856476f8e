"""What a Ray that is full, or dies, means for a run: Ray spills to disk; what cannot go on ends, and says so."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest
import ray
from ray._private import worker
from ray.exceptions import NodeDiedError

from pure_rlhf import ray_runtime
from pure_rlhf.cli import train_pure
from pure_rlhf.config import CheckpointConfig, PureConfig
from tests.small_ray import small_ray

MEGABYTE = 2**20
STORE = 80 * MEGABYTE


def responses(number: int) -> np.ndarray:
    """Some 30 MiB that can be told from others."""
    return np.full(30 * MEGABYTE, number, dtype=np.uint8)


@ray.remote
class Idler:
    """An actor with a child that takes no notice of anybody's death, as vLLM's engine has."""

    def start(self) -> int:
        return subprocess.Popen(["sleep", "600"]).pid


@ray.remote
def make(number: int) -> np.ndarray:
    return responses(number)


def test_what_does_not_fit_goes_to_disk_and_comes_back() -> None:
    with small_ray(STORE):
        kept = [ray.put(responses(number)) for number in range(4)]
        kept += [make.remote(number) for number in range(4, 7)]
        for number, reference in enumerate(kept):
            value: Any = ray.get(reference)
            assert value[0] == value[-1] == number
            del value


def test_a_full_store_and_a_full_disk_end_the_run_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_local_fs_capacity_threshold", "0.0")  # from where Ray calls a disk full
    kept: list[Any] = []

    def train_until_the_driver_cannot_store(*_: object) -> None:
        for number in range(4):
            kept.append(ray.put(responses(number)))

    def train_until_a_worker_cannot_store(*_: object) -> None:
        ray.get(make.remote(4))

    for name in ("pure_rlhf.ray_runtime.start_ray", "pure_rlhf.cpu_host.install", "signal.signal"):
        monkeypatch.setattr(name, lambda *_: None)  # of this process, which has its own
    config, inputs = PureConfig(ckpt=CheckpointConfig(path=str(tmp_path))), cast(Any, None)
    with small_ray(STORE):
        for train in (train_until_the_driver_cannot_store, train_until_a_worker_cannot_store):
            monkeypatch.setattr("pure_rlhf.workers.launcher.train", train)
            assert train_pure._train(config, inputs) == train_pure.EXIT_WORKER_FAILED
            said = capsys.readouterr().err
            assert f"the last checkpoint in {tmp_path} is intact" in said
            assert "local object store is full and the local disk" in said
        assert 1 < len(kept) < 4


@pytest.mark.parametrize("dies", ["raylet", "gcs_server"])
def test_a_run_whose_ray_dies_does_not_wait_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "600")  # it would stay
    monkeypatch.setattr("pure_rlhf.ray_runtime.END_SECONDS", 2.0)
    with small_ray(STORE):
        idler: Any = Idler.options(num_cpus=0).remote()
        child = psutil.Process(ray.get(idler.start.remote()))
        waits = make.options(num_cpus=9).remote(0)  # for a node that has them
        ray_runtime.require_ray()
        for info in worker._global_node.all_processes[dies]:
            info.process.kill()
            info.process.wait()
        with pytest.raises(NodeDiedError, match=dies):
            ray_runtime.wait_for([waits])
        assert child.is_running() or dies == "raylet"
        ray_runtime.stop_ray()
    assert psutil.wait_procs([child], timeout=5)[1] == []
