"""report.html: complete and half-written run directories, untrusted text, and a real browser where
there is one.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pure_rlhf.algorithm.metrics import METRICS
from pure_rlhf.cli.report import main
from pure_rlhf.report import read_run, write_report
from pure_rlhf.report_figures import figure_cards, series
from pure_rlhf.report_panels import PANELS, TIMING_PHASES
from tests.browser import CHROMIUM, browse

HOSTILE_PROMPT = (
    "What is 2 + 3? <b id=injected>bold</b> </script><script>document.title='hacked'</script>"
)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def answers(step: int) -> list[dict[str, Any]]:
    first = {
        "prompt": HOSTILE_PROMPT,
        "text": f"2 + 3 = 6 in step {step}\n\n\\boxed{{6}}",
        "steps": [f"2 + 3 = 6 in step {step}\n\n", "\\boxed{6}"],
        "step_rewards": [-0.75, 0.25],
        "advantages": [-1.5, -0.5],
        "verifiable_reward": 0,
        "answer": "5",
        "group": 0,
        "truncated": False,
    }
    return [first, {**first, "verifiable_reward": None, "answer": None, "step_rewards": None}]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    run = tmp_path / "my run"
    metrics = [
        {"step": step, "wall_seconds": 40.0 * step}
        | {key: 0.1 * step for key in METRICS if "<name>" not in key}
        | {"eval/held_out/pass@1": 0.5}
        for step in (1, 2, 3)
    ]
    write_lines(run / "metrics.jsonl", metrics)
    config = {
        "config": {"reward_mode": "PRMVR", "max_steps": 3, "rollout": {"batch_size": 16}},
        "seed": 7,
    }
    (run / "config.json").write_text(json.dumps(config))
    evaluation = {
        "before": {"pass@1": 0.25, "n": 500, "ci95": [0.21, 0.29]},
        "step 2": {"pass@1": 0.5, "n": 500, "ci95": [0.46, 0.54]},
        "after": {"pass@1": 0.625, "n": 500, "ci95": [0.58, 0.67]},
    }
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    for step in (1, 2, 3):
        write_lines(run / "rollouts" / f"step_{step:06d}.jsonl", answers(step))
    alarm = {"kind": "kl", "step": 2, "message": "KL <b>2.00</b>", "good_checkpoint": None}
    write_lines(run / "alarms.jsonl", [alarm])
    stages = run / "world" / "prm" / "prm_evaluation.json"
    stages.parent.mkdir(parents=True)
    stages.write_text(json.dumps({"stage 2": {"f1": 0.79123}}))
    return run


def visible(page: str) -> str:
    """The page without its scripts and styles."""
    return re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)


def test_report_shows_everything_of_a_complete_run(run_dir: Path) -> None:
    page = write_report(run_dir).read_text()
    body = visible(page)
    assert "<h1>my run</h1>" in body
    for fact in ("PRMVR", "3 of 3", "2 min 00 s", "<dd>16</dd>", "<dd>7</dd>"):
        assert fact in body
    for cell in ("25.0%", "62.5%", "+37.5", "21.0% to 29.0%", "step 2"):
        assert cell in body
    assert "0.7912" in body
    assert "class=notes" not in body
    for panel in PANELS:
        assert f"<h3>{panel.title}</h3>" in body
    assert "<h3>Accuracy</h3>" in body and "<h3>Time per phase</h3>" in body


def test_report_needs_no_network(run_dir: Path) -> None:
    page = write_report(run_dir).read_text()
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=[^>]*>", page)
    assert loaded == []
    assert "@import" not in page
    assert page.count("Plotly.newPlot(") >= 1 and len(page) > 1_000_000, "plotly.js is inside"


def test_model_text_cannot_leave_its_script(run_dir: Path) -> None:
    page = write_report(run_dir).read_text()
    assert "</script><script>document.title" not in page
    assert "<\\/script><script>document.title" in page


def test_torn_last_line_is_left_out_and_said(run_dir: Path) -> None:
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "reward/process_ret')
    record = read_run(run_dir)
    assert [row["step"] for row in record.metrics] == [1, 2, 3]
    assert record.notes == ["metrics.jsonl: torn last line 4 left out."]


def test_half_written_run_says_what_is_missing(run_dir: Path) -> None:
    (run_dir / "evaluation.json").write_text('{"before": {"pass@1"')
    (run_dir / "config.json").unlink()
    shutil.rmtree(run_dir / "rollouts")
    body = visible(write_report(run_dir).read_text())
    for note in (
        "evaluation.json cannot be read",
        "config.json is missing",
        "rollouts/ holds no answers",
    ):
        assert note in body
    assert "<h3>Process reward</h3>" in body
    assert "id=reader" not in body


def test_run_in_progress_is_said(run_dir: Path) -> None:
    evaluation = json.loads((run_dir / "evaluation.json").read_text())
    del evaluation["after"]
    (run_dir / "evaluation.json").write_text(json.dumps(evaluation))
    body = visible(write_report(run_dir).read_text())
    assert "the run has not ended" in body
    assert "class=hero" not in body


def test_empty_directory_still_gives_a_page(tmp_path: Path) -> None:
    body = visible(write_report(tmp_path).read_text())
    for name in ("config.json", "metrics.jsonl", "evaluation.json"):
        assert f"{name} is missing" in body
    assert "<figure>" not in body


def test_long_runs_embed_a_sample_of_steps(run_dir: Path) -> None:
    for step in range(4, 601):
        write_lines(run_dir / "rollouts" / f"step_{step:06d}.jsonl", answers(step))
    record = read_run(run_dir)
    assert len(record.rollouts) == 200, "400 answers, two a step"
    assert {1, 600} <= set(record.rollouts)
    assert record.notes == [
        "Answers of 200 evenly spaced steps of 600 are shown; all are in rollouts/."
    ]


def test_every_plotted_metric_is_declared() -> None:
    plotted = {key for panel in PANELS for key, _ in panel.left + panel.right} | set(TIMING_PHASES)
    assert plotted <= set(METRICS)


def test_phases_and_other_sum_to_the_step() -> None:
    rows = [{"step": 1, "timing/generation": 2.0, "timing/policy_update": 1.0, "timing/step": 3.5}]
    cards = {title: json.loads(figure) for title, _, figure in figure_cards(rows, {})}
    bars = {trace["name"]: trace["y"] for trace in cards["Time per phase"]["data"]}
    assert bars == {"generation": [2.0], "policy update": [1.0], "other": [0.5]}


def test_series_skips_missing_and_non_finite_values() -> None:
    rows = [
        {"step": 1, "a": 0.5},
        {"step": 2},
        {"step": 3, "a": float("nan")},
        {"step": 4, "a": None},
    ]
    assert series(rows, "a") == [(1, 0.5)]


def test_alarms_are_listed_and_marked_in_every_curve(run_dir: Path) -> None:
    body = visible(write_report(run_dir).read_text())
    assert "<b>kl</b> at step 2: KL &lt;b&gt;2.00&lt;/b&gt;; no checkpoint from before it" in body
    record = read_run(run_dir)
    for _, _, figure in figure_cards(record.metrics, record.evaluation, record.alarms):
        assert [shape["x0"] for shape in json.loads(figure)["layout"]["shapes"]] == [2]
    (run_dir / "alarms.jsonl").unlink()
    assert "Alarms" not in visible(write_report(run_dir).read_text())


def test_command_line(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run_dir)]) == 0
    assert capsys.readouterr().out.strip() == str(run_dir / "report.html")
    assert main([str(run_dir / "nothing")]) == 2
    assert "there is no such directory" in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_in_a_browser(run_dir: Path, tmp_path: Path) -> None:
    """The scripts run, the answers are placed as text, and the page is not blank."""
    image = pytest.importorskip("PIL.Image")
    page = write_report(run_dir)
    document = browse(page, tmp_path / "profile", "--dump-dom")
    assert "<title>my run · PURE</title>" in document, "the text of a prompt was executed"
    rendered = document[document.index("<main>") : document.index("</main>")]
    assert rendered.count('class="main-svg"') >= len(PANELS) + 2
    assert rendered.count('class="answer"') == 2
    assert "&lt;b id=injected&gt;" in rendered and "<b id=injected>" not in rendered
    assert re.search(
        r'class="row worst"[^>]*>.{0,40}2 \+ 3 = 6 in step 3.{0,120}\u22120\.75', rendered
    )
    assert "no known answer" in rendered
    picture = tmp_path / "report.png"
    browse(page, tmp_path / "profile2", f"--screenshot={picture}", "--window-size=1400,3000")
    with image.open(picture) as shot:
        colors = shot.convert("RGB").resize((350, 750)).getcolors(maxcolors=1 << 20)
    assert len(colors) > 500, "a blank page has a handful of colours"
