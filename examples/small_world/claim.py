"""The paper's claim in the small world: events, intervals and tests, as docs/claim_plan.md has defined them.

A cell is "REWARD CREDIT PRM RATE" ("PRM softmin strong 1e-4") or "VR LABELS RATE" ("VR tenth 1e-4"). Here are the
numbers; `claim_page.py` shows them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
from scipy.stats import CensoredData, binomtest, ecdf, logrank, permutation_test, ttest_ind

from examples.small_world.histories import SMOOTHING_STEPS, RunHistory
from examples.small_world.prm_data import BLIND_SPOTS

FALL_POINTS = 0.20
EXPLOITATION_POINTS = 0.10
RECOVERED_POINTS = 0.10
LAST_STEPS = 20
"""Of the shares of defects at the end of a run."""
Measure = Literal["exploitation", "end"]

EXACT = 10_000_000
"""Resamples at most: more than there are exchanges, so all of them are made."""

CREDITS = ("softmin", "min", "softmin_T1", "log_sum_exp", "mean", "gamma_decay", "sum")
GROUPS: dict[str, tuple[str, ...]] = {
    "A. Credit assignments, a PRM without a known fault": tuple(
        f"PRM {credit} strong 1e-4" for credit in CREDITS
    ),
    "B. A PRM with a blind spot, softmin": tuple(
        f"PRM softmin {prm} 1e-4" for prm in ("strong", *BLIND_SPOTS)
    ),
    "B. A PRM with a blind spot, sum": tuple(
        f"PRM sum {prm} 1e-4" for prm in ("strong", *BLIND_SPOTS)
    ),
    "C. Verified answers, five times the learning rate": (
        "PRM softmin strong 1e-4",
        "PRMVR softmin strong 1e-4",
        "PRMVR sum strong 1e-4",
        "VR tenth 1e-4",
        "VR all 1e-4",
    ),
    "D. The default learning rate": (
        "PRM softmin strong 2e-5",
        "PRM sum strong 2e-5",
        "PRMVR softmin strong 2e-5",
        "PRMVR sum strong 2e-5",
        "VR tenth 2e-5",
        "VR all 2e-5",
    ),
}
"""The questions and the cells that are shown beside each other."""
COMPARISONS: tuple[tuple[str, str, Measure], ...] = (
    ("PRM softmin strong 1e-4", "PRM sum strong 1e-4", "exploitation"),
    ("PRM softmin strong 1e-4", "PRM sum strong 1e-4", "end"),
    ("PRM softmin strong 1e-4", "PRM log_sum_exp strong 1e-4", "end"),
    *(
        (f"PRM softmin {prm} 1e-4", f"PRM sum {prm} 1e-4", "exploitation")
        for prm in BLIND_SPOTS
    ),
    ("PRM softmin strong 1e-4", "PRMVR softmin strong 1e-4", "exploitation"),
    ("PRMVR softmin strong 2e-5", "VR tenth 2e-5", "end"),
    ("PRM softmin strong 2e-5", "VR tenth 2e-5", "end"),
    ("PRMVR softmin strong 2e-5", "PRM softmin strong 2e-5", "end"),
)  # fmt: skip
"""All that a sentence may rest on."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run. Steps count from 1; None: not within the run."""

    cell: str
    seed: int
    last_step: int
    exploitation: int | None
    fall: int | None
    recovered: bool  # after a fall
    best: float  # R, the share of answers that are right in every step
    end: float
    accuracy: float  # of final answers, at the end
    steps_before: float  # steps an answer, first and last steps
    steps_after: float
    # by first wrong step, the share of the answers of the last twenty steps
    defects: Mapping[str, float]


def outcome(history: RunHistory) -> Outcome:
    """Measure a run."""
    right = history.smoothed("solutions_right")
    steps = [int(row["step"]) for row in history.rows]
    has_prm = "process_return" in history.rows[0]
    exploited = exploitation_at(right, history.smoothed("process_return")) if has_prm else None
    fallen = fall_at(right)
    lengths = history.column("steps_per_answer")
    counts = {
        key.removeprefix("seen "): sum(row[key] for row in history.rows[-LAST_STEPS:])
        for key in history.rows[0]
        if key.startswith("seen ")
    }
    num_answers = sum(row["num_answers"] for row in history.rows[-LAST_STEPS:])
    return Outcome(
        cell=history.setting,
        seed=history.seed,
        last_step=steps[-1],
        exploitation=None if exploited is None else steps[exploited],
        fall=None if fallen is None else steps[fallen],
        recovered=fallen is not None and max(right) - right[-1] <= RECOVERED_POINTS + 1e-9,
        best=max(right),
        end=right[-1],
        accuracy=history.smoothed("accuracy")[-1],
        steps_before=fmean(lengths[:SMOOTHING_STEPS]),
        steps_after=fmean(lengths[-SMOOTHING_STEPS:]),
        defects={kind: count / num_answers for kind, count in counts.items()},
    )


def fall_at(values: Sequence[float], points: float = FALL_POINTS) -> int | None:
    """Index of the first value that is so many points below the best so far.

    Example: of `[0.3, 0.9, 0.65, 0.9]` it is 2.
    """
    best = -np.inf
    for index, value in enumerate(values):
        best = max(best, value)
        if best - value >= points - 1e-9:
            return index
    return None


