"""comparison.html from several run directories: every metric of all runs over one another, what differs in their
settings, and where they began, ended and were best.

The runs have one legend for the whole page, which also hides them; each keeps its colour everywhere.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pure_rlhf.monitoring.metric_table import METRICS
from pure_rlhf.monitoring.run_directory import RunRecord, read_run
from pure_rlhf.report.figures import (
    COLORS,
    SMOOTH_FROM_STEPS,
    Point,
    add_curve,
    empty_figure,
    held_out_points,
    series,
)
from pure_rlhf.report.page import cards_html, notes_html, page_html
from pure_rlhf.report.run import write_page

DASHES = ("solid", "dash", "dot", "dashdot")
MAX_WINDOW = 10
"""Steps that a first, last or best value is the mean of, in a long run."""
HELD_OUT = "held-out pass@1"

# Rows of the table of values, and which value of a metric is its best; None: neither end is.
_VALUES: dict[str, Callable[..., Any] | None] = {
    HELD_OUT: max,
    "reward/verifiable_accuracy": max,
    "reward/group_pass_frac": max,
    "reward/prm_verifier_agreement": max,
    "reward/false_positive_frac": min,
    "reward/prm_calibration_error": min,
    "reward/no_answer_frac": min,
    "rollout/truncated_frac": min,
    "rollout/repetition": min,
    "reward/process_return": None,
    "rollout/response_length": None,
    "pure/steps_per_answer": None,
    "policy/kl_reference": None,
    "policy/entropy": None,
    "timing/step": None,
}


def write_comparison(run_dirs: Sequence[Path], target: Path) -> Path:
    """Write the comparison to `target` and return it. What is missing in a run is said in the page.

    Raises:
        ValueError: directories that do not exist, all at once, or fewer than two runs.
    """
    paths = list(dict.fromkeys(path.resolve() for path in run_dirs))
    missing = [str(path) for path in paths if not path.is_dir()]
    if missing:
        raise ValueError(f"no run directory, there is no such directory: {', '.join(missing)}")
    if len(paths) < 2:
        raise ValueError("a comparison needs two runs or more: the same one was given twice")
    records = [read_run(path, with_answers=False) for path in paths]
    for record, name in zip(records, names_apart(paths), strict=True):
        record.name = name
    return write_page(target, comparison_page(records))


def comparison_page(records: Sequence[RunRecord]) -> str:
    """The whole page; the names of the records differ."""
    cards = list(comparison_cards(records))
    notes = [f"{record.name}: {note}" for record in records for note in record.notes]
    grid = cards_html([(title, caption) for title, caption, _ in cards])
    main = f"""{notes_html(notes)}
