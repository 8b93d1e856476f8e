"""The page of an SFT run: loss curves, what it learned from, and what the model says before and after.

Texts of models and of data sets are untrusted: they reach the page as JSON and are placed with `textContent` only.
"""

from __future__ import annotations

from typing import Any, TypedDict

from pure_rlhf.report.figures import COLORS, add_curve, empty_figure
from pure_rlhf.report.page import ELEMENT_SCRIPT, cards_html, embed, page_html


class SampleRecord(TypedDict):
    """One held-out prompt with the response of its row and those of the model."""

    prompt: str
    response: str
    before: str
    after: str


CURVES = (
    (
        "Loss",
        "Nats a token of the responses, on a logarithmic scale: of each step's rows, and of the held-out rows.",
        (("sft/loss", "training"), ("sft/held_out_loss", "held out")),
    ),
    ("Gradient norm", "Before clipping.", (("sft/grad_norm", "gradient norm"),)),
    ("Learning rate", "", (("sft/learning_rate", "learning rate"),)),
)

_SCRIPT = r"""
for (const sample of SAMPLES) {
  const card = element('article', 'answer');
  card.append(element('div', 'prompt', sample.prompt));
  const row = element('div', 'columns');
  for (const [name, title] of [['response', 'the row'], ['before', 'before'], ['after', 'after']]) {
    const column = element('div');
    column.append(element('h3', '', title), element('pre', '', sample[name]));
    row.append(column);
  }
  card.append(row);
  document.getElementById('samples').append(card);
}
"""
_STYLE = """
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(240px,1fr));gap:14px}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0;font:13px/1.5 ui-monospace,monospace}
"""


def render_sft_page(
    *,
    name: str,
    config: dict[str, Any],
    metrics: list[dict[str, float]],
    samples: list[SampleRecord],
) -> str:
    """The whole page as one string.

    Args:
        config: what `train_sft` keeps in config.json; metrics: the lines of metrics.jsonl.
    """
    last = metrics[-1] if metrics else {}
    held_out = [row["sft/held_out_loss"] for row in metrics if "sft/held_out_loss" in row]
    facts = [
        ("Model", str(config["model"]["model_name_or_path"])),
        ("Data", str(config["data"]["dataset"])),
        ("Rows", f"{config['rows']} ({config['rows_too_long']} too long and left out)"),
        ("Held out", str(config["rows_held_out"])),
        ("Steps", f"{last.get('step', 0):.0f} of {config['train']['batch_size']} rows"),
    ]
    if len(held_out) > 1:
        facts.append(("Held-out loss", f"{held_out[0]:.3f} to {held_out[-1]:.3f}"))
    figures = []
    for _, _, curves in CURVES:
        figure = empty_figure()
        for number, (key, label) in enumerate(curves):
            points = [(row["step"], row[key]) for row in metrics if key in row]
            add_curve(figure, points, label, COLORS[number])
        if curves[0][0] == "sft/loss":
            figure.update_yaxes(type="log")
        figures.append(figure.to_json())
    cards = cards_html([(title, caption) for title, caption, _ in CURVES])
    greedy = "Greedy responses to held-out prompts, beside the response of the row."
    main = (
        f"<section><h2>Curves</h2><div class=grid>{cards}</div></section>"
        f"<section><h2>Samples</h2><p class=caption>{greedy}</p><div id=samples></div></section>"
    )
    return page_html(
        title=name,
        kind="PURE supervised fine-tuning",
        facts=facts,
        main=main,
        figures=figures,
        script=f"const SAMPLES = {embed(samples)};{ELEMENT_SCRIPT}{_SCRIPT}",
        style=_STYLE,
    )
