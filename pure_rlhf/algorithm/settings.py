"""How rewards become advantages: the settings, their bounds, and the published sets of them.

`AdvantageSettings` is the one place where they are declared: `PureConfig` inherits from it, so that every field is the
flag of its name, and the functions of this package read it. Torch is not loaded here, so that a command line can be
checked at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pure_rlhf.algorithm.credit_assignment import CreditSettings, find_credit_assignment
from pure_rlhf.bounds import Bounds, find_bound_problems

Convention = Literal["openrlhf", "verl", "prime"]


@dataclass(frozen=True, kw_only=True)
class AdvantageSettings(CreditSettings):
    """How rewards become advantages (docs/conventions.md). The defaults are those of `--convention openrlhf`."""

    reward_mode: Literal["PRM", "VR", "PRMVR"] = "PRMVR"
    """PRM: process rewards only; VR: verifiable final-answer reward only; PRMVR: both."""
    convention: Convention = "openrlhf"
    """Which of PURE's two public versions to follow where they differ, or PRIME (docs/conventions.md): sets the
    defaults of other flags. A flag that you give wins."""
    advantage_estimator: Literal["rloo", "reinforce_baseline", "group_norm"] = "rloo"
    """Which responses to the same prompt one is compared with. rloo: the others (leave-one-out); reinforce_baseline:
    all of them; group_norm: all, and token returns are divided by their standard deviation too (GRPO)."""
    reward_baseline: Literal["token", "step", "return", "none"] = "token"
    """What is subtracted from the process rewards (baselines.py); step is biased towards few steps. group_norm centres
    by itself: none is its default, return means the same, token and step are refused."""
    process_reward_coef: Annotated[
        float, Bounds(remedy="1 weighs process and verifiable rewards alike")
    ] = 1.0
    """Weight of the process rewards."""
    process_reward_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the weight of the process rewards goes to --process_reward_final_coef over --max_steps."""
    process_reward_final_coef: Annotated[
        float, Bounds(remedy="0 leaves the verifiable reward alone at the end")
    ] = 0.0
    """The weight at the last step; read by the schedules linear and cosine."""
    process_reward_gate: Literal["all", "not_wrong"] = "all"
    """not_wrong: responses that the verifier calls wrong earn no process reward, neither good nor bad."""
    verifiable_reward_coef: Annotated[float, Bounds(remedy="1 is the published weight")] = 1.0
    """Weight of the verifiable reward."""
    verifiable_reward_range: Literal["minus_one_zero", "zero_one", "minus_one_one"] = (
        "minus_one_zero"
    )
    """What a wrong and a right final answer earn."""
    verifiable_reward_baseline: Literal["scalar", "shared"] = "scalar"
    """scalar: centred in its group by itself (OpenRLHF version, and the paper's text); shared: under the baseline of
    the process rewards (verl version)."""
    length_penalty_coef: Annotated[float, Bounds(low=0, remedy="0 turns the penalty off")] = 0.0
    """Soft penalty of responses that come near --rollout.max_new_tokens (DAPO, arXiv 2503.14476, eq. 13); 0: none."""
    length_penalty_buffer: Annotated[int, Bounds(low=0, remedy="it counts tokens")] = 0
    """Tokens before the limit in which the penalty grows from 0 to --length_penalty_coef."""
    kl_baselined: bool = False
    """Whether the KL penalty is under the baseline of the rewards too (verl version)."""
    mask_separator: bool = True
    """Whether the advantage is 0 at separators and EOS."""
    normalize: bool = True
    """Whether advantages are whitened over all response tokens of the batch."""
    normalization_variance: Literal["population", "sample"] = "population"
    """population: sum of squares / n, floored at 1e-8; sample: / (n - 1), plus 1e-8 (verl)."""

    @property
    def uses_prm(self) -> bool:
        return self.reward_mode in ("PRM", "PRMVR")

    @property
    def uses_verifiable_reward(self) -> bool:
        return self.reward_mode in ("VR", "PRMVR")


_CONVENTIONS: dict[str, dict[str, Any]] = {
    "openrlhf": {
        "credit_assignment": "softmin",
        "process_reward_coef": 1.0,
        "verifiable_reward_range": "minus_one_zero",
        "verifiable_reward_baseline": "scalar",
        "reward_baseline": "token",
        "kl_baselined": False,
        "mask_separator": True,
        "normalization_variance": "population",
    },
    "verl": {
        "credit_assignment": "softmin",
        "process_reward_coef": 0.5,
        "verifiable_reward_range": "zero_one",
        "verifiable_reward_baseline": "shared",
        "reward_baseline": "return",
        "kl_baselined": True,
        "mask_separator": False,
        "normalization_variance": "sample",
    },
    "prime": {
        "credit_assignment": "sum",
        "process_reward_coef": 1.0,
        "verifiable_reward_range": "zero_one",
        "verifiable_reward_baseline": "scalar",
        "reward_baseline": "step",
        "kl_baselined": False,
        "mask_separator": False,
        "normalization_variance": "sample",
    },
}


