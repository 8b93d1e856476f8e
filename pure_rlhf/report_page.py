"""The page of the report: HTML, style and the script of the answer reader.

Texts of models and prompts are untrusted: they reach the page as JSON and are placed with
`textContent` only.
"""

# ruff: noqa: E501, RUF001 (style sheet and script)

from __future__ import annotations

import html
import json
from typing import Any

from plotly.offline import get_plotlyjs

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
    alarms: list[dict[str, Any]],
    evaluation: dict[str, dict[str, Any]],
    prm_evaluations: dict[str, Any],
    cards: list[tuple[str, str, str]],
    rollouts: dict[int, list[dict[str, Any]]],
) -> str:
    """The whole page as one string; see `report_figures.figure_cards` for `cards`."""
    figures = ",".join(_embed_json(figure) for _, _, figure in cards)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{_escape(name)} · PURE</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{STYLE}</style></head><body>
<header><p class="kind">PURE training run</p><h1>{_escape(name)}</h1>{_facts(facts)}</header>
<main>
{_alarms(alarms)}
{_notes(notes)}
{_hero(evaluation)}
{_evaluation_table(evaluation)}
{_curves(cards)}
{_prm_tables(prm_evaluations)}
{_reader(rollouts)}
</main>
<script>{get_plotlyjs()}</script>
<script>const FIGURES = [{figures}]; const ROLLOUTS = {embed(rollouts)};</script>
<script>{ELEMENT_SCRIPT}{_SCRIPT}</script>
</body></html>
"""


def _facts(facts: list[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{_escape(k)}</dt><dd>{_escape(v)}</dd></div>" for k, v in facts)
    return f"<dl>{items}</dl>"


def _alarms(alarms: list[dict[str, Any]]) -> str:
    items = "".join(
        f"<li><b>{_escape(alarm['kind'])}</b> at step {_escape(alarm['step'])}: {_escape(alarm['message'])}; "
        f"{_escape(alarm.get('good_checkpoint') or 'no checkpoint from before it')}</li>"
        for alarm in alarms
    )
    return f"<aside class='notes alarms'><b>Alarms</b><ul>{items}</ul></aside>" if alarms else ""


def _notes(notes: list[str]) -> str:
    items = "".join(f"<li>{_escape(note)}</li>" for note in notes)
    return f"<aside class=notes><b>Notes</b><ul>{items}</ul></aside>" if notes else ""


def _hero(evaluation: dict[str, dict[str, Any]]) -> str:
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


def _evaluation_table(evaluation: dict[str, dict[str, Any]]) -> str:
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
        "<section><h2>Held-out problems</h2><table><thead><tr><th></th>"
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        "<p class=caption>Greedy decoding; the small figures are 95 % Wilson intervals.</p></section>"
    )


def _curves(cards: list[tuple[str, str, str]]) -> str:
    items = "".join(
        f"<figure><figcaption><h3>{_escape(title)}</h3></figcaption><div class=plot id=plot-{index}></div>"
        f"<details><summary>What this shows</summary>{caption}</details></figure>"
        for index, (title, caption, _) in enumerate(cards)
    )
    return f"<section><h2>Curves</h2><div class=grid>{items}</div></section>" if cards else ""


def _prm_tables(prm_evaluations: dict[str, Any]) -> str:
    if not prm_evaluations:
        return ""
    tables = "".join(
        f"<h3>{_escape(file)}</h3>{_object_table(value)}" for file, value in prm_evaluations.items()
    )
    return f"<section><h2>Process reward model</h2>{tables}</section>"


def _object_table(value: Any) -> str:
    """Nested objects as nested tables; numbers rounded to four digits."""
    if isinstance(value, dict):
        rows = "".join(
            f"<tr><th>{_escape(key)}</th><td>{_object_table(item)}</td></tr>"
            for key, item in value.items()
        )
        return f"<table>{rows}</table>"
    if isinstance(value, list) and len(value) > 12:
        return f"{len(value)} values"
    if isinstance(value, float):
        return f"{value:.4g}"
    return _escape(value)


def _reader(rollouts: dict[int, list[dict[str, Any]]]) -> str:
    if not rollouts:
        return ""
    return """<section id=reader><h2>Answers</h2>
