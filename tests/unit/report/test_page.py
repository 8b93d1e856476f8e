"""report.html: complete and half-written run directories, untrusted text, and a real browser where
there is one.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pure_rlhf.cli.report import main
from pure_rlhf.monitoring import run_directory
from pure_rlhf.monitoring.metric_table import METRICS
from pure_rlhf.monitoring.rollout_metrics import GROUP_ACCURACY_BINS, calibration_bins
from pure_rlhf.monitoring.run_directory import RunDirectory, read_run
from pure_rlhf.report.figures import MAX_POINTS, figure_cards, series, thin
from pure_rlhf.report.maps import MAX_COLUMNS, map_cards, trace_card
from pure_rlhf.report.panels import (
    CALIBRATION_RANGES,
    GROUP_ACCURACIES,
    PANELS,
    TIMING_PHASES,
)
from pure_rlhf.report.prm import METHOD_COLORS, collect_prm_record
from pure_rlhf.report.run import write_report
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
        "label": "5",
        "group": 0,
        "truncated": False,
    }
    # its first step is wrong and called so; the second, which is called right, too
    first["truth"] = ["wrong <i>operation", False]
    unknown = {**first, "verifiable_reward": None, "label": None, "step_rewards": None}
    cut = {
        **first,
        "truth": [False],
        "text": "A rare word",
        "steps": ["A rare word"],
        "truncated": True,
    }
    return [first, unknown, {**cut, "verifiable_reward": 1}]


def kind(name: str, num_wrong: int = 40) -> dict[str, Any]:
    """A kind of labelled steps as prm_report.json holds it; three of four wrong steps are found."""
    share = {"value": 0.75, "interval": [0.6, 0.86]}
    return {
        "name": name,
        "num_wrong": num_wrong,
        "num_wrong_found": 3 * num_wrong // 4,
        "wrong_found": share if num_wrong else None,
        "num_right": 100,
        "num_right_passed": 90,
        "right_passed": {"value": 0.9, "interval": [0.83, 0.94]},
    }


def write_prm(folder: Path) -> Path:
    """Two stages of a PRM's training, and what best-of-N found for the last."""
    for name, base, f1 in (("stage_1", "policy", 0.791), ("prm", "stage_1", 0.894)):
        (folder / name).mkdir()
        curve = [
            {"from": p, "mean_probability": p, "share_right": p, "steps": 50} for p in (0.1, 0.9)
        ]
        stage = {"base": str(folder / base), "f1_wrong_steps": f1, "auc": None, "steps": 100}
        text = json.dumps(stage | {"calibration": curve})
        (folder / name / "prm_evaluation.json").write_text(text)
    point = {"value": 0.5, "interval": [0.4, 0.6]}
    curves = {name: [point, point] for name in METHOD_COLORS}
    # of a file that may come with a downloaded PRM
    hostile = "80</script><script>document.title='hacked'</script>"
    candidates = {
        "name": "held <b>out", "num_problems": hostile, "sizes": [1, 2], "curves": curves
    }  # fmt: skip
    (folder / "prm" / "measured").mkdir()
    report = {"best_of_n": [candidates], "labelled_steps": [kind("<b>omission"), kind("none", 0)]}
    (folder / "prm" / "measured" / "prm_report.json").write_text(json.dumps(report))
    return folder / "prm"


def test_a_stage_is_found_beside_the_next_wherever_both_were_moved(tmp_path: Path) -> None:
    prm = write_prm(tmp_path)
    record = json.loads((prm / "prm_evaluation.json").read_text())
    (prm / "prm_evaluation.json").write_text(json.dumps({**record, "base": "../stage_1"}))
    stages = collect_prm_record(str(prm))["stages"]
    assert [stage["name"] for stage in stages] == ["stage_1", "prm"]
    (prm / "prm_evaluation.json").write_text(json.dumps({**record, "base": ["no", "text"]}))
    assert len(collect_prm_record(str(prm))["stages"]) == 1


def test_a_prm_that_nobody_measured_here_has_no_record(tmp_path: Path) -> None:
    (tmp_path / "prm_evaluation.json").write_text("{half")
    assert collect_prm_record(str(tmp_path)) == {}
    assert collect_prm_record("jinachris/PURE-PRM-7B") == {}
    assert collect_prm_record(None) == {}


