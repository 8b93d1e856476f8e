"""report.html from a run directory: self-contained, no network, made from whatever is there.

`monitoring/run_directory.py` reads the files; one that is missing or half-written is named in the page and costs only
its part.
`figures.py` and `maps.py` draw, `prm.py` shows the PRM, `page.py` holds the page.
"""

from __future__ import annotations

from pathlib import Path

from pure_rlhf.monitoring.run_directory import RunRecord, read_run
from pure_rlhf.report.figures import figure_cards
from pure_rlhf.report.maps import MAP_TITLES, map_cards, trace_card
from pure_rlhf.report.page import render_page
from pure_rlhf.report.panels import PANELS
from pure_rlhf.report.prm import readable_prm


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
    cards += map_cards(record.metrics, record.alarms) + trace_card(record.trace)
    titles = ["Accuracy", *(panel.title for panel in PANELS), *MAP_TITLES]
    drawn = {title for title, _, _ in cards}
    prm, unreadable = readable_prm(record.prm)
    page = render_page(
        name=record.name,
        facts=run_facts(record),
        notes=[*record.notes, *unreadable],
        alarms=record.alarms,
        evaluation=record.evaluation,
        prm=prm,
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
