r"""Best-of-N: does a PRM choose a right answer out of several?

Each candidate answer gets one number from the rewards r_1..r_n of its steps, and the answer with the highest is taken
(`AGGREGATIONS`): the smallest reward (`min`), softmin as in training (sum of softmax(-r / 0.1) * r), the mean, the
product of the probabilities p = (r + 1) / 2 (a product of rewards would change its sign with every wrong step), the
last. PURE's paper (table 1) takes the softmin (CJReinforce/PURE, PRM/eval/bon.py), RLHFlow the mean
(RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py). Beside them stand majority vote, the oracle (pass@N: any
candidate is right) and, at N = 1, chance.

The curves are expectations over the subsets of N of the n candidates, exact but for the majority vote, which is counted
over all subsets where there are at most 200 and over 200 drawn ones else. Where the highest number, or the largest
class of votes, is shared, so is the credit: the order of the candidates has no say.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch

from evaluation.candidates import Candidates
from evaluation.scoring import pass_at_k, percentile_interval, resampled_sums
from pure_rlhf.algorithm.credit_assignment import CreditSettings, assign_credit

AGGREGATIONS = ("min", "softmin", "mean", "product", "last")
METHODS = (*AGGREGATIONS, "majority", "oracle")
MAX_SUBSETS = 200


def aggregate(rewards: Sequence[float], method: str) -> float:
    """One number for an answer from the rewards of its steps, in [-1, 1] (`product`: in [0, 1]).

    Example: rewards [0.8, -0.4] give min -0.4, softmin -0.3999926, mean 0.2, product 0.9 * 0.3 = 0.27, last -0.4.
    """
    if method == "softmin":
        rewards_1S = torch.tensor([rewards])
        mask_1S = torch.ones_like(rewards_1S, dtype=torch.bool)
        return float(assign_credit(rewards_1S, mask_1S, CreditSettings()).sum())
    if method == "product":
        return math.prod((reward + 1) / 2 for reward in rewards)
    return {"min": min(rewards), "mean": sum(rewards) / len(rewards), "last": rewards[-1]}[method]


def expected_best_of(scores: Sequence[float], correct: Sequence[bool], k: int) -> float:
    """Probability that the highest-scored of k answers, drawn without replacement, is correct.

    Of answers with equal scores each is as likely to be taken. The chance that the best of a draw has score s is
    (C(a, k) - C(b, k)) / C(n, k), with a answers of at most s and b below it.

    Example: scores [3, 2, 1] of which the second is correct give, for k = 2, the draws {3,2}, {3,1}, {2,1}: 1/3.
    """
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    right = np.bincount(group, weights=correct)
    ends = np.cumsum(sizes)
    draws = _draw_shares(len(scores), k)
    return float(((draws[ends] - draws[ends - sizes]) * right / sizes).sum())


@functools.cache
def _draw_shares(n: int, k: int) -> np.ndarray:
    """C(a, k) / C(n, k) for a = 0..n: the share of the draws of k of n that lie among the first a."""
    assert 1 <= k <= n
    return np.asarray([math.comb(a, k) / math.comb(n, k) for a in range(n + 1)])


def expected_majority(
    classes: Sequence[int | None], ks: Sequence[int], rng: np.random.Generator
) -> list[float]:
    """Probability, for each k, that the largest class of k answers is the label's (class 0 of `Candidates.votes`).

    Example: classes [0, 1, 1] give 1/3 for k = 1, 1/3 for k = 2 (two ties of three draws), 0 for k = 3.
    """
    n = len(classes)
    votes = np.asarray([-1 if vote is None else vote for vote in classes])
    drawn = rng.permuted(np.tile(np.arange(n), (MAX_SUBSETS, 1)), axis=1)
    shares = []
    for k in ks:
        few = math.comb(n, k) <= MAX_SUBSETS
        subsets = np.asarray(list(combinations(range(n), k))) if few else drawn[:, :k]
        votes_DK = votes[subsets] + 1  # 0: does not vote
        width = int(votes.max()) + 2
        offsets = np.arange(len(subsets))[:, None] * width
        counts = np.bincount((votes_DK + offsets).ravel(), minlength=len(subsets) * width)
        counts_DC = counts.reshape(len(subsets), width)[:, 1:]
        if not counts_DC.size:  # no text holds an answer
            shares.append(0.0)
            continue
        largest_D1 = counts_DC.max(axis=1, keepdims=True)
        winners_D = (counts_DC == largest_D1).sum(axis=1)
        wins_D = (counts_DC[:, 0] == largest_D1[:, 0]) & (largest_D1[:, 0] > 0)
        shares.append(float((wins_D / winners_D).mean()))
    return shares


def curve_sizes(num_answers: int) -> list[int]:
    """1, 2, 4, ... and the number of answers. Example: `curve_sizes(6)` is `[1, 2, 4, 6]`."""
    return [1 << i for i in range(num_answers.bit_length()) if 1 << i < num_answers] + [num_answers]


def best_of_n(
    problems: Sequence[Candidates], rewards: Sequence[Sequence[Sequence[float]]]
) -> dict[str, Any]:
    """Curves of every method over N, in [0, 1], with 95 % bootstrap intervals over problems.

    `rewards` holds, for each problem and answer, the rewards of its steps. Problems may have different numbers of
    answers; the curves end at the smallest. `against_majority` is, at that N, how much more than the majority vote a
    method solves, on the same resampled problems.
    """
    sizes = curve_sizes(min(len(problem.answers) for problem in problems))
    rng = np.random.default_rng(0)
    shares_PMN = np.asarray(
        [
            [
                *(
                    [expected_best_of([aggregate(r, m) for r in answers], problem.correct, k) for k in sizes]
                    for m in AGGREGATIONS
                ),
                expected_majority(problem.votes, sizes, rng),
                [pass_at_k(len(problem.correct), sum(problem.correct), k) for k in sizes],
            ]
            for problem, answers in zip(problems, rewards, strict=True)
        ]
    )  # fmt: skip
    num_problems, num_methods, num_sizes = shares_PMN.shape
    sums = resampled_sums(shares_PMN.reshape(num_problems, -1), np.random.default_rng(0))
    resampled_RMN = sums.reshape(-1, num_methods, num_sizes) / num_problems
    means_MN = shares_PMN.mean(axis=0)
    majority = METHODS.index("majority")
    return {
        "num_problems": num_problems,
        "num_answers": sizes[-1],
        "mean_steps": float(np.mean([len(steps) for p in problems for steps in p.answers])),
        "sizes": sizes,
        "curves": {
            name: [_value(means_MN[m, n], resampled_RMN[:, m, n]) for n in range(num_sizes)]
            for m, name in enumerate(METHODS)
        },
        "against_majority": {
            name: _value(
                means_MN[m, -1] - means_MN[majority, -1],
                resampled_RMN[:, m, -1] - resampled_RMN[:, majority, -1],
            )
            for m, name in enumerate(METHODS)
            if m != majority
        },
    }


def _value(value: float, resampled: np.ndarray) -> dict[str, Any]:
    return {"value": float(value), "interval": percentile_interval(resampled)}
