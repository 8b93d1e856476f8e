"""The figure of prm_report.html that no other page has: where the first wrong step is seen."""

from __future__ import annotations

import plotly.graph_objects as go

from pure_rlhf.report.figures import COLORS, empty_figure


def positions_figure(positions: dict[str, list[int]]) -> go.Figure:
    """Solutions by the position of their first wrong step, labelled and judged."""
    figure = empty_figure()
    labels = ["none", *(str(n) for n in range(1, len(positions["judged"])))]
    for (name, counts), color in zip(positions.items(), (COLORS[7], COLORS[0]), strict=True):
        figure.add_bar(x=labels, y=counts, name=name, marker={"color": color, "line": {"width": 0}})
    figure.update_xaxes(title_text="first wrong step", type="category")
    figure.update_yaxes(title_text="solutions")
    return figure
