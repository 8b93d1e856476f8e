"""Axis legend, index convention, and the records that travel between the stages.

Axes (suffixes of tensor names in `pure_rlhf/algorithm/`):
    B  answers (rollouts); the answers to one prompt are contiguous
    G  answers per prompt
    P  prompts, B = P * G
    T  tokens of prompt + answer, right-padded
    A  action positions, A = T - 1
    S  steps of an answer, right-padded
    U  tokens of a PRM input

Index convention (the same as OpenRLHF's `Experience`): `action_mask_BA` is the answer mask of
`sequences_BT[:, 1:]`. Action index `a` is the prediction of token `a + 1`, so a step whose last
token stands at sequence position `t` pays out at action index `t - 1`.

This module does not load torch, so that the configuration can use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Completion:
    """One answer: its token ids (with EOS where it was sampled) and their engine log-probabilities.

    `prompt_index` says whose answer it is: the prompt itself does not cross the wire a second time.
    """

    prompt_index: int
    token_ids: list[int]
    log_probs: list[float]
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class StepSpans:
    """Where the steps of each answer end, in action positions.

    Example: an answer of 7 tokens whose third token is a separator and whose last is EOS, after a
    prompt of 4 tokens (so its action indices are 3..9): `end_BS = [[5, 9]]`,
    `content_tokens_BS = [[2, 3]]`.
    """

    end_BS: Tensor  # int64; action index of the last token of each step; 0 where mask_BS is False
    mask_BS: Tensor  # bool; True where the step exists
    content_tokens_BS: Tensor  # int64; tokens of the step without its terminator (separator or EOS)
    truncated_B: Tensor  # bool; True where the last token is neither EOS nor a separator


@dataclass(frozen=True, kw_only=True)
class PrmInputs:
    """What the PRM reads: one row per answer, right-padded."""

    input_ids_BU: Tensor  # int64
    attention_mask_BU: Tensor  # int64, 1 = real token
    read_index_BS: Tensor  # int64; position whose logits score the step; 0 where there is none


@dataclass(frozen=True, kw_only=True)
class AdvantageSettings:
    """How rewards become advantages. The defaults are those of `--convention openrlhf`.

    `docs/conventions.md` explains each choice; `convention_settings` gives the two published sets;
    `algorithm.advantage_settings.find_setting_problems` names what is out of range or at odds.
    """

    group_size: int
    """G, answers per prompt; at least 2."""
    reward_mode: Literal["PRM", "VR", "PRMVR"] = "PRMVR"
    credit_assignment: Literal["softmin", "min", "sum", "gamma_decay", "mean"] = "softmin"
    credit_temperature: float = 0.1
    """T of softmin, > 0."""
    credit_gamma: float = 1.0
    """Discount per step of gamma_decay, in (0, 1]."""
    process_reward_coef: float = 1.0
    """Factor of the process rewards. The verl version uses 0.5."""
    process_reward_gate: Literal["all", "not_wrong"] = "all"
    """not_wrong: answers that the verifier calls wrong earn no process reward, neither good nor bad."""
    verifiable_reward_coef: float = 1.0
    """Factor of the verifiable reward."""
    verifiable_reward_range: Literal["minus_one_zero", "zero_one", "minus_one_one"] = (
        "minus_one_zero"
    )
    """What a wrong and a right answer earn."""
    verifiable_reward_baseline: Literal["scalar", "shared"] = "scalar"
    """scalar: centred in the group by itself (OpenRLHF version, and the paper's text); shared: it
    has the baseline of the process rewards (verl version)."""
    estimator: Literal["rloo", "reinforce_baseline", "group_norm"] = "rloo"
    """rloo: the baseline comes from the other answers of the group; reinforce_baseline: from all of
    them; group_norm: token returns minus their mean over the group, divided by their std."""
    reward_baseline: Literal["token", "step", "return", "none"] = "token"
    """What is subtracted; see `baselines.py`. group_norm subtracts the mean return of the group, so
    it refuses token and step, and takes "return" and "none" for the same."""
    baseline_length: int | None = None
    """N of the `return` baseline and of the length penalty: the longest answer that is allowed, in tokens."""
    length_penalty_coef: float = 0.0
    """Factor of the length penalty, >= 0; 0 is none."""
    length_penalty_buffer: int = 0
    """Tokens before the length limit in which the penalty grows from 0 to its factor."""
    kl_coef: float = 0.001
    """beta, >= 0."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """Which estimate of the KL divergence per token to compute for `compute_advantages`."""
    kl_baselined: bool = False
    """Whether the KL penalty has the baseline of the rewards too (verl version)."""
    mask_separator: bool = True
    """Whether the advantage is 0 at separators and EOS."""
    normalize: bool = True
    """Whether advantages are whitened over all answer tokens of the batch."""
    normalization_variance: Literal["population", "sample"] = "population"
    """population: sum of squares / n, floored at 1e-8; sample: / (n - 1), plus 1e-8 (verl)."""


@dataclass(frozen=True, kw_only=True)
class Advantages:
    """What the policy update needs, and what the metrics are made of. All float32."""

    advantages_BA: Tensor  # final; 0 outside the answer
    returns_BA: Tensor  # sums of token_rewards_BA from each answer token to the end; else 0
    process_return_B: Tensor  # sum of the credit of the steps, before coefficient and baseline
    token_rewards_BA: Tensor  # credit, verifiable reward, KL penalty, token or step baseline


_CONVENTIONS: dict[str, dict[str, Any]] = {
    "openrlhf": {
        "process_reward_coef": 1.0,
        "verifiable_reward_range": "minus_one_zero",
        "verifiable_reward_baseline": "scalar",
        "reward_baseline": "token",
        "kl_estimator": "k1",
        "kl_baselined": False,
        "mask_separator": True,
        "normalize": True,
        "normalization_variance": "population",
    },
    "verl": {
        "process_reward_coef": 0.5,
        "verifiable_reward_range": "zero_one",
        "verifiable_reward_baseline": "shared",
        "reward_baseline": "return",
        "kl_estimator": "k3",
        "kl_baselined": True,
        "mask_separator": False,
        "normalize": True,
        "normalization_variance": "sample",
    },
}


def convention_settings(name: str) -> dict[str, Any]:
    """Returns the fields of `AdvantageSettings` that a preset sets, a fresh dictionary.

    The presets follow the two public versions of PURE: "openrlhf" and "verl". "verl" also needs
    `baseline_length`, which is the length limit of an answer and so not the preset's to say.

    Raises:
        ValueError: there is no such preset.
    """
    if name not in _CONVENTIONS:
        raise ValueError(f"the conventions are {', '.join(_CONVENTIONS)}, got {name!r}")
    return dict(_CONVENTIONS[name])
