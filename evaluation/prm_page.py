"""prm_report.html and the summary for the terminal: what a PRM scored on ProcessBench, PRMBench, best-of-N
and labelled steps.

Self-contained. Published figures stand beside the PRM's own, marked as such; names of files and models are untrusted
and escaped.
"""

# ruff: noqa: E501 (page text)

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import plotly.graph_objects as go

from evaluation.prm_figures import positions_figure
from evaluation.process_bench import SUBSETS
from pure_rlhf.monitoring.records import BestOfNRecord
from pure_rlhf.report.page import page_html
from pure_rlhf.report.prm import STEP_SHARES, best_of_n_figure

PUBLISHED_FILE = Path(__file__).with_name("published_prm_results.json")
CLASS_NAMES = {
    "redundency": "non-redundancy",
    "circular": "no circular logic",
    "counterfactual": "empirical soundness",
    "step_contradiction": "step consistency",
    "domain_inconsistency": "domain consistency",
    "confidence": "confidence invariance",
    "missing_condition": "prerequisite sensitivity",
    "deception": "deception resistance",
    "multi_solutions": "multi-solution consistency",
    "correct": "original solutions",
}
"""The names of the paper for PRMBench's classes."""


def load_published() -> dict[str, Any]:
    """The tables of PURE's paper; scores in per cent."""
    return json.loads(PUBLISHED_FILE.read_text(encoding="utf-8"))


def summary_text(results: dict[str, Any]) -> str:
    """The scores in a few lines, in per cent, with 95 % intervals in brackets."""
    lines = [
        f"{results['model']} (convention {results['convention']}); in brackets: 95 % intervals"
    ]
    found = results.get("process_bench")
    if found:
        for subset in found["subsets"]:
            rules = (subset["first_wrong"], subset["outcome_rule"])
            f1, easier = (_percent(rule["f1"]) for rule in rules)
            lines.append(f"ProcessBench {subset['name']}: F1 {f1}; by PURE's outcome rule {easier}")
        lines.append(
            f"ProcessBench, mean of {len(found['subsets'])}: F1 {_percent(found['average_f1'])}"
        )
    if "prm_bench" in results:
        overall = results["prm_bench"]["overall"]
        lines.append(f"PRMBench: PRMScore {_percent(overall.get('prm_score'))}")
    for candidates in results["best_of_n"]:
        at = {name: _percent(points[-1]) for name, points in candidates["curves"].items()}
        first = _percent(candidates["curves"]["min"][0])
        shown = ", ".join(f"{name} {value}" for name, value in at.items())
        lines.append(
            f"Best of {candidates['num_answers']}, {candidates['name']}: chance {first}, {shown}"
        )
    for kind in results["labelled_steps"]:
        lines.append(f"Labelled steps, {kind['name']}: {_judged_steps(kind)}")
    if results["labelled_steps"]:
        together = results["labelled_steps_together"]
        lines.append(
            f"Labelled steps, all {len(results['labelled_steps'])} kinds: {_judged_steps(together)}; "
            f"AUC {_decimals(together['auc'])}"
        )
    return "\n".join(lines)


def _judged_steps(scores: dict[str, Any]) -> str:
    found, passed = (
        _percent(scores[name]) + (f", {scores[hits]} of {scores[count]}" if scores[count] else "")
        for name, hits, count in STEP_SHARES
    )
    return f"wrong ones found {found}; right ones let pass {passed}"


def _decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(share: dict[str, Any] | None, sign: str = "") -> str:
    if share is None:
        return "-"
    low, high = (100 * bound for bound in share["interval"])
    return f"{100 * share['value']:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def render_page(results: dict[str, Any], published: dict[str, Any]) -> str:
    """The whole page. `results`: what prm_report.json holds; `published`: of `load_published`."""
    sections, figures = [], []
    if "process_bench" in results:
        sections.append(
            _process_bench(results["process_bench"], published["process_bench"], figures)
        )
    if "prm_bench" in results:
        sections.append(_prm_bench(results["prm_bench"], published["prm_bench"]))
    if results["best_of_n"]:
        sections.append(_best_of_n(results["best_of_n"], published["best_of_n"], figures))
    if results["labelled_steps"]:
        sections.append(
            _labelled_steps(results["labelled_steps"], results["labelled_steps_together"])
        )
    facts = [("scored as", results["convention"])]
    if results.keys() & {"process_bench", "prm_bench"} or results["best_of_n"]:
        template = results["input_template"]
        facts.append(("prompt", "the bare problem" if template == "{}" else template))
    trial = []
    if results["max_problems"] is not None:
        trial = [
            f"A trial on {results['max_problems']} of each set: no figure compares with a published one."
        ]
    main = (
        f"{_notes(trial)}{''.join(sections)}<p class=caption>Per cent; the small figures are 95 % intervals. "
        f"{_escape(published['source'])}</p>"
    )
    return page_html(
        title=results["model"],
        kind="Process reward model, measured",
        facts=facts,
        main=main,
        figures=[str(figure.to_json()) for figure in figures],
        style=_STYLE,
    )


