"""comparison.html: the runs of `compare.py` on one self-contained page, for a person to judge the paper's claims by.

Lines are means over seeds, bands reach from the lowest to the highest seed. Nothing on the page is worded by hand:
what it says is counted from the runs.
"""

# ruff: noqa: E501 (page text)

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from examples.tiny_math.compare import (
    COLLAPSE_POINTS,
    EXPLOITATION_POINTS,
    SMOOTHING_STEPS,
    RunHistory,
    running_mean,
    steps_to_reach,
)
from pure_rlhf.report.figures import COLORS, empty_figure
from pure_rlhf.report.page import cards_html, page_html

SETTINGS: tuple[str, ...] = (
    "PRM softmin", "PRM sum", "PRM gamma_decay", "PRMVR softmin", "PRMVR sum", "PRMVR gamma_decay", "VR",
)  # fmt: skip
FIGURE_HEIGHT = 330
COLOR_OF: dict[str, str] = dict(
    zip(SETTINGS, [*COLORS[:3], COLORS[0], COLORS[1], COLORS[2], "#1f2a37"], strict=True)
)
Histories = dict[str, list[RunHistory]]


def render_comparison(
    histories: Sequence[RunHistory], summaries: Sequence[dict[str, Any]], facts: dict[str, Any]
) -> str:
    """The whole page. `facts`: steps, gamma and the world's record."""
    by_setting = {
        name: [history for history in histories if history.setting == name] for name in SETTINGS
    }
    by_setting = {name: runs for name, runs in by_setting.items() if runs}
    cards = [
        ("Greedy accuracy on held-out problems", greedy_figure(by_setting)),
        ("Accuracy of sampled answers (by the checker)", curve_figure(by_setting, "accuracy", share=True)),
        ("Solutions that are right in every step", curve_figure(by_setting, "solutions_right", share=True)),
        ("Steps per answer", curve_figure(by_setting, "steps_per_answer")),
        ("Tokens per answer", curve_figure(by_setting, "response_length")),
    ]  # fmt: skip
    cards += [
        (f"{name}: what the PRM sees, and what is true", belief_figure(runs))
        for name, runs in by_setting.items()
        if name != "VR"
    ]
    grid = cards_html([(title, "") for title, _ in cards])
    main = f"""<section><h2>What came out</h2><ul>{"".join(f"<li>{line}</li>" for line in outcome(by_setting, summaries))}</ul></section>
<section><h2>By setting</h2>{setting_table(by_setting, summaries)}
<p class=caption>Means over seeds, lowest and highest seed in small print. Accuracies of the last steps are of answers sampled
in training, smoothed by the mean of {SMOOTHING_STEPS} steps; the checker of the small world knows the truth of every step.</p></section>
<section><h2>Curves</h2><p class=caption>Lines: mean over seeds, of the last {SMOOTHING_STEPS} steps. Bands: lowest to highest seed.</p><div class=grid>{grid}</div></section>
<section><h2>Run by run</h2>{run_table(summaries)}
<p class=caption>Written down before the first run. <b>Collapse</b>: the first step from which accuracy stays at least
{100 * COLLAPSE_POINTS:.0f} points below its highest value so far, to the end. <b>Exploitation</b>: the PRM's return is higher at
the end than at the step of the highest accuracy, while accuracy has fallen at least {100 * EXPLOITATION_POINTS:.0f} points since; it begins at that step.</p></section>"""
    return page_html(
        title="Credit assignments compared",
        kind="PURE in the small world",
        facts=_facts(by_setting, facts),
        main=main,
        figures=[str(figure.to_json()) for _, figure in cards],
        style=f".plot{{height:{FIGURE_HEIGHT}px}}",
    )


