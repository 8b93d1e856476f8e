"""report.html from a run directory: self-contained, no network, made from whatever is there.

Reads `config.json`, `metrics.jsonl`, `alarms.jsonl`, `evaluation.json`, `rollouts/` and, where the PRM was trained or
measured here, `prm.json`. A file that is missing or half-written is named in the page and costs only its part.
`figures.py` and `maps.py` draw, `prm.py` shows the PRM, `page.py` holds the page.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pure_rlhf.monitoring.records import (
    AlarmRecord,
    EvaluationRecord,
    JsonObject,
    MetricRow,
    PrmRecord,
    RolloutRecord,
)
from pure_rlhf.report.figures import figure_cards
from pure_rlhf.report.maps import MAP_TITLES, map_cards
from pure_rlhf.report.page import render_page
from pure_rlhf.report.panels import PANELS

MAX_ANSWERS = 2000
MAX_ANSWER_BYTES = 8_000_000
"""Of rollouts/ in the page; of a longer run, evenly spaced steps are shown."""


@dataclass
class RunRecord:
    """What could be read of a run, and one sentence for each thing that could not."""

    name: str
    config: JsonObject = field(default_factory=dict)
    metrics: list[MetricRow] = field(default_factory=list)  # one row a step, by step
    evaluation: dict[str, EvaluationRecord] = field(default_factory=dict)
    prm: PrmRecord = field(default_factory=PrmRecord)  # see prm.collect_prm_record
    rollouts: dict[int, list[RolloutRecord]] = field(default_factory=dict)
    alarms: list[AlarmRecord] = field(default_factory=list)  # kind, step, message
    notes: list[str] = field(default_factory=list)


def write_report(run_dir: str | Path, target: Path | None = None) -> Path:
    """Write `report.html` into the run directory, or the page to `target`, and return its path.

    Raises:
        ValueError: `run_dir` is not a directory.
    """
    path = Path(run_dir)
    if not path.is_dir():
        raise ValueError(f"{path} is not a run directory: there is no such directory")
    record = read_run(path)
    cards = figure_cards(record.metrics, record.evaluation, record.alarms)
    cards += map_cards(record.metrics, record.alarms)
    titles = ["Accuracy", *(panel.title for panel in PANELS), *MAP_TITLES]
    drawn = {title for title, _, _ in cards}
    page = render_page(
        name=record.name,
        facts=run_facts(record),
        notes=record.notes,
        alarms=record.alarms,
        evaluation=record.evaluation,
        prm=record.prm,
        cards=cards,
        missing=[title for title in titles if title not in drawn],
        rollouts=record.rollouts,
    )
    return write_page(target or path / "report.html", page)


def write_page(target: Path, page: str) -> Path:
    """Write a page so that a reader never sees half of it; returns its path."""
    partial = target.with_name(f"{target.name}.partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(target)
    return target


def read_run(path: Path, *, with_answers: bool = True) -> RunRecord:
    """Read a run directory; problems become `notes` instead of errors."""
    record = RunRecord(name=path.resolve().name)
    record.config = _read_object(path / "config.json", record.notes)
    rows = _read_lines(path / "metrics.jsonl", record.notes)
    by_step = {row["step"]: row for row in rows if isinstance(row.get("step"), int)}
    record.metrics = [by_step[step] for step in sorted(by_step)]
    if (path / "alarms.jsonl").exists():
        wanted = {"kind", "step", "message"}
        rows = _read_lines(path / "alarms.jsonl", record.notes)
        record.alarms = [
            row for row in rows if wanted <= row.keys() and isinstance(row["step"], int)
        ]
    evaluation = _read_object(path / "evaluation.json", record.notes)
    record.evaluation = {
        when: result
        for when, result in evaluation.items()
        if isinstance(result, dict) and isinstance(result.get("pass@1"), int | float)
    }
    if evaluation and "after" not in evaluation:
        record.notes.append("The evaluation after training is not there: the run has not ended.")
    if (path / "prm.json").exists():
        record.prm = _read_object(path / "prm.json", record.notes)
    if with_answers:
        _read_rollouts(path / "rollouts", record)
    return record


def run_facts(record: RunRecord) -> list[tuple[str, str]]:
    """(name, value) of the facts in the header, without those that the configuration lacks."""
    config = record.config.get("config", record.config)
    mode = _look_up(config, "reward_mode")
    wanted = [
        ("Policy", "actor.model_name_or_path"),
        ("PRM", "reward.model_name_or_path" if mode != "VR" else ""),
        ("Reward mode", "reward_mode"),
        ("Credit", "credit_assignment"),
        ("Credit temperature", "credit_temperature"),
        ("Prompts per step", "rollout.batch_size"),
        ("Answers per prompt", "rollout.n_samples_per_prompt"),
        ("Sampling temperature", "rollout.temperature"),
        ("Longest answer", "rollout.max_new_tokens"),
        ("Learning rate", "actor.adam.lr"),
        ("KL coefficient", "algo.kl.init_coef"),
        ("Prompts", "data.prompt_dataset"),
    ]
    facts = [(name, _show(_look_up(config, key))) for name, key in wanted if key]
    facts += [
        (name, _show(record.config.get(key)))
        for name, key in [("Seed", "seed"), ("Started", "started")]
    ]
    if record.metrics:
        last = record.metrics[-1]
        facts.append(("Steps", f"{last['step']} of {_show(_look_up(config, 'max_steps')) or '?'}"))
        facts.append(("Training time", _duration(last.get("wall_seconds"))))
    commit = record.config.get("git_commit")
    facts.append(("Commit", str(commit)[:10] if commit else ""))
    packages = record.config.get("packages") or {}
    facts.append(("Packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    return [(name, value) for name, value in facts if value]


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


def _read_object(path: Path, notes: list[str]) -> Any:
    if not path.exists():
        notes.append(f"{path.name} is missing.")
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
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
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
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


def _look_up(config: object, dotted: str) -> object:
    for name in dotted.split("."):
        if not isinstance(config, dict):
            return None
        config = config.get(name)
    return config


def _show(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _duration(seconds: object) -> str:
    if not isinstance(seconds, int | float):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