@pytest.mark.parametrize(
    "text",
    ['{"labelled_steps": 5, "best_of_n": {"a": 1}}', "[" * 100_000, f'{{"a": {"9" * 10_000}}}'],
    ids=["no lists", "deep", "long number"],
)
def test_a_hostile_report_beside_a_prm_stops_no_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "prm_report.json").write_text(text)
    (tmp_path / "run").mkdir()
    RunDirectory(tmp_path / "run").write_prm_record(collect_prm_record(str(tmp_path)))
    body = visible(write_report(tmp_path / "run").read_text())
    assert "<h2>Process reward model</h2>" not in body
    assert ("1 of 1 entries of labelled_steps" in body) == ("labelled_steps" in text)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    run = tmp_path / "my run"
    metrics = [
        {"step": step, "wall_seconds": 40.0 * step}
        | {key: 0.1 * step for key in METRICS if "<name>" not in key}
        | {"eval/held_out/pass@1": 0.5, "defect/wrong_copy": 0.5, "prm/recall_<b>": 0.25}
        | {
            f"prm_calibration/{name}/{what}": 0.5 * step
            for name in calibration_bins()
            for what in ("answers", "accuracy")
        }
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
    (run / "prm.json").write_text(json.dumps(collect_prm_record(str(write_prm(tmp_path)))))
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
    row = re.search(r"<tr><th>(stage_1)</th>(.*?)</tr><tr><th>(prm)</th>(.*?)</tr>", body)
    assert row is not None and "0.791" in row[2] and "<td>100</td>" in row[2] and "0.894" in row[4]
    assert "Best of N: held &lt;b&gt;out" in body and "Calibration on held-out steps" in body
    assert "class=notes" not in body
    for panel in PANELS:
        assert f"<h3>{panel.title}</h3>" in body
    for title in (
        "Accuracy",
        "PRM score against verifier",
        "Accuracy of the groups",
        "What is wrong with the answers",
        "What the PRM sees of it",
        "Time per phase",
    ):
        assert f"<h3>{title}</h3>" in body


def test_kinds_of_defects_are_a_table(run_dir: Path) -> None:
    body = visible(write_report(run_dir).read_text())
    assert "<h3>By kind of defect</h3>" in body
    assert (
        "<tr><th>&lt;b&gt;omission</th><td>30 of 40: 75.0% <small>60.0% to 86.0%</small></td>"
        "<td>90 of 100: 90.0% <small>83.0% to 94.0%</small></td></tr>"
    ) in body
    assert "<tr><th>none</th><td></td><td>90 of 100" in body, (
        "nothing is asked where nothing is wrong"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"name": 5},
        {"num_wrong": "40<script>"},
        {"num_wrong": -1, "num_wrong_found": -1},
        {"num_wrong_found": 41},
        {"wrong_found": None},
        {"wrong_found": "75 %"},
        {"right_passed": {"value": "<script>", "interval": [0, 1]}},
        {"right_passed": {"value": 0.9, "interval": [0.8]}},
        {"right_passed": {"value": 0.9, "interval": [0.8, float("nan")]}},
        {"right_passed": {"value": 10**400, "interval": [0, 1]}},
    ],
)
def test_a_malformed_kind_costs_only_itself(run_dir: Path, change: dict[str, Any]) -> None:
    record = json.loads((run_dir / "prm.json").read_text())
    record["labelled_steps"] += [kind("broken") | change, "no object", None]
    (run_dir / "prm.json").write_text(json.dumps(record))
    page = write_report(run_dir).read_text()
    body = visible(page)
    assert "prm.json: 3 of 5 entries of labelled_steps cannot be read and are left out." in body
    assert "<th>&lt;b&gt;omission</th>" in body and "<th>broken</th>" not in body
    assert "Best of N: held" in body and "40<script>" not in page


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": None},
        {"sizes": [1, 10**400]},
        {"curves": {"<b>": []}},
        {"curves": {"min": [{"value": 1}, {}]}},
        {"curves": {"min": []}},
    ],
)
def test_malformed_best_of_n_costs_only_itself(run_dir: Path, change: dict[str, Any]) -> None:
    record = json.loads((run_dir / "prm.json").read_text())
    record["best_of_n"] += [
        record["best_of_n"][0] | {"name": "broken"} | change,
        {"name": "broken"},
    ]
    (run_dir / "prm.json").write_text(json.dumps(record))
    body = visible(write_report(run_dir).read_text())
    assert "prm.json: 2 of 3 entries of best_of_n cannot be read and are left out." in body
    assert "Best of N: held" in body and "Best of N: broken" not in body


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


