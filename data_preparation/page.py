"""The page of a preparation: how many problems each stage took and gave, and samples of what it dropped, and why.

Texts of data sets are untrusted: they reach the page as JSON and are placed with `textContent` only.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from pure_rlhf.report.page import ELEMENT_SCRIPT, embed, page_html


class SampleRecord(TypedDict):
    """A problem that was dropped, or changed."""

    stage: str
    reason: str
    id: str
    question: str
    answer: str
    note: str


@dataclass
class StageRecord:
    """What a stage did."""

    name: str
    taken: int
    kept: int
    reasons: dict[str, int] = field(default_factory=dict)
    changed: int = 0


_SCRIPT = r"""
const chosen = document.getElementById('stage'), list = document.getElementById('samples');
function show() {
  list.replaceChildren();
  for (const sample of SAMPLES) {
    if (chosen.value && chosen.value !== sample.stage + ': ' + sample.reason) continue;
    const card = element('article', 'answer'), top = element('div', 'top');
    top.append(element('span', 'badge wrong', sample.stage), element('span', '', sample.reason),
      element('span', '', sample.id));
    card.append(top, element('div', 'prompt', sample.question), element('div', '', 'answer: ' + sample.answer));
    if (sample.note) card.append(element('div', 'top', sample.note));
    list.append(card);
  }
}
for (const name of new Set(SAMPLES.map(sample => sample.stage + ': ' + sample.reason))) {
  const option = element('option', '', name);
  option.value = name;
  chosen.append(option);
}
chosen.addEventListener('change', show);
show();
"""


def render_preparation_page(
    *,
    name: str,
    facts: list[tuple[str, str]],
    stages: Sequence[StageRecord],
    samples: Sequence[SampleRecord],
) -> str:
    """The whole page as one string."""
    rows = []
    for stage in stages:
        share = f"{stage.kept / stage.taken:.1%}" if stage.taken else ""
        changed = f"{stage.changed:,}" if stage.changed else ""
        rows.append(
            f"<tr><th>{html.escape(stage.name)}</th><td>{stage.taken:,}</td><td>{stage.kept:,}</td><td>{share}</td>"
            f"<td>{changed}</td><td>{_reasons(stage)}</td></tr>"
        )
    head = "".join(
        f"<th>{title}</th>"
        for title in ("stage", "in", "out", "kept", "rewritten", "dropped, by reason")
    )
    main = (
        "<section><h2>Stages</h2><div class=scroll><table><thead><tr>"
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
        "<section><h2>Samples</h2><p class=caption>A few of each reason, drawn at random.</p>"
        "<div class=controls><select id=stage aria-label=reason><option value=''>all reasons</option></select></div>"
        "<div id=samples></div></section>"
    )
    return page_html(
        title=name,
        kind="PURE data preparation",
        facts=facts,
        main=main,
        script=f"const SAMPLES = {embed(list(samples))};{ELEMENT_SCRIPT}{_SCRIPT}",
        style=".scroll table td{font-size:14px}.scroll table{width:auto}",
    )


def _reasons(stage: StageRecord) -> str:
    ordered = sorted(stage.reasons.items(), key=lambda item: -item[1])
    return "<br>".join(f"{count:,} {html.escape(reason)}" for reason, count in ordered)
