"""Numbers of a PRM's rewards against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from pure_rlhf.prm.quality import area_under_curve, calibration, step_metrics


def test_metrics_by_hand() -> None:
    # wrong steps: rewards 0.4, -0.8, -0.1; right steps: 0.9, -0.2. Called wrong: -0.8, -0.1, -0.2.
    # found 2 of 3 wrong ones among 3 called: precision 2/3, recall 2/3, F1 2/3; right kept: 1 of 2.
    # pairs (right > wrong): 0.9 beats 3, -0.2 beats -0.8 only: 4 of 6
    metrics = step_metrics(
        torch.tensor([0.9, -0.2, 0.4, -0.8, -0.1]), torch.tensor([1, 1, 0, 0, 0])
    )
    assert metrics["steps"] == 5 and metrics["wrong_steps"] == 3
    assert metrics["accuracy_correct_steps"] == pytest.approx(1 / 2)
    assert metrics["accuracy_wrong_steps"] == pytest.approx(2 / 3)
    assert metrics["precision_wrong_steps"] == pytest.approx(2 / 3)
    assert metrics["f1_wrong_steps"] == pytest.approx(2 / 3)
    assert metrics["auc"] == pytest.approx(4 / 6)


def test_ties_count_half() -> None:
    # 0.5 against 0.5: half; 0.5 against 0.1: one; 0.3 against 0.5: none; 0.3 against 0.1: one
    right, wrong = torch.tensor([0.5, 0.3]), torch.tensor([0.1, 0.5])
    assert area_under_curve(right, wrong) == pytest.approx(2.5 / 4)


def test_what_is_not_defined_is_none() -> None:
    metrics = step_metrics(torch.tensor([0.5, 0.2]), torch.tensor([1, 1]))
    assert metrics["accuracy_correct_steps"] == 1.0
    assert metrics["f1_wrong_steps"] is None and metrics["auc"] is None
    assert metrics["accuracy_wrong_steps"] is None and metrics["precision_wrong_steps"] is None


def test_calibration_by_hand() -> None:
    # p: 0.05, 0.15, 0.15 and 1.0 (the last bin takes it); |mean p - share|: 0.05 x 1, 0.35 x 2, 0 x 1 of 4
    found = calibration(torch.tensor([-0.9, -0.7, -0.7, 1.0]), torch.tensor([0, 0, 1, 1]))
    assert found["expected_calibration_error"] == pytest.approx((0.05 + 2 * 0.35) / 4)
    assert [(b["from"], b["steps"]) for b in found["calibration"]] == [(0.0, 1), (0.1, 2), (0.9, 1)]
    assert [b["share_right"] for b in found["calibration"]] == [0.0, 0.5, 1.0]
    assert found["calibration"][1]["mean_probability"] == pytest.approx(0.15)
