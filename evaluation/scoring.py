"""Scores and how sure they are: pass@k, maj@k, intervals, paired comparisons. Pure functions.

A problem's score is the share of its answers that are correct: 0 or 1 for greedy decoding, avg@n for sampling. The
random numbers of bootstrap and permutation test have a fixed seed, so that the same answers give the same table.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest, bootstrap, permutation_test

CONFIDENCE = 0.95
NUM_RESAMPLES = 9999
_BATCH = 250  # resamples at a time: 5,000 problems then take 10 MB
Interval = tuple[float, float]


def pass_at_k(num_answers: int, num_correct: int, k: int) -> float:
    """Probability that k of n answers, drawn without replacement, hold a correct one: 1 - C(n-c, k) / C(n, k).

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374). Example: `pass_at_k(4, 1, 2)` is 0.5.
    """
    assert 1 <= k <= num_answers and 0 <= num_correct <= num_answers
    return 1.0 - math.comb(num_answers - num_correct, k) / math.comb(num_answers, k)


def majority_correct(votes: Sequence[int | None]) -> bool:
    """maj@n: whether the class of answers that most texts give is the label's, which is 0 (`VerifierPool.votes`).

    Texts without an answer (None) do not vote; of classes of equal size the one that appeared first wins.

    Example: `majority_correct([1, 0, 0, None])` is True.
    """
    # a Counter keeps the order of appearance
    counts = Counter(vote for vote in votes if vote is not None)
    return bool(counts) and counts.most_common(1)[0][0] == 0


def wilson_interval(num_correct: int, num_problems: int) -> Interval:
    """95 % Wilson interval of a share. Example: 15 of 30 gives 0.331 to 0.669."""
    interval = binomtest(num_correct, num_problems).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def share(hits: Sequence[bool]) -> dict[str, Any] | None:
    """`value` and 95 % Wilson `interval` of the share of hits, in [0, 1]; None where nothing was asked."""
    if not hits:
        return None
    return {"value": sum(hits) / len(hits), "interval": wilson_interval(sum(hits), len(hits))}


def bootstrap_interval(groups: Sequence[Sequence[float]]) -> Interval:
    """95 % percentile interval of the unweighted mean of the groups' means, over problems drawn within each group.

    One group: the interval of a benchmark's mean score. Several: of the average over benchmarks. Problems that all
    score the same give an interval of no width, which says nothing about other problems.
    """
    if all(len(set(group)) == 1 for group in groups):
        value = float(np.mean([group[0] for group in groups]))
        return value, value
    result = bootstrap(
        # scipy refuses a group of one problem; twice the same problem draws the same
        [np.asarray(group if len(group) > 1 else [*group, *group]) for group in groups],
        lambda *samples, axis=-1: sum(np.mean(s, axis=axis) for s in samples) / len(samples),
        n_resamples=NUM_RESAMPLES,
        batch=_BATCH,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = result.confidence_interval
    return float(low), float(high)


def resampled_sums(
    rows_NK: Sequence[Sequence[float]] | np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Column sums of N rows drawn with replacement, `NUM_RESAMPLES` times: for intervals of ratios of sums, such as F1.

    Returns shape (NUM_RESAMPLES, K). Groups that are drawn apart (erroneous and correct problems) take the same `rng`
    one after the other.
    """
    rows = np.asarray(rows_NK, dtype=float)
    sums = [
        rows[rng.integers(len(rows), size=(min(_BATCH, NUM_RESAMPLES - start), len(rows)))].sum(
            axis=1
        )
        for start in range(0, NUM_RESAMPLES, _BATCH)
    ]
    return np.concatenate(sums)


def percentile_interval(values: np.ndarray) -> Interval:
    """95 % interval of a statistic from its values on resamples."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def harmonic_mean(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """2ab / (a + b), 0 where both are 0; of shares in [0, 1]."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    total = a + b
    return np.divide(2 * a * b, total, out=np.zeros_like(total), where=total > 0)


def compare_greedy(first: Sequence[bool], second: Sequence[bool]) -> dict[str, float]:
    """Exact McNemar test on the same problems: only those that one model alone solves count.

    Example: 6 problems that only the second solves and none that only the first does: p = 2 / 2**6 = 0.03125.
    """
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    discordant = only_first + only_second
    p_value = binomtest(only_second, discordant, 0.5).pvalue if discordant else 1.0
    return {
        "difference": (only_second - only_first) / len(first),
        "only_first": only_first,
        "only_second": only_second,
        "p_value": float(p_value),
    }


def compare_sampled(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """Paired permutation test of the difference of mean scores on the same problems (two-sided).

    Few problems are permuted exhaustively; many by `NUM_RESAMPLES` random exchanges, so p is at least 0.0001.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    result = permutation_test(
        (b, a),
        lambda x, y, axis=-1: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=NUM_RESAMPLES,
        batch=_BATCH,
        rng=np.random.default_rng(0),
    )
    return {"difference": float(np.mean(b - a)), "p_value": float(result.pvalue)}
