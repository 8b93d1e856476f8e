"""Alarms on synthesised histories: each kind is named, healthy runs are silent, and each begins once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pure_rlhf.cli.describe_metrics import metrics_page
from pure_rlhf.monitoring.alarms import (
    DETECTORS,
    AlarmThresholds,
    find_alarms,
    limit_detector,
    without_undone,
)

SHORT = AlarmThresholds(window=3)
HEALTHY = {
    "reward/no_answer_frac": 0.05,
    "pure/single_step_frac": 0.1,
    "pure/tokens_per_step": 20.0,
    "rollout/response_length": 100.0,
    "rollout/high_repetition_frac": 0.0,
    "reward/verifiable_accuracy": 0.6,
    "reward/accepted_by_written": 0.8,
    "reward/accepted_by_words": 0.1,
    "reward/accepted_by_expression": 0.1,
    "reward/process_return": 0.1,
    "prm/held_out_f1": 0.9,
    "prm/outcome_accuracy": 0.75,
    "prm/loss": 0.6,
    "policy/kl_reference": 0.01,
    "policy/clip_ratio": 0.02,
}
COLLAPSED = {
    "only_thinking": {"reward/no_answer_frac": 0.9},
    "one_step": {"pure/single_step_frac": 0.8, "pure/tokens_per_step": 200.0},
    "zero_step": {"rollout/response_length": 6.0},
    "repetition": {"rollout/high_repetition_frac": 0.7},
    "reward_hacking": {"reward/verifiable_accuracy": 0.4, "reward/process_return": 0.8},
    "accuracy_collapse": {"reward/verifiable_accuracy": 0.1, "reward/process_return": -0.5},
    "verifier_hole": {
        "reward/accepted_by_words": 0.5,
        "reward/accepted_by_written": 0.4,
        "reward/verifiable_accuracy": 0.65,
    },
    "prm_forgets": {"prm/held_out_f1": 0.8},
    "prm_follows_policy": {"prm/outcome_accuracy": 0.55, "prm/loss": 0.3},
    "kl": {"policy/kl_reference": 2.0},
    "ratio": {"policy/clip_ratio": 0.6},
}


def history(healthy: int, then: dict[str, float], collapsed: int) -> list[dict[str, float]]:
    rows = [HEALTHY] * healthy + [HEALTHY | then] * collapsed
    return [{"step": n, **row} for n, row in enumerate(rows, start=1)]


def raised(
    rows: list[dict[str, float]], thresholds: AlarmThresholds = SHORT
) -> list[tuple[str, int]]:
    """What a run would have raised, step by step."""
    return [
        (alarm.kind, alarm.step)
        for end in range(1, len(rows) + 1)
        for alarm in find_alarms(rows[:end], thresholds)
    ]


@pytest.mark.parametrize("kind", [detector.kind for detector in DETECTORS])
def test_each_collapse_is_named_once_within_a_window(kind: str) -> None:
    found = raised(history(10, COLLAPSED[kind], 8))
    assert [name for name, _ in found] == [kind]
    assert 10 < found[0][1] <= 10 + SHORT.window


def test_a_healthy_run_is_silent() -> None:
    assert raised(history(40, {}, 0)) == []


def test_improvement_is_no_alarm() -> None:
    better = {
        "reward/verifiable_accuracy": 0.95,
        "reward/process_return": 0.9,
        "pure/single_step_frac": 0.0,
        "rollout/response_length": 300.0,
    }
    assert raised(history(10, better, 10)) == []


def test_a_rule_that_takes_more_of_a_growing_accuracy_is_no_hole() -> None:
    """Half of 90 % by the other rules is more than nine tenths of 40 %: the policy has learnt, in another form."""
    first = {"reward/verifiable_accuracy": 0.4}
    later = {"reward/verifiable_accuracy": 0.9, "reward/accepted_by_expression": 0.4}
    rows = [HEALTHY | first] * 6 + [HEALTHY | later] * 6
    assert raised([{"step": n, **row} for n, row in enumerate(rows, start=1)]) == []
    plain = {"reward/accepted_by_written": 1.0, "reward/accepted_by_words": 0.0}
    assert raised(history(8, plain, 8)) == [], "the plain rules are no holes"


def test_accuracy_that_falls_with_the_return_is_no_hacking() -> None:
    worse = {"reward/verifiable_accuracy": 0.4, "reward/process_return": -0.5}
    assert raised(history(10, worse, 10)) == []


def test_a_prm_that_forgets_is_seen_where_it_is_measured_every_few_steps() -> None:
    """Measured at steps 1, 4, 7, ... with a window of 3: each window holds one value."""
    values = [0.90, 0.91, 0.90, 0.89, 0.87, 0.87, 0.80]
    rows = [
        {"step": 3 * n + place + 1, **({"prm/held_out_f1": value} if place == 0 else {})}
        for n, value in enumerate(values)
        for place in range(3)
    ]
    assert raised(rows) == [("prm_forgets", 13)]  # 0.87 is 0.04 below the best; 0.89 is 0.02 below


def test_a_prm_that_stops_being_measured_raises_nothing() -> None:
    rows = history(6, {"prm/held_out_f1": 0.88}, 6)
    for row in rows[8:]:
        del row["prm/held_out_f1"]
    assert raised(rows) == []


def test_a_prm_whose_loss_rises_with_its_mistakes_does_not_follow_the_policy() -> None:
    """It meets new responses and says so: the next update will learn from them."""
    harder = {"prm/outcome_accuracy": 0.55, "prm/loss": 0.9}
    assert raised(history(10, harder, 10)) == []
    better = {"prm/outcome_accuracy": 0.95, "prm/loss": 0.2}
    assert raised(history(10, better, 10)) == []


def test_noise_of_few_labels_is_no_following() -> None:
    """Steps of a dozen labels scatter: 0.8 to 0.53 on average is 1.4 standard errors."""
    agreement = [1.0, 0.6, 0.8, 0.3, 0.8, 0.5]
    rows = [
        HEALTHY | {"prm/outcome_accuracy": a, "prm/loss": 0.6 if n < 3 else 0.5}
        for n, a in enumerate(agreement)
    ]
    assert raised([{"step": n, **row} for n, row in enumerate(rows, start=1)]) == []


def test_short_answers_in_one_step_are_no_giant_step() -> None:
    assert (
        raised(history(10, {"pure/single_step_frac": 0.9, "pure/tokens_per_step": 5.0}, 10)) == []
    )


def test_modes_without_a_metric_are_silent() -> None:
    rows = [{"step": n, "rollout/response_length": 50.0} for n in range(1, 30)]
    assert raised(rows) == []
    assert find_alarms([], SHORT) == []


def test_an_alarm_that_ends_may_begin_again() -> None:
    rows = (
        [HEALTHY] * 8
        + [HEALTHY | COLLAPSED["kl"]] * 4
        + [HEALTHY] * 6
        + [HEALTHY | COLLAPSED["kl"]] * 4
    )
    found = raised([{"step": n, **row} for n, row in enumerate(rows, start=1)])
    assert [kind for kind, _ in found] == ["kl", "kl"]


def test_the_docs_page_is_up_to_date() -> None:
    page = Path(__file__).parents[3] / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == metrics_page(), (
        "run: python -m pure_rlhf.cli.describe_metrics > docs/metrics.md"
    )


def test_noise_of_few_verified_answers_is_no_alarm() -> None:
    """The same means as a collapse, but steps that scatter between 0 and 1: 2.3 standard errors."""
    rows = [HEALTHY | {"reward/verifiable_accuracy": a, "reward/process_return": r}
            for a, r in [(1.0, 0.1), (0.6, 0.1), (0.8, 0.1), (0.0, 0.5), (0.9, 0.5), (0.3, 0.5)]]  # fmt: skip
    assert raised([{"step": n, **row} for n, row in enumerate(rows, start=1)]) == []
    steady = [0.8, 0.8, 0.8, 0.4, 0.4, 0.4]
    rows = [row | {"reward/verifiable_accuracy": a} for row, a in zip(rows, steady, strict=True)]
    kinds = [
        kind for kind, _ in raised([{"step": n, **row} for n, row in enumerate(rows, start=1)])
    ]
    assert kinds == ["reward_hacking", "accuracy_collapse"]


def test_a_limit_of_ones_own() -> None:
    rows = history(6, {"policy/clip_ratio": 0.5}, 6)
    thresholds = AlarmThresholds(window=3, clip_ratio=1.0, limits=("policy/clip_ratio > 0.4",))
    assert raised(rows, thresholds) == [("limit", 9)]  # the first window that is all above


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("policy/clip_ration>0.4", "did you mean policy/clip_ratio"),
        ("policy/clip_ratio=0.4", "must be METRIC<NUMBER or METRIC>NUMBER"),
        ("policy/clip_ratio>much", "must be METRIC<NUMBER or METRIC>NUMBER"),
    ],
)
def test_a_limit_that_means_nothing_is_refused(limit: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        limit_detector(limit)


def test_history_without_what_roll_backs_undid() -> None:
    rows = [{"step": n} for n in range(1, 11)]
    alarms = [{"step": 4}, {"step": 6, "rolled_back_to": 2}, {"step": 9, "rolled_back_to": 8}]
    assert [row["step"] for row in without_undone(rows, alarms)] == [1, 2, 7, 8, 10]
