"""evaluation_report.html: the tables, and every problem with its answers, verdicts and what the grader extracted.

Self-contained. Texts of models and problems are untrusted: they reach the page as JSON and are placed with
`textContent` only.
"""

# ruff: noqa: E501 (page text and script)

from __future__ import annotations

import html
from typing import Any

from pure_rlhf.report.page import ELEMENT_SCRIPT, embed, page_html

MAX_SAMPLED_SHOWN = 4
"""Sampled answers of a problem that the page holds; all are in the files."""


def render_page(results: dict[str, Any], rows: dict[str, Any]) -> str:
    """The whole page. `results`: what results.json holds; `rows`: problems and answers for the reader."""
    tables = "".join(_score_table(mode, results) for mode in results["scores"])
    limits = ""
    if "sampled" in results["scores"] and results["num_samples"] > MAX_SAMPLED_SHOWN:
        limits = f"<p class=caption>Of the sampled answers the first {MAX_SAMPLED_SHOWN} of each problem are here; all are in answers/.</p>"
    main = f"""{tables}{_comparisons(results["comparisons"])}{_sources(results["benchmarks"])}
<section id=reader><h2>Answers</h2>{limits}<div class=controls>
<select id=benchmark aria-label=benchmark><option value="">all benchmarks</option></select>
<select id=model aria-label=model><option value="">all models</option></select>
<select id=mode aria-label=mode><option value="">greedy and sampled</option><option>greedy</option><option>sampled</option></select>
<select id=verdict aria-label=verdict><option value="">all verdicts</option><option value=correct>correct</option>
<option value=wrong>wrong</option><option value=none>no answer found</option><option value=cut>cut by the limit</option>
<option value=gave_up>grading gave up</option></select>
<input id=search type=search placeholder="search in problems and answers"><span id=count></span></div>
<div id=answers></div><button id=more>show more</button></section>"""
    data = f"const PROBLEMS = {embed(rows['problems'])}; const ANSWERS = {embed(rows['answers'])};"
    return page_html(
        title=", ".join(results["models"]),
        kind="Evaluation",
        facts=[],
        main=main,
        script=f"{data}{ELEMENT_SCRIPT}{_SCRIPT}",
        style=_STYLE,
    )


def _cell(summary: dict[str, Any]) -> str:
    low, high = (100 * bound for bound in summary["interval"])
    return f"<td>{100 * summary['score']:.1f} <small>{low:.1f} to {high:.1f}</small></td>"


def _score_table(mode: str, results: dict[str, Any]) -> str:
    title = "Greedy pass@1" if mode == "greedy" else f"avg@{results['num_samples']}, sampled"
    names = [benchmark["name"] for benchmark in results["benchmarks"]]
    several = len(names) > 1
    head = "".join(f"<th>{html.escape(name)}</th>" for name in [*names, *["average"] * several])
    rows = "".join(
        f"<tr><th>{html.escape(model)}</th>{''.join(_cell(scores[name]) for name in names)}"
        f"{_cell(results['averages'][mode][model]) * several}</tr>"
        for model, scores in results["scores"][mode].items()
    )
    if mode == "greedy":
        for name, *cells in results.get("published_rows", []):
            cells = "".join(f"<td>{cell}</td>" for cell in cells)
            rows += f"<tr class=published><th>{html.escape(name)}</th>{cells}</tr>"
    captions = ["Per cent; the small figures are 95 % intervals."]
    if mode == "greedy":
        captions += results.get("published_notes", [])
    return (
        f"<section><h2>{title}</h2><table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p class=caption>{'<br>'.join(map(html.escape, captions))}</p>{_details(results['scores'][mode])}</section>"
    )


def _details(models: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(model)}</th><td>{html.escape(name)}</td><td>{s['num_problems']}</td>"
        f"<td>{s['truncated']:.1%}</td><td>{s['no_answer']:.1%}</td><td>{s['mean_tokens']:.0f}</td></tr>"
        for model, scores in models.items()
        for name, s in scores.items()
    )
    return (
        "<details><summary>Lengths and failures</summary><table><thead><tr><th></th><th>benchmark</th><th>problems</th>"
        f"<th>cut by the limit</th><th>no answer</th><th>mean tokens</th></tr></thead><tbody>{rows}</tbody></table></details>"
    )


