"""Best-of-N by hand, and against counting every choice of N answers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from evaluation.best_of_n import (
    METHODS,
    aggregate,
    best_of_n,
    curve_sizes,
    expected_best_of,
    expected_majority,
)
from evaluation.candidates import Candidates
from evaluation.scoring import resampled_sums
from pure_rlhf.report.prm import METHOD_COLORS


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("min", -0.4),
        ("softmin", (0.8 * np.exp(-8) - 0.4 * np.exp(4)) / (np.exp(-8) + np.exp(4))),
        ("mean", 0.2),
        ("product", 0.9 * 0.3),
        ("last", -0.4),
    ],
)
def test_aggregate(method: str, expected: float) -> None:
    assert aggregate([0.8, -0.4], method) == pytest.approx(expected, abs=1e-6)


def test_product_of_two_wrong_steps_is_not_good() -> None:
    assert aggregate([-0.9, -0.9], "product") < aggregate([0.1, 0.1], "product")


def test_expected_best_of_by_hand() -> None:
    assert expected_best_of([3, 2, 1], [False, True, False], 1) == pytest.approx(1 / 3)
    assert expected_best_of([3, 2, 1], [False, True, False], 2) == pytest.approx(1 / 3)
    assert expected_best_of([3, 2, 1], [True, False, False], 2) == pytest.approx(2 / 3)
    assert expected_best_of([3, 2, 1], [False, True, False], 3) == 0
    assert expected_best_of([1, 1, 0], [True, False, False], 3) == 0.5, "ties are shared"


def test_expected_best_of_counts_every_choice() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.integers(0, 4, size=7).tolist()
        correct = (rng.random(7) < 0.5).tolist()
        for k in range(1, 8):
            shares = []
            for chosen in combinations(range(7), k):
                best = max(scores[i] for i in chosen)
                shares.append(np.mean([correct[i] for i in chosen if scores[i] == best]))
            assert expected_best_of(scores, correct, k) == pytest.approx(np.mean(shares))


def test_expected_majority() -> None:
    rng = np.random.default_rng(0)
    assert expected_majority([0, 1, 1], [1, 2, 3], rng) == pytest.approx([1 / 3, 1 / 3, 0])
    assert expected_majority([0, None, None], [1, 2, 3], rng) == pytest.approx([1 / 3, 2 / 3, 1])
    assert expected_majority([None, None], [1, 2], rng) == [0, 0]
    assert expected_majority([0, 1], [2], rng) == [0.5], "shared, not the first one's"
    # 30 right of 90, the rest spread over 60 classes: of 45 drawn the right class leads always
    classes = [0] * 30 + list(range(1, 61))
    assert expected_majority(classes, [45, 90], rng) == [1, 1]


def test_curve_sizes() -> None:
    assert [curve_sizes(n) for n in (2, 6, 8)] == [[1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def problem(*correct: bool, wrong: int = 1) -> Candidates:
    return Candidates(
        question="?",
        answers=tuple(("a", "b") for _ in correct),
        correct=correct,
        votes=tuple(0 if right else wrong for right in correct),
    )


def test_curves() -> None:
    problems = [problem(True, False, False), problem(False, True, False)]
    first = [[0.9, 0.8], [0.9, -0.9], [-0.9, 0.1]]  # the right one is the best by every measure
    second = [[0.2, 0.2], [0.1, 0.9], [0.0, 0.0]]  # not by min, nor by softmin (0.1003 against 0.2)
    found = best_of_n(problems, [first, second])
    assert (found["sizes"], found["num_problems"], found["mean_steps"]) == ([1, 2, 3], 2, 2)
    at = {name: [p["value"] for p in points] for name, points in found["curves"].items()}
    assert [values[0] for values in at.values()] == [pytest.approx(1 / 3)] * 7, "N = 1 is chance"
    assert {name: values[-1] for name, values in at.items()} == {
        "min": 0.5,
        "softmin": 0.5,
        "mean": 1,
        "product": 1,
        "last": 1,
        "majority": 0,
        "oracle": 1,
    }
    assert found["curves"]["min"][-1]["interval"] == (0, 1)
    assert found["against_majority"]["mean"] == {"value": 1, "interval": (1, 1)}
    assert "majority" not in found["against_majority"]


def test_problems_with_more_answers_count_by_their_own_number() -> None:
    problems = [problem(True, False), problem(True, False, False, False)]
    found = best_of_n(problems, [[[1.0], [0.0]], [[1.0], [0.0], [0.0], [0.0]]])
    assert found["sizes"] == [1, 2]
    # the best of 2 of 4 is the first one in 3 of 6 draws
    assert found["curves"]["min"][1]["value"] == pytest.approx((1 + 0.5) / 2)


def test_resampled_sums() -> None:
    rows = [[0.0, 1.0], [1.0, 1.0]] * 50
    sums = resampled_sums(rows, np.random.default_rng(0))
    assert sums.shape == (9999, 2) and set(sums[:, 1]) == {100.0}
    assert sums[:, 0].mean() == pytest.approx(50, abs=0.2)
    assert sums[:, 0].std() == pytest.approx(5, abs=0.15)  # of 100 fair coins


def test_every_method_has_its_colour_in_the_reports() -> None:
    assert tuple(METHOD_COLORS) == METHODS
