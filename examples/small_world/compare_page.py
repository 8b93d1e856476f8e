"""comparison.html: the runs of `compare.py` on one self-contained page, for a person to judge by.

Lines are means over seeds, bands reach from the lowest to the highest seed. Nothing on the page is worded by hand:
what it says is counted from the runs (`compare_questions.py`).
"""

# ruff: noqa: E501 (page text)

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from examples.small_world.checker import DEFECTS
from examples.small_world.compare import COLLAPSE_POINTS, EXPLOITATION_POINTS, total
from examples.small_world.compare_questions import QUESTIONS, Histories
from examples.small_world.histories import SMOOTHING_STEPS, RunHistory, running_mean
from pure_rlhf.report.figures import COLORS, empty_figure
from pure_rlhf.report.page import cards_html, page_html

FIGURE_HEIGHT = 330
CONTROL_COLOR = "#1f2a37"
PALETTE = (*COLORS[:6], "#7b5ea7", "#8c6d31", "#8a94a3", CONTROL_COLOR)
LAST_STEPS = 20
"""Of the table of defects."""


def render_comparison(
    histories: Sequence[RunHistory], summaries: Sequence[dict[str, Any]], facts: dict[str, Any]
) -> str:
    """The whole page. `facts`: page, steps, learning_rate, note and the world's record."""
    by_setting = by_setting_of(histories)
    colors = {name: PALETTE[n % len(PALETTE)] for n, name in enumerate(by_setting)}
    curves = (
        ("Accuracy of sampled answers (by the checker)", "accuracy", True),
        ("Solutions that are right in every step", "solutions_right", True),
        ("Pairs that the learning PRM ranks as the verifier does", "pair_accuracy", True),
        ("F1 on wrong steps of the step's answers (by the checker)", "prm_f1", True),
        ("F1 on wrong steps of held-out rows", "held_out_f1", True),
        ("Steps per answer", "steps_per_answer", False),
        ("Tokens per answer", "response_length", False),
        ("Share of the sampled prompts that the filter keeps", "curriculum_yield", True),
    )  # fmt: skip
    cards = [("Greedy accuracy on held-out problems", greedy_figure(by_setting, colors))]
    cards += [
        (title, curve_figure(by_setting, key, colors, share=share))
        for title, key, share in curves
        if any(key in row for runs in by_setting.values() for row in runs[0].rows)
    ]
    if facts["page"] == "async":
        cards[1:1] = [
            ("Accuracy of sampled answers by wall clock (s)", wall_clock_figure(by_setting, colors))
        ]
    cards += [
        (f"{name}: what the PRM sees, and what is true", belief_figure(runs))
        for name, runs in by_setting.items()
        if "process_return" in runs[0].rows[0]
    ]
    question = QUESTIONS[facts["page"]]
    grid = cards_html([(title, "") for title, _ in cards])
    main = f"""<section><h2>What came out</h2><ul>{"".join(f"<li>{line}</li>" for line in question.outcome(by_setting, summaries))}</ul></section>
<section><h2>By setting</h2>{setting_table(by_setting, summaries)}
<p class=caption>Means over seeds, lowest and highest seed in small print. Accuracies of the last steps are of answers sampled
in training, smoothed by the mean of {SMOOTHING_STEPS} steps; the checker of the small world knows the truth of every step.</p></section>
{prm_section(by_setting, summaries)}
<section><h2>Curves</h2><p class=caption>Lines: mean over seeds, of the last {SMOOTHING_STEPS} steps. Bands: lowest to highest seed.</p><div class=grid>{grid}</div></section>
<section><h2>Run by run</h2>{run_table(summaries)}
<p class=caption>Written down before the first run. <b>Collapse</b>: the first step from which accuracy stays at least
{100 * COLLAPSE_POINTS:.0f} points below its highest value so far, to the end. <b>Exploitation</b>: the PRM's return is higher at
the end than at the step of the highest accuracy, while accuracy has fallen at least {100 * EXPLOITATION_POINTS:.0f} points since; it begins at that step.</p></section>"""
    return page_html(
        title=question.title,
        kind="PURE in the small world",
        facts=facts_of(by_setting, facts),
        main=main,
        figures=[str(figure.to_json()) for _, figure in cards],
        style=f".plot{{height:{FIGURE_HEIGHT}px}}",
    )


def by_setting_of(histories: Sequence[RunHistory]) -> Histories:
    """The runs of each setting, in the order in which they are given."""
    by_setting: Histories = {}
    for history in histories:
        by_setting.setdefault(history.setting, []).append(history)
    return by_setting


