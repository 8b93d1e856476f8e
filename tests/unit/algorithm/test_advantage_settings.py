"""Presets, and the settings that are refused: setting, value, rule, remedy."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from pure_rlhf.algorithm.advantage_settings import find_setting_problems, scheduled_coef
from pure_rlhf.types import AdvantageSettings, convention_settings


def test_presets_differ_in_what_the_two_versions_differ_in() -> None:
    openrlhf, verl = convention_settings("openrlhf"), convention_settings("verl")
    assert openrlhf.keys() == verl.keys()
    assert {
        name: (openrlhf[name], verl[name]) for name in verl if openrlhf[name] != verl[name]
    } == {
        "process_reward_coef": (1.0, 0.5),
        "verifiable_reward_range": ("minus_one_zero", "zero_one"),
        "verifiable_reward_baseline": ("scalar", "shared"),
        "reward_baseline": ("token", "return"),
        "kl_estimator": ("k1", "k3"),
        "kl_baselined": (False, True),
        "mask_separator": (True, False),
        "normalization_variance": ("population", "sample"),
    }


def test_defaults_are_the_openrlhf_preset() -> None:
    defaults = dataclasses.asdict(AdvantageSettings(group_size=4))
    assert convention_settings("openrlhf").items() <= defaults.items()


def test_presets_are_valid_and_fresh() -> None:
    for name in ("openrlhf", "verl"):
        preset = convention_settings(name)
        settings = AdvantageSettings(group_size=4, baseline_length=2048, **preset)
        assert find_setting_problems(settings) == []
        preset["mask_separator"] = "changed"
        assert convention_settings(name) != preset


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ValueError, match="openrlhf, verl, got 'trl'"):
        convention_settings("trl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group_size": 1}, "group_size must be >= 2, got 1"),
        ({"group_size": 0}, "group_size must be >= 2, got 0"),
        ({"length_penalty_coef": -1.0}, "length_penalty_coef must be >= 0, got -1.0"),
        (
            {"length_penalty_coef": 1.0, "baseline_length": 100},
            "length_penalty_buffer must be in 1 to 100 (baseline_length), got 0",
        ),
        (
            {"length_penalty_coef": 1.0, "length_penalty_buffer": 200, "baseline_length": 100},
            "length_penalty_buffer must be in 1 to 100",
        ),
        ({"length_penalty_buffer": 5}, "does nothing while length_penalty_coef is 0"),
        ({"reward_mode": "BOTH"}, "reward_mode must be one of PRM, VR, PRMVR, got 'BOTH'"),
        ({"estimator": "gae"}, "estimator must be one of rloo, reinforce_baseline, group_norm"),
        ({"credit_temperature": 0.0}, "credit_temperature must be > 0, got 0.0"),
        ({"credit_gamma": 2.0}, "credit_gamma must be in (0, 1], got 2.0"),
        ({"credit_assignment": "product"}, "credit_assignment must be one of softmin"),
        ({"kl_coef": -0.1}, "kl_coef must be >= 0, got -0.1"),
        ({"process_reward_coef": float("nan")}, "process_reward_coef must be finite, got nan"),
        (
            {"process_reward_gate": "not_wrong", "reward_mode": "VR"},
            "process_reward_gate not_wrong does nothing in reward_mode VR",
        ),
        ({"reward_baseline": "return"}, "needs baseline_length >= 1, got None"),
        ({"reward_baseline": "return", "baseline_length": 0}, "baseline_length >= 1, got 0"),
        ({"kl_baselined": True}, "kl_baselined True needs a baseline of whole returns"),
        (
            {"reward_baseline": "step", "verifiable_reward_baseline": "shared"},
            "verifiable_reward_baseline shared needs a baseline of whole returns, but "
            "reward_baseline step",
        ),
        ({"estimator": "group_norm"}, "use reward_baseline none (or return"),
        (
            {"estimator": "group_norm", "reward_baseline": "step"},
            "so reward_baseline step would be a second one",
        ),
        (
            {"estimator": "reinforce_baseline", "reward_baseline": "none"},
            "use reward_baseline token or return",
        ),
    ],
)
def test_settings_at_odds_are_named(changes: dict[str, Any], message: str) -> None:
    problems = find_setting_problems(AdvantageSettings(**{"group_size": 4, **changes}))
    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize("reward_baseline", ["return", "none"])
def test_group_norm_centres_by_itself(reward_baseline: Any) -> None:
    settings = AdvantageSettings(
        **convention_settings("verl")
        | {"group_size": 4, "estimator": "group_norm", "reward_baseline": reward_baseline}
    )
    assert find_setting_problems(settings) == []


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        ("constant", 0.7, 1.0),
        ("linear", 0.0, 1.0),
        ("linear", 0.25, 0.8),  # a quarter of the way from 1 to 0.2
        ("cosine", 0.5, 0.6),
        ("cosine", 1.0, 0.2),
    ],
)
def test_scheduled_coefficient(schedule: Any, progress: float, expected: float) -> None:
    found = scheduled_coef(1.0, 0.2, schedule=schedule, progress=progress)
    assert found == pytest.approx(expected)


def test_all_problems_are_named_at_once() -> None:
    settings = AdvantageSettings(group_size=1, credit_temperature=-1.0, kl_coef=-1.0)
    assert len(find_setting_problems(settings)) == 3


def test_settings_are_checked_without_torch() -> None:
    code = (
        "import sys\n"
        "import pure_rlhf.types, pure_rlhf.algorithm.advantage_settings\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
