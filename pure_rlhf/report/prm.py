"""How good the PRM of a run is: what its training and its evaluation left beside it, for report.html.

`prm_training` writes `prm_evaluation.json` into the folder of each stage and names the folder that it went on from;
`evaluation/eval_prm.sh` writes `prm_report.json` with best-of-N and labelled steps. A run copies both into its own
`prm.json`, so that its report can be made again where the PRM is not. `prm_report.json` may have come with a downloaded
PRM: what it holds is checked before it is shown (`readable_prm`), and its texts are escaped.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import plotly.graph_objects as go

from pure_rlhf.monitoring.records import (
    BestOfNRecord,
    IntervalRecord,
    LabelledStepsRecord,
    PrmRecord,
    PrmStageRecord,
)
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
STEP_SHARES = (
    ("wrong_found", "num_wrong_found", "num_wrong"),
    ("right_passed", "num_right_passed", "num_right"),
)
"""The shares of a kind of labelled steps, each with the numbers of its hits and of its steps."""
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
    """What stands in and beside the folder of a PRM: {"stages": [first ... last], "best_of_n": [...],
    "labelled_steps": [...]}, or {}.

    A hub name, or a PRM that was not trained and measured here, has nothing. What cannot be read is left out.
    """
    stages: list[PrmStageRecord] = []
    best_of_n: list[BestOfNRecord] = []
    labelled_steps: list[LabelledStepsRecord] = []
    folder = Path(model) if model else None
    seen: set[Path] = set()
    while folder is not None and folder.is_dir() and folder.resolve() not in seen:
        seen.add(folder.resolve())
        if not stages:
            for file in sorted(folder.rglob(REPORT_FILE)):
                report = read_object(file, [])
                best_of_n += _entries(report, "best_of_n")
                labelled_steps += _entries(report, "labelled_steps")
        stage = read_object(folder / STAGE_FILE, [])
        if not stage:
            break
        stages.insert(0, cast(PrmStageRecord, {"name": folder.name, **stage}))
        folder = _folder_before(folder, stage.get("base"))
    if not (stages or best_of_n or labelled_steps):
        return {}
    return {"stages": stages, "best_of_n": best_of_n, "labelled_steps": labelled_steps}


def _folder_before(folder: Path, base: object) -> Path | None:
    """The folder of the stage before: beside this one (of a PRM that was moved), or where its training ran."""
    if not isinstance(base, str) or not base:
        return None
    beside = folder / base
    return beside if beside.is_dir() else Path(base)


def readable_prm(record: PrmRecord) -> tuple[PrmRecord, list[str]]:
    """The record without the entries of best-of-N and labelled steps that are not what they should be, and notes."""
    kept: dict[str, Any] = dict(record)
    notes = []
    checks: tuple[tuple[str, Callable[[Any], bool]], ...] = (
        ("best_of_n", _is_best_of_n),
        ("labelled_steps", _is_labelled_steps),
    )
    for key, is_readable in checks:
        entries = _entries(record, key)
        kept[key] = [entry for entry in entries if is_readable(entry)]
        num_bad = len(entries) - len(kept[key])
        if num_bad:
            notes.append(
                f"prm.json: {num_bad} of {len(entries)} entries of {key} cannot be read and are left out."
            )
    return cast(PrmRecord, {key: value for key, value in kept.items() if value}), notes


def _entries(report: Mapping[str, Any], key: str) -> list[Any]:
    """The list under the key; anything else becomes one entry, which `readable_prm` finds."""
    entries = report.get(key, [])
    return entries if isinstance(entries, list) else [entries]


def _is_best_of_n(entry: Any) -> bool:
    if not isinstance(entry, dict) or not {"name", "num_problems"} <= entry.keys():
        return False
    sizes, curves = entry.get("sizes"), entry.get("curves")
    return (
        isinstance(sizes, list)
        and all(type(size) is int and 1 <= size < 1 << 31 for size in sizes)
        and isinstance(curves, dict)
        and curves.keys() <= METHOD_COLORS.keys()
        and all(
            isinstance(points, list) and len(points) == len(sizes) and all(map(_is_share, points))
            for points in curves.values()
        )
    )


def _is_labelled_steps(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return False
    for share, hits, count in STEP_SHARES:
        num_hits, num_steps = entry.get(hits), entry.get(count)
        if not (type(num_hits) is int and type(num_steps) is int and 0 <= num_hits <= num_steps):
            return False
        if not (_is_share(entry.get(share)) if num_steps else entry.get(share) is None):
            return False
    return True


def _is_share(found: Any) -> bool:
    interval = found.get("interval") if isinstance(found, dict) else None
    if not isinstance(interval, list) or len(interval) != 2:
        return False
    # rounding may go a little beyond 0 and 1
    return all(
        isinstance(number, int | float) and -0.001 <= number <= 1.001
        for number in (found.get("value"), *interval)
    )


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


def labelled_steps_table(record: PrmRecord) -> str:
    """What the PRM sees by kind of defect, one row each, as HTML; empty where nobody measured it."""
    kinds = record.get("labelled_steps", [])
    rows = "".join(
        f"<tr><th>{html.escape(kind['name'])}</th>"
        f"<td>{_share_of(kind['num_wrong_found'], kind['num_wrong'], kind['wrong_found'])}</td>"
        f"<td>{_share_of(kind['num_right_passed'], kind['num_right'], kind['right_passed'])}</td></tr>"
        for kind in kinds
    )
    table = (
        "<h3>By kind of defect</h3><div class=scroll><table><thead><tr><th></th><th>wrong steps found</th>"
        f"<th>right steps let pass</th></tr></thead>{rows}</table></div>"
        "<p class=caption>Labelled steps of evaluation/eval_prm.sh; the small figures are 95 % Wilson intervals.</p>"
    )
    return table if kinds else ""


def _share_of(num_hits: int, num_steps: int, share: IntervalRecord | None) -> str:
    """Example: "31 of 40: 77.5% <small>62.5% to 87.7%</small>"."""
    if share is None:
        return ""
    low, high = share["interval"]
    return f"{num_hits} of {num_steps}: {share['value']:.1%} <small>{low:.1%} to {high:.1%}</small>"


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
