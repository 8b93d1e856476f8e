"""Every metric arrives where a run sends it: TensorBoard, offline Weights & Biases, Ray's Prometheus page, MLflow."""

from __future__ import annotations

import multiprocessing
import re
import struct
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pure_rlhf import cpu_host
from pure_rlhf.cli.make_dashboard import exported_name
from pure_rlhf.config import LoggerConfig, PureConfig, WandbConfig
from pure_rlhf.monitoring.metric_table import METRICS
from pure_rlhf.monitoring.sinks import (
    MlflowMetrics,
    RayMetrics,
    find_mlflow_problems,
    prometheus_name,
)

cpu_host.install()

from pure_rlhf.workers.upstream import upstream_args  # noqa: E402
from tests.small_ray import small_ray  # noqa: E402

KEYS = [key.replace("<name>", "held_out") for key in METRICS]
STEPS = 3


def values(step: int) -> dict[str, float]:
    """A different number for each key and step."""
    return {key: number + step / 8 for number, key in enumerate(KEYS)}


def test_prometheus_names_are_legal_and_distinct() -> None:
    names = [prometheus_name(key) for key in [*KEYS, "step"]]
    assert all(re.fullmatch(r"pure_[a-zA-Z0-9_]+", name) for name in names)
    assert len(set(names)) == len(names)
    assert prometheus_name("pure/steps_per_answer") == "pure_steps_per_answer"
    assert prometheus_name("eval/held_out/pass@1") == "pure_eval_held_out_pass_1"


def log_and_scrape(expected: dict[str, float]) -> dict[str, float]:
    """Log two steps on a Ray of one's own; what its Prometheus page shows in the end (within a minute)."""
    import ray

    with small_ray(configure_logging=False, _system_config={"metrics_report_interval_ms": 500}):
        sink = RayMetrics("run-7")
        for step in (1, STEPS):
            sink.log(step, values(step))
        node = ray.nodes()[0]
        page = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        found: dict[str, float] = {}
        deadline = time.monotonic() + 60
        while found != expected and time.monotonic() < deadline:
            time.sleep(0.5)
            try:
                text = urllib.request.urlopen(page, timeout=5).read().decode()
            except OSError:  # the agent is still starting
                continue
            lines = re.findall(r'^(ray_pure_\w+)\{.*run="run-7".*\} (\S+)$', text, re.MULTILINE)
            found = {name: float(value) for name, value in lines}
    return found


@pytest.mark.integration
def test_ray_serves_every_metric_to_prometheus_under_the_dashboards_name(
    host_is_fast_enough: None,
) -> None:
    expected = {"ray_pure_step": float(STEPS)}
    expected |= {f"ray_{prometheus_name(key)}": value for key, value in values(STEPS).items()}
    # a process of its own: Ray's metrics go to the first Ray that a process was connected to, also when that has ended
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        found = process.submit(log_and_scrape, expected).result()
    assert found == expected
    for key in METRICS:
        assert any(re.fullmatch(exported_name(key), name) for name in found), key


def test_tensorboard_gets_every_key(tmp_path: Path) -> None:
    from openrlhf.utils.logging_utils import TensorboardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = PureConfig(logger=LoggerConfig(tensorboard_dir=str(tmp_path)))
    logger = TensorboardLogger(upstream_args(config))
    for step in range(1, STEPS + 1):
        logger.log_train(step, values(step))
    logger.close()
    events = EventAccumulator(str(tmp_path / config.logger.wandb.run_name))
    events.Reload()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}  # fmt: skip
    assert found == {
        f"train/{key}": [(step, pytest.approx(values(step)[key])) for step in range(1, STEPS + 1)]
        for key in KEYS
    }


def test_offline_wandb_gets_every_key_and_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb
    from openrlhf.utils.logging_utils import WandbLogger

    monkeypatch.setenv("HOME", str(tmp_path))  # whoever runs this may be logged in
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name, value in {"MODE": "offline", "DIR": str(tmp_path), "SILENT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    config = PureConfig(logger=LoggerConfig(wandb=WandbConfig(enable=True)), max_steps=77)
    logger = WandbLogger(upstream_args(config))
    for step in range(1, STEPS + 1):
        logger.log_train(step, values(step))
    logger.close()
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    records: list[Any] = []
    deadline = time.monotonic() + 60  # wandb's own process writes on for a moment
    while "exit" not in map(kind_of, records) and time.monotonic() < deadline:
        time.sleep(0.1)
        records = list(offline_records(path))
    rows = [
        {"/".join(item.nested_key) or item.key: float(item.value_json) for item in record.history.item}
        for record in records
        if kind_of(record) == "history"
    ]  # fmt: skip
    for step, row in enumerate(rows, start=1):
        expected = {f"train/{key}": value for key, value in values(step).items()}
        assert {key: row[key] for key in expected} == expected
        assert row["train/global_step"] == step
    assert len(rows) == STEPS
    (settings,) = [record.run.config.update for record in records if kind_of(record) == "run"]
    assert {item.key: item.value_json for item in settings}["max_steps"] == "77"
    wandb.teardown()  # its process, which the runs of other tests would be sent to


def kind_of(record: Any) -> str:
    return record.WhichOneof("record_type")


def offline_records(path: Path) -> Iterator[Any]:
    """The records of an offline run: LevelDB's log format (blocks of 32 KiB) after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 2**15 - at % 2**15
        if left < 7:  # no room for the head of a part: the block is filled up
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def test_mlflow_gets_settings_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tmp_path.as_uri())
    settings = {"max_steps": 5, "actor": {"adam": {"lr": 5e-7}}}
    settings |= {f"setting_{number}": number for number in range(250)}
    sink = MlflowMetrics("pure", "run-7", settings)
    for step in range(1, STEPS + 1):
        sink.log(step, values(step))
    sink.close()
    (run,) = mlflow.search_runs(experiment_names=["pure"], output_format="list")
    assert (run.info.run_name, run.info.status) == ("run-7", "FINISHED")
    assert run.data.params["actor.adam.lr"] == "5e-07" and len(run.data.params) == 252
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "eval/held_out/pass_at_1")
    key = "eval/held_out/pass@1"
    # sent in the background: a later step may arrive first
    assert sorted((m.step, m.value) for m in history) == [(n, values(n)[key]) for n in (1, 2, 3)]
    assert len(run.data.metrics) == len(KEYS)


def test_mlflow_without_package_or_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    problems = list(find_mlflow_problems("pure"))
    assert [p.split(": ")[0] for p in problems] == ["--logger.mlflow_experiment pure"] * 2
    assert "pip install mlflow-skinny" in problems[0]
    assert "export MLFLOW_TRACKING_URI=" in problems[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert len(list(find_mlflow_problems("pure"))) == 1
    assert list(find_mlflow_problems(None)) == []
