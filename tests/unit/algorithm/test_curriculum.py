"""Which groups are kept, by hand; settings that contradict each other."""

from __future__ import annotations

import pytest
import torch

from pure_rlhf.algorithm.curriculum import (
    CurriculumSettings,
    curriculum_metrics,
    find_curriculum_problems,
    select_groups,
)
from pure_rlhf.bounds import find_bound_problems

NAN = float("nan")


@pytest.mark.parametrize(
    ("settings", "accuracies", "kept"),
    [
        (CurriculumSettings(method="remove_extreme"), [0, 0.25, 1, NAN], [0, 1, 0, 1]),
        # bounds are inclusive, as PRIME's
        (CurriculumSettings(method="range"), [0, 0.19, 0.2, 0.5, 0.8, 0.81, 1, NAN], [0, 0, 1, 1, 1, 0, 0, 1]),
        # P25 = 0.25 and P75 = 0.75 of the five that are known: the lower bound is in, the upper is not
        (CurriculumSettings(method="interquartile"), [0, 0.25, NAN, 0.5, 0.75, 1], [0, 1, 1, 1, 0, 0]),
        (CurriculumSettings(method="interquartile"), [NAN, NAN], [1, 1]),
        (CurriculumSettings(), [0, 1, NAN], [1, 1, 1]),
    ],
)  # fmt: skip
def test_groups_that_are_kept(
    settings: CurriculumSettings, accuracies: list[float], kept: list[int]
) -> None:
    accuracy_P = torch.tensor(accuracies, dtype=torch.float32)
    cut_off_P = torch.ones(len(accuracies), dtype=torch.bool)  # not looked at unless asked for
    found = select_groups(accuracy_P, cut_off_P, settings)
    assert found.tolist() == [bool(value) for value in kept]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (CurriculumSettings(method="range", drop_truncated=True), [0, 1, 0, 1, 0]),
        (CurriculumSettings(method="range", keep_unlabelled=False), [0, 1, 1, 0, 0]),
        (CurriculumSettings(drop_truncated=True), [1, 1, 0, 1, 0]),
        (CurriculumSettings(keep_unlabelled=False), [1, 1, 1, 0, 0]),
        (CurriculumSettings(drop_truncated=True, keep_unlabelled=False), [1, 1, 0, 0, 0]),
    ],
)
def test_groups_that_were_cut_off_and_groups_without_a_label(
    settings: CurriculumSettings, kept: list[int]
) -> None:
    accuracy_P = torch.tensor([0, 0.5, 0.5, NAN, NAN])
    cut_off_P = torch.tensor([False, False, True, False, True])
    assert select_groups(accuracy_P, cut_off_P, settings).int().tolist() == kept
    assert settings.selects and not CurriculumSettings().selects


def test_groups_that_were_cut_off_count_in_the_quantiles() -> None:
    """P25 of 0, 0.25, 0.5, 0.75, 1 is 0.25; without the first it would be 0.4375, and 0.25 would be dropped."""
    settings = CurriculumSettings(method="interquartile", drop_truncated=True)
    accuracy_P = torch.tensor([0, 0.25, 0.5, 0.75, 1])
    cut_off_P = torch.tensor([True, False, False, False, False])
    assert select_groups(accuracy_P, cut_off_P, settings).int().tolist() == [0, 1, 1, 0, 0]


def test_metrics_are_over_all_that_was_sampled() -> None:
    accuracy_P, keep_P = torch.tensor([0, 0.5, NAN, 1]), torch.tensor([False, True, True, False])
    cut_off_P = torch.tensor([True, False, False, False])
    assert curriculum_metrics(accuracy_P, cut_off_P, keep_P, 3) == {
        "curriculum/rounds": 3,
        "curriculum/groups_sampled": 4,
        "curriculum/yield": 0.5,
        "curriculum/truncated_group_frac": 0.25,
        "curriculum/group_accuracy_sampled": 0.5,
        "curriculum/group_pass_frac_sampled": pytest.approx(2 / 3),
    }


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        (
            CurriculumSettings(min_accuracy=0.8, max_accuracy=0.2),
            "must be at most --curriculum.max_accuracy 0.2",
        ),
        (CurriculumSettings(max_accuracy=1.5), "--curriculum.max_accuracy 1.5: must be in [0, 1]"),
        (CurriculumSettings(over_sampling=0.5), "--curriculum.over_sampling 0.5: must be >= 1"),
        (CurriculumSettings(max_rounds=0), "--curriculum.max_rounds 0: must be >= 1"),
    ],
)
def test_bad_settings_are_named(settings: CurriculumSettings, rule: str) -> None:
    bounds = find_bound_problems(settings, "--curriculum.")
    (problem,) = [*bounds, *find_curriculum_problems(settings)]
    assert rule in problem


def test_the_defaults_have_no_problem() -> None:
    assert list(find_curriculum_problems(CurriculumSettings())) == []
