"""The README.md beside a trained PRM: what it is, how good it is, and how to score with it."""

from __future__ import annotations

from typing import Any

CALIBRATION_FILE = "calibration.png"
_CARD = """---
library_name: transformers
pipeline_tag: token-classification
tags: [process-reward-model]
---
# Process reward model

A token-classification model with two labels (0 = wrong step, 1 = right step), trained from `{base}` on
`{data}` ({treatment}), stage {stage} of 2 ({trained}).

{metrics}

## How to score

Build token ids, not a string: the prompt, then each step followed by the one token of {separator!r}. The model is
read at these separators; the reward of a step is p(right) - p(wrong), in [-1, 1].

```python
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForTokenClassification.from_pretrained(folder).eval()
(separator_id,) = tokenizer.encode({separator!r}, add_special_tokens=False)

ids, ends = tokenizer.encode(prompt, add_special_tokens=False), []
if tokenizer.bos_token_id not in (None, *ids[:1]):
    ids.insert(0, tokenizer.bos_token_id)
for step in steps:
    ids += tokenizer.encode(step, add_special_tokens=False)
    ends.append(len(ids))
    ids.append(separator_id)
with torch.no_grad():
    probabilities = model(torch.tensor([ids])).logits[0, ends].float().softmax(-1)
step_rewards = probabilities[:, 1] - probabilities[:, 0]
```
"""


_MEASURED = """Held-out steps: {steps}, of which {wrong_steps} wrong. A step with a reward of 0 or less is called wrong.

| | |
|---|---|
{table}

![Calibration curve]({picture})"""
_SHOWN = (
    ("accuracy on right steps", "accuracy_correct_steps"),
    ("accuracy on wrong steps", "accuracy_wrong_steps"),
    ("precision on wrong steps", "precision_wrong_steps"),
    ("F1 on wrong steps", "f1_wrong_steps"),
    ("AUC", "auc"),
    ("expected calibration error", "expected_calibration_error"),
)


def model_card(
    *,
    base: str,
    data: str,
    stage: int,
    separator: str,
    treatment: str,
    metrics: dict[str, Any] | None,
) -> str:
    """The text of the card; `metrics` are those of `prm.quality.step_metrics`, if there was a held-out split."""
    shown = "Not measured on held-out steps."
    if metrics is not None:
        rows = [
            f"| {name} | {'not defined' if metrics[key] is None else format(metrics[key], '.3f')} |"
            for name, key in _SHOWN
        ]
        shown = _MEASURED.format(
            steps=metrics["steps"],
            wrong_steps=metrics["wrong_steps"],
            table="\n".join(rows),
            picture=CALIBRATION_FILE,
        )
    return _CARD.format(
        base=base,
        data=data,
        treatment=treatment,
        stage=stage,
        separator=separator,
        trained="only the score head" if stage == 1 else "all weights",
        metrics=shown,
    )