def _comparisons(comparisons: list[dict[str, Any]]) -> str:
    if not comparisons:
        return ""
    rows = "".join(
        f"<tr><td>{c['mode']}</td><th>{html.escape(c['benchmark'])}</th><td>{html.escape(c['first'])}</td>"
        f"<td>{html.escape(c['second'])}</td><td>{100 * c['difference']:+.1f}</td><td>{c['p_value']:.2g}</td></tr>"
        for c in comparisons
    )
    return (
        "<section><h2>Paired comparison</h2><table><thead><tr><th></th><th>benchmark</th><th>first</th><th>second</th>"
        f"<th>second minus first, points</th><th>p</th></tr></thead><tbody>{rows}</tbody></table>"
        "<p class=caption>On the same problems: exact McNemar test (greedy), paired permutation test (sampled).</p></section>"
    )


def _sources(benchmarks: list[dict[str, Any]]) -> str:
    items = "".join(
        f"<li><b>{html.escape(b['name'])}</b>: {b['num_used']} of {b['num_problems']} problems of {html.escape(b['source'])}; "
        f"licence: {html.escape('; '.join([b['licence'], *b['notes']]))}</li>"
        for b in benchmarks
    )
    return f"<section><h2>Benchmarks</h2><ul>{items}</ul></section>"


_STYLE = """
.published{color:var(--soft)} .published th{font-weight:400}
.text{white-space:pre-wrap;overflow-wrap:anywhere;font:13.5px/1.5 ui-monospace,Menlo,Consolas,monospace}
.extracted{background:#eef1f5;border-radius:6px;padding:1px 8px;overflow-wrap:anywhere;color:var(--ink)}
section table{display:block;overflow-x:auto;width:max-content;max-width:100%}
details table{margin-top:8px;border:1px solid var(--line)}
#more{font:inherit;padding:6px 16px}
"""

_SCRIPT = r"""
const PAGE = 50;
const [benchmark, model, mode, verdict, search, list, count, more] =
  ['benchmark', 'model', 'mode', 'verdict', 'search', 'answers', 'count', 'more'].map(id => document.getElementById(id));
const names = values => [...new Set(values)].map(value => new Option(value, value));
benchmark.append(...names(PROBLEMS.map(problem => problem.benchmark)));
model.append(...names(ANSWERS.map(answer => answer.model)));
function card(answer) {
  const problem = PROBLEMS[answer.problem], node = element('article', 'answer'), top = element('div', 'top');
  top.append(element('span', 'badge ' + (answer.correct ? 'correct' : 'wrong'), answer.correct ? 'correct' : 'wrong'));
  if (answer.cut) top.append(element('span', 'badge unknown', 'cut by the length limit'));
  if (answer.gave_up) top.append(element('span', 'badge unknown', 'grading gave up'));
  top.append(element('span', '', `${problem.benchmark} ${problem.id} · ${answer.model} · ${answer.mode} · ${answer.tokens} tokens`));
  const found = element('div', 'top');
  found.append('extracted', element('span', 'extracted', answer.extracted === null ? '(nothing)' : answer.extracted),
    'label', element('span', 'extracted', problem.answer));
  if (answer.rule) found.append(`accepted by rule: ${answer.rule}`);
  node.append(top, element('div', 'prompt', problem.question), found, element('div', 'text', answer.text || '(empty answer)'));
  return node;
}
const passes = {
  '': () => true, correct: a => a.correct, wrong: a => !a.correct, none: a => a.extracted === null,
  cut: a => a.cut, gave_up: a => a.gave_up,
};
let chosen = [], shown = 0;
function showMore() {
  list.append(...chosen.slice(shown, shown + PAGE).map(card));
  shown = Math.min(chosen.length, shown + PAGE);
  more.hidden = shown === chosen.length;
  count.textContent = chosen.length + (chosen.length === 1 ? ' answer' : ' answers');
}
function filter() {
  const words = search.value.toLowerCase();
  chosen = ANSWERS.filter(answer => {
    const problem = PROBLEMS[answer.problem];
    return (!benchmark.value || problem.benchmark === benchmark.value) && (!model.value || answer.model === model.value)
      && (!mode.value || answer.mode === mode.value) && passes[verdict.value](answer)
      && (!words || (problem.question + '\n' + answer.text).toLowerCase().includes(words));
  });
  list.replaceChildren();
  shown = 0;
  showMore();
}
[benchmark, model, mode, verdict].forEach(select => { select.onchange = filter; });
search.oninput = filter;
more.onclick = showMore;
// report.html#verdict=wrong&benchmark=aime24 opens with these filters
new URLSearchParams(location.hash.slice(1)).forEach((value, key) => {
  const control = document.getElementById(key);
  if (control && 'value' in control) control.value = value;
});
filter();
"""
