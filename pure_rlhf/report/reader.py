"""The answers of a run in the report: HTML, style and script of the reader.

Texts of models and prompts are untrusted: the script places them with `textContent` only.
"""

# ruff: noqa: E501, RUF001 (style sheet and script)

from __future__ import annotations

from pure_rlhf.monitoring.records import JsonObject, RolloutRecord


def reader_html(rollouts: dict[int, list[RolloutRecord]]) -> str:
    """The section that the script fills, or "" where there are no answers."""
    if not rollouts:
        return ""
    return """<section id=reader><h2>Answers</h2>
<p class=caption>Each step is coloured by its PRM reward r
<span class=scale><i style="background:rgb(223,144,89)"></i>−1<i style="background:#eef1f5"></i>0
<i style="background:rgb(91,162,203)"></i>+1</span>, its mean advantage A in the same colours from −2 to +2. The worst step has a frame.</p>
<div class=controls>
<button id=previous title="previous step">‹</button><select id=step aria-label=step></select><button id=next title="next step">›</button>
<span id=filters role=group aria-label=filter><button data-filter=all>all</button><button data-filter=correct>correct</button
><button data-filter=wrong>wrong</button><button data-filter=unknown>no known answer</button
><button data-filter=truncated>cut by the limit</button><button data-filter=mistaken hidden>PRM is mistaken</button></span>
<input id=search type=search aria-label=search placeholder="search in prompts and answers"><span id=count></span></div>
<div id=answers></div><div class=controls><button id=more>show more</button></div></section>"""


def reader_rows(rollouts: dict[int, list[RolloutRecord]]) -> dict[int, list[JsonObject]]:
    """What the script reads: the rows of `rollouts/`, without the text of an answer where its steps hold it."""
    return {
        step: [
            {key: value for key, value in row.items() if key != "text" or not row.get("steps")}
            for row in rows
        ]
        for step, rows in rollouts.items()
    }


READER_STYLE = """
.scale i{display:inline-block;width:14px;height:14px;border-radius:3px;margin:0 4px 0 8px;vertical-align:-2px;
border:1px solid var(--line)}
#filters{display:flex;flex-wrap:wrap;gap:4px}
.controls button[aria-pressed=true]{background:var(--accent);border-color:var(--accent);color:#fff}
.row{display:grid;grid-template-columns:minmax(0,1fr) 140px;gap:10px;border-radius:8px;padding:5px 10px;margin:3px 0;
border:1px solid rgba(31,42,55,.07)}
.row.worst{border-color:#963f00;box-shadow:inset 3px 0 #963f00}
.row .text{white-space:pre-wrap;overflow-wrap:anywhere;font:13.5px/1.5 ui-monospace,Menlo,Consolas,monospace}
.row .text.empty{color:var(--soft);font-style:italic}
.row .numbers{text-align:right;font-size:12.5px;font-variant-numeric:tabular-nums;white-space:nowrap}
.row .truth{display:block;white-space:normal}.row .truth.right{color:#00694c}.row .truth.wrong{color:#963f00;font-weight:600}
.row .numbers b{display:inline-block;min-width:3.6em;padding:0 4px;border-radius:4px}
@media(max-width:560px){.row{grid-template-columns:1fr}.row .numbers{text-align:left}}
"""