def outcome(by_setting: Histories, summaries: Sequence[dict[str, Any]]) -> list[str]:
    """The paper's four claims, each with what the runs say of it."""

    def said(names: Sequence[str], key: str) -> str:
        parts = []
        for name in names:
            rows = [row for row in summaries if row["setting"] == name]
            hits = [row[key] for row in rows if row[key] is not None]
            at = f" (at step {', '.join(map(str, sorted(hits)))})" if hits else ""
            parts.append(f"{name} {len(hits)} of {len(rows)}{at}")
        return "; ".join(parts) + "."

    present = [name for name in SETTINGS if name in by_setting]
    process_only = [name for name in present if name.startswith("PRM ")]
    last = {
        name: _mean([run.smoothed("solutions_right")[-1] for run in by_setting[name]])
        for name in present
    }
    best = max(last, key=lambda name: last[name])
    lines = [
        f"<b>Sum-form collapses early</b> (paper: at step 25, 7B). Runs that collapsed here: {said([n for n in present if n != 'VR'], 'collapse_step')}",
        f"<b>Process rewards alone end in exploitation</b> (paper: every such run). Runs that show it here: {said(process_only, 'exploitation_step')}",
        "<b>PRMVR in min-form is stable and best.</b> Share of solutions right in every step, last steps: "
        + ", ".join(f"{name} {value:.1%}" for name, value in last.items())
        + f". Highest: {best}.",
    ]
    if "VR" in by_setting:
        target = 0.95 * _mean([run.smoothed("accuracy")[-1] for run in by_setting["VR"]])
        reached = {name: steps_to_reach(by_setting[name], target) for name in present}
        of_vr = reached["VR"]
        shown = ", ".join(
            f"{name} {step if step is not None else 'not reached'}"
            + (f" ({step / of_vr:.0%} of VR's)" if step and of_vr and name != "VR" else "")
            for name, step in reached.items()
        )
        lines.append(
            f"<b>Process rewards reach VR's accuracy in 30 % of its steps.</b> First step whose sampled accuracy (mean over seeds) reaches 95 % of VR's last ({target:.1%}): {shown}. VR learns from the prompts with an answer only, here as in PRMVR; the paper's VR had answers to all."
        )
    return lines


def setting_table(by_setting: Histories, summaries: Sequence[dict[str, Any]]) -> str:
    """One row a setting: accuracies and how many runs failed in which way."""
    columns = (
        ("greedy_before", "greedy before"),
        ("greedy_best", "greedy, best"),
        ("greedy_after", "greedy after"),
        ("accuracy_peak", "sampled, peak"),
        ("accuracy_last", "sampled, last"),
        ("solutions_right_last", "all steps right, last"),
    )
    body = ""
    for name in by_setting:
        rows = [row for row in summaries if row["setting"] == name]
        cells = "".join(f"<td>{_spread([row[key] for row in rows])}</td>" for key, _ in columns)
        for key in ("exploitation_step", "collapse_step"):
            cells += f"<td>{sum(row[key] is not None for row in rows)} of {len(rows)}</td>"
        body += f"<tr><th>{html.escape(name)}</th>{cells}</tr>"
    head = "".join(f"<th>{label}</th>" for _, label in columns)
    return f"<table><thead><tr><th></th>{head}<th>exploitation</th><th>collapse</th></tr></thead><tbody>{body}</tbody></table>"


def run_table(summaries: Sequence[dict[str, Any]]) -> str:
    """One row a run."""
    body = "".join(
        f"<tr><th>{html.escape(row['setting'])}</th><td>{row['seed']}</td>"
        f"<td>{row['greedy_before']:.1%} → {row['greedy_after']:.1%}</td>"
        f"<td>{row['accuracy_peak']:.1%} at step {row['accuracy_peak_step']}</td><td>{row['accuracy_last']:.1%}</td>"
        f"<td>{_step(row['exploitation_step'])}</td><td>{_step(row['collapse_step'])}</td></tr>"
        for row in summaries
    )
    head = "<th>setting</th><th>seed</th><th>greedy</th><th>sampled, peak</th><th>sampled, last</th><th>exploitation from</th><th>collapse at</th>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def curve_figure(by_setting: Histories, key: str, *, share: bool = False) -> go.Figure:
    """One smoothed quantity against the step, a line and a band for each setting that has it."""
    figure = empty_figure(FIGURE_HEIGHT)
    for name, runs in by_setting.items():
        if key in runs[0].rows[0]:
            columns = [running_mean(run.column(key)) for run in runs]
            _add_band(figure, runs[0].column("step"), columns, name)
    if share:
        figure.update_yaxes(tickformat=".0%")
    return figure