def test_curves_without_data_are_named(run_dir: Path) -> None:
    write_lines(run_dir / "metrics.jsonl", [{"step": 1, "reward/verifiable_accuracy": 0.5}])
    body = visible(write_report(run_dir).read_text())
    assert body.count("<h3>Accuracy</h3>") == 1 and "<h3>Divergence</h3>" not in body
    without = "Process reward, PRM against verifier, PRM that learns, Groups,"
    assert f"Without data in this run: {without}" in body
    assert "Accuracy of the groups, Time per phase.</p>" in body


def test_roll_back_is_told(run_dir: Path) -> None:
    alarm = {"kind": "kl", "step": 2, "message": "KL", "good_checkpoint": "c", "rolled_back_to": 1}
    write_lines(run_dir / "alarms.jsonl", [alarm, {**alarm, "step": "two"}])
    body = visible(write_report(run_dir).read_text())
    assert "<b>kl</b> at step 2: KL; c; rolled back to step 1" in body
    assert "at step two" not in body, "a damaged line costs only itself"


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


def test_long_runs_embed_a_sample_of_steps(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(4, 601):
        write_lines(run_dir / "rollouts" / f"step_{step:06d}.jsonl", answers(step))
    monkeypatch.setattr(run_directory, "MAX_ANSWERS", 300)
    record = read_run(run_dir)
    assert len(record.rollouts) == 100, "300 answers, three a step"
    assert {1, 600} <= set(record.rollouts)
    assert record.notes == [
        "Answers of 100 evenly spaced steps of 600 are shown; all are in rollouts/."
    ]
    largest = (run_dir / "rollouts" / "step_000600.jsonl").stat().st_size
    monkeypatch.setattr(run_directory, "MAX_ANSWER_BYTES", 5 * largest)
    assert sorted(read_run(run_dir).rollouts) == [1, 151, 301, 450, 600]


def test_a_response_may_hold_any_line_separator(run_dir: Path) -> None:
    row = {**answers(1)[0], "text": "one\u2028two\u0085three\x1dfour"}
    RunDirectory(run_dir).write_rollouts(3, [row])
    record = read_run(run_dir)
    assert record.rollouts[3] == [row] and record.notes == []


def test_long_curves_and_bars_are_thinned(run_dir: Path) -> None:
    rows = read_run(run_dir).metrics
    many = [{**rows[step % 3], "step": step + 1} for step in range(1000)]
    for title, _, figure in figure_cards(many, {}) + map_cards(many):
        for trace in json.loads(figure)["data"]:
            most = MAX_COLUMNS if trace["type"] in ("bar", "heatmap") else MAX_POINTS
            assert len(trace["x"]) <= most, title


def test_thinning_keeps_ends_and_spikes() -> None:
    points: list[tuple[float, float]] = [(step, 0.0) for step in range(1000)]
    points[500], points[777] = (500, 9.0), (777, -9.0)
    kept = thin(points, 100)
    assert len(kept) <= 102
    assert {points[0], points[500], points[777], points[-1]} <= set(kept)
    assert kept == sorted(kept)
    assert thin(points[:100], 100) == points[:100]


def test_every_plotted_metric_is_declared() -> None:
    plotted = {key for panel in PANELS for key, _ in panel.left + panel.right} | set(TIMING_PHASES)
    assert plotted | {key for key, _ in GROUP_ACCURACIES} <= set(METRICS)


def test_bins_are_those_of_the_metrics() -> None:
    assert [f"{low:.1f}-{high:.1f}" for low, high in CALIBRATION_RANGES] == calibration_bins()
    assert [key for key, _ in GROUP_ACCURACIES] == [
        f"group/accuracy_{name}" for name in GROUP_ACCURACY_BINS
    ]


def test_phases_and_other_sum_to_the_step() -> None:
    rows = [{"step": 1, "timing/generation": 2.0, "timing/policy_update": 1.0, "timing/step": 3.5}]
    cards = {title: json.loads(figure) for title, _, figure in map_cards(rows)}
    bars = {trace["name"]: trace["y"] for trace in cards["Time per phase"]["data"]}
    assert bars == {"generation": [2.0], "policy update": [1.0], "other": [0.5]}


def test_calibration_early_and_late() -> None:
    """Ten steps: the first two and the last two; a range's answers of both steps count together."""
    rows: list[dict[str, Any]] = [{"step": step} for step in range(1, 11)]
    high, low = "prm_calibration/0.8-1.0", "prm_calibration/0.0-0.2"
    rows[0] |= {f"{high}/answers": 3.0, f"{high}/accuracy": 1.0, f"{low}/answers": 0.0}
    rows[1] |= {f"{high}/answers": 1.0, f"{high}/accuracy": 0.0}
    for row in rows[2:]:
        row |= {f"{low}/answers": 2.0, f"{low}/accuracy": 0.5}
    (card,) = map_cards(rows, [{"kind": "kl", "step": 2, "message": ""}])
    _, early, late = json.loads(card[2])["data"]
    assert (early["name"], early["x"], early["y"]) == ("early: steps 1 to 2", [0.9], [0.75])
    assert (late["name"], late["x"], late["y"]) == ("late: steps 9 to 10", [0.1], [0.5])
    assert early["customdata"] == [4.0] and late["customdata"] == [4.0]


def test_group_accuracies_are_means_of_stretches() -> None:
    rows = [
        {"step": step} | {key: float(step % 2) for key, _ in GROUP_ACCURACIES}
        for step in range(1, 2 * MAX_COLUMNS + 1)
    ]
    (card,) = map_cards(rows)
    (trace,) = json.loads(card[2])["data"]
    assert trace["x"][:2] == [1.5, 3.5]
    assert trace["z"] == [[0.5] * MAX_COLUMNS] * 5
    assert "Means of 2 steps each." in card[1]


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
    cards = figure_cards(record.metrics, record.evaluation, record.alarms)
    cards += map_cards(record.metrics, record.alarms)
    for title, _, figure in cards:
        shapes = json.loads(figure)["layout"].get("shapes", [])
        expected = [] if title == "PRM score against verifier" else [2]
        assert [shape["x0"] for shape in shapes] == expected, title
    (run_dir / "alarms.jsonl").unlink()
    assert "Alarms" not in visible(write_report(run_dir).read_text())


def test_alarms_too_close_for_two_labels_share_one() -> None:
    rows = [{"step": step, "policy/kl": 0.1} for step in range(1, 101)]
    alarms = [{"kind": kind, "step": step} for kind, step in (("kl", 50), ("ratio", 52), ("x", 90))]
    (card,) = figure_cards(rows, {}, alarms)
    layout = json.loads(card[2])["layout"]
    assert [(note["x"], note["text"]) for note in layout["annotations"]] == [
        (50, "1, 2"),
        (90, "3"),
    ]
    assert [shape["x0"] for shape in layout["shapes"]] == [50, 52, 90]


def test_command_line(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run_dir)]) == 0
    assert capsys.readouterr().out.strip() == str(run_dir / "report.html")
    assert main([str(run_dir / "nothing")]) == 2
    assert "there is no such directory" in capsys.readouterr().err
    elsewhere = run_dir.parent / "page.html"
    assert main([str(run_dir), "--output", str(elsewhere)]) == 0 and elsewhere.exists()
    assert main([str(run_dir), "--output", str(run_dir / "nothing" / "page.html")]) == 2
    assert "--output" in capsys.readouterr().err


