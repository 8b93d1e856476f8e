"""The curves of the report, as Plotly figures.

A card is drawn when at least one of its metrics is there; its caption comes from the metric table.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from pure_rlhf.algorithm.metrics import METRICS
from pure_rlhf.report_panels import PANELS, TIMING_PHASES, Panel

COLORS = ("#2b6cb0", "#d9822b", "#2a9d6f", "#8b5fbf", "#c2454f", "#6b7a8f", "#b08d00", "#3aa6b9")
VERDICT_COLORS = {"correct": "#2a9d6f", "wrong": "#c2454f"}
SMOOTH_FROM_STEPS = 40
"""Above this many steps a curve is drawn faintly, with its running mean on top."""
SMOOTHING = 0.85

Point = tuple[float, float]  # step, value


def figure_cards(
    metrics: Sequence[dict[str, Any]],
    evaluation: dict[str, dict[str, Any]],
    alarms: Sequence[dict[str, Any]] = (),
) -> list[tuple[str, str, str]]:
    """(title, caption as HTML, figure as Plotly JSON) of every card that has data; alarms are marked in all."""
    cards = []
    accuracy = _accuracy_figure(metrics, evaluation)
    if accuracy is not None:
        text = (
            "Training: correct final answers among the verified samples. "
            "Held-out: greedy pass@1, 95 % interval."
        )
        cards.append(("Accuracy", text, _mark(accuracy, alarms).to_json()))
    for panel in PANELS:
        figure = _panel_figure(panel, metrics)
        if figure is not None:
            cards.append((panel.title, _caption(panel, metrics), _mark(figure, alarms).to_json()))
    timing = _timing_figure(metrics)
    if timing is not None:
        text = "Wall-clock time of a step by phase; <i>other</i> is what no phase claims."
        cards.append(("Time per phase", text, _mark(timing, alarms).to_json()))
    return cards


def _mark(figure: go.Figure, alarms: Sequence[dict[str, Any]]) -> go.Figure:
    for alarm in alarms:
        figure.add_vline(
            x=alarm["step"],
            line={"color": "#b83a44", "width": 1, "dash": "dot"},
            annotation={"text": html.escape(alarm["kind"]), "textangle": -90, "font_size": 9},
        )
    return figure


def series(metrics: Sequence[dict[str, Any]], key: str) -> list[Point]:
    """The finite values of a metric by step; steps without it are skipped."""
    return [
        (row["step"], row[key])
        for row in metrics
        if isinstance(row.get(key), int | float) and math.isfinite(row[key])
    ]


def _panel_figure(panel: Panel, metrics: Sequence[dict[str, Any]]) -> go.Figure | None:
    figure = empty_figure()
    for index, (key, label) in enumerate(panel.left + panel.right):
        axis = "y2" if (key, label) in panel.right else "y"
        color = VERDICT_COLORS.get(label, COLORS[index])
        _add_curve(figure, series(metrics, key), label, color, axis=axis)
    if not figure.data:
        return None
    _whole_steps(figure, metrics)
    figure.update_yaxes(title_text=panel.left_unit)
    if panel.share:
        figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%", title_text="")
    if panel.log:
        figure.update_yaxes(type="log", dtick=1, exponentformat="power")
    if any(series(metrics, key) for key, _ in panel.right):
        figure.update_layout(
            yaxis2={
                "title": {"text": panel.right_unit, "standoff": 6},
                "overlaying": "y",
                "side": "right",
                "showgrid": False,
                "automargin": True,
                "tickmode": "auto",
                "nticks": 6,
                "tickformat": ".3~g",
            }
        )
    return figure


def _accuracy_figure(
    metrics: Sequence[dict[str, Any]], evaluation: dict[str, dict[str, Any]]
) -> go.Figure | None:
    figure = empty_figure()
    _add_curve(figure, series(metrics, "reward/verifiable_accuracy"), "training", COLORS[0])
    held_out = held_out_points(metrics, evaluation)
    if held_out:
        values = [result["pass@1"] for _, result in held_out]
        ends = [
            result.get("ci95") or [value, value]
            for (_, result), value in zip(held_out, values, strict=True)
        ]
        figure.add_scatter(
            x=[step for step, _ in held_out],
            y=values,
            error_y={
                "type": "data",
                "array": [high - value for (_, high), value in zip(ends, values, strict=True)],
                "arrayminus": [value - low for (low, _), value in zip(ends, values, strict=True)],
                "thickness": 1.5,
                "width": 5,
            },
            name="held-out, greedy",
            mode="lines+markers",
            line={"color": COLORS[2], "width": 2, "dash": "dot"},
            marker={"size": 9},
        )
    names = sorted({key for row in metrics for key in row if key.startswith("eval/")})
    for index, key in enumerate(names):
        color = COLORS[3 + index % (len(COLORS) - 3)]
        _add_curve(figure, series(metrics, key), key.removeprefix("eval/"), color, smooth=False)
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")
    _whole_steps(figure, metrics)
    return figure if figure.data else None


def held_out_points(
    metrics: Sequence[dict[str, Any]], evaluation: dict[str, dict[str, Any]]
) -> list[tuple[int, dict[str, Any]]]:
    """(step, result): "before" stands at step 0, "step N" at N, "after" at the last step."""
    last = metrics[-1]["step"] if metrics else 1
    points = []
    for when, result in evaluation.items():
        numbered = re.fullmatch(r"step (\d+)", when)
        if numbered:
            points.append((int(numbered[1]), result))
        elif when in ("before", "after"):
            points.append((0 if when == "before" else last, result))
    return sorted(points, key=lambda point: point[0])


def _timing_figure(metrics: Sequence[dict[str, Any]]) -> go.Figure | None:
    rows = [row for row in metrics if any(key in row for key in TIMING_PHASES)]
    if not rows:
        return None
    figure = empty_figure()
    present = [key for key in TIMING_PHASES if any(key in row for row in rows)]
    columns = {key.removeprefix("timing/"): [row.get(key, 0.0) for row in rows] for key in present}
    claimed = [sum(values) for values in zip(*columns.values(), strict=True)]
    totals = [row.get("timing/step", spent) for row, spent in zip(rows, claimed, strict=True)]
    columns["other"] = [
        max(total - spent, 0.0) for total, spent in zip(totals, claimed, strict=True)
    ]
    palette = [*COLORS[:7], "#c9d1db"]
    for color, (name, values) in zip(
        [*palette[: len(columns) - 1], palette[-1]], columns.items(), strict=True
    ):
        figure.add_bar(
            x=[row["step"] for row in rows],
            y=values,
            name=name.replace("_", " "),
            marker_color=color,
        )
    figure.update_layout(
        barmode="stack", bargap=0.15 if len(rows) <= 60 else 0, legend_traceorder="normal"
    )
    figure.update_traces(marker_line_width=0)
    _whole_steps(figure, metrics)
    figure.update_yaxes(title_text="seconds", rangemode="tozero")
    return figure


def _add_curve(
    figure: go.Figure,
    points: list[Point],
    label: str,
    color: str,
    *,
    axis: str = "y",
    smooth: bool = True,
) -> None:
    if not points:
        return
    steps, values = (list(column) for column in zip(*points, strict=True))
    style: dict[str, Any] = {
        "color": color,
        "width": 2,
        "dash": "dash" if axis == "y2" else "solid",
    }
    mode = "lines+markers" if len(points) <= 20 else "lines"
    if smooth and len(points) > SMOOTH_FROM_STEPS:
        figure.add_scatter(
            x=steps,
            y=values,
            line={"color": color, "width": 1},
            opacity=0.25,
            yaxis=axis,
            mode="lines",
            showlegend=False,
            hoverinfo="skip",
        )
        values = _running_mean(values)
    figure.add_scatter(
        x=steps, y=values, name=label, line=style, mode=mode, yaxis=axis, marker={"size": 5}
    )


def _running_mean(values: Sequence[float]) -> list[float]:
    """Exponential running mean without a bias towards the start."""
    smoothed, mean, weight = [], 0.0, 0.0
    for value in values:
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        smoothed.append(mean / weight)
    return smoothed


def _whole_steps(figure: go.Figure, metrics: Sequence[dict[str, Any]]) -> None:
    if len(metrics) <= 12:  # there is no step 1.5
        figure.update_xaxes(dtick=1)


def empty_figure(height: int = 270) -> go.Figure:
    """A figure in the style of the reports, without curves."""
    axis = {"gridcolor": "#e8ecf1", "zerolinecolor": "#cfd6de", "automargin": True}
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "margin": {"l": 48, "r": 16, "t": 8, "b": 36},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#3a4654"},
            "legend": {
                "orientation": "h",
                "y": 1.02,
                "yanchor": "bottom",
                "x": 0,
                "font": {"size": 11},
            },
            "hovermode": "x unified",
            "showlegend": True,
            "xaxis": {**axis, "title": {"text": "step", "standoff": 4}},
            "yaxis": axis,
        }
    )


def _caption(panel: Panel, metrics: Sequence[dict[str, Any]]) -> str:
    """What each curve means and when to worry, from the metric table."""
    parts = []
    for key, label in panel.left + panel.right:
        if series(metrics, key):
            metric = METRICS[key]
            meaning, bad_sign = html.escape(metric.meaning), html.escape(metric.bad_sign)
            text = f"<b>{label}</b>: {meaning}. <span class=bad>Bad: {bad_sign}.</span>"
            parts.append(f"<li>{text}</li>")
    return f"<ul>{''.join(parts)}</ul>"
