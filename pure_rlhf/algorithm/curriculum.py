"""Which groups of answers are trained on: prompts that are too easy or too hard teach nothing.

Decided from the verified accuracy of each group before the PRM is asked, so that no PRM compute is
spent on groups that are dropped (the second public version asks the PRM first). A group whose prompt
has no label has no accuracy and is kept (the published default dropped them all), unless `keep_unlabelled` is
off: a PRM that learns from outcomes learns nothing from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pure_rlhf.bounds import Bounds

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class CurriculumSettings:
    """Drop the groups of a step that teach nothing, and sample others in their place."""

    method: Literal["off", "remove_extreme", "interquartile", "range"] = "off"
    """remove_extreme: drop groups whose answers are all right or all wrong; interquartile: keep P25 <= accuracy < P75
    of the step's groups (both as in PURE's second version); range: keep min_accuracy <= accuracy <= max_accuracy
    (PRIME, arXiv 2502.01456). For prompts without a label see keep_unlabelled."""
    min_accuracy: Annotated[float, Bounds(low=0, high=1, remedy="PRIME uses 0.2")] = 0.2
    """Lower bound of range, inclusive."""
    max_accuracy: Annotated[float, Bounds(low=0, high=1, remedy="PRIME uses 0.8")] = 0.8
    """Upper bound of range, inclusive."""
    drop_truncated: bool = False
    """Drop the groups with a response that was cut off at the length limit (PRIME's filter_truncated), under every
    method, off too."""
    keep_unlabelled: bool = True
    """Whether prompts without a label are sampled. Turn it off where they teach nothing: with verifiable rewards alone,
    or with a PRM that learns from outcomes."""
    over_sampling: Annotated[float, Bounds(low=1, remedy="1 draws just what is missing")] = 1.0
    """Prompts drawn for each one that is missing; what is kept beyond the batch is thrown away."""
    max_rounds: Annotated[int, Bounds(low=1, remedy="a step needs one round of sampling")] = 10
    """Rounds of drawing and sampling in a step; a batch that is not full after them ends the run."""

    @property
    def selects(self) -> bool:
        """Whether any group may be dropped."""
        return self.method != "off" or self.drop_truncated or not self.keep_unlabelled

    @property
    def decides_alone(self) -> bool:
        """Whether a group is chosen without a look at the others."""
        return self.method != "interquartile"


def find_curriculum_problems(settings: CurriculumSettings) -> Iterator[str]:
    """One sentence for each setting that is at odds with another one (the bounds are checked with all others)."""
    low, high = settings.min_accuracy, settings.max_accuracy
    if low > high:
        yield (
            f"--curriculum.min_accuracy {low}: must be at most --curriculum.max_accuracy {high}; PRIME uses 0.2 and 0.8"
        )


def select_groups(accuracy_P: Tensor, truncated_P: Tensor, settings: CurriculumSettings) -> Tensor:
    """True for the groups to keep.

    Args:
        accuracy_P: mean verified correctness of each group, in [0, 1]; NaN where its prompt has no label.
        truncated_P: true for the groups with a response that was cut off. Those that `drop_truncated` drops still
            count in the quantiles of interquartile.

    Example (remove_extreme, nothing cut off): `[0.0, 0.5, 1.0, nan]` gives `[False, True, False, True]`.
    """
    unlabelled_P = accuracy_P.isnan()
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
        keep_P = unlabelled_P.new_ones(len(accuracy_P))
    keep_P = keep_P | unlabelled_P if settings.keep_unlabelled else keep_P & ~unlabelled_P
    return keep_P & ~truncated_P if settings.drop_truncated else keep_P


def curriculum_metrics(
    accuracy_P: Tensor, truncated_P: Tensor, keep_P: Tensor, num_rounds: int
) -> dict[str, float]:
    """Metrics of one step, over all groups that were sampled for it; `keep_P` is what `select_groups` chose of them."""
    answered_P = accuracy_P[~accuracy_P.isnan()]
    found = {
        "curriculum/rounds": float(num_rounds),
        "curriculum/groups_sampled": float(len(accuracy_P)),
        "curriculum/yield": keep_P.double().mean().item(),
        "curriculum/truncated_group_frac": truncated_P.double().mean().item(),
    }
    if len(answered_P):
        found["curriculum/group_accuracy_sampled"] = answered_P.double().mean().item()
        found["curriculum/group_pass_frac_sampled"] = (answered_P > 0).double().mean().item()
    return found