<p class=caption>Each step is coloured by its PRM reward
<span class=scale><i style="background:rgb(214,84,84)"></i>−1<i style="background:#eef1f5"></i>0
<i style="background:rgb(56,152,112)"></i>+1</span>; A is its mean advantage. The worst step is marked.</p>
<div class=controls>
<button id=previous title="previous step">‹</button><select id=step></select><button id=next title="next step">›</button>
<select id=verdict><option value=all>all answers</option><option value=1>correct</option>
<option value=0>wrong</option><option value=null>no known answer</option></select>
<input id=search type=search placeholder="search in prompts and answers"><span id=count></span></div>
<div id=answers></div></section>"""


def embed(value: Any) -> str:
    """JSON that can stand inside a script element, whatever text it holds."""
    return _embed_json(json.dumps(value, ensure_ascii=False))


def _embed_json(text: str) -> str:
    return text.replace("</", "<\\/").replace("<!--", "<\\!--").replace("\u2028", "\\u2028")


def _escape(value: Any) -> str:
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
h2{font-size:20px;margin:0 0 12px} h3{font-size:15px;margin:0}
.notes{background:#fff8e6;border:1px solid #f0d894;border-radius:10px;padding:10px 16px;margin:0 0 20px}
.alarms{background:#fdecec;border-color:#e3a4a8}
.notes ul{margin:4px 0 0;padding-left:20px}
.hero{display:flex;flex-wrap:wrap;align-items:baseline;gap:12px 34px;background:var(--card);border:1px solid var(--line);
border-radius:14px;padding:18px 26px}
.hero b{display:block;font-size:36px;line-height:1.15;font-variant-numeric:tabular-nums}
.hero span{color:var(--soft);font-size:13px}
.hero .arrow{font-size:28px;color:var(--soft)}
.hero .up b{color:#20805a}.hero .down b{color:#b83a44}
table{border-collapse:collapse;background:var(--card);font-variant-numeric:tabular-nums}
section>table{border:1px solid var(--line);border-radius:10px;border-spacing:0}
th,td{text-align:left;padding:6px 16px;border-bottom:1px solid var(--line);vertical-align:top}
thead th{color:var(--soft);font-weight:500;font-size:13px}
tr:last-child>th,tr:last-child>td{border-bottom:0}
small,.caption{color:var(--soft)} .caption{font-size:13px;margin:8px 0}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:16px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px 8px;min-width:0}
figure:last-child:nth-child(odd){grid-column:1/-1}
.plot{height:270px}
details{color:var(--soft);font-size:13px;margin:2px 0 6px}
summary{cursor:pointer;width:max-content}
details ul{margin:4px 0;padding-left:18px}
.bad{color:#a4513a}
.controls{display:flex;flex-wrap:wrap;gap:8px;align-items:center;position:sticky;top:0;background:var(--page);
padding:8px 0;z-index:2}
.controls select,.controls input,.controls button{font:inherit;padding:5px 10px;border:1px solid var(--line);
border-radius:8px;background:#fff;color:var(--ink)}
.controls input{flex:1 1 220px;min-width:0}
.scale i{display:inline-block;width:14px;height:14px;border-radius:3px;margin:0 4px 0 8px;vertical-align:-2px;
border:1px solid var(--line)}
.answer{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 18px;margin:0 0 14px}
.answer .top{display:flex;flex-wrap:wrap;gap:8px 14px;align-items:center;font-size:13px;color:var(--soft)}
.badge{border-radius:99px;padding:1px 10px;font-weight:600;font-size:12px}
.correct{background:#dcf3e8;color:#1c6b4b}.wrong{background:#fbe0e1;color:#9c2b35}.unknown{background:#e9edf2;color:#546173}
.prompt{white-space:pre-wrap;overflow-wrap:anywhere;margin:8px 0;color:var(--soft);max-height:9em;overflow:auto;
border-left:3px solid var(--line);padding-left:12px}
.row{display:grid;grid-template-columns:minmax(0,1fr) 132px;gap:10px;border-radius:8px;padding:5px 10px;margin:3px 0;
border:1px solid rgba(31,42,55,.07)}
.row.worst{border-color:#b83a44;box-shadow:inset 3px 0 #b83a44}
.row .text{white-space:pre-wrap;overflow-wrap:anywhere;font:13.5px/1.5 ui-monospace,Menlo,Consolas,monospace}
.row .text.empty{color:var(--soft);font-style:italic}
.row .numbers{text-align:right;font-size:12.5px;font-variant-numeric:tabular-nums;white-space:nowrap}
.row .numbers b{display:inline-block;min-width:3.4em}
@media(max-width:560px){.row{grid-template-columns:1fr}.row .numbers{text-align:left}}
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

_SCRIPT = r"""
FIGURES.forEach((figure, index) => Plotly.newPlot('plot-' + index, figure.data, figure.layout,
  {responsive: true, displayModeBar: false}));