<section><h2>First, last and best</h2>{values_table(records)}</section>
<section><h2>What differs in the settings</h2>{settings_table(records)}</section>
<section><h2>Curves</h2><div class="controls legend">{_legend(records)}
<input id=filter type=search aria-label=filter placeholder="filter metrics"></div>
<div class=grid>{grid or "No run has metrics yet."}</div></section>"""
    steps = sorted({row["step"] for record in records for row in record.metrics[-1:]})
    return page_html(
        title=f"{len(records)} runs compared",
        kind="PURE training runs",
        facts=[("Last steps", ", ".join(map(str, steps)) or "none")],
        main=main,
        figures=[figure for _, _, figure in cards],
        style=_STYLE,
        script=_SCRIPT,
    )


def comparison_cards(records: Sequence[RunRecord]) -> Iterator[tuple[str, str, str]]:
    """(title, caption as HTML, figure as Plotly JSON) of the held-out accuracy and of every metric of any run."""
    held_out = [_held_out(record) for record in records]
    if any(held_out):
        figure = _figure(records, held_out, "0 to 1", smooth=False)
        yield "Held-out problems", "Greedy pass@1 on held-out problems.", figure
    present = {key for record in records for row in record.metrics for key in row}
    templates = tuple(key.split("<name>")[0] for key in METRICS if key.startswith("eval/"))
    for key in [key for key in METRICS if key in present] + sorted(
        key for key in present if key.startswith(templates)
    ):
        metric = METRICS.get(key)
        caption = (
            f"{metric.meaning}. <span class=bad>Bad: {metric.bad_sign}.</span>" if metric else ""
        )
        points = [series(record.metrics, key) for record in records]
        if any(points):
            unit = metric.unit if metric else "0 to 1"
            smooth = max(map(len, points)) > SMOOTH_FROM_STEPS
            yield key, caption, _figure(records, points, unit, smooth=smooth)


def settings_table(records: Sequence[RunRecord]) -> str:
    """The settings whose values differ; those that only name a run's own folder are left out."""
    settings = [_flatten(record.config) for record in records]
    rows, rows_of_some = "", ""
    for key in dict.fromkeys(key for found in settings for key in found if key != "started"):
        values = [found.get(key, "—") for found in settings]
        names_own_folder = all(
            record.name.split("/")[-1] in value
            for record, value in zip(records, values, strict=True)
        )
        if len(set(values)) > 1 and not names_own_folder:
            cells = "".join(f"<td>{html.escape(value)}</td>" for value in values)
            row = f"<tr><th>{_breakable(key)}</th>{cells}</tr>"
            if all(key in found for found in settings):
                rows += row
            else:
                rows_of_some += row
    table = _table(records, rows) if rows else "<p>Nothing that all runs have.</p>"
    if rows_of_some:
        table += (
            "<details><summary>Settings that not all runs have (other versions of the code)</summary>"
            f"{_table(records, rows_of_some)}</details>"
        )
    return table


def values_table(records: Sequence[RunRecord]) -> str:
    """First, last and best value of the metrics that say most, and the alarms."""
    rows = ""
    for key, best in _VALUES.items():
        points = [
            _held_out(record) if key == HELD_OUT else window_means(series(record.metrics, key))
            for record in records
        ]
        if any(points):
            cells = "".join(f"<td>{_first_last_best(found, best)}</td>" for found in points)
            unit = "" if key == HELD_OUT else f" <small>{html.escape(METRICS[key].unit)}</small>"
            rows += f"<tr><th>{_breakable(key)}{unit}</th>{cells}</tr>"
    alarms = "".join(
        "<td>{}</td>".format(
            "<br>".join(html.escape(f"{a['kind']} at step {a['step']}") for a in record.alarms)
            or "none"
        )
        for record in records
    )
    caption = (
        f"First → last; the best of all steps in small print. Means of a tenth of the steps, {MAX_WINDOW} at most; "
        "held-out values are those of single evaluations."
    )
    return (
        _table(records, f"{rows}<tr><th>alarms</th>{alarms}</tr>")
        + f"<p class=caption>{caption}</p>"
    )


