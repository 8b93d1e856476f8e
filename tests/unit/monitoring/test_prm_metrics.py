"""The metrics of a PRM that learns, by hand."""

from __future__ import annotations

import pytest
import torch

from pure_rlhf.monitoring.metric_table import check_declared
from pure_rlhf.monitoring.prm_metrics import scoring_metrics, update_metrics

NAN = float("nan")


def test_an_implicit_prm_on_one_rollout() -> None:
    found = scoring_metrics(
        score_B=torch.tensor([0.6, -0.6, 0.7, 0.65, -0.1, 0.2]),
        outcome_B=torch.tensor([1.0, 0.0, 0.0, NAN, NAN, NAN]),
        rewards_BS=torch.tensor([[0.5, -0.1, 9.0], [0.0, 0.2, 0.3]] * 3),
        mask_BS=torch.tensor([[True, True, False], [True, True, True]] * 3),
        group_size=3,
        log_ratios_BA=torch.tensor([[7.0, 0.25, -0.75]] * 6),
        action_mask_BA=torch.tensor([[0, 1, 1]] * 6),
        largest_return=0.5,
    )
    assert found == {
        # the first prompt: 0.6 is above -0.6 but below 0.7; the second has no label
        "prm/pair_accuracy": 0.5,
        "prm/outcome_accuracy": pytest.approx(2 / 3),  # the third is wrong, and scored 0.7
        "prm/positive_reward_frac": pytest.approx(
            3 / 5
        ),  # 0.5, 0.2, 0.3 of five; 0 is not positive
        "prm/drift": 0.5,  # (0.25 + 0.75) / 2
        "prm/largest_return": 0.5,
    }
    check_declared(found)


def test_what_there_is_no_data_for_is_left_out() -> None:
    found = scoring_metrics(
        score_B=torch.tensor([1.0, 2.0]),
        outcome_B=torch.tensor([NAN, NAN]),
        rewards_BS=torch.tensor([[1.0], [-1.0]]),
        mask_BS=torch.tensor([[True], [True]]),
        group_size=2,
    )
    assert found == {"prm/positive_reward_frac": 0.5}
    assert update_metrics({}) == {}


def test_what_an_update_reports() -> None:
    found = update_metrics({"loss": 0.69, "grad_norm": 1.5, "learning_rate": 1e-6, "rows": 8.0})
    assert found == {"prm/loss": 0.69, "prm/grad_norm": 1.5, "prm/learning_rate": 1e-6}
    check_declared(found)


def test_an_update_that_is_not_finite_ends_it() -> None:
    with pytest.raises(
        ValueError, match=r"gave loss nan and grad_norm inf: .* last good checkpoint"
    ):
        update_metrics({"loss": NAN, "grad_norm": float("inf"), "learning_rate": 1e-6})