def greedy_figure(by_setting: Histories) -> go.Figure:
    """Greedy held-out accuracy at the evaluations that all runs of a setting have.

    A run that was killed in an evaluation and went on from the checkpoint before it lacks that one.
    """
    figure = empty_figure(FIGURE_HEIGHT)
    for name, runs in by_setting.items():
        accuracy_of = [dict(run.greedy) for run in runs]
        steps = sorted(set.intersection(*(set(found) for found in accuracy_of)))
        columns = [[found[step] for step in steps] for found in accuracy_of]
        _add_band(figure, [float(step) for step in steps], columns, name)
    figure.update_yaxes(tickformat=".0%")
    return figure


def belief_figure(runs: Sequence[RunHistory]) -> go.Figure:
    """True share of right steps beside the PRM's p(right), and the PRM's return on the right axis."""
    figure = empty_figure(FIGURE_HEIGHT)
    steps = runs[0].column("step")
    truth = [run.smoothed("steps_right") for run in runs]
    belief = [[(reward + 1) / 2 for reward in run.smoothed("step_reward")] for run in runs]
    _add_band(figure, steps, truth, "steps right, true", color=COLORS[2])
    _add_band(figure, steps, belief, "steps right, says the PRM", color=COLORS[4])
    returns = [run.smoothed("process_return") for run in runs]
    figure.add_scatter(
        x=steps,
        y=[_mean(values) for values in zip(*returns, strict=True)],
        name="return (right axis)",
        line={"color": COLORS[3], "width": 2, "dash": "dot"},
        yaxis="y2",
    )
    figure.update_yaxes(tickformat=".0%")
    figure.update_layout(
        yaxis2={"overlaying": "y", "side": "right", "showgrid": False}, margin_r=48
    )
    return figure


def _add_band(
    figure: go.Figure,
    steps: Sequence[float],
    columns: Sequence[Sequence[float]],
    name: str,
    color: str = "",
) -> None:
    color = color or COLOR_OF[name]
    style = {"color": color, "width": 2, "dash": "dash" if name.startswith("PRMVR") else "solid"}
    points = list(zip(*columns, strict=True))
    if len(columns) > 1:
        figure.add_scatter(
            x=[*steps, *reversed(steps)],
            y=[max(values) for values in points] + [min(values) for values in reversed(points)],
            fill="toself",
            fillcolor=color,
            opacity=0.12,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=name,
        )
    figure.add_scatter(
        x=steps, y=[_mean(values) for values in points], name=name, line=style, legendgroup=name
    )


def _facts(by_setting: Histories, facts: dict[str, Any]) -> list[tuple[str, str]]:
    first = next(iter(by_setting.values()))[0]
    world = facts["world"]
    items = [
        ("Seeds of each setting", ", ".join(str(run.seed) for run in next(iter(by_setting.values())))),
        ("Steps of each run", facts["steps"]),
        ("Learning rate", facts["learning_rate"]),
        ("Discount of gamma_decay", facts["gamma"]),
        ("Held-out problems", first.num_greedy),
        ("Prompts with an answer", f"{world['settings']['answered_frac']:.1%}"),
        ("Parameters of the policy", f"{world['parameters']:,}"),
        ("World seed", world["settings"]["seed"]),
        ("Packages", ", ".join(f"{name} {version}" for name, version in world["versions"].items())),
    ]  # fmt: skip
    return [(name, str(value)) for name, value in items]


def _spread(values: Sequence[float]) -> str:
    small = f" <small>{min(values):.1%} to {max(values):.1%}</small>" if len(values) > 1 else ""
    return f"{_mean(values):.1%}{small}"


def _step(value: int | None) -> str:
    return "no" if value is None else f"step {value}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