def window_means(points: Sequence[Point]) -> list[Point]:
    """(last step, mean) of every window of a tenth of the points, at least 1 and at most MAX_WINDOW of them.

    Example: 30 points of value 0, 1, ..., 29 have windows of 3, with means 1, 2, ..., 28.
    """
    size = min(max(1, len(points) // 10), MAX_WINDOW)
    return [
        (points[end - 1][0], sum(value for _, value in points[end - size : end]) / size)
        for end in range(size, len(points) + 1)
    ]


def names_apart(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of different paths that differ: `a/run`, `b/run` where both are called run."""
    for depth in count(1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("unreachable")


def _first_last_best(points: Sequence[Point], best: Callable[..., Any] | None) -> str:
    if not points:
        return "—"
    text = f"{points[0][1]:.3g} → <b>{points[-1][1]:.3g}</b>"
    if best is not None:
        step, value = best(points, key=lambda point: point[1])
        text += f" <small>{value:.3g} at step {step:g}</small>"
    return text


def _held_out(record: RunRecord) -> list[Point]:
    points = held_out_points(record.metrics, record.evaluation)
    return [(step, result["pass@1"]) for step, result in points]


def _figure(
    records: Sequence[RunRecord], points: Sequence[list[Point]], unit: str, *, smooth: bool
) -> str:
    """One curve a run, with a cross at each of its alarms; `meta` tells the script whose a trace is."""
    figure = empty_figure()
    for index, (record, found) in enumerate(zip(records, points, strict=True)):
        color, dash = _style(index)
        add_curve(figure, found, record.name, color, smooth=smooth, dash=dash, meta=index)
        if found and record.alarms:
            curve, steps = figure.data[-1], [alarm["step"] for alarm in record.alarms]
            figure.add_scatter(
                x=steps,
                y=np.interp(steps, curve.x, curve.y).tolist(),
                text=[html.escape(f"{record.name}: alarm {a['kind']}") for a in record.alarms],
                hovertemplate="%{text}<extra></extra>",
                mode="markers",
                marker={"symbol": "x", "size": 9, "color": color},
                meta=index,
            )
    figure.update_layout(showlegend=False, hovermode="closest")
    is_share = unit == "0 to 1"
    figure.update_yaxes(title_text="share" if is_share else unit)
    if is_share:
        figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return str(figure.to_json())


def _style(index: int) -> tuple[str, str]:
    return COLORS[index % len(COLORS)], DASHES[index // len(COLORS) % len(DASHES)]


def _legend(records: Sequence[RunRecord]) -> str:
    buttons = ""
    for index, record in enumerate(records):
        color, dash = _style(index)
        line = f"border-top:3px {'solid' if dash == 'solid' else 'dashed'} {color}"
        buttons += (
            f"<button data-run={index} aria-pressed=true title='show or hide'>"
            f"<i style='{line}'></i>{html.escape(record.name)}</button>"
        )
    return f"{buttons}<span class=caption>✕ alarm</span>"


def _table(records: Sequence[RunRecord], rows: str) -> str:
    head = "".join(f"<th>{html.escape(record.name)}</th>" for record in records)
    return f"<div class=scroll><table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _breakable(key: str) -> str:
    """A key as HTML that may be broken between its words."""
    return re.sub(r"([/._])", r"\1<wbr>", html.escape(key))


def _flatten(config: object, prefix: str = "") -> dict[str, str]:
    """`{"config": {"actor": {"lr": 1}}, "seed": 2}` becomes `{"actor.lr": "1", "seed": "2"}`."""
    if not isinstance(config, dict):
        return {prefix: str(config)}
    flat: dict[str, str] = {}
    for key, value in config.items():
        path = key if not prefix or prefix == "config" else f"{prefix}.{key}"
        flat |= _flatten(value, path)
    return flat


_STYLE = """
.legend{max-height:35vh;overflow:auto}
.legend button{display:inline-flex;align-items:center;gap:8px;cursor:pointer}
.legend button[aria-pressed=false]{opacity:.4}
.legend i{width:22px}
td{max-width:20em;overflow-wrap:anywhere} td small{white-space:nowrap}
tbody th{position:sticky;left:0;background:var(--card);font-weight:550}
@media(max-width:560px){tbody th{max-width:150px;overflow-wrap:anywhere} th,td{padding:6px 10px}}
"""

_SCRIPT = r"""
const drawn = index => document.getElementById('plot-' + index).classList.contains('js-plotly-plot');
document.querySelectorAll('.legend button').forEach(button => button.onclick = () => {
  const on = button.getAttribute('aria-pressed') !== 'true', run = Number(button.dataset.run);
  button.setAttribute('aria-pressed', on);
  FIGURES.forEach((figure, index) => {
    figure.data.filter(trace => trace.meta === run).forEach(trace => { trace.visible = on; });
    if (drawn(index)) Plotly.redraw('plot-' + index);
  });
});
document.getElementById('filter').oninput = event => {
  const words = event.target.value.toLowerCase();
  document.querySelectorAll('figure').forEach(figure => {
    figure.hidden = !figure.querySelector('h3').textContent.toLowerCase().includes(words);
  });
};
"""
