"""comparison.html: what it counts, what it leaves out, and its legend in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pure_rlhf.cli.report import main
from pure_rlhf.monitoring.run_directory import read_run
from pure_rlhf.report.comparison import comparison_cards, names_apart, window_means
from tests.browser import CHROMIUM
from tests.unit.report.test_page import after, visible, write_lines


def write_run(run: Path, *, lr: float, accuracy: list[float], **config: Any) -> Path:
    rows = [
        {
            "step": step,
            "reward/verifiable_accuracy": value,
            "policy/kl": 0.01,
            "eval/held/pass@1": 1,
        }
        for step, value in enumerate(accuracy, start=1)
    ]
    write_lines(run / "metrics.jsonl", rows)
    settings = {"actor": {"lr": lr, "name": "tiny"}, "output_dir": f"output/{run.name}", **config}
    (run / "config.json").write_text(
        json.dumps({"config": settings, "seed": 1, "started": run.name})
    )
    evaluation = {"before": {"pass@1": 0.25}, "after": {"pass@1": accuracy[-1]}}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    return run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    good = write_run(tmp_path / "good", lr=1e-5, accuracy=[0.25, 0.5, 0.75])
    bad = write_run(tmp_path / "bad<b>", lr=1e-4, accuracy=[0.25, 0.625, 0.125], new_setting=3)
    alarm = {"kind": "accuracy_collapse", "step": 3, "message": "fell"}
    write_lines(bad / "alarms.jsonl", [alarm])
    return [good, bad]


def test_tables(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "page.html"
    assert main([*map(str, runs), "--output", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    body = visible(target.read_text()).replace("<wbr>", "")
    assert "<td>0.25 → <b>0.75</b> <small>0.75 at step 3</small></td>" in body
    assert "<td>0.25 → <b>0.125</b> <small>0.625 at step 2</small></td>" in body
    assert "<th>alarms</th><td>none</td><td>accuracy_collapse at step 3</td>" in body
    assert "<th>actor.lr</th><td>1e-05</td><td>0.0001</td>" in body
    assert "<th>new_setting</th><td>—</td><td>3</td>" in body
    for same in ("actor.name", "seed", "output_dir", "started"):
        assert f"<th>{same}</th>" not in body
    assert "<b>" not in body.replace("<b>0.", "").replace("<b>Notes", ""), "a name became markup"


def test_one_curve_a_run_and_a_cross_at_its_alarm(runs: list[Path]) -> None:
    cards = {
        title: json.loads(figure) for title, _, figure in comparison_cards([*map(read_run, runs)])
    }
    assert list(cards) == [
        "Held-out problems", "reward/verifiable_accuracy", "policy/kl", "eval/held/pass@1",
    ]  # fmt: skip
    good, bad, cross = cards["reward/verifiable_accuracy"]["data"]
    assert (good["name"], good["y"], good["meta"]) == ("good", [0.25, 0.5, 0.75], 0)
    assert (bad["y"], bad["meta"]) == ([0.25, 0.625, 0.125], 1)
    assert (cross["x"], cross["y"], cross["meta"]) == ([3], [0.125], 1)
    assert cross["marker"]["color"] == bad["line"]["color"] != good["line"]["color"]


def test_a_run_without_files_is_said(runs: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    target = tmp_path / "page.html"
    assert main([str(runs[0]), str(empty), "--output", str(target)]) == 0
    body = visible(target.read_text())
    assert "empty: metrics.jsonl is missing" in body and "<td>—</td>" in body
    assert "rollouts/" not in body, "a comparison shows no answers"
    assert main([str(empty), str(tmp_path), "--output", str(target)]) == 0
    assert "No run has metrics yet." in visible(target.read_text())


def test_mistakes_are_told_all_at_once(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (runs[0].with_name(name) for name in ("none", "nowhere"))
    assert main([str(runs[0]), str(first), str(second)]) == 2
    error = capsys.readouterr().err
    assert str(first) in error and str(second) in error
    assert main([str(runs[0]), str(runs[0])]) == 2
    assert "two runs or more" in capsys.readouterr().err


def test_names_are_as_long_as_needed() -> None:
    assert names_apart([Path("/a/x/run"), Path("/a/y/run"), Path("/a/y/two")]) == [
        "x/run", "y/run", "y/two",
    ]  # fmt: skip
    assert names_apart([Path("/a/one"), Path("/b/two")]) == ["one", "two"]


def test_window_means() -> None:
    means = window_means([(step, float(step)) for step in range(30)])
    assert means[0] == (2, 1.0) and means[-1] == (29, 28.0) and len(means) == 28
    assert window_means([(1, 5.0)]) == [(1, 5.0)]
    assert window_means([]) == []


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_legend_and_filter_in_a_browser(runs: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    assert main([*map(str, runs), "--output", str(target)]) == 0
    said = after(
        target,
        """
        const lines = () => document.querySelectorAll('#plot-1 .scatterlayer .trace').length;
        const shown = () => [...document.querySelectorAll('figure')].filter(f => !f.hidden).length;
        const found = [lines(), shown()], filter = document.getElementById('filter');
        document.querySelector('[data-run="1"]').click(); found.push(lines());
        document.querySelector('[data-run="1"]').click(); found.push(lines());
        filter.value = 'Policy'; filter.dispatchEvent(new Event('input')); found.push(shown());
        return found;
        """,
        tmp_path / "profile",
    )
    assert said == [3, 4, 1, 3, 1]
