"""`python -m pure_rlhf.cli.make_dashboard > docs/grafana_dashboard.json`: all metrics for Grafana, from their table.

It shows what `monitoring.sinks.RayMetrics` gives to Ray, in Grafana's classic dashboard model (Dashboards > New >
Import).
"""

from __future__ import annotations

import json
import re
import sys

from pure_rlhf.monitoring.metric_table import METRICS, Metric
from pure_rlhf.monitoring.records import JsonObject
from pure_rlhf.monitoring.sinks import prometheus_name

DASHBOARD_COLUMNS = 24
PANEL_WIDTH, PANEL_HEIGHT = 8, 7
# units of the metric table that Grafana has its own name for; any other unit is written behind the number
FORMATS: dict[str, JsonObject] = {
    "": {},
    "0 to 1": {"unit": "percentunit", "min": 0, "max": 1},
    "-1 to 1": {"min": -1, "max": 1},
    "0 first to 1 last": {"min": 0, "max": 1},
    "reward": {},
    "s": {"unit": "s", "min": 0},
    "MB": {"unit": "decmbytes", "min": 0},
}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> JsonObject:
    """The dashboard: a row for each prefix of the keys (`reward/`, `pure/` ...), a panel for each metric."""
    step = Metric("step", "last", "steps", "steps done", "stands still")
    panels: list[JsonObject] = [_panel(step, x=0, y=0)]
    y = PANEL_HEIGHT
    groups: dict[str, list[Metric]] = {}
    for metric in METRICS.values():
        groups.setdefault(metric.key.split("/")[0], []).append(metric)
    for prefix, metrics in groups.items():
        panels.append(_row(prefix, y))
        y += 1
        for number, metric in enumerate(metrics):
            column = number * PANEL_WIDTH % DASHBOARD_COLUMNS
            y += PANEL_HEIGHT if number and column == 0 else 0
            panels.append(_panel(metric, column, y))
        y += PANEL_HEIGHT
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
    return {
        "title": "PURE training",
        "uid": "pure-training",
        "description": "Made from the metric table by python -m pure_rlhf.cli.make_dashboard",
        "tags": ["pure", "ray"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "panels": panels,
    }


def exported_name(key: str) -> str:
    """Name of a metric at Ray's Prometheus end point; where the key has a `<name>`, a pattern for all names."""
    before, *after = key.split("<name>")
    return "ray_" + prometheus_name(before) + "".join(".+" + re.sub(r"\W", "_", a) for a in after)


def _variables() -> list[JsonObject]:
    """The selectors at the top: which Prometheus, which runs."""
    query = f"label_values({exported_name('step')}, run)"
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "run",
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": query, "refId": "run"},
            "refresh": 2,  # when the time range changes
            "sort": 2,  # newest name first
            "includeAll": True,
            "multi": True,
            "allValue": ".+",
            "current": {"text": ["All"], "value": ["$__all"]},
        },
    ]


def _row(prefix: str, y: int) -> JsonObject:
    position = {"h": 1, "w": DASHBOARD_COLUMNS, "x": 0, "y": y}
    return {"type": "row", "title": prefix, "collapsed": False, "gridPos": position, "panels": []}


def _panel(metric: Metric, x: int, y: int) -> JsonObject:
    name = exported_name(metric.key)
    is_pattern = "<name>" in metric.key
    expression = f'{{__name__=~"{name}", run=~"$run"}}' if is_pattern else f'{name}{{run=~"$run"}}'
    defaults = FORMATS.get(metric.unit, {"unit": f"suffix: {metric.unit}"})
    return {
        "type": "timeseries",
        "title": metric.key,
        "description": f"{metric.meaning[0].upper()}{metric.meaning[1:]}. Bad sign: {metric.bad_sign}.",
        "datasource": DATASOURCE,
        "gridPos": {"h": PANEL_HEIGHT, "w": PANEL_WIDTH, "x": x, "y": y},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "datasource": DATASOURCE,
                "expr": expression,
                "legendFormat": "{{run}} {{__name__}}" if is_pattern else "{{run}}",
                "refId": "A",
            }
        ],
    }


def dashboard_file() -> str:
    """The text of docs/grafana_dashboard.json."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(dashboard_file())