def prm_section(by_setting: Histories, summaries: Sequence[dict[str, Any]]) -> str:
    """The PRM on the answers that it meets, by kind of defect; empty where no setting has a PRM."""
    with_prm = {
        name: runs for name, runs in by_setting.items() if "caught guess" in runs[0].rows[0]
    }
    if not with_prm:
        return ""
    body = ""
    for name, runs in with_prm.items():
        rows = [row for row in summaries if row["setting"] == name]
        cells = f"<td>{_change(rows, 'prm_f1')}</td><td>{_change(rows, 'held_out_f1')}</td>"
        for kind in DEFECTS:
            seen = total(runs, f"seen {kind}", last=LAST_STEPS)
            caught = total(runs, f"caught {kind}", last=LAST_STEPS)
            cells += f"<td>{f'{caught:.0f} of {seen:.0f}' if seen else '-'}</td>"
        for name_of in ("right steps", "right ends"):
            count = total(runs, name_of, last=LAST_STEPS)
            called = total(runs, f"{name_of} called wrong", last=LAST_STEPS)
            cells += f"<td>{f'{called / count:.1%}' if count else '-'}</td>"
        wrong, right = total(runs, "wrong verdicts"), total(runs, "right verdicts")
        pushed, drawn = total(runs, "pushed is first wrong"), total(runs, "random is first wrong")
        cells += f"<td>{f'{pushed / wrong:.0%} ({drawn / wrong:.0%})' if wrong else '-'}</td>"
        all_right = total(runs, "all right")
        cells += f"<td>{f'{all_right / right:.1%}' if right else '-'}</td>"
        body += f"<tr><th>{html.escape(name)}</th>{cells}</tr>"
    head = "".join(f"<th>{html.escape(kind)}</th>" for kind in DEFECTS)
    return f"""<section><h2>The PRM on what it meets</h2><div style="overflow-x:auto"><table><thead><tr><th></th><th>F1 on wrong steps, first to last steps</th><th>F1 on held-out rows</th>{head}<th>right steps called wrong</th><th>last steps of right solutions called wrong</th><th>lowest reward at the first wrong step</th><th>right answers without a wrong step</th></tr></thead><tbody>{body}</tbody></table></div>
<p class=caption>By the checker, up to the first wrong step of an answer. Kinds: first wrong steps of all seeds in the last {LAST_STEPS} steps that the PRM
calls wrong (reward not above 0), of those that there were; then the same of right steps. Last two columns, over the run: of answers with a wrong verdict, how often the
lowest reward, which --prm_update outcome pushes, is that of the first wrong step (in brackets: of a step at random); and
how many answers with a right verdict are right in every step, as --prm_update last_step takes for granted.</p></section>"""


def setting_table(by_setting: Histories, summaries: Sequence[dict[str, Any]]) -> str:
    """One row a setting: accuracies and how many runs failed in which way."""
    columns = (
        ("greedy_before", "greedy before"),
        ("greedy_best", "greedy, best"),
        ("greedy_after", "greedy after"),
        ("accuracy_peak", "sampled, peak"),
        ("accuracy_last", "sampled, last"),
        ("solutions_right_best", "all steps right, best"),
        ("solutions_right_lowest", "all steps right, after the largest fall"),
        ("solutions_right_last", "all steps right, last"),
    )
    body = ""
    for name in by_setting:
        rows = [row for row in summaries if row["setting"] == name]
        cells = "".join(f"<td>{spread([row[key] for row in rows])}</td>" for key, _ in columns)
        for key in ("exploitation_step", "collapse_step"):
            cells += f"<td>{sum(row[key] is not None for row in rows)} of {len(rows)}</td>"
        seconds = [row["step_seconds"] for row in rows if "step_seconds" in row]
        cells += f"<td>{fmean(seconds):.1f}</td>" if seconds else "<td>-</td>"
        body += f"<tr><th>{html.escape(name)}</th>{cells}</tr>"
    head = "".join(f"<th>{label}</th>" for _, label in columns)
    return f"<table><thead><tr><th></th>{head}<th>exploitation</th><th>collapse</th><th>seconds a step</th></tr></thead><tbody>{body}</tbody></table>"