READER_SCRIPT = r"""
// -1 orange, 0 grey, +1 blue; rewards of sum-form PRMs may lie outside
function color(reward) {
  if (typeof reward !== 'number') return '#f6f8fa';
  const strength = Math.min(1, Math.abs(reward)) * 0.62, base = [238, 241, 245];
  const end = reward < 0 ? [213, 94, 0] : [0, 114, 178];
  return `rgb(${base.map((value, i) => Math.round(value + (end[i] - value) * strength)).join(',')})`;
}
const signed = value => typeof value === 'number' ? (value < 0 ? '−' : '+') + Math.abs(value).toFixed(2) : '';

function answerCard(answer) {
  const card = element('article', 'answer'), top = element('div', 'top');
  const reward = answer.verifiable_reward, known = typeof reward === 'number';
  const share = known && reward > 0 ? ` (${Math.round(100 * reward)} % of the tests)` : '';
  const verdict = !known ? ['unknown', 'no known answer'] : reward === 1 ? ['correct', 'correct'] : ['wrong', 'wrong' + share];
  top.append(element('span', 'badge ' + verdict[0], verdict[1]));
  if (answer.accepted_by) top.append(element('span', '', 'accepted by rule: ' + answer.accepted_by));
  if (answer.truncated) top.append(element('span', 'badge unknown', 'cut by the limit'));
  if (answer.label !== null && answer.label !== undefined) top.append(element('span', '', 'label: ' + answer.label));
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
    if (typeof advantages[index] === 'number') {
      const shown = element('b', '', signed(advantages[index]));
      shown.style.background = color(advantages[index] / 2);
      side.append(' A ', shown);
    }
    const truth = (answer.truth || [])[index];
    if (truth === true) side.append(element('span', 'truth right', 'in truth right'));
    else if (truth === false || typeof truth === 'string') side.append(element('span', 'truth wrong', 'in truth: ' + (truth || 'wrong')));
    row.append(side);
    card.append(row);
  });
  return card;
}

const FILTERS = {
  all: () => true,
  correct: answer => answer.verifiable_reward === 1,
  wrong: answer => typeof answer.verifiable_reward === 'number' && answer.verifiable_reward < 1,
  unknown: answer => answer.verifiable_reward === null || answer.verifiable_reward === undefined,
  truncated: answer => answer.truncated === true,
  // a step that is wrong and has a reward above 0, or is right and has none
  mistaken: answer => (answer.truth || []).some((truth, index) => truth !== null &&
    typeof (answer.step_rewards || [])[index] === 'number' && (truth === true) !== (answer.step_rewards[index] > 0)),
};
const haystack = answer => answer.haystack ??=
  ((answer.prompt || '') + '\n' + (answer.text || (answer.steps || []).join(''))).toLowerCase();

if (document.getElementById('reader')) {
  const [select, search, list, count, more] =
    ['step', 'search', 'answers', 'count', 'more'].map(id => document.getElementById(id));
  const buttons = [...document.querySelectorAll('#filters button')];
  const steps = Object.keys(ROLLOUTS).map(Number).sort((a, b) => a - b);
  let filter = 'all', limit = 30;
  buttons.forEach(button => { if (button.dataset.filter === 'mistaken')
    button.hidden = !steps.some(step => ROLLOUTS[step].some(answer => answer.truth)); });
  select.append(...steps.map(step => new Option('step ' + step, step)), new Option('all steps', 'all'));
  select.value = steps[steps.length - 1];
  function draw() {
    const words = search.value.toLowerCase();
    const chosen = (select.value === 'all' ? steps : [Number(select.value)]).flatMap(step => ROLLOUTS[step])
      .filter(FILTERS[filter]).filter(answer => haystack(answer).includes(words));
    list.replaceChildren(...chosen.slice(0, limit).map(answerCard));
    count.textContent = chosen.length + (chosen.length === 1 ? ' answer' : ' answers') +
      (chosen.length > limit ? ', the first ' + limit + ' shown' : '');
    more.hidden = chosen.length <= limit;
    buttons.forEach(button => button.setAttribute('aria-pressed', button.dataset.filter === filter));
  }
  const show = () => { limit = 30; draw(); };
  const move = by => {
    const index = steps.indexOf(Number(select.value)) + by;
    if (index >= 0 && index < steps.length) { select.value = steps[index]; show(); }
  };
  document.getElementById('previous').onclick = () => move(-1);
  document.getElementById('next').onclick = () => move(1);
  buttons.forEach(button => button.onclick = () => { filter = button.dataset.filter; show(); });
  more.onclick = () => { limit += 100; draw(); };
  select.onchange = search.oninput = show;
  show();
}
"""
