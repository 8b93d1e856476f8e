"""The page of the report: HTML, style and the script that draws the figures.

Texts of models and prompts are untrusted: they reach the page as JSON and are placed with
`textContent` only.
"""

# ruff: noqa: E501 (style sheet and script)

from __future__ import annotations

import html
import json
from collections.abc import Sequence

from plotly.offline import get_plotlyjs

from pure_rlhf.monitoring.records import AlarmRecord, EvaluationRecord, PrmRecord, RolloutRecord
from pure_rlhf.report.prm import labelled_steps_table, prm_cards, prm_table
from pure_rlhf.report.reader import READER_SCRIPT, READER_STYLE, reader_html, reader_rows

_COLUMNS = (
    ("pass@1", "pass@1", "{:.1%}"),
    ("n", "problems", "{:.0f}"),
    ("truncated", "cut by the limit", "{:.1%}"),
    ("no_answer", "no answer", "{:.1%}"),
    ("mean_tokens", "mean tokens", "{:.0f}"),
)


def render_page(
    *,
    name: str,
    facts: list[tuple[str, str]],
    notes: list[str],
    alarms: list[AlarmRecord],
    evaluation: dict[str, EvaluationRecord],
    prm: PrmRecord,
    cards: list[tuple[str, str, str]],
    missing: list[str],
    rollouts: dict[int, list[RolloutRecord]],
) -> str:
    """The whole page as one string.

    Args:
        prm: see `prm.readable_prm`.
        cards: see `figures.figure_cards`; missing: titles of those that the run has no data for.
    """
    of_prm = prm_cards(prm)
    main = f"""{_alarms(alarms)}
{notes_html(notes)}
{_hero(evaluation)}
{_evaluation_table(evaluation)}
{_curves(cards, missing)}
{_prm(prm, of_prm, len(cards))}
{reader_html(rollouts)}"""
    script = f"const ROLLOUTS = {embed(reader_rows(rollouts))};{ELEMENT_SCRIPT}{READER_SCRIPT}"
    return page_html(
        title=name,
        kind="PURE training run",
        facts=facts,
        main=main,
        figures=[figure for _, _, figure in [*cards, *of_prm]],
        script=script,
        style=READER_STYLE,
    )


def page_html(
    *,
    title: str,
    kind: str,
    facts: list[tuple[str, str]],
    main: str,
    figures: Sequence[str] = (),
    script: str = "",
    style: str = "",
) -> str:
    """A self-contained page. `main`: HTML; `figures`: Plotly JSON of what `cards_html` makes room for.

    The page's own script runs first: plotly.js is 5 MB, and the page shall answer before it is read.
    """
    data = ",".join(_embed_json(figure) for figure in figures)
    plots = f"<script>{get_plotlyjs()}</script><script>{PLOT_SCRIPT}</script>" if figures else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{_escape(title)} · PURE</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{STYLE}{style}</style></head><body>