def after(page: Path, script: str, profile: Path) -> Any:
    """What the script returns when it runs in the loaded page, all figures drawn."""
    copy = page.with_name("with_script.html")
    wrapped = (
        f"<script>const finish = () => {{ if (!document.body.dataset.drawn) return setTimeout(finish, 50);"
        f"document.body.dataset.said = JSON.stringify((() => {{ {script} }})()); }}; finish();</script>"
    )
    copy.write_text(page.read_text().replace("</body>", wrapped + "</body>"))
    document = browse(copy, profile, "--virtual-time-budget=20000", "--dump-dom")
    said = re.search(r'data-said="([^"]*)"', document)
    assert said, "the script did not end"
    return json.loads(html.unescape(said[1]))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_search_filters_and_steps_of_the_reader(run_dir: Path, tmp_path: Path) -> None:
    said = after(
        write_report(run_dir),
        """
        const found = [], get = id => document.getElementById(id);
        const note = () => found.push([...document.querySelectorAll('.answer .badge')].map(b => b.textContent).join());
        const press = name => document.querySelector(`[data-filter=${name}]`).click();
        const type = words => { get('search').value = words; get('search').dispatchEvent(new Event('input')); };
        note(); press('wrong'); note(); press('truncated'); note(); press('unknown'); note(); press('all');
        type('RARE word'); note(); type('in step 2'); note(); get('previous').click(); note();
        type('injected'); note(); type('no such words'); note(); found.push(get('count').textContent);
        type(''); press('mistaken'); note();
        found.push([...document.querySelectorAll('.truth')].map(t => t.textContent).join());
        return found;
        """,
        tmp_path / "profile",
    )
    wrong, unknown, cut = "wrong", "no known answer", "correct,cut by the limit"
    everything = f"{wrong},{unknown},{cut}"
    assert said[:4] == [everything, wrong, cut, unknown]
    assert said[4:7] == [cut, "", f"{wrong},{unknown}"], "the search covers the step that is shown"
    assert said[7:10] == [everything, "", "0 answers"], "prompts are searched too"
    assert said[10:] == [wrong, "in truth: wrong <i>operation,in truth: wrong"]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_in_a_browser(run_dir: Path, tmp_path: Path) -> None:
    """The scripts run, the answers are placed as text, and the page is not blank."""
    image = pytest.importorskip("PIL.Image")
    page = write_report(run_dir)
    document = browse(page, tmp_path / "profile", "--virtual-time-budget=20000", "--dump-dom")
    assert "<title>my run · PURE</title>" in document, "the text of a prompt was executed"
    rendered = document[document.index("<main>") : document.index("</main>")]
    assert rendered.count('class="main-svg"') >= len(PANELS) + 4
    assert rendered.count('class="answer"') == 3
    assert "&lt;b id=injected&gt;" in rendered and "<b id=injected>" not in rendered
    assert re.search(
        r'class="row worst"[^>]*>.{0,40}2 \+ 3 = 6 in step 3.{0,120}\u22120\.75', rendered
    )
    assert "no known answer" in rendered
    picture = tmp_path / "report.png"
    browse(page, tmp_path / "profile2", f"--screenshot={picture}", "--window-size=1400,3000",
           "--virtual-time-budget=20000")  # fmt: skip
    with image.open(picture) as shot:
        colors = shot.convert("RGB").resize((350, 750)).getcolors(maxcolors=1 << 20)
    assert len(colors) > 500, "a blank page has a handful of colours"


def test_a_step_that_was_profiled_is_drawn_and_escaped(tmp_path: Path) -> None:
    events = [
        {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "policy-0"}},
        {
            "ph": "X",
            "name": "fit</script><script>alert(1)",
            "pid": 0,
            "tid": 0,
            "ts": 5e5,
            "dur": 1e6,
        },
        {"ph": "X", "name": "of no process", "pid": 7, "tid": 0, "ts": 0, "dur": 1},
    ]
    ((title, _, figure),) = trace_card(events)
    (bar,) = json.loads(figure)["data"]
    assert (title, bar["base"], bar["x"], bar["y"]) == ("One step", [0.5], [1.0], ["policy-0"])
    assert trace_card([]) == []
    (tmp_path / "trace.json").write_text(json.dumps({"traceEvents": events}))
    page = write_report(tmp_path).read_text()
    assert "One step" in page and "<script>alert(1)" not in page
    (tmp_path / "trace.json").write_text("{")
    assert "trace.json" in write_report(tmp_path).read_text(), "a torn file is named"
