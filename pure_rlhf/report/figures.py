"""The curves of the report, as Plotly figures.

A card is drawn when at least one of its metrics is there; its caption comes from the metric table. Colours are those
of Okabe and Ito, which people tell apart whatever their colour vision.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from pure_rlhf.monitoring.metric_table import METRICS
from pure_rlhf.monitoring.records import AlarmRecord, EvaluationRecord, MetricRow
from pure_rlhf.report.panels import NAMED_PANELS, PANELS, Panel

COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000", "#8a94a3")
VERDICT_COLORS = {"correct": "#0072b2", "wrong": "#d55e00", "all": "#8a94a3"}
ALARM_COLOR = "#9c2b35"
SMOOTH_FROM_STEPS = 40
"""Above this many steps a curve is drawn faintly, with its running mean on top."""
SMOOTHING = 0.85
MAX_POINTS = 300
"""Of a curve; of a longer one, the lowest and the highest of every stretch are drawn."""

Point = tuple[float, float]  # step, value


def figure_cards(
    metrics: Sequence[MetricRow],
    evaluation: dict[str, EvaluationRecord],
    alarms: Sequence[AlarmRecord] = (),
) -> list[tuple[str, str, str]]:
    """(title, caption as HTML, figure as Plotly JSON) of every card that has data; alarms are marked in all."""
    cards = []
    last_step = metrics[-1]["step"] if metrics else 1
    accuracy = _accuracy_figure(metrics, evaluation)
    if accuracy is not None:
        text = (
            "Training: correct final answers among the verified samples. "
            "Held-out: greedy pass@1, 95 % interval."
        )
        cards.append(("Accuracy", text, mark_alarms(accuracy, alarms, last_step).to_json()))
    for panel in PANELS:
        figure = _panel_figure(panel, metrics)
        if figure is not None:
            caption = _caption(panel, metrics)
            cards.append((panel.title, caption, mark_alarms(figure, alarms, last_step).to_json()))
    for title, template in NAMED_PANELS:
        figure = _named_figure(template, metrics)
        if figure is not None:
            text = f"{html.escape(METRICS[template].meaning)}; by --step_labeller."
            cards.append((title, text, mark_alarms(figure, alarms, last_step).to_json()))
    return cards


def mark_alarms(figure: go.Figure, alarms: Sequence[AlarmRecord], last_step: float) -> go.Figure:
    """A dotted line at each step at which alarms began, with their numbers in the list of alarms.

    Lines too close for two labels share one.
    """
    labels: list[tuple[float, list[str], list[str]]] = []
    for number, alarm in enumerate(alarms, start=1):
        figure.add_vline(x=alarm["step"], line={"color": ALARM_COLOR, "width": 1, "dash": "dot"})
        if not labels or abs(alarm["step"] - labels[-1][0]) > 0.1 * last_step:
            labels.append((alarm["step"], [], []))
        labels[-1][1].append(str(number))
        labels[-1][2].append(f"{alarm['kind']} at step {alarm['step']}")
    for step, numbers, kinds in labels:
        figure.add_annotation(
            x=step,
            y=1,
            yref="y domain",
            text=", ".join(numbers),
            hovertext=html.escape(", ".join(kinds)),
            showarrow=False,
            yanchor="top",
            bgcolor=ALARM_COLOR,
            borderpad=2,
            font={"size": 10, "color": "#fff"},
        )
    return figure


def series(metrics: Sequence[MetricRow], key: str) -> list[Point]:
    """The finite values of a metric by step; steps without it are skipped."""
    return [
        (row["step"], row[key])
        for row in metrics
        if isinstance(row.get(key), int | float) and math.isfinite(row[key])
    ]


def _panel_figure(panel: Panel, metrics: Sequence[MetricRow]) -> go.Figure | None:
    figure = empty_figure()
    for index, (key, label) in enumerate(panel.left + panel.right):
        axis = "y2" if (key, label) in panel.right else "y"
        color = VERDICT_COLORS.get(label, COLORS[index])
        add_curve(figure, series(metrics, key), label, color, axis=axis)
    if not figure.data:
        return None
    whole_steps(figure, metrics)
    figure.update_yaxes(title_text=panel.left_unit)
    if panel.share:
        figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")
    if panel.log:
        figure.update_yaxes(type="log", dtick=1, exponentformat="power")
    if any(series(metrics, key) for key, _ in panel.right):
        figure.update_layout(
            yaxis2={
                "title": {"text": panel.right_unit, "standoff": 6},
                "overlaying": "y",
                "side": "right",
                "showgrid": False,
                "ticklabelstandoff": 8,
                "automargin": True,
                "tickmode": "auto",
                "nticks": 6,
                "tickformat": ".3~g",
            }
        )
    return figure


def _named_figure(template: str, metrics: Sequence[MetricRow]) -> go.Figure | None:
    """A curve for each name that the metrics `PREFIX<name>` have; steps without one have none of that kind."""
    prefix = template.split("<name>")[0]
    names = sorted({key for row in metrics for key in row if key.startswith(prefix)})
    if not names:
        return None
    figure = empty_figure()
    for index, key in enumerate(names):
        label = html.escape(key.removeprefix(prefix).replace("_", " "))
        add_curve(figure, series(metrics, key), label, COLORS[index % len(COLORS)])
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%", title_text="share")
    whole_steps(figure, metrics)
    return figure


def _accuracy_figure(
    metrics: Sequence[MetricRow], evaluation: dict[str, EvaluationRecord]
) -> go.Figure | None:
    figure = empty_figure()
    add_curve(figure, series(metrics, "reward/verifiable_accuracy"), "training", COLORS[0])
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
        add_curve(figure, series(metrics, key), key.removeprefix("eval/"), color, smooth=False)
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%", title_text="accuracy")
    whole_steps(figure, metrics)
    return figure if figure.data else None


def held_out_points(
    metrics: Sequence[MetricRow], evaluation: dict[str, EvaluationRecord]
) -> list[tuple[int, EvaluationRecord]]:
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


def add_curve(
    figure: go.Figure,
    points: list[Point],
    label: str,
    color: str,
    *,
    axis: str = "y",
    smooth: bool | None = None,
    dash: str = "",
    **trace: Any,
) -> None:
    """One curve, if there are points; with `smooth` (default: a long one) faintly, its running mean on top.

    `trace`: more settings of Plotly's.
    """
    if not points:
        return
    curves = [(points, 1.0)]
    if len(points) > SMOOTH_FROM_STEPS if smooth is None else smooth:
        steps, values = zip(*points, strict=True)
        curves = [(points, 0.25), (list(zip(steps, running_mean(values), strict=True)), 1.0)]
    for curve, opacity in curves:
        steps, values = zip(*thin(curve), strict=True)
        is_faint = opacity < 1
        figure.add_scatter(
            x=steps,
            y=values,
            name=label,
            line={
                "color": color,
                "width": 1 if is_faint else 2,
                "dash": dash or ("dash" if axis == "y2" else "solid"),
            },
            mode="lines+markers" if len(points) <= 20 else "lines",
            marker={"size": 5},
            opacity=opacity,
            yaxis=axis,
            **({"showlegend": False, "hoverinfo": "skip"} if is_faint else {}) | trace,
        )


def thin(points: list[Point], most: int = MAX_POINTS) -> list[Point]:
    """The first, the last, and the lowest and highest of each stretch: no spike is lost.

    Example: of 1000 points at most 288 are left (stretches of 7).
    """
    if len(points) <= most:
        return points
    size = math.ceil(2 * len(points) / most)
    kept = {points[0], points[-1]}
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        kept |= {find(stretch, key=lambda point: point[1]) for find in (min, max)}
    return sorted(kept)


def running_mean(values: Sequence[float]) -> list[float]:
    """Exponential running mean without a bias towards the start."""
    smoothed, mean, weight = [], 0.0, 0.0
    for value in values:
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        smoothed.append(mean / weight)
    return smoothed


def whole_steps(figure: go.Figure, metrics: Sequence[MetricRow]) -> None:
    """No tick between two steps."""
    if len(metrics) <= 12:
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
            "xaxis": {**axis, "title": {"text": "step", "standoff": 4}, "ticklabelstandoff": 4},
            "yaxis": axis,
        }
    )


def _caption(panel: Panel, metrics: Sequence[MetricRow]) -> str:
    """What each curve means and when to worry, from the metric table."""
    parts = []
    for key, label in panel.left + panel.right:
        if series(metrics, key):
            metric = METRICS[key]
            meaning, bad_sign = html.escape(metric.meaning), html.escape(metric.bad_sign)
            text = f"<b>{label}</b>: {meaning}. <span class=bad>Bad: {bad_sign}.</span>"
            parts.append(f"<li>{text}</li>")
    return f"<ul>{''.join(parts)}</ul>"
