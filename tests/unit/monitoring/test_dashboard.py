"""The Grafana dashboard and the Weights & Biases workspace: made from the metric table, complete, on declared keys."""

from __future__ import annotations

import json
import re
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from pure_rlhf.cli.make_dashboard import dashboard_file, exported_name
from pure_rlhf.cli.wandb_workspace import RUNTIME, SECTIONS, workspace
from pure_rlhf.monitoring.metric_table import METRICS, check_declared
from pure_rlhf.monitoring.sinks import prometheus_name

FILE = Path(__file__).parents[3] / "docs" / "grafana_dashboard.json"


def test_the_dashboard_file_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == dashboard_file(), (
        "run: python -m pure_rlhf.cli.make_dashboard > docs/grafana_dashboard.json"
    )


def test_the_dashboard_shows_every_metric_once_under_its_row() -> None:
    panels = json.loads(dashboard_file())["panels"]
    shown = [panel["title"] for panel in panels if panel["type"] == "timeseries"]
    assert sorted(shown) == sorted(["step", *METRICS])
    row = None
    for panel in panels[1:]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            assert panel["title"].split("/")[0] == row
            assert METRICS[panel["title"]].bad_sign in panel["description"]


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in json.loads(dashboard_file())["panels"]]
    cells = [
        {(x, y) for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])}
        for p in places
    ]
    assert not any(a & b for a, b in combinations(cells, 2))
    assert all(a["y"] <= b["y"] for a, b in pairwise(places))
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_queries_use_the_names_that_ray_exports() -> None:
    panels = json.loads(dashboard_file())["panels"]
    query = {p["title"]: p["targets"][0]["expr"] for p in panels if p["type"] == "timeseries"}
    assert query["reward/process_return"] == 'ray_pure_reward_process_return{run=~"$run"}'
    name = exported_name("eval/<name>/pass@1")
    assert query["eval/<name>/pass@1"] == f'{{__name__=~"{name}", run=~"$run"}}'
    assert re.fullmatch(name, f"ray_{prometheus_name('eval/held_out/pass@1')}")
    patterns = [exported_name(key) for key in METRICS]
    for key in METRICS:  # no pattern shows another metric's curves
        concrete = f"ray_{prometheus_name(key.replace('<name>', 'held_out'))}"
        assert sum(bool(re.fullmatch(pattern, concrete)) for pattern in patterns) == 1, key


def test_the_workspace_has_the_22_published_panels_on_declared_metrics() -> None:
    charts = [chart for charts in SECTIONS.values() for chart in charts]
    assert len(charts) == 22
    check_declared(key for chart in charts for key in chart.keys)
    assert [chart.title for chart in charts if not chart.keys] == ["Hours"]


def test_the_workspace_can_be_built() -> None:
    pytest.importorskip("wandb_workspaces")
    sections = workspace("team", "pure")._spec["spec"]["section"]["panelBankConfig"]["sections"]
    assert {s["name"]: s["isOpen"] for s in sections} == {n: n != "Loss" for n in SECTIONS}
    plots = {p["config"]["chartTitle"]: p["config"] for s in sections for p in s["panels"]}
    assert len(plots) == 22
    held_out = plots["Held-out problems, greedy pass@1"]
    assert (held_out["xAxis"], held_out["metrics"]) == ("eval/global_step", ["eval/held_out/pass@1"])  # fmt: skip
    assert held_out["smoothingType"] == "none"
    entropy = plots["Entropy"]
    assert (entropy["xAxis"], entropy["metrics"]) == ("train/global_step", ["train/policy/entropy"])
    assert (entropy["smoothingType"], entropy["smoothingWeight"]) == ("exponential", 0.8)
    assert plots["Hours"]["expressions"] == [RUNTIME] and plots["Hours"]["metrics"] == []
