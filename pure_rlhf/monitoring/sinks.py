"""Where the metrics of a step go besides `metrics.jsonl`: Ray's Prometheus end point, and MLflow.

TensorBoard and Weights & Biases are OpenRLHF's own loggers and get every key too, as `train/<key>`. A server that
goes away must not end or hold up a run.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

from ray.util.metrics import Gauge

from pure_rlhf.monitoring.metric_table import METRICS

logger = logging.getLogger(__name__)

MLFLOW_PARAMETERS_A_CALL = 100
MLFLOW_ENVIRONMENT = {
    # its own defaults try a server that is away for minutes, and would hold up the end of the run
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # several threads make the folders of a file store at once, and lose the step of all but one
    "MLFLOW_ASYNC_LOGGING_THREADPOOL_SIZE": "1",
}


class Sink(Protocol):
    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def open_sinks(
    run_name: str, settings: Mapping[str, object], *, mlflow_experiment: str | None
) -> list[Sink]:
    """Ray's gauges, and MLflow where an experiment is named; `settings` are nested, by group."""
    sinks: list[Sink] = [RayMetrics(run_name)]
    if mlflow_experiment is not None:
        sinks.append(MlflowMetrics(mlflow_experiment, run_name, settings))
    return sinks


def prometheus_name(key: str) -> str:
    """Name of a metric's gauge; Ray exports it with `ray_` in front.

    Example: `reward/process_return` is `pure_reward_process_return`, `pure/steps_per_answer` is
    `pure_steps_per_answer`, `eval/held_out/pass@1` is `pure_eval_held_out_pass_1`.
    """
    return "pure_" + re.sub(r"\W", "_", key.removeprefix("pure/"))


class RayMetrics:
    """One Ray gauge for each metric with the tag `run`, and `pure_step`; Ray's agents serve them to Prometheus.

    docs/grafana_dashboard.json shows them. A metric that a step has no data for keeps its last value; Ray drops the
    gauges of a process that has ended.
    """

    def __init__(self, run_name: str) -> None:
        self._tags = {"run": run_name}
        self._gauges: dict[str, Gauge] = {}

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for key, value in {"step": step, **metrics}.items():
            if key not in self._gauges:
                meaning = METRICS[key].meaning if key in METRICS else key
                self._gauges[key] = Gauge(prometheus_name(key), meaning, ("run",))
            self._gauges[key].set(value, self._tags)

    def close(self) -> None:
        pass


class MlflowMetrics:
    """One MLflow run: the settings as its parameters, and the metrics of each step, sent in the background.

    MLflow's own environment variables say where it goes and who may (MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN). The
    run is named explicitly in each call: MLflow's "active run" belongs to a thread, and a Ray actor has several.

    Args:
        settings: nested; parameters get the names of the flags, for example `actor.adam.lr`.

    Raises:
        mlflow.exceptions.MlflowException: the server does not answer, or refuses the experiment.
    """

    def __init__(self, experiment: str, run_name: str, settings: Mapping[str, object]) -> None:
        mlflow: Any = importlib.import_module("mlflow")  # an optional dependency
        for name, value in MLFLOW_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._mlflow = mlflow
        self._client = mlflow.MlflowClient()
        experiment_id = mlflow.set_experiment(experiment).experiment_id
        self._run_id = self._client.create_run(experiment_id, run_name=run_name).info.run_id
        parameters = _flatten(settings)
        while chunk := dict(islice(parameters, MLFLOW_PARAMETERS_A_CALL)):
            mlflow.log_params(chunk, run_id=self._run_id)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        points = [  # MLflow allows no @ in a name
            self._mlflow.entities.Metric(key.replace("@", "_at_"), value, now, step)
            for key, value in metrics.items()
        ]
        # In the background, where a failure is a line in the log; mlflow.log_metrics would ask the server first.
        self._client.log_batch(self._run_id, metrics=points, synchronous=False)

    def close(self) -> None:
        """Wait for what is under way and mark the run as finished."""
        self._mlflow.flush_async_logging()
        try:
            self._client.set_terminated(self._run_id)
        except self._mlflow.exceptions.MlflowException as error:
            logger.warning("MLflow could not be told that the run has ended: %s", error)


def find_mlflow_problems(experiment: str | None) -> Iterator[str]:
    """What stands against `--logger.mlflow_experiment`: the package or the address is missing."""
    if experiment is None:
        return
    flag = f"--logger.mlflow_experiment {experiment}"
    if importlib.util.find_spec("mlflow") is None:
        yield f"{flag}: needs the package mlflow; `pip install mlflow-skinny`, or drop the flag"
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        yield (
            f"{flag}: MLFLOW_TRACKING_URI is not set, so there is nowhere to log to; "
            f"`export MLFLOW_TRACKING_URI=http://HOST:5000`, or drop the flag"
        )


def _flatten(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
