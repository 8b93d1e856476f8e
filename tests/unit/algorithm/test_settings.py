"""The conventions, and the settings that are refused: flag, value, rule, remedy."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Annotated, Any

import pytest

from pure_rlhf.algorithm.settings import (
    AdvantageSettings,
    convention_settings,
    find_setting_problems,
    scheduled_coef,
)
from pure_rlhf.bounds import Bounds, find_bound_problems
from pure_rlhf.config import PureConfig, convention_defaults

LIMIT = 100


def problems_of(**changes: Any) -> list[str]:
    return find_setting_problems(AdvantageSettings(**changes), max_response_tokens=LIMIT)


def test_conventions_differ_in_what_the_two_versions_differ_in() -> None:
    openrlhf, verl = convention_settings("openrlhf"), convention_settings("verl")
    assert openrlhf.keys() == verl.keys()
    assert {
        name: (openrlhf[name], verl[name]) for name in verl if openrlhf[name] != verl[name]
    } == {
        "convention": ("openrlhf", "verl"),
        "process_reward_coef": (1.0, 0.5),
        "verifiable_reward_range": ("minus_one_zero", "zero_one"),
        "verifiable_reward_baseline": ("scalar", "shared"),
        "reward_baseline": ("token", "return"),
        "kl_baselined": (False, True),
        "mask_separator": (True, False),
        "normalization_variance": ("population", "sample"),
    }


def test_the_second_version_also_has_another_loss_and_another_estimate_of_the_kl() -> None:
    first, second = convention_defaults("openrlhf"), convention_defaults("verl")
    assert first == PureConfig()
    assert (first.actor.loss_agg_mode, first.algo.kl.estimator) == ("seq-mean-token-mean", "k1")
    assert (second.actor.loss_agg_mode, second.algo.kl.estimator) == ("token-mean", "k3")
    assert convention_defaults("openrlhf", "group_norm").reward_baseline == "none"


def test_prime_has_leave_one_out_of_both_rewards_by_themselves() -> None:
    prime, verl = convention_settings("prime"), convention_settings("verl")
    assert prime == {
        "convention": "prime",
        "credit_assignment": "sum",
        "process_reward_coef": 1.0,
        "verifiable_reward_range": "zero_one",
        "verifiable_reward_baseline": "scalar",
        "reward_baseline": "step",
        "kl_baselined": False,
        "mask_separator": False,
        "normalization_variance": "sample",
    }
    assert prime.keys() == verl.keys()
    defaults = convention_defaults("prime")
    assert (defaults.normalize, defaults.advantage_estimator) == (True, "rloo")
    assert (defaults.algo.kl.init_coef, defaults.rollout.temperature) == (0.0, 1.0)
    assert not defaults.uses_reference
    # what PRIME and PURE's recipe share
    assert (defaults.actor.loss_agg_mode, defaults.actor.eps_clip) == ("seq-mean-token-mean", 0.2)
    assert (defaults.actor.adam.lr, defaults.actor.max_norm) == (5e-7, 1.0)
    others = [convention_defaults(name) for name in ("openrlhf", "verl")]
    assert {(c.algo.kl.init_coef, c.rollout.temperature) for c in others} == {(0.001, 0.5)}


def test_defaults_are_the_openrlhf_convention() -> None:
    defaults = dataclasses.asdict(AdvantageSettings())
    assert convention_settings("openrlhf").items() <= defaults.items()


def test_conventions_are_valid_and_fresh() -> None:
    for name in ("openrlhf", "verl", "prime"):
        found = convention_settings(name)
        assert problems_of(**found) == []
        found["mask_separator"] = "changed"
        assert convention_settings(name) != found


def test_unknown_convention_is_refused() -> None:
    with pytest.raises(ValueError, match="--convention trl: must be one of openrlhf, verl, prime"):
        convention_settings("trl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length_penalty_coef": -1.0}, "--length_penalty_coef -1.0: must be >= 0"),
        (
            {"length_penalty_coef": 1.0},
            "--length_penalty_buffer 0: must be in [1, 100] (--rollout.max_new_tokens)",
        ),
        (
            {"length_penalty_coef": 1.0, "length_penalty_buffer": 200},
            "--length_penalty_buffer 200: must be in [1, 100]",
        ),
        ({"length_penalty_buffer": 5}, "does nothing while --length_penalty_coef is 0"),
        ({"reward_mode": "BOTH"}, "--reward_mode BOTH: must be one of PRM, VR, PRMVR"),
        (
            {"advantage_estimator": "gae"},
            "--advantage_estimator gae: must be one of rloo, reinforce_baseline, group_norm",
        ),
        ({"credit_temperature": 0.0}, "--credit_temperature 0.0: must be > 0; softmax(-r/T)"),
        ({"credit_temperature": -1.0}, "--credit_temperature -1.0: must be > 0"),
        ({"credit_temperature": float("nan")}, "--credit_temperature nan: must be > 0"),
        ({"credit_gamma": 0.0}, "--credit_gamma 0.0: must be in (0, 1]"),
        ({"credit_gamma": 2.0}, "--credit_gamma 2.0: must be in (0, 1]; 1 makes gamma_decay"),
        (
            {"credit_assignment": "product"},
            "--credit_assignment product: must be one of softmin, min, sum, gamma_decay, mean, log_sum_exp, or "
            "FILE.py:FUNCTION",
        ),
        ({"credit_assignment": "/no/file.py:f"}, "there is no file /no/file.py"),
        ({"process_reward_coef": float("nan")}, "--process_reward_coef nan: must be finite"),
        (
            {"process_reward_gate": "not_wrong", "reward_mode": "VR"},
            "--process_reward_gate not_wrong: does nothing in --reward_mode VR",
        ),
        ({"kl_baselined": True}, "--kl_baselined: needs a baseline of whole returns"),
        (
            {"reward_baseline": "step", "verifiable_reward_baseline": "shared"},
            "--verifiable_reward_baseline shared: needs a baseline of whole returns, but --reward_baseline step",
        ),
        ({"advantage_estimator": "group_norm"}, "use --reward_baseline none (or return"),
        (
            {"advantage_estimator": "group_norm", "reward_baseline": "step"},
            "--reward_baseline step: --advantage_estimator group_norm subtracts",
        ),
        (
            {"advantage_estimator": "reinforce_baseline", "reward_baseline": "none"},
            "use --reward_baseline token or return",
        ),
    ],
)
def test_settings_at_odds_are_named(changes: dict[str, Any], message: str) -> None:
    (problem,) = problems_of(**changes)
    assert message in problem


@pytest.mark.parametrize("reward_baseline", ["return", "none"])
def test_group_norm_centres_by_itself(reward_baseline: Any) -> None:
    verl = convention_settings("verl")
    changes = {"advantage_estimator": "group_norm", "reward_baseline": reward_baseline}
    assert problems_of(**{**verl, **changes}) == []


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
    settings = AdvantageSettings(process_reward_schedule=schedule, process_reward_final_coef=0.2)
    assert scheduled_coef(settings, progress) == pytest.approx(expected)


def test_all_problems_are_named_at_once() -> None:
    assert len(problems_of(credit_temperature=-1.0, credit_gamma=3, length_penalty_coef=-1)) == 3


@dataclasses.dataclass(frozen=True)
class Inner:
    share: Annotated[float, Bounds(low=0, high=1, remedy="half is 0.5")] = 0.5


@dataclasses.dataclass(frozen=True)
class Outer:
    steps: Annotated[int | None, Bounds(low=1, remedy="one is enough")] = None
    inner: Inner = dataclasses.field(default_factory=Inner)


def test_bounds_are_checked_in_every_group_and_named_by_the_flag() -> None:
    assert list(find_bound_problems(Outer())) == []
    assert list(find_bound_problems(Outer(steps=0, inner=Inner(share=1.5)))) == [
        "--steps 0: must be >= 1; one is enough",
        "--inner.share 1.5: must be in [0, 1]; half is 0.5",
    ]
    assert len(list(find_bound_problems(Inner(share=float("inf"))))) == 1


def test_settings_are_checked_without_torch() -> None:
    code = (
        "import sys\n"
        "import pure_rlhf.config, pure_rlhf.algorithm.settings\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
