"""Which groups of answers are trained on: prompts that are too easy or too hard teach nothing.

Decided from the verified accuracy of each group before the PRM is asked, so that no PRM compute is
spent on groups that are dropped (the second public version asks the PRM first). A group whose prompt
has no known answer has no accuracy and is always kept; the published default dropped them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class CurriculumSettings:
    """Drop the groups of a step that teach nothing, and sample others in their place."""

    method: Literal["off", "remove_extreme", "interquartile", "range"] = "off"
    """remove_extreme: drop groups whose answers are all right or all wrong; interquartile: keep P25 <= accuracy < P75
    of the step's groups (both as in PURE's second version); range: keep min_accuracy <= accuracy <= max_accuracy
    (PRIME, arXiv 2502.01456). Prompts without a known answer are always kept."""
    min_accuracy: float = 0.2
    """Lower bound of range, in [0, 1], inclusive."""
    max_accuracy: float = 0.8
    """Upper bound of range, in [0, 1], inclusive."""
    over_sampling: float = 1.0
    """Prompts drawn for each one that is missing, >= 1; what is kept beyond the batch is thrown away."""
    max_rounds: int = 10
    """Rounds of drawing and sampling in a step; a batch that is not full after them ends the run."""


def find_curriculum_problems(settings: CurriculumSettings) -> Iterator[str]:
    """One sentence for each setting that is out of range or at odds with another one."""
    low, high = settings.min_accuracy, settings.max_accuracy
    if not 0 <= low <= high <= 1:
        yield (
            f"min_accuracy {low} and max_accuracy {high} contradict each other: 0 <= min_accuracy <= max_accuracy <= 1 "
            f"must hold; PRIME uses 0.2 and 0.8"
        )
    if not 1 <= settings.over_sampling < float("inf"):
        yield f"over_sampling must be >= 1, got {settings.over_sampling}; 1 draws just what is missing"
    if settings.max_rounds < 1:
        yield f"max_rounds must be >= 1, got {settings.max_rounds}: a step needs one round of sampling"


def select_groups(accuracy_P: Tensor, settings: CurriculumSettings) -> Tensor:
    """True for the groups to keep.

    Args:
        accuracy_P: mean verified correctness of each group, in [0, 1]; NaN where no answer is known.

    Example (remove_extreme): `[0.0, 0.5, 1.0, nan]` gives `[False, True, False, True]`.
    """
    unanswered_P = accuracy_P.isnan()
    if settings.method == "remove_extreme":
        keep_P = (accuracy_P > 0) & (accuracy_P < 1)
    elif settings.method == "range":
        keep_P = (accuracy_P >= settings.min_accuracy) & (accuracy_P <= settings.max_accuracy)
    elif settings.method == "interquartile":
        low = accuracy_P.nanquantile(0.25)
        high = accuracy_P.nanquantile(0.75)
        keep_P = (accuracy_P >= low) & (accuracy_P < high)
    else:
        assert settings.method == "off", settings.method
        keep_P = unanswered_P.new_ones(len(accuracy_P))
    return keep_P | unanswered_P


def curriculum_metrics(accuracy_P: Tensor, keep_P: Tensor, num_rounds: int) -> dict[str, float]:
    """Metrics of one step, over all groups that were sampled for it."""
    answered_P = accuracy_P[~accuracy_P.isnan()]
    found = {
        "curriculum/rounds": float(num_rounds),
        "curriculum/groups_sampled": float(len(accuracy_P)),
        "curriculum/yield": keep_P.double().mean().item(),
    }
    if len(answered_P):
        found["curriculum/group_accuracy_sampled"] = answered_P.double().mean().item()
        found["curriculum/group_pass_frac_sampled"] = (answered_P > 0).double().mean().item()
    return found
