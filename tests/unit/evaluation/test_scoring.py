"""Scores, intervals and tests against numbers computed by hand."""

from __future__ import annotations

import math

import pytest

from evaluation.scoring import (
    bootstrap_interval,
    compare_greedy,
    compare_sampled,
    majority_correct,
    pass_at_k,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [
        (4, 1, 1, 0.25),
        (4, 1, 2, 0.5),  # 1 - C(3,2)/C(4,2) = 1 - 3/6
        (4, 2, 2, 5 / 6),  # 1 - C(2,2)/C(4,2) = 1 - 1/6
        (4, 0, 4, 0.0),
        (4, 4, 1, 1.0),
        (5, 3, 3, 1.0),  # only two are wrong
    ],
)
def test_pass_at_k(n: int, c: int, k: int, expected: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(expected)


def test_majority_counts_equal_answers_together() -> None:
    assert majority_correct([1, 0, 0])
    assert not majority_correct([1, 1, 0])
    assert majority_correct([None, None, 0]), "silence does not vote"
    assert not majority_correct([None])
    assert not majority_correct([1, 0]), "the first of equals wins"
    assert majority_correct([0, 1])


def test_wilson_interval_of_15_in_30() -> None:
    z = 1.959964
    centre = (0.5 + z * z / 60) / (1 + z * z / 30)
    half = z * math.sqrt(0.25 / 30 + z * z / 3600) / (1 + z * z / 30)
    assert wilson_interval(15, 30) == pytest.approx((centre - half, centre + half), abs=1e-6)
    low, high = wilson_interval(0, 30)
    assert low == 0 and high == pytest.approx(z * z / (30 + z * z), abs=1e-6)


def test_bootstrap_interval() -> None:
    scores = [0.0, 1.0] * 200
    low, high = bootstrap_interval([scores])
    half = 1.96 * 0.5 / 20  # standard error of the mean of 400 fair coins: 0.025
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.006)
    assert bootstrap_interval([scores]) == (low, high), "the same every time"
    assert bootstrap_interval([[0.25] * 9]) == (0.25, 0.25)


def test_bootstrap_of_the_average_draws_within_each_benchmark() -> None:
    """A benchmark without spread halves the other's interval; its size does not matter."""
    low, high = bootstrap_interval([[0.0, 1.0] * 200, [1.0] * 30])
    half = 1.96 * 0.5 / 20 / 2
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.004)


def test_mcnemar_counts_only_what_one_model_solves() -> None:
    first = [True] * 10 + [False] * 6 + [True]
    second = [True] * 10 + [True] * 6 + [True]
    result = compare_greedy(first, second)
    assert result == {
        "difference": pytest.approx(6 / 17),
        "only_first": 0,
        "only_second": 6,
        "p_value": pytest.approx(2 / 2**6),
    }
    assert compare_greedy([True, False], [True, False])["p_value"] == 1.0
    # 1 against 3: P(at most 1 of 4) = 5/16, two-sided 10/16
    assert compare_greedy([True, False, False, False], [False, True, True, True])["p_value"] == (
        pytest.approx(10 / 16)
    )


def test_permutation_test_of_sampled_scores() -> None:
    """Six problems, each better by 0.5: of 64 exchanges of signs two are as extreme."""
    result = compare_sampled([0.0] * 6, [0.5] * 6)
    assert result == {"difference": 0.5, "p_value": pytest.approx(2 / 64)}
    assert compare_sampled([0.5, 0.25], [0.5, 0.25])["p_value"] == 1.0
