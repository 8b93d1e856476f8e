"""What is true of the steps of a rollout, and how much of it the process rewards see (`--step_labeller`)."""

from __future__ import annotations

from collections import Counter

from torch import Tensor

from pure_rlhf.prm.conventions import is_judged_wrong
from pure_rlhf.prm.quality import step_metrics
from pure_rlhf.prm.step_labels import LabelledSteps


def step_truth_metrics(truth: LabelledSteps, rewards_BS: Tensor | None) -> dict[str, float]:
    """Shares of right steps and of defects; what is not defined is left out.

    Args:
        rewards_BS: of the steps of the text; None without a PRM.

    Example: two responses, of which the second has the defect "wrong copy" in its last step, give
    `defect/wrong_copy` 0.5.
    """
    known_BS = ~truth.labels_BS.isnan()
    if not known_BS.any():
        return {}
    found: dict[str, float | None] = {
        "steps/right_frac": truth.labels_BS[known_BS].double().mean().item()
    }
    first = [name and name.replace(" ", "_") for name in truth.first_defects()]
    num_of = Counter(filter(None, first))
    found |= {f"defect/{name}": count / len(first) for name, count in num_of.items()}
    if rewards_BS is not None:
        measured = step_metrics(rewards_BS[known_BS], truth.labels_BS[known_BS])
        found |= {"prm/step_f1": measured["f1_wrong_steps"], "prm/step_auc": measured["auc"]}
        seen: Counter[str] = Counter()
        for row, (name, defects) in enumerate(zip(first, truth.defects, strict=True)):
            if name:
                at = next(step for step, defect in enumerate(defects) if defect)
                seen[name] += is_judged_wrong(rewards_BS[row, at].item())
        found |= {f"prm/recall_{name}": seen[name] / count for name, count in num_of.items()}
    return {key: value for key, value in found.items() if value is not None}
