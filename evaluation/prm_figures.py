"""The figures of prm_report.html: where the first wrong step is seen, and best-of-N over N."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from evaluation.best_of_n import AGGREGATIONS, METHODS
from pure_rlhf.report_figures import COLORS, empty_figure

METHOD_COLORS = dict(zip(METHODS, [*COLORS[:5], COLORS[7], COLORS[6]], strict=True))
BANDS = ("softmin", "majority")
"""Methods whose intervals are drawn; those of all would hide each other."""


def positions_figure(positions: dict[str, list[int]]) -> go.Figure:
    """Solutions by the position of their first wrong step, labelled and judged."""
    figure = empty_figure()
    labels = ["none", *(str(n) for n in range(1, len(positions["judged"])))]
    for (name, counts), color in zip(positions.items(), (COLORS[7], COLORS[0]), strict=True):
        figure.add_bar(x=labels, y=counts, name=name, marker={"color": color, "line": {"width": 0}})
    figure.update_xaxes(title_text="first wrong step", type="category")
    figure.update_yaxes(title_text="solutions")
    return figure


def curves_figure(candidates: dict[str, Any]) -> go.Figure:
    """Accuracy of every method over N; a result of `best_of_n`."""
    figure = empty_figure(height=330)
    sizes = candidates["sizes"]
    for name, points in candidates["curves"].items():
        values = [point["value"] for point in points]
        lows, highs = ([point["interval"][end] for point in points] for end in (0, 1))
        color = METHOD_COLORS[name]
        if name in BANDS:
            figure.add_scatter(
                x=[*sizes, *reversed(sizes)], y=[*highs, *reversed(lows)], fill="toself", fillcolor=color, opacity=0.12,
                line={"width": 0}, mode="lines", showlegend=False, hoverinfo="skip",
            )  # fmt: skip
        figure.add_scatter(
            x=sizes,
            y=values,
            name=name,
            mode="lines+markers",
            marker={"size": 5},
            line={"color": color, "width": 2, "dash": "solid" if name in AGGREGATIONS else "dot"},
            customdata=list(zip(lows, highs, strict=True)),
            hovertemplate="%{y:.1%} (%{customdata[0]:.1%} to %{customdata[1]:.1%})",
        )
    figure.update_xaxes(
        type="log", tickvals=sizes, ticktext=[str(n) for n in sizes], title_text="N"
    )
    figure.update_yaxes(tickformat=".0%")
    return figure