def _process_bench(
    found: dict[str, Any], published: dict[str, Any], figures: list[go.Figure]
) -> str:
    rows, wheres = [], []
    for subset in found["subsets"]:
        rule, easier = subset["first_wrong"], subset["outcome_rule"]
        rows.append(
            [subset["name"], str(subset["num_erroneous"]), _cell(rule["erroneous_accuracy"]), str(subset["num_correct"]),
             _cell(rule["correct_accuracy"]), f"<b>{_cell(rule['f1'])}</b>", _cell(easier["f1"])]
        )  # fmt: skip
        where, total = subset["where"], max(1, subset["num_erroneous"])
        wheres.append(
            [
                subset["name"],
                *(f"{where[k] / total:.1%}" for k in ("earlier", "exact", "later", "none")),
            ]
        )
    average = ["mean", "", "", "", "", f"<b>{_cell(found['average_f1'])}</b>", ""]
    head = [
        "",
        "erroneous",
        "first wrong step found",
        "correct",
        "no step judged wrong",
        "F1",
        "F1 by PURE's outcome rule",
    ]
    complete = {subset["name"] for subset in found["subsets"]} >= set(SUBSETS)
    columns = published["columns"]
    own = [_own_f1(found, name, complete) for name in columns]
    notes = [f"{subset['name']}: {note}" for subset in found["subsets"] for note in subset["notes"]]
    notes += [
        f"{subset['name']}: {subset['num_ties']} rewards are exactly 0; a tie counts as wrong, as in the official code"
        for subset in found["subsets"]
        if subset["num_ties"]
    ]
    return (
        f"<section><h2>ProcessBench</h2>{_table(head, [*rows, average])}"
        f"{_notes(notes)}<p class=caption>F1 is the harmonic mean of the two accuracies, by the official rule: the first step "
        "that is judged wrong (r ≤ 0) is the labelled one. PURE's outcome rule only asks whether the softmin of the "
        "rewards is at most 0, wherever the wrong step is; its figures are far higher and compare with no others.</p>"
        f"<h3>Published, by the official rule</h3>{_table(['F1', *columns], [['this PRM', *own]], _rows(published))}"
        f"<p class=caption>{_escape(published['note'])}</p>"
        f"<h3>Of erroneous solutions, the first step judged wrong lies</h3>"
        f"{_table(['', 'before the labelled one', 'at it', 'after it', 'nowhere'], wheres)}"
        f"{_figures([(s['name'] + ': first wrong step', positions_figure(s['positions'])) for s in found['subsets']], figures)}</section>"
    )


def _own_f1(found: dict[str, Any], column: str, complete: bool) -> str:
    if column == "average":
        return _cell(found["average_f1"]) if complete else ""
    subset = next((subset for subset in found["subsets"] if subset["name"] == column), None)
    return _cell(subset["first_wrong"]["f1"]) if subset else ""


def _prm_bench(found: dict[str, Any], published: dict[str, Any]) -> str:
    accuracies = ("correct_step", "wrong_step", "total_step", "first_error")
    rows = [
        [CLASS_NAMES[kind], str(scores["num_solutions"]), f"<b>{_cell(scores['prm_score'])}</b>", _number(scores["f1"]),
         _number(scores["negative_f1"]), *(_number(scores["accuracy"][name]) for name in accuracies)]
        for kind, scores in found["classes"].items()
    ]  # fmt: skip
    overall = found["overall"]
    if "prm_score" in overall:
        rows.append(
            ["overall", str(overall["num_solutions"]), f"<b>{_cell(overall['prm_score'])}</b>", _number(overall["f1"]),
             _number(overall["negative_f1"]), *(_number(overall["accuracy"][name]) for name in accuracies)]
        )  # fmt: skip
    head = [
        "",
        "solutions",
        "PRMScore",
        "F1 of right steps",
        "F1 of wrong steps",
        "right steps",
        "wrong steps",
        "all steps",
        "first wrong steps",
    ]
    own = [_cell(found["groups"].get(name)) for name in published["columns"][:-1]]
    own.append(_cell(overall.get("prm_score")))
    return (
        f"<section><h2>PRMBench</h2>{_table(head, rows)}{_notes(found['notes'])}"
        "<p class=caption>PRMScore is the mean of the F1 of right and of wrong steps; where no step is wrong, the F1 of right "
        "steps. Overall counts the steps of all classes but the original solutions. The last four columns are the shares "
        "of such steps that are judged rightly.</p>"
        f"<h3>Published</h3>{_table([published['note'].rstrip('.'), *published['columns']], [['this PRM', *own]], _rows(published))}</section>"
    )