// -1 red, 0 grey, +1 green; rewards of sum-form PRMs may lie outside
function color(reward) {
  if (typeof reward !== 'number') return '#f6f8fa';
  const strength = Math.min(1, Math.abs(reward)) * 0.62, base = [238, 241, 245];
  const end = reward < 0 ? [214, 84, 84] : [56, 152, 112];
  return `rgb(${base.map((value, i) => Math.round(value + (end[i] - value) * strength)).join(',')})`;
}
const signed = value => typeof value === 'number' ? (value < 0 ? '−' : '+') + Math.abs(value).toFixed(2) : '';

function answerCard(answer) {
  const card = element('article', 'answer'), top = element('div', 'top');
  const known = answer.verifiable_reward === 0 || answer.verifiable_reward === 1;
  const verdict = !known ? ['unknown', 'no known answer'] :
    answer.verifiable_reward === 1 ? ['correct', 'correct'] : ['wrong', 'wrong'];
  top.append(element('span', 'badge ' + verdict[0], verdict[1]));
  if (answer.truncated) top.append(element('span', 'badge unknown', 'cut by the length limit'));
  if (answer.answer !== null && answer.answer !== undefined) top.append(element('span', '', 'label: ' + answer.answer));
  if (answer.group !== null && answer.group !== undefined) top.append(element('span', '', 'prompt ' + answer.group));
  const rewards = answer.step_rewards || [], advantages = answer.advantages || [];
  const numbers = rewards.filter(reward => typeof reward === 'number');
  const worst = numbers.length > 1 ? rewards.indexOf(Math.min(...numbers)) : -1;
  if (numbers.length) top.append(element('span', '', 'worst step: ' + signed(Math.min(...numbers))));
  card.append(top, element('div', 'prompt', answer.prompt || ''));
  const steps = answer.steps && answer.steps.length ? answer.steps : [answer.text || ''];
  steps.forEach((step, index) => {
    const row = element('div', 'row' + (index === worst ? ' worst' : ''));
    row.style.background = color(rewards[index]);
    const text = String(step).replace(/\s+$/, '');
    row.append(element('div', text ? 'text' : 'text empty', text || '(empty step)'));
    const side = element('div', 'numbers');
    if (typeof rewards[index] === 'number') side.append('r ', element('b', '', signed(rewards[index])));
    if (typeof advantages[index] === 'number') side.append(' A ', element('b', '', signed(advantages[index])));
    row.append(side);
    card.append(row);
  });
  return card;
}

const reader = document.getElementById('reader');
if (reader) {
  const [select, verdict, search, list, count] =
    ['step', 'verdict', 'search', 'answers', 'count'].map(id => document.getElementById(id));
  const steps = Object.keys(ROLLOUTS).map(Number).sort((a, b) => a - b);
  select.append(...steps.map(step => new Option('step ' + step, step)), new Option('all steps', 'all'));
  select.value = steps[steps.length - 1];
  function show() {
    const words = search.value.toLowerCase();
    const chosen = (select.value === 'all' ? steps : [Number(select.value)]).flatMap(step => ROLLOUTS[step])
      .filter(answer => verdict.value === 'all' || String(answer.verifiable_reward ?? null) === verdict.value)
      .filter(answer => !words || ((answer.prompt || '') + '\n' + (answer.text || '')).toLowerCase().includes(words));
    list.replaceChildren(...chosen.slice(0, 100).map(answerCard));
    count.textContent = chosen.length + (chosen.length === 1 ? ' answer' : ' answers') +
      (chosen.length > 100 ? ', the first 100 shown' : '');
  }
  const move = by => {
    const index = steps.indexOf(Number(select.value)) + by;
    if (index >= 0 && index < steps.length) { select.value = steps[index]; show(); }
  };
  document.getElementById('previous').onclick = () => move(-1);
  document.getElementById('next').onclick = () => move(1);
  select.onchange = verdict.onchange = show;
  search.oninput = show;
  show();
}
"""
