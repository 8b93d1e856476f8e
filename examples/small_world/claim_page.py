"""The page of the claim: what `claim.py` found in the runs of docs/claim_plan.md. Nothing on it is worded by hand."""

# ruff: noqa: E501 (page text)

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from examples.small_world.claim import (
    COMPARISONS,
    EXPLOITATION_POINTS,
    FALL_POINTS,
    GROUPS,
    LAST_STEPS,
    Comparison,
    Outcome,
    compare,
    outcome,
    survival,
)
from examples.small_world.compare import steps_to_reach
from examples.small_world.compare_page import (
    FIGURE_HEIGHT,
    PALETTE,
    by_setting_of,
    curve_figure,
    facts_of,
    spread,
)
from examples.small_world.histories import SMOOTHING_STEPS, RunHistory
from pure_rlhf.report.figures import empty_figure
from pure_rlhf.report.page import cards_html, page_html

SEEDS, SEEDS_COMPARED = 3, 6
SHOWN_DEFECTS = ("omission", "repetition", "after the end", "wrong operation")
REACHED = 0.95
"""Of what VR has at the end: the target of "steps to VR"."""

ByCell = Mapping[str, Sequence[RunHistory]]


def render_claim(histories: Sequence[RunHistory], facts: Mapping[str, Any]) -> str:
    """The whole page. `facts`: as of `compare_page.render_comparison`, and prms, {PRM: {kind of defect: recall}}."""
    by_cell = by_setting_of(histories)
    outcomes = {cell: [outcome(run) for run in runs] for cell, runs in by_cell.items()}
    cards: list[tuple[str, go.Figure]] = []
    for group, cells in GROUPS.items():
        present = {cell: by_cell[cell] for cell in cells if cell in by_cell}
        if not present:
            continue
        colors = {cell: PALETTE[index % len(PALETTE)] for index, cell in enumerate(cells)}
        with_prm = {cell: outcomes[cell] for cell in present if not cell.startswith("VR")}
        if with_prm:
            cards.append(
                (f"{group}: runs that are not exploited", survival_figure(with_prm, colors))
            )
        cards.append(
            (
                f"{group}: answers right in every step",
                curve_figure(present, "solutions_right", colors, share=True),
            )
        )
        cards.append(
            (f"{group}: steps an answer", curve_figure(present, "steps_per_answer", colors))
        )
    lines = "".join(f"<li>{line}</li>" for line in [*_compared(outcomes), *_steps_to_vr(by_cell)])
    main = f"""<section><h2>The comparisons of the plan</h2><ul>{lines}</ul>
<p class=caption>p: exact, over all exchanges of the runs' labels; in brackets corrected for the {len(COMPARISONS)} comparisons that were planned
(Holm). With three runs a side it cannot be below 0.1.</p></section>
<section><h2>By cell</h2>{cell_table(outcomes)}
<p class=caption>Written down before the first run (docs/claim_plan.md). R: share of the sampled answers that are right in every step, mean of
{SMOOTHING_STEPS} steps, by the checker. <b>Exploited</b>: R {100 * EXPLOITATION_POINTS:.0f} points below its best so far while the run's own return is above what it was at
that best. <b>Fell</b>: R {100 * FALL_POINTS:.0f} points below its best so far. Last columns: answers whose first wrong step is of that kind, of the last {LAST_STEPS} steps.</p></section>
<section><h2>What each PRM sees</h2>{prm_table(facts["prms"])}
<p class=caption>Share of held-out wrong steps of each kind that the PRM calls wrong.</p></section>
<section><h2>Curves</h2><p class=caption>Runs that are not exploited: Kaplan and Meier's estimate; at its right end the 95 % interval (log-log; exact where all or no run had the event). Other lines: means over the seeds, bands
from the lowest to the highest seed.</p><div class=grid>{cards_html([(title, "") for title, _ in cards])}</div></section>
{_missing(outcomes)}"""
    return page_html(
        title="The paper's claim, with PRMs of known faults",
        kind="PURE in the small world",
        facts=facts_of(by_cell, facts),
        main=main,
        figures=[str(figure.to_json()) for _, figure in cards],
        style=f".plot{{height:{FIGURE_HEIGHT}px}}",
    )


def survival_figure(
    by_cell: Mapping[str, Sequence[Outcome]], colors: Mapping[str, str]
) -> go.Figure:
    """The share of runs without exploitation, by step; its interval at the end, since bands would hide each other."""
    figure = empty_figure(FIGURE_HEIGHT)
    for index, (cell, runs) in enumerate(by_cell.items()):
        curve = survival([run.exploitation for run in runs], min(run.last_step for run in runs))
        figure.add_scatter(
            x=curve.steps,
            y=curve.share,
            name=cell,
            legendgroup=cell,
            mode="lines",
            line={"color": colors[cell], "width": 2, "shape": "hv"},
        )
        figure.add_scatter(
            x=[curve.steps[-1] + 2 * (index + 1)],
            y=curve.share[-1:],
            error_y={
                "array": [curve.high[-1] - curve.share[-1]],
                "arrayminus": [curve.share[-1] - curve.low[-1]],
                "thickness": 1.5,
                "width": 0,
            },
            mode="markers",
            marker={"color": colors[cell], "size": 6},
            name=cell,
            legendgroup=cell,
            showlegend=False,
        )
    figure.update_yaxes(tickformat=".0%", range=[-0.03, 1.03])
    return figure