def convention_settings(name: str) -> dict[str, Any]:
    """Returns the fields of `AdvantageSettings` that a convention sets, a fresh dictionary.

    "openrlhf" and "verl" follow the two public versions of PURE, "prime" follows PRIME (arXiv 2502.01456, equation 5):
    leave-one-out of outcomes and of process rewards by themselves, then summed. What they set of the loss, the KL
    penalty and the sampling is `config.convention_defaults`.

    Raises:
        ValueError: there is no such convention.
    """
    if name not in _CONVENTIONS:
        raise ValueError(f"--convention {name}: must be one of {', '.join(_CONVENTIONS)}")
    return {"convention": name, **_CONVENTIONS[name]}


def find_setting_problems(settings: AdvantageSettings, *, max_response_tokens: int) -> list[str]:
    """Returns one sentence per setting that is out of range or at odds with another one.

    Args:
        max_response_tokens: the length limit of a response, `--rollout.max_new_tokens`.
    """
    return [
        *find_bound_problems(settings),
        *_find_credit_problems(settings),
        *_find_length_problems(settings, max_response_tokens),
        *_find_baseline_problems(settings),
    ]


def _find_credit_problems(settings: AdvantageSettings) -> Iterator[str]:
    try:
        find_credit_assignment(settings.credit_assignment)
    except ValueError as error:
        yield str(error)
    if settings.process_reward_gate != "all" and not settings.uses_prm:
        yield (
            f"--process_reward_gate {settings.process_reward_gate}: does nothing in --reward_mode VR, which has no "
            "process rewards; use --reward_mode PRMVR, or --process_reward_gate all"
        )


def _find_length_problems(settings: AdvantageSettings, limit: int) -> Iterator[str]:
    coef, buffer = settings.length_penalty_coef, settings.length_penalty_buffer
    if 0 < coef < math.inf and not 0 < buffer <= limit:
        yield (
            f"--length_penalty_buffer {buffer}: must be in [1, {limit}] (--rollout.max_new_tokens): the penalty grows "
            "over so many tokens before the limit; use for example a quarter of it"
        )
    if coef == 0 and buffer != 0:
        yield (
            f"--length_penalty_buffer {buffer}: does nothing while --length_penalty_coef is 0; set both"
        )


def _find_baseline_problems(settings: AdvantageSettings) -> Iterator[str]:
    baseline = settings.reward_baseline
    if settings.advantage_estimator == "group_norm":
        if baseline in ("token", "step"):
            yield (
                f"--reward_baseline {baseline}: --advantage_estimator group_norm subtracts the mean return of the "
                "group by itself, so this would be a second one; use --reward_baseline none (or return, which means "
                "the same there), or --advantage_estimator rloo"
            )
        return
    if settings.advantage_estimator == "reinforce_baseline" and baseline == "none":
        yield (
            "--reward_baseline none: --advantage_estimator reinforce_baseline is its baseline, so nothing is left; use "
            "--reward_baseline token or return"
        )
    if baseline in ("token", "step"):
        for at_odds, text in (
            (settings.kl_baselined, "--kl_baselined"),
            (
                settings.verifiable_reward_baseline == "shared",
                "--verifiable_reward_baseline shared",
            ),
        ):
            if at_odds:
                yield (
                    f"{text}: needs a baseline of whole returns, but --reward_baseline {baseline} is made of process "
                    "rewards; use --reward_baseline return, or --no_kl_baselined and --verifiable_reward_baseline "
                    "scalar"
                )


def scheduled_coef(settings: AdvantageSettings, progress: float) -> float:
    """The weight of the process rewards when the share `progress` of the run is done, in [0, 1].

    Example: the schedule linear from 1 to 0 gives 0.75 at progress 0.25.
    """
    assert 0 <= progress <= 1
    start, end = settings.process_reward_coef, settings.process_reward_final_coef
    if settings.process_reward_schedule == "constant":
        return start
    linear = settings.process_reward_schedule == "linear"
    done = progress if linear else (1 - math.cos(math.pi * progress)) / 2
    return start + (end - start) * done
