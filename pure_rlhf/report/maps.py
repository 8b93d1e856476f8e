"""The figures of the report that are no curves: time per phase, group accuracy, calibration of the PRM.

Steps of a long run stand together: each bar and each column is the mean of a stretch of steps.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from pure_rlhf.monitoring.records import AlarmRecord, MetricRow
from pure_rlhf.report.figures import COLORS, empty_figure, mark_alarms, series, whole_steps
from pure_rlhf.report.panels import CALIBRATION_RANGES, GROUP_ACCURACIES, TIMING_PHASES

MAP_TITLES = ("PRM score against verifier", "Accuracy of the groups", "Time per phase")
TRACE_TITLE = "One step"
MAX_COLUMNS = 120
CALIBRATION_SHARE = 0.2
"""Of the steps: what counts as early and as late in the calibration."""


def map_cards(
    metrics: Sequence[MetricRow], alarms: Sequence[AlarmRecord] = ()
) -> list[tuple[str, str, str]]:
    """(title, caption as HTML, figure as Plotly JSON) of those that have data; alarms are marked where steps are."""
    size = math.ceil(len(metrics) / MAX_COLUMNS)
    together = f" Means of {size} steps each." if size > 1 else ""
    wanted = (
        (calibration_figure(metrics), (),
         "Share of correct answers among those to which the PRM gives about the same p = (process return + 1) / 2, in "
         "the first and in the last fifth of the steps; larger points stand for more answers. On the diagonal, p is "
         "what it says. <span class=bad>Bad: late points fall below it.</span>"),
        (group_figure(metrics), alarms,
         "Prompts by the share of their answers that are correct. <i>None</i> and <i>all</i> teach a verifier nothing."
         + together),
        (timing_figure(metrics), alarms,
         "Wall-clock time of a step by phase; <i>other</i> is what no phase claims." + together),
    )  # fmt: skip
    return [
        (title, caption, str(mark_alarms(figure, marks, metrics[-1]["step"]).to_json()))
        for title, (figure, marks, caption) in zip(MAP_TITLES, wanted, strict=True)
        if figure is not None
    ]


def timing_figure(metrics: Sequence[MetricRow]) -> go.Figure | None:
    """Stacked bars of the phases."""
    rows = [row for row in metrics if any(key in row for key in TIMING_PHASES)]
    if not rows:
        return None
    figure = empty_figure()
    present = [key for key in TIMING_PHASES if any(key in row for row in rows)]
    steps, columns = _stretches(rows, [*present, "timing/step"])
    totals = columns.pop("timing/step")
    claimed = [
        sum(found or 0.0 for found in spent) for spent in zip(*columns.values(), strict=True)
    ]
    columns["other"] = [
        max(total - spent, 0.0) if total is not None else 0.0
        for total, spent in zip(totals, claimed, strict=True)
    ]
    palette = [*COLORS[:7], "#c9d1db"]
    colors = [*palette[: len(columns) - 1], palette[-1]]
    for color, (name, values) in zip(colors, columns.items(), strict=True):
        label = name.removeprefix("timing/").replace("_", " ")
        figure.add_bar(x=steps, y=values, name=label, marker_color=color)
    figure.update_layout(
        barmode="stack", bargap=0.15 if len(steps) <= 60 else 0, legend_traceorder="normal"
    )
    figure.update_traces(marker_line_width=0)
    whole_steps(figure, metrics)
    figure.update_yaxes(title_text="seconds", rangemode="tozero")
    return figure


def group_figure(metrics: Sequence[MetricRow]) -> go.Figure | None:
    """Heat map: the share of prompts at each group accuracy, over the steps."""
    keys = [key for key, _ in GROUP_ACCURACIES]
    rows = [row for row in metrics if all(series([row], key) for key in keys)]
    if not rows:
        return None
    steps, columns = _stretches(rows, keys)
    figure = empty_figure()
    figure.add_heatmap(
        x=steps,
        y=[label for _, label in GROUP_ACCURACIES],
        z=[columns[key] for key in keys],
        zmin=0,
        zmax=1,
        colorscale="Blues",
        colorbar={
            "title": {"text": "prompts", "side": "right"},
            "tickformat": ".0%",
            "thickness": 12,
        },
        hovertemplate="step %{x:.0f}: %{z:.0%} of the prompts<extra>%{y}</extra>",
    )
    whole_steps(figure, metrics)
    figure.update_layout(hovermode="closest")
    figure.update_yaxes(title_text="correct answers of a prompt", showgrid=False)
    return figure


def calibration_figure(metrics: Sequence[MetricRow]) -> go.Figure | None:
    """Verified accuracy by the p of the PRM, early and late."""
    rows = [row for row in metrics if any(key.startswith("prm_calibration/") for key in row)]
    if not rows:
        return None
    size = max(1, round(CALIBRATION_SHARE * len(rows)))
    parts = {"early": rows[:size], "late": rows[-size:]} if len(rows) > 1 else {"step 1": rows}
    figure = empty_figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], name="p is right", mode="lines", hoverinfo="skip",
        line={"color": "#8a94a3", "width": 1, "dash": "dot"},
    )  # fmt: skip
    for color, (name, part) in zip(COLORS[:2], parts.items(), strict=False):
        points = _calibration_points(part)
        most = max((count for _, _, count in points), default=1.0)
        first, last = part[0]["step"], part[-1]["step"]
        figure.add_scatter(
            x=[p for p, _, _ in points],
            y=[accuracy for _, accuracy, _ in points],
            name=f"{name}: steps {first} to {last}" if len(part) > 1 else f"step {first}",
            mode="lines+markers",
            line={"color": color, "width": 2},
            marker={"size": [6 + 12 * math.sqrt(count / most) for _, _, count in points]},
            customdata=[count for _, _, count in points],
            hovertemplate="%{y:.0%} of %{customdata:.0f} answers are correct",
        )
    figure.update_xaxes(title_text="p of the PRM", range=[-0.03, 1.03], tickformat=".0%")
    figure.update_yaxes(title_text="verified accuracy", range=[-0.03, 1.03], tickformat=".0%")
    return figure


def _calibration_points(rows: Sequence[MetricRow]) -> list[tuple[float, float, float]]:
    """(middle of the range of p, accuracy, answers) over all rows together; empty ranges are left out."""
    points = []
    for low, high in CALIBRATION_RANGES:
        key = f"prm_calibration/{low:.1f}-{high:.1f}"
        found = [
            (row[f"{key}/answers"], row[f"{key}/accuracy"])
            for row in rows
            if series([row], f"{key}/answers") and series([row], f"{key}/accuracy")
        ]
        total = sum(count for count, _ in found)
        if total > 0:
            correct = sum(count * accuracy for count, accuracy in found)
            points.append(((low + high) / 2, correct / total, total))
    return points


def trace_card(trace: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """The card of `--profile`: (title, caption, figure); none where there is no trace.

    Args:
        trace: Chrome's trace events, see `monitoring/step_trace.py`.
    """
    names = {e["pid"]: str(e["args"]["name"]) for e in trace if e.get("ph") == "M"}
    # `progress`: the command line asks once in a while
    calls = [
        event
        for event in trace
        if event.get("ph") == "X"
        and event.get("dur", 0) > 0
        and event.get("pid") in names
        and event["name"] != "progress"
    ]
    if not calls:
        return []
    lanes = list(names.values())
    figure = empty_figure(60 + 26 * len(lanes))
    kinds = sorted(
        {str(call["name"]) for call in calls}
    )  # in one order, and so in one colour, whatever came first
    for number, kind in enumerate(kinds):
        mine = [call for call in calls if call["name"] == kind]
        figure.add_bar(
            orientation="h",
            y=[names[call["pid"]] for call in mine],
            base=[call["ts"] / 1e6 for call in mine],
            x=[call["dur"] / 1e6 for call in mine],
            name=kind,
            marker={"color": COLORS[number % len(COLORS)], "line": {"width": 0}},
            opacity=0.75,
            hovertemplate=f"{html.escape(kind)}: %{{base:.3f}} s, %{{x:.3f}} s long<extra>%{{y}}</extra>",
        )
    figure.update_layout(barmode="overlay", bargap=0.25, hovermode="closest")
    figure.update_xaxes(title_text="seconds from the start of the step")
    figure.update_yaxes(categoryorder="array", categoryarray=lanes[::-1], dtick=1, showgrid=False)
    caption = (
        "What every process did in one step, and whose turn it was for the driver. trace.json opens in "
        "<code>ui.perfetto.dev</code>."
    )
    return [(TRACE_TITLE, caption, str(figure.to_json()))]


def _stretches(
    rows: Sequence[MetricRow], keys: Sequence[str]
) -> tuple[list[float], dict[str, list[float | None]]]:
    """Middle, and mean of each key (None where no row has it), of at most MAX_COLUMNS stretches of rows."""
    size = math.ceil(len(rows) / MAX_COLUMNS)
    stretches = [rows[start : start + size] for start in range(0, len(rows), size)]
    return (
        [part[0]["step"] + (size - 1) / 2 for part in stretches],
        {
            key: [
                sum(value for _, value in points) / len(points) if points else None
                for points in (series(part, key) for part in stretches)
            ]
            for key in keys
        },
    )
