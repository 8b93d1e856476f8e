"""The statistics of the claim, on hand-made runs and against values worked out by hand."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence

import pytest

from examples.small_world.claim import (
    COMPARISONS,
    GROUPS,
    compare,
    exact_p,
    exploitation_at,
    fall_at,
    holm,
    outcome,
    survival,
)
from examples.small_world.claim_page import render_claim
from examples.small_world.compare import steps_to_reach
from examples.small_world.histories import ALARM_METRICS, RunHistory
from pure_rlhf.monitoring import alarms
from tests.unit.small_world.test_compare import FACTS

A = "PRM softmin strong 1e-4"
B = "PRM sum strong 1e-4"


def run(cell: str, seed: int, right: list[float], returns: list[float] | None = None) -> RunHistory:
    rows = [
        {"step": float(step), "accuracy": value, "solutions_right": value, "steps_per_answer": 4.0,
         "num_answers": 128.0,         "seen omission": 64.0, "seen repetition": 0.0, "seen after the end": 0.0}
        for step, value in enumerate(right, start=1)
    ]  # fmt: skip
    for row, value in zip(rows, returns or [], strict=False):
        row["process_return"] = value
    return RunHistory(cell, seed, rows, [(0, 0.4)], 500)


HEALTHY = [0.5] * 5 + [0.9] * 15
HACKED = [0.5] * 5 + [0.9] * 5 + [0.3] * 10
RISING = [0.1 * step for step in range(20)]


def test_a_fall_is_the_first_one_also_if_it_recovers() -> None:
    assert fall_at([0.3, 0.9, 0.65, 0.9]) == 2
    assert fall_at([0.3, 0.9, 0.70, 0.9]) == 2
    assert fall_at([0.3, 0.9, 0.71]) is None
    assert fall_at([]) is None


def test_exploitation_needs_a_return_above_that_of_the_best() -> None:
    assert exploitation_at([0.3, 0.9, 0.8, 0.8], [0.1, 0.5, 0.4, 0.6]) == 3
    assert exploitation_at([0.3, 0.9, 0.8], [0.1, 0.5, 0.5]) is None
    # the best of R counts, not the best of the return
    assert exploitation_at([0.9, 0.3], [0.1, 0.2]) == 1


def test_what_becomes_of_a_run() -> None:
    found = outcome(run(A, 1, HACKED, RISING))
    # means of five: 0.9 at step 10; (3 * 0.9 + 2 * 0.3) / 5 = 0.66 at step 12, 0.78 at step 11
    assert (found.exploitation, found.fall, found.recovered) == (11, 12, False)
    assert (found.best, found.end) == (pytest.approx(0.9), pytest.approx(0.3))
    assert found.defects["omission"] == 0.5
    assert outcome(run("VR tenth 1e-4", 1, HACKED)).exploitation is None
    back = outcome(run(A, 1, [0.9] * 5 + [0.3] * 5 + [0.85] * 10, RISING))
    assert back.fall is not None and back.recovered


def test_survival_by_hand() -> None:
    curve = survival([10, 30, None, None], 100)
    assert curve.steps == [0, 10, 30, 100]
    assert curve.share == pytest.approx([1, 0.75, 0.5, 0.5])
    assert all(
        low <= share <= high
        for low, share, high in zip(curve.low, curve.share, curve.high, strict=True)
    )
    # of three runs none, or all: the exact interval of a share of three, not a line without a width
    none, all_of_them = survival([None] * 3, 100), survival([10, 10, 10], 100)
    assert (none.low[-1], none.high[-1]) == (pytest.approx(0.025 ** (1 / 3)), 1.0)
    assert (all_of_them.low[-1], all_of_them.high[-1]) == (0.0, pytest.approx(1 - 0.025 ** (1 / 3)))


def test_p_is_over_all_exchanges() -> None:
    def difference(x: Sequence[float], y: Sequence[float]) -> float:
        return sum(x) / len(x) - sum(y) / len(y)

    assert exact_p([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], difference) == pytest.approx(2 / 252)
    assert exact_p([1, 2, 3], [4, 5, 6], difference) == pytest.approx(0.1)
    assert exact_p([1, 6], [2, 5], difference) == pytest.approx(1.0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04], 3) == pytest.approx([0.03, 0.08])
    assert holm([0.04, 0.01], 3) == pytest.approx([0.08, 0.03])
    assert holm([0.03, 0.03], 2) == pytest.approx([0.06, 0.06])
    assert holm([0.9], 9) == [1.0]


def test_five_hacked_runs_against_five_healthy_ones() -> None:
    by_cell = {
        A: [outcome(run(A, seed, HEALTHY, RISING)) for seed in range(5)],
        B: [outcome(run(B, seed, HACKED, RISING)) for seed in range(5)],
    }
    exploited, end = compare(by_cell)
    assert exploited.said == "0 of 5 against 5 of 5 (step 11, 11, 11, 11, 11)"
    # the log-rank statistic separates the two labellings of 252 that keep the sides whole
    assert exploited.p == pytest.approx(2 / 252)
    assert end.said.startswith("90.0% against 30.0%, difference +60.0 points")
    assert exploited.holm == pytest.approx(11 * 2 / 252) and end.holm == pytest.approx(11 * 2 / 252)
    healthy = {
        cell: [outcome(run(cell, seed, HEALTHY, RISING)) for seed in (1, 2)] for cell in (A, B)
    }
    assert [one.p for one in compare(healthy)] == [None, pytest.approx(1.0)]
    assert compare({A: by_cell[A]}) == []


def test_the_cells_of_every_comparison_are_asked_for() -> None:
    cells = {cell for group in GROUPS.values() for cell in group}
    assert {cell for first, second, _ in COMPARISONS for cell in (first, second)} <= cells
    assert len(cells) == 25 and len(COMPARISONS) == 11


def test_a_history_keeps_what_the_alarms_read() -> None:
    named = set(re.findall(r'"([a-z]+/[a-z_@]+)"', inspect.getsource(alarms)))
    assert {"reward/process_return", "policy/kl_reference"} <= named
    assert [name for name in named if not ALARM_METRICS.match(name)] == []
    assert ALARM_METRICS.fullmatch("reward/accepted_by_text")


def test_steps_to_a_target_wait_for_a_full_window() -> None:
    assert steps_to_reach([run(A, 1, [0.95] * 6)], 0.9) == 5
    assert steps_to_reach([run(A, 1, HEALTHY)], 0.95) is None


def test_the_page_says_what_is_missing_and_escapes_names() -> None:
    runs = [run(A, seed, HACKED, RISING) for seed in (1, 2)]
    runs += [run(B, seed, HEALTHY, RISING) for seed in (1, 2)]
    page = render_claim(runs, {**FACTS, "page": "claim", "prms": {"<b>strong": {"omission": 0.5}}})
    assert "2 of 2 <small>step 11, 11</small>" in page
    assert "2 of 2 (step 11, 11) against 0 of 2. p = 0.333" in page
    assert "2 of 6" in page and "PRM log_sum_exp strong 1e-4" in page, "what was not run is named"
    assert "<b>strong" not in page and "&lt;b&gt;strong" in page