<header><p class="kind">{_escape(kind)}</p><h1>{_escape(title)}</h1>{_facts(facts)}</header>
<main>
{main}
</main>
<script>const FIGURES = [{data}];</script>
<script>{script}</script>
{plots}
</body></html>
"""


def _facts(facts: list[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{_escape(k)}</dt><dd>{_escape(v)}</dd></div>" for k, v in facts)
    return f"<dl>{items}</dl>" if facts else ""


def _alarms(alarms: list[AlarmRecord]) -> str:
    items = "".join(
        f"<li><b>{_escape(alarm['kind'])}</b> at step {_escape(alarm['step'])}: {_escape(alarm['message'])}; "
        f"{_escape(alarm.get('good_checkpoint') or 'no checkpoint from before it')}"
        f"{_escape(_rolled_back(alarm))}</li>"
        for alarm in alarms
    )
    return f"<aside class='notes alarms'><b>Alarms</b><ol>{items}</ol></aside>" if alarms else ""


def _rolled_back(alarm: AlarmRecord) -> str:
    step = alarm.get("rolled_back_to")
    return "" if step is None else f"; rolled back to step {step}"


def notes_html(notes: list[str]) -> str:
    """A box with what a reader has to know."""
    items = "".join(f"<li>{_escape(note)}</li>" for note in notes)
    return f"<aside class=notes><b>Notes</b><ul>{items}</ul></aside>" if notes else ""


def _hero(evaluation: dict[str, EvaluationRecord]) -> str:
    """Before, after and the difference, large."""
    if not {"before", "after"} <= set(evaluation):
        return ""
    before, after = (evaluation[when]["pass@1"] for when in ("before", "after"))
    gain = 100 * (after - before)
    sign = "up" if gain > 0 else "down"
    return (
        f"<section class=hero><div><b>{before:.1%}</b><span>before</span></div><div class=arrow>→</div>"
        f"<div><b>{after:.1%}</b><span>after</span></div>"
        f"<div class={sign}><b>{gain:+.1f}</b><span>points of greedy pass@1 on held-out problems</span></div></section>"
    )


def _evaluation_table(evaluation: dict[str, EvaluationRecord]) -> str:
    if not evaluation:
        return ""
    columns = [column for column in _COLUMNS if any(column[0] in r for r in evaluation.values())]
    head = "".join(f"<th>{label}</th>" for _, label, _ in columns)
    rows = []
    order = {"before": -1, "after": 1}
    for when, result in sorted(evaluation.items(), key=lambda item: order.get(item[0], 0)):
        cells = []
        for key, _, form in columns:
            text = form.format(result[key]) if isinstance(result.get(key), int | float) else ""
            if key == "pass@1" and result.get("ci95"):
                low, high = result["ci95"]
                text += f" <small>{low:.1%} to {high:.1%}</small>"
            cells.append(f"<td>{text}</td>")
        rows.append(f"<tr><th>{_escape(when)}</th>{''.join(cells)}</tr>")
    return (
        "<section><h2>Held-out problems</h2><div class=scroll><table><thead><tr><th></th>"
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        "<p class=caption>Greedy decoding; the small figures are 95 % Wilson intervals.</p></section>"
    )


def _curves(cards: list[tuple[str, str, str]], missing: list[str]) -> str:
    items = cards_html([(title, caption) for title, caption, _ in cards])
    lacks = f"<p class=caption>Without data in this run: {_escape(', '.join(missing))}.</p>"
    return (
        f"<section><h2>Curves</h2><div class=grid>{items}</div>{lacks if missing else ''}</section>"
    )


def cards_html(cards: Sequence[tuple[str, str]], first: int = 0) -> str:
    """Room for figures of the page, from number `first`, with (title, caption as HTML)."""
    return "".join(
        f"<figure><figcaption><h3>{_escape(title)}</h3></figcaption><div class=plot id=plot-{index}></div>"
        + (f"<details><summary>What this shows</summary>{caption}</details>" if caption else "")
        + "</figure>"
        for index, (title, caption) in enumerate(cards, start=first)
    )


def _prm(record: PrmRecord, cards: list[tuple[str, str, str]], first: int) -> str:
    if not record:
        return ""
    items = cards_html([(title, caption) for title, caption, _ in cards], first)
    tables = prm_table(record) + labelled_steps_table(record)
    return f"<section><h2>Process reward model</h2>{tables}<div class=grid>{items}</div></section>"


def embed(value: object) -> str:
    """JSON that can stand inside a script element, whatever text it holds."""
    return _embed_json(json.dumps(value, ensure_ascii=False))


def _embed_json(text: str) -> str:
    return text.replace("</", "<\\/").replace("<!--", "<\\!--").replace("\u2028", "\\u2028")


def _escape(value: object) -> str:
    return html.escape(str(value))


STYLE = """
:root{--ink:#1f2a37;--soft:#5b6878;--line:#dfe5ec;--card:#fff;--page:#f4f6f9;--accent:#2b6cb0}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
header{background:linear-gradient(120deg,#16324f,#24577f);color:#fff;padding:28px max(24px,calc(50vw - 620px)) 22px}
header h1{margin:0 0 14px;font-size:30px;letter-spacing:-.01em;overflow-wrap:anywhere}
.kind{margin:0;font-size:12px;letter-spacing:.12em;text-transform:uppercase;opacity:.75}
dl{display:flex;flex-wrap:wrap;gap:8px 26px;margin:0}
dl div{min-width:90px;max-width:100%}
dt{font-size:11px;letter-spacing:.04em;opacity:.7}
dd{margin:0;font-size:14px;font-weight:550;overflow-wrap:anywhere}
main{max-width:1288px;margin:0 auto;padding:22px 24px 80px}
section{margin:0 0 34px}
.scroll{overflow-x:auto} .scroll table{width:max-content}
h2{font-size:20px;margin:0 0 12px} h3{font-size:15px;margin:0} section>h3{margin:18px 0 6px}
.notes{background:#fff8e6;border:1px solid #f0d894;border-radius:10px;padding:10px 16px;margin:0 0 20px}
.alarms{background:#fdecec;border-color:#e3a4a8}
.notes ul,.notes ol{margin:4px 0 0;padding-left:20px}
.hero{display:flex;flex-wrap:wrap;align-items:baseline;gap:12px 34px;background:var(--card);border:1px solid var(--line);
border-radius:14px;padding:18px 26px}
.hero b{display:block;font-size:36px;line-height:1.15;font-variant-numeric:tabular-nums}
.hero span{color:var(--soft);font-size:13px}
.hero .arrow{font-size:28px;color:var(--soft)}
.hero .up b{color:#20805a}.hero .down b{color:#b83a44}
table{border-collapse:collapse;background:var(--card);font-variant-numeric:tabular-nums}
section>table,.scroll>table{border:1px solid var(--line);border-radius:10px;border-spacing:0}
th,td{text-align:left;padding:6px 16px;border-bottom:1px solid var(--line);vertical-align:top}
thead th{color:var(--soft);font-weight:500;font-size:13px}
tr:last-child>th,tr:last-child>td{border-bottom:0}
small,.caption{color:var(--soft)} .caption{font-size:13px;margin:8px 0}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:16px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px 8px;min-width:0}
figure:last-child:nth-child(odd){grid-column:1/-1}
.plot{height:270px}
details{color:var(--soft);font-size:13px;margin:2px 0 6px}
summary{cursor:pointer;width:max-content;max-width:100%}
details ul{margin:4px 0;padding-left:18px}
.bad{color:#a4513a}
.controls{display:flex;flex-wrap:wrap;gap:8px;align-items:center;position:sticky;top:0;background:var(--page);
padding:8px 0;z-index:2}
.controls select,.controls input,.controls button{font:inherit;padding:5px 10px;border:1px solid var(--line);
border-radius:8px;background:#fff;color:var(--ink)}
.controls input{flex:1 1 220px;min-width:0}
.answer{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 18px;margin:0 0 14px}
.answer .top{display:flex;flex-wrap:wrap;gap:8px 14px;align-items:center;font-size:13px;color:var(--soft)}
.badge{border-radius:99px;padding:1px 10px;font-weight:600;font-size:12px}
.correct{background:#d9ebf7;color:#00507d}.wrong{background:#fbe5d6;color:#963f00}.unknown{background:#e9edf2;color:#546173}
.prompt{white-space:pre-wrap;overflow-wrap:anywhere;margin:8px 0;color:var(--soft);max-height:9em;overflow:auto;
border-left:3px solid var(--line);padding-left:12px}
@media print{.controls{display:none}}
"""

# for every page that places untrusted text
ELEMENT_SCRIPT = r"""
function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
"""

# one figure after the other, so that the page answers while they are drawn
PLOT_SCRIPT = r"""
(function draw(index) {
  if (index === FIGURES.length) { document.body.dataset.drawn = index; return; }
  Plotly.newPlot('plot-' + index, FIGURES[index].data, FIGURES[index].layout, {responsive: true, displayModeBar: false});
  setTimeout(draw, 0, index + 1);
})(0);
"""
