"""What the settings of the algorithm may be, and which of them are at odds with each other.

It does not load torch, so that a command line can be checked at once. Every problem is one
sentence: setting, value, rule, remedy.
"""

from __future__ import annotations

import math
from typing import Literal

from pure_rlhf.types import AdvantageSettings

CREDIT_ASSIGNMENTS: tuple[str, ...] = ("softmin", "min", "sum", "gamma_decay", "mean")

_CHOICES: dict[str, tuple[str, ...]] = {
    "reward_mode": ("PRM", "VR", "PRMVR"),
    "process_reward_gate": ("all", "not_wrong"),
    "verifiable_reward_range": ("minus_one_zero", "zero_one", "minus_one_one"),
    "verifiable_reward_baseline": ("scalar", "shared"),
    "estimator": ("rloo", "reinforce_baseline", "group_norm"),
    "reward_baseline": ("token", "step", "return", "none"),
    "kl_estimator": ("k1", "k2", "k3"),
    "normalization_variance": ("population", "sample"),
}


def find_setting_problems(settings: AdvantageSettings) -> list[str]:
    """Returns one sentence per setting that is out of range or at odds with another one."""
    problems = [
        f"{name} must be one of {', '.join(choices)}, got {getattr(settings, name)!r}"
        for name, choices in _CHOICES.items()
        if getattr(settings, name) not in choices
    ]
    problems += find_credit_problems(
        method=settings.credit_assignment,
        temperature=settings.credit_temperature,
        gamma=settings.credit_gamma,
    )
    for name in ("process_reward_coef", "verifiable_reward_coef", "kl_coef"):
        if not math.isfinite(getattr(settings, name)):
            problems.append(f"{name} must be finite, got {getattr(settings, name)}")
    if settings.kl_coef < 0:
        problems.append(f"kl_coef must be >= 0, got {settings.kl_coef}; 0 turns the penalty off")
    if settings.process_reward_gate != "all" and settings.reward_mode == "VR":
        problems.append(
            f"process_reward_gate {settings.process_reward_gate} does nothing in reward_mode VR, which has no process "
            "rewards; use reward_mode PRMVR, or process_reward_gate all"
        )
    if settings.group_size < 2:
        problems.append(
            f"group_size must be >= 2, got {settings.group_size}: every estimator compares the "
            "answers to one prompt; sample at least two"
        )
    return problems + _find_length_problems(settings) + _find_baseline_problems(settings)


def scheduled_coef(
    start: float, end: float, *, schedule: Literal["constant", "linear", "cosine"], progress: float
) -> float:
    """A coefficient on its way from `start` to `end`; `progress` is the share of the run that is done, in [0, 1].

    Example: linear from 1 to 0 is 0.75 at progress 0.25.
    """
    assert 0 <= progress <= 1
    if schedule == "constant":
        return start
    done = progress if schedule == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return start + (end - start) * done


def _find_length_problems(settings: AdvantageSettings) -> list[str]:
    coef, buffer, limit = (
        settings.length_penalty_coef,
        settings.length_penalty_buffer,
        settings.baseline_length,
    )
    if not 0 <= coef < math.inf:
        return [f"length_penalty_coef must be >= 0, got {coef}; 0 turns the penalty off"]
    if coef > 0 and not 0 < buffer <= (limit or 0):
        return [
            f"length_penalty_buffer must be in 1 to {limit} (baseline_length), got {buffer}: the "
            "penalty grows over so many tokens before the limit; use for example a quarter of it"
        ]
    if coef == 0 and buffer != 0:
        return [
            f"length_penalty_buffer {buffer} does nothing while length_penalty_coef is 0; set both"
        ]
    return []


def find_credit_problems(*, method: str, temperature: float, gamma: float) -> list[str]:
    """Returns one sentence per setting of the credit assignment that is out of range."""
    problems = []
    if method not in CREDIT_ASSIGNMENTS:
        problems.append(
            f"credit_assignment must be one of {', '.join(CREDIT_ASSIGNMENTS)}, got {method!r}"
        )
    if not 0 < temperature < math.inf:
        problems.append(
            f"credit_temperature must be > 0, got {temperature}: softmax(-r/T) is undefined; use a "
            "small positive value, or credit_assignment min"
        )
    if not 0 < gamma <= 1:
        problems.append(
            f"credit_gamma must be in (0, 1], got {gamma}; 1 makes gamma_decay the plain sum"
        )
    return problems


def _find_baseline_problems(settings: AdvantageSettings) -> list[str]:
    problems = []
    baseline = settings.reward_baseline
    if settings.estimator == "group_norm":
        if baseline in ("token", "step"):
            problems.append(
                "estimator group_norm subtracts the mean return of the group by itself, so "
                f"reward_baseline {baseline} would be a second one; use reward_baseline none (or "
                "return, which means the same there), or estimator rloo"
            )
        return problems
    if settings.estimator == "reinforce_baseline" and baseline == "none":
        problems.append(
            "estimator reinforce_baseline is its baseline, so reward_baseline none leaves nothing; "
            "use reward_baseline token or return"
        )
    if baseline in ("token", "step"):
        for at_odds, text in (
            (settings.kl_baselined, "kl_baselined True"),
            (
                settings.verifiable_reward_baseline == "shared",
                "verifiable_reward_baseline shared",
            ),
        ):
            if at_odds:
                problems.append(
                    f"{text} needs a baseline of whole returns, but reward_baseline {baseline} is "
                    "made of process rewards; use reward_baseline return, or kl_baselined False "
                    "and verifiable_reward_baseline scalar"
                )
    if baseline == "return" and (settings.baseline_length is None or settings.baseline_length < 1):
        problems.append(
            f"reward_baseline return needs baseline_length >= 1, got {settings.baseline_length}; "
            "use the length limit of an answer in tokens"
        )
    return problems