def cell_table(outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    """One row a cell, in the order of the questions."""
    columns = (
        "runs",
        "exploited",
        "fell",
        "of these came back",
        "R, best",
        "R, end",
        "final answers right, end",
        "steps an answer",
        *SHOWN_DEFECTS,
    )
    body = ""
    for cell in _cells():
        runs = outcomes.get(cell)
        if not runs:
            continue
        fallen = [run for run in runs if run.fall is not None]
        steps = (fmean(run.steps_before for run in runs), fmean(run.steps_after for run in runs))
        values = [
            f"{len(runs)} of {_wanted(cell)}",
            "-" if cell.startswith("VR") else _times([run.exploitation for run in runs]),
            _times([run.fall for run in runs]),
            f"{sum(run.recovered for run in fallen)} of {len(fallen)}" if fallen else "-",
            spread([run.best for run in runs]),
            spread([run.end for run in runs]),
            spread([run.accuracy for run in runs]),
            f"{steps[0]:.1f} → {steps[1]:.1f}",
            *(f"{fmean(run.defects.get(kind, 0.0) for run in runs):.1%}" for kind in SHOWN_DEFECTS),
        ]
        body += (
            f"<tr><th>{html.escape(cell)}</th>"
            + "".join(f"<td>{value}</td>" for value in values)
            + "</tr>"
        )
    head = "".join(f"<th>{column}</th>" for column in columns)
    return f"<div class=scroll><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def prm_table(prms: Mapping[str, Mapping[str, float]]) -> str:
    """One row a PRM, one column a kind of defect."""
    kinds = list(dict.fromkeys(kind for recalls in prms.values() for kind in recalls))
    head = "".join(f"<th>{html.escape(kind)}</th>" for kind in kinds)
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(
            f"<td>{recalls[kind]:.1%}</td>" if kind in recalls else "<td></td>" for kind in kinds
        )
        + "</tr>"
        for name, recalls in prms.items()
    )
    return f"<div class=scroll><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _compared(outcomes: Mapping[str, Sequence[Outcome]]) -> list[str]:
    lines = []
    for one in compare(outcomes):
        what = "exploited" if one.measure == "exploitation" else "R at the end"
        lines.append(
            f"<b>{html.escape(one.first)}</b> against <b>{html.escape(one.second)}</b>, {what}: {one.said}. {_p(one)}"
        )
    return lines


def _p(one: Comparison) -> str:
    if one.p is None:
        return "Nothing to compare: no run has the event."
    return f"p = {one.p:.3f} ({one.holm:.3f})."


def _steps_to_vr(by_cell: ByCell) -> list[str]:
    """When runs with process rewards reach what verifiable rewards with the same labels have at the end."""
    lines = []
    for cells in list(GROUPS.values())[-2:]:
        rate = cells[-1].split()[-1]
        reference = by_cell.get(f"VR tenth {rate}")
        if not reference:
            continue
        target = REACHED * fmean(run.smoothed("accuracy")[-1] for run in reference)
        shown = []
        for cell in cells:
            steps = [steps_to_reach([run], target) for run in by_cell.get(cell, ())]
            if steps:
                shown.append(
                    f"{html.escape(cell)} {', '.join('not' if step is None else str(step) for step in steps)}"
                )
        lines.append(
            f"<b>Steps to {REACHED:.0%} of the accuracy that VR with a tenth of the labels has at the end</b> ({target:.1%}; learning rate {rate}), by seed: {'; '.join(shown)}."
        )
    return lines


def _missing(outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    missing = [
        f"{html.escape(cell)}: {len(outcomes.get(cell, ()))} of {_wanted(cell)}"
        for cell in _cells()
        if len(outcomes.get(cell, ())) < _wanted(cell)
    ]
    items = "".join(f"<li>{line}</li>" for line in missing)
    return (
        f"<section><h2>Runs of the plan that are missing</h2><ul>{items}</ul></section>"
        if missing
        else ""
    )


def _wanted(cell: str) -> int:
    compared = any(cell in (first, second) for first, second, _ in COMPARISONS)
    return SEEDS_COMPARED if compared else SEEDS


def _cells() -> list[str]:
    return list(dict.fromkeys(cell for cells in GROUPS.values() for cell in cells))


def _times(steps: Sequence[int | None]) -> str:
    hits = sorted(step for step in steps if step is not None)
    at = f" <small>step {', '.join(map(str, hits))}</small>" if hits else ""
    return f"{len(hits)} of {len(steps)}{at}"