def _best_of_n(
    found: list[dict[str, Any]], published: dict[str, Any], figures: list[go.Figure]
) -> str:
    parts, cards = [], []
    for candidates in found:
        sizes = candidates["sizes"]
        rows = [
            [
                name,
                *(_cell(point) for point in points),
                _cell(candidates["against_majority"].get(name), "+"),
            ]
            for name, points in candidates["curves"].items()
        ]
        head = ["", *(f"N = {n}" for n in sizes), f"minus majority, N = {sizes[-1]}"]
        parts.append(
            f"<h3>{_escape(candidates['name'])}</h3>{_table(head, rows)}"
            f"<p class=caption>{candidates['num_problems']} problems, {candidates['num_answers']} answers each, "
            f"{candidates['mean_steps']:.1f} steps an answer; verdicts: {_escape(candidates['verdicts'])}; "
            f"{_escape(candidates['source'])}</p>"
        )
        cards.append((candidates["name"], best_of_n_figure(cast(BestOfNRecord, candidates))))
    columns, rows_published = published["columns"], published["rows"]
    table = _table(
        ["", *columns],
        [],
        [[name, *(f"{s:.1f}" for s in scores)] for name, *scores in rows_published],
    )
    return (
        f"<section><h2>Best-of-N</h2>{''.join(parts)}{_figures(cards, figures)}"
        "<p class=caption>Expected accuracy over all choices of N of the answers; intervals and differences by bootstrap over "
        "problems. Bands: 95 % intervals of softmin and of the majority vote.</p>"
        f"<h3>Published</h3>{table}<p class=caption>{_escape(published['note'])}</p></section>"
    )


def _labelled_steps(found: list[dict[str, Any]], together: dict[str, Any]) -> str:
    rows = [
        [scores["name"], str(scores["num_solutions"]), str(scores["num_wrong"]), str(scores["num_wrong_found"]),
         f"<b>{_cell(scores['wrong_found'])}</b>", str(scores["num_right"]), str(scores["num_right_passed"]),
         _cell(scores["right_passed"])]
        for scores in (*found, {"name": "all kinds together", **together})
    ]  # fmt: skip
    head = [
        "",
        "solutions",
        "wrong steps",
        "judged wrong",
        "wrong steps found",
        "right steps",
        "not judged wrong",
        "right steps let pass",
    ]
    return (
        f"<section><h2>Labelled steps</h2>{_table(head, rows)}"
        f"<p class=caption>AUC over the steps of all kinds: {_decimals(together['auc'])}, the probability that a right step is "
        "rewarded more than a wrong one. A step is judged wrong where its reward is not positive (r ≤ 0). Wilson intervals, "
        "which take steps for independent. The prompts are read as they stand in the files, without a template: "
        f"{_escape(', '.join(kind['source'] for kind in found))}</p></section>"
    )


def _figures(cards: Sequence[tuple[str, go.Figure]], figures: list[go.Figure]) -> str:
    """Places for the figures, which are appended to those of the page."""
    items = []
    for title, figure in cards:
        height = figure.layout.height
        items.append(
            f"<figure><figcaption><h3>{_escape(title)}</h3></figcaption>"
            f"<div class=plot style='height:{height}px' id=plot-{len(figures)}></div></figure>"
        )
        figures.append(figure)
    return f"<div class=grid>{''.join(items)}</div>"


def _rows(published: dict[str, Any]) -> list[list[str]]:
    """The cells of a published table."""
    return [[name, *(f"{score:.1f}" for score in scores)] for name, *scores in published["rows"]]


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], published: Sequence[Sequence[str]] = ()
) -> str:
    """A table whose first column names the rows; cells are HTML, names are escaped."""
    lines = [("", row) for row in rows] + [(" class=published", row) for row in published]
    body = "".join(
        f"<tr{kind}><th>{_escape(name)}{' (published)' if kind else ''}</th>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"
        for kind, (name, *cells) in lines
    )
    heads = "".join(f"<th>{_escape(text)}</th>" for text in head)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _cell(share: dict[str, Any] | None, sign: str = "") -> str:
    """A share in per cent with its interval."""
    if share is None:
        return ""
    low, high = (100 * bound for bound in share["interval"])
    return f"{100 * share['value']:{sign}.1f} <small>{low:{sign}.1f} to {high:{sign}.1f}</small>"


def _number(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{_escape(note)}</li>" for note in notes)
    return f"<aside class=notes><ul>{items}</ul></aside>" if notes else ""


def _escape(value: Any) -> str:
    return html.escape(str(value))


_STYLE = """
.published{color:var(--soft)} .published th{font-weight:400}
section table{display:block;overflow-x:auto;width:max-content;max-width:100%;margin:6px 0 10px;border:1px solid var(--line);border-radius:10px}
section h3{margin:18px 0 6px} td b{font-weight:650} td b small{font-weight:400} figcaption h3{margin:0} figure{overflow:hidden} td small{white-space:nowrap} aside.notes{margin:8px 0}
thead th{max-width:11em}
"""
