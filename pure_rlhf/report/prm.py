"""How good the PRM of a run is: what its training and its evaluation left beside it, for report.html.

`prm_training` writes `prm_evaluation.json` into the folder of each stage and names the folder that it went on from;
`evaluation/eval_prm.sh` writes `prm_report.json` with best-of-N. A run copies both into its own `prm.json`, so that its
report can be made again where the PRM is not.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import plotly.graph_objects as go

from pure_rlhf.monitoring.records import BestOfNRecord, PrmRecord, PrmStageRecord
from pure_rlhf.monitoring.run_directory import read_object
from pure_rlhf.report.figures import COLORS, empty_figure

STAGE_FILE = "prm_evaluation.json"
REPORT_FILE = "prm_report.json"
METHOD_COLORS = {
    "min": COLORS[0],
    "softmin": COLORS[1],
    "mean": COLORS[2],
    "product": COLORS[3],
    "last": COLORS[4],
    "majority": COLORS[7],
    "oracle": COLORS[6],
}
WITHOUT_PRM = ("majority", "oracle")
BANDS = ("softmin", "majority")
"""Methods whose intervals are drawn; those of all would hide each other."""
COLUMNS = (
    ("f1_wrong_steps", "F1 on wrong steps", "{:.3f}"),
    ("accuracy_wrong_steps", "wrong steps found", "{:.1%}"),
    ("accuracy_correct_steps", "right steps let pass", "{:.1%}"),
    ("auc", "AUC", "{:.3f}"),
    ("expected_calibration_error", "calibration error", "{:.3f}"),
    ("steps", "held-out steps", "{:.0f}"),
    ("wrong_steps", "of these wrong", "{:.0f}"),
)


def collect_prm_record(model: str | None) -> PrmRecord:
    """What stands in and beside the folder of a PRM: {"stages": [first ... last], "best_of_n": [...]}, or {}.

    A hub name, or a PRM that was not trained and measured here, has nothing. What cannot be read is left out.
    """
    stages: list[PrmStageRecord] = []
    best_of_n: list[BestOfNRecord] = []
    folder = Path(model) if model else None
    seen: set[Path] = set()
    while folder is not None and folder.is_dir() and folder.resolve() not in seen:
        seen.add(folder.resolve())
        if not stages:
            for file in sorted(folder.rglob(REPORT_FILE)):
                best_of_n += read_object(file, []).get("best_of_n", [])
        stage = read_object(folder / STAGE_FILE, [])
        if not stage:
            break
        stages.insert(0, cast(PrmStageRecord, {"name": folder.name, **stage}))
        folder = Path(stage["base"]) if stage.get("base") else None
    return {"stages": stages, "best_of_n": best_of_n} if stages or best_of_n else {}


def prm_table(record: PrmRecord) -> str:
    """The stages, one row each, as HTML; empty where there is none."""
    stages = record.get("stages", [])
    head = "".join(f"<th>{label}</th>" for _, label, _ in COLUMNS)
    rows = "".join(
        f"<tr><th>{html.escape(str(stage['name']))}</th>"
        + "".join(
            f"<td>{form.format(stage[key]) if isinstance(stage.get(key), int | float) else ''}</td>"
            for key, _, form in COLUMNS
        )
        + "</tr>"
        for stage in stages
    )
    table = (
        f"<div class=scroll><table><thead><tr><th></th>{head}</tr></thead>{rows}</table></div>"
        "<p class=caption>Held-out steps of each stage of its training, in order; a step is called wrong where its "
        "reward is not positive.</p>"
    )
    return table if stages else ""


def prm_cards(record: PrmRecord) -> list[tuple[str, str, str]]:
    """(title, caption as HTML, figure as Plotly JSON): calibration of the stages, and best-of-N."""
    cards = []
    measured = [stage for stage in record.get("stages", []) if stage.get("calibration")]
    if measured:
        caption = (
            "Share of right steps among held-out steps to which the PRM gives about the same p = (r + 1) / 2; larger "
            "points stand for more steps. On the diagonal, p is what it says."
        )
        figure = stage_calibration_figure(measured)
        cards.append(("Calibration on held-out steps", caption, str(figure.to_json())))
    for candidates in record.get("best_of_n", []):
        # of a file that may have come with the PRM
        num_problems = html.escape(str(candidates["num_problems"]))
        caption = (
            f"Expected accuracy of one of N answers to {num_problems} problems, chosen by the PRM with each way to "
            "make one number of the step rewards; dotted: majority vote, and a choice that is right wherever one "
            "answer is. Bands: 95 % intervals (bootstrap over problems)."
        )
        title = f"Best of N: {candidates['name']}"
        cards.append((title, caption, str(best_of_n_figure(candidates, 270).to_json())))
    return cards


def stage_calibration_figure(stages: Sequence[PrmStageRecord]) -> go.Figure:
    """Reliability curves, one a stage. `stages`: contents of prm_evaluation.json with their `name`."""
    figure = empty_figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", showlegend=False, hoverinfo="skip",
        line={"color": COLORS[7], "width": 1, "dash": "dash"},
    )  # fmt: skip
    for stage, color in zip(stages, COLORS, strict=False):
        curve = stage.get("calibration", [])
        most = max(point["steps"] for point in curve)
        figure.add_scatter(
            x=[point["mean_probability"] for point in curve],
            y=[point["share_right"] for point in curve],
            name=stage["name"],
            mode="lines+markers",
            line={"color": color, "width": 2},
            marker={"size": [4 + 10 * (point["steps"] / most) ** 0.5 for point in curve]},
            customdata=[point["steps"] for point in curve],
            hovertemplate="%{y:.1%} right of %{customdata} steps",
        )
    figure.update_xaxes(title_text="p", range=[-0.03, 1.03])
    figure.update_yaxes(title_text="right", range=[-0.03, 1.03], tickformat=".0%")
    return figure


def best_of_n_figure(candidates: BestOfNRecord, height: int = 330) -> go.Figure:
    """Accuracy of every method over N; a result of `evaluation.best_of_n.best_of_n`."""
    figure = empty_figure(height)
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
            line={"color": color, "width": 2, "dash": "dot" if name in WITHOUT_PRM else "solid"},
            customdata=list(zip(lows, highs, strict=True)),
            hovertemplate="%{y:.1%} (%{customdata[0]:.1%} to %{customdata[1]:.1%})",
        )
    figure.update_xaxes(
        type="log", tickvals=sizes, ticktext=[str(n) for n in sizes], title_text="N"
    )
    figure.update_yaxes(tickformat=".0%")
    return figure