def exploitation_at(right: Sequence[float], returns: Sequence[float]) -> int | None:
    """Index of the first step where R is 10 points below its best so far and the return above what it was at that best.

    Example: R `[0.3, 0.9, 0.8, 0.8]` with the returns `[0.1, 0.5, 0.4, 0.6]` gives 3.
    """
    best = 0
    for index, value in enumerate(right):
        if value > right[best]:
            best = index
        if right[best] - value >= EXPLOITATION_POINTS - 1e-9 and returns[index] > returns[best]:
            return index
    return None


@dataclass(frozen=True)
class SurvivalCurve:
    """Kaplan-Meier's estimate and its 95 % interval (log-log), as steps of a staircase that begins at step 0."""

    steps: list[float]
    share: list[float]
    low: list[float]
    high: list[float]


def survival(events: Sequence[int | None], last_step: int) -> SurvivalCurve:
    """The share of runs without the event, by step; None is a run without it up to `last_step`."""
    found = ecdf(_censored(events, last_step)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # undefined at 0 and 1, see below
        interval = found.confidence_interval(method="log-log")
    low, high = interval.low.probabilities, interval.high.probabilities
    for index, share in enumerate(found.probabilities):
        # where all runs, or none, had the event, the formula has no interval
        if share in (0.0, 1.0):
            exact = binomtest(round(share * len(events)), len(events)).proportion_ci(0.95)
            low[index], high[index] = exact.low, exact.high
    return SurvivalCurve(
        steps=[0.0, *map(float, found.quantiles)],
        share=[1.0, *map(float, found.probabilities)],
        low=[1.0, *map(float, low)],
        high=[1.0, *map(float, high)],
    )


@dataclass(frozen=True)
class Comparison:
    """Two cells: what each came to, and how probable a difference at least so large would be without any.

    `p` is exact (all exchanges of the runs' labels), None where there is nothing to compare; `holm` is corrected for
    all comparisons of the plan.
    """

    first: str
    second: str
    measure: Measure
    said: str
    p: float | None
    holm: float | None = None


def compare(by_cell: Mapping[str, Sequence[Outcome]]) -> list[Comparison]:
    """The comparisons of the plan whose cells both have two runs at least."""
    found = [
        _compare(first, second, measure, by_cell[first], by_cell[second])
        for first, second, measure in COMPARISONS
        if min(len(by_cell.get(first, ())), len(by_cell.get(second, ()))) >= 2
    ]
    corrected = iter(holm([one.p for one in found if one.p is not None], len(COMPARISONS)))
    return [
        one if one.p is None else Comparison(**{**vars(one), "holm": next(corrected)})
        for one in found
    ]


def difference(ours: Sequence[float], theirs: Sequence[float]) -> tuple[str, float]:
    """Of two shares, each with its seeds: both means and their difference with Welch's 95 % interval; its exact p."""
    gap = 100 * (fmean(ours) - fmean(theirs))
    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    said = (
        f"{fmean(ours):.1%} against {fmean(theirs):.1%}, difference {gap:+.1f} points "
        f"({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
    )
    return said, exact_p(ours, theirs, _difference_of_means)


def _compare(
    first: str, second: str, measure: Measure, ours: Sequence[Outcome], theirs: Sequence[Outcome]
) -> Comparison:
    if measure == "end":
        said, p = difference([one.end for one in ours], [one.end for one in theirs])
        return Comparison(first, second, measure, said, p)
    last_step = min(one.last_step for one in (*ours, *theirs))
    a, b = [one.exploitation for one in ours], [one.exploitation for one in theirs]
    said = f"{_events(a)} against {_events(b)}"
    if not any(step is not None for step in (*a, *b)):
        return Comparison(first, second, measure, said, None)

    def log_rank(x: Sequence[float], y: Sequence[float]) -> float:
        ours, theirs = (
            _censored([None if step > last_step else int(step) for step in side], last_step)
            for side in (x, y)
        )
        return float(logrank(ours, theirs).statistic)

    # a run without the event is one with it after the last step, until it is censored again
    x, y = ([last_step + 1 if step is None else step for step in side] for side in (a, b))
    return Comparison(first, second, measure, said, exact_p(x, y, log_rank))


def exact_p(
    a: Sequence[float],
    b: Sequence[float],
    statistic: Callable[[Sequence[float], Sequence[float]], float],
) -> float:
    """Two-sided p over all exchanges of labels: how many have a statistic at least as far from 0."""
    result = permutation_test(
        (a, b), lambda x, y: abs(statistic(x, y)), n_resamples=EXACT, alternative="greater"
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float], num_comparisons: int) -> list[float]:
    """Holm's step-down correction for `num_comparisons`, of which these are the ones that were made.

    Example: `holm([0.01, 0.04], 3)` is `[0.03, 0.08]`.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (num_comparisons - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _difference_of_means(x: Sequence[float], y: Sequence[float]) -> float:
    return float(np.mean(x) - np.mean(y))


def _events(steps: Sequence[int | None]) -> str:
    hits = sorted(step for step in steps if step is not None)
    at = f" (step {', '.join(map(str, hits))})" if hits else ""
    return f"{len(hits)} of {len(steps)}{at}"


def _censored(events: Sequence[int | None], last_step: int) -> CensoredData:
    return CensoredData(
        [step for step in events if step is not None],
        right=[last_step for step in events if step is None],
    )