def run_table(summaries: Sequence[dict[str, Any]]) -> str:
    """One row a run."""
    body = "".join(
        f"<tr><th>{html.escape(row['setting'])}</th><td>{row['seed']}</td>"
        f"<td>{row['greedy_before']:.1%} → {row['greedy_after']:.1%}</td>"
        f"<td>{row['accuracy_peak']:.1%} at step {row['accuracy_peak_step']}</td><td>{row['accuracy_last']:.1%}</td>"
        f"<td>{_step(row['exploitation_step'])}</td><td>{_step(row['collapse_step'])}</td><td>{_alarm(row['first_alarm'])}</td></tr>"
        for row in summaries
    )
    head = "<th>setting</th><th>seed</th><th>greedy</th><th>sampled, peak</th><th>sampled, last</th><th>exploitation from</th><th>collapse at</th><th>first alarm</th>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def curve_figure(
    by_setting: Histories, key: str, colors: dict[str, str], *, share: bool = False
) -> go.Figure:
    """One smoothed quantity against the step, a line and a band for each setting that has it.

    What is measured at some steps only (held-out rows) is drawn as it is, at those steps.
    """
    figure = empty_figure(FIGURE_HEIGHT)
    for name, runs in by_setting.items():
        points = [{row["step"]: row[key] for row in run.rows if key in row} for run in runs]
        steps = sorted(set.intersection(*map(set, points)))
        if not steps:
            continue
        columns = [[found[step] for step in steps] for found in points]
        if len(steps) > len(runs[0].rows) / 2:
            columns = [running_mean(column) for column in columns]
        _add_band(figure, steps, columns, name, color=colors[name])
    if share:
        figure.update_yaxes(tickformat=".0%")
    return figure


def wall_clock_figure(by_setting: Histories, colors: dict[str, str]) -> go.Figure:
    """Smoothed accuracy of sampled answers against the seconds of training, means over seeds of both at each step."""
    figure = empty_figure(FIGURE_HEIGHT)
    for name, runs in by_setting.items():
        seconds = [
            fmean(column) for column in zip(*(run.wall_clock() for run in runs), strict=True)
        ]
        _add_band(
            figure, seconds, [run.smoothed("accuracy") for run in runs], name, color=colors[name]
        )
    figure.update_xaxes(title_text="seconds")
    figure.update_yaxes(tickformat=".0%")
    return figure


def greedy_figure(by_setting: Histories, colors: dict[str, str]) -> go.Figure:
    """Greedy held-out accuracy at the evaluations that all runs of a setting have.

    A run that was killed in an evaluation and went on from the checkpoint before it lacks that one.
    """
    figure = empty_figure(FIGURE_HEIGHT)
    for name, runs in by_setting.items():
        accuracy_of = [dict(run.greedy) for run in runs]
        steps = sorted(set.intersection(*(set(found) for found in accuracy_of)))
        columns = [[found[step] for step in steps] for found in accuracy_of]
        _add_band(figure, [float(step) for step in steps], columns, name, color=colors[name])
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
        y=[fmean(values) for values in zip(*returns, strict=True)],
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
    *,
    color: str,
) -> None:
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
        x=steps, y=[fmean(values) for values in points], name=name, line=style, legendgroup=name
    )


def facts_of(by_setting: Histories, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    first = next(iter(by_setting.values()))[0]
    world = facts["world"]
    items = [
        ("Seeds of each setting", ", ".join(str(run.seed) for run in next(iter(by_setting.values())))),
        ("Steps of each run", facts["steps"]),
        ("Learning rate", facts["learning_rate"]),
        *([("Further settings", facts["note"])] if facts["note"] else []),
        ("Held-out problems", first.num_greedy),
        ("Prompts of a step with an answer", _answered(by_setting)),
        ("Parameters of the policy", f"{world['policy_parameters']:,}"),
        ("World seed", world["settings"]["seed"]),
        ("Packages", ", ".join(f"{name} {version}" for name, version in world["versions"].items())),
    ]  # fmt: skip
    return [(name, str(value)) for name, value in items]


def _answered(by_setting: Histories) -> str:
    shares = [
        row["answered_frac"]
        for runs in by_setting.values()
        for run in runs
        for row in run.rows
        if "answered_frac" in row
    ]
    return f"{fmean(shares):.1%}" if shares else ""


def spread(values: Sequence[float]) -> str:
    """The mean, and in small print the lowest and the highest, as HTML."""
    small = f" <small>{min(values):.1%} to {max(values):.1%}</small>" if len(values) > 1 else ""
    return f"{fmean(values):.1%}{small}"


def _step(value: int | None) -> str:
    return "no" if value is None else f"step {value}"


def _alarm(value: tuple[str, int] | None) -> str:
    return "none" if value is None else f"{value[0]}, step {value[1]}"


def _change(rows: Sequence[dict[str, Any]], name: str) -> str:
    found = [row for row in rows if f"{name}_first" in row]
    if not found:
        return "-"
    first, last = ([row[f"{name}_{end}"] for row in found] for end in ("first", "last"))
    return (
        f"{fmean(first):.3f} → {fmean(last):.3f} <small>{min(last):.3f} to {max(last):.3f}</small>"
    )
