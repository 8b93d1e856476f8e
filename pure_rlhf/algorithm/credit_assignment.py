"""Step rewards to credit per step (stage 3): what each step of a response is worth.

Every method is written so that the plain sum of the credits from a step on is the return of that
step. The sum of all of them is then the value of the response, and later stages need not know the
method. `softmin` is equation 5 of the paper (arXiv 2504.15275); `min` is the return G_t that it
approximates; `sum` and `gamma_decay` are what the paper argues against; `mean` is what the public
option `disable_weighted_reward` computes; `log_sum_exp` is softmin with a value that rises with every reward (ours).

A method is one registered function; its settings stand in `CreditSettings` below. A function of your own is
registered from outside by naming it: `--credit_assignment my_file.py:my_function` (CONTRIBUTING has the recipe).
Torch is not imported here, so that the command line can be made of the settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pure_rlhf.bounds import Bounds
from pure_rlhf.user_function import load_user_function

if TYPE_CHECKING:
    from torch import Tensor

CreditAssignment = Callable[["Tensor", "Tensor", "CreditSettings"], "Tensor"]
"""From the rewards of the steps, float32 `(B, S)` and 0 where there is no step, the mask of the steps, bool `(B, S)`,
and the settings: the credit of each step, `(B, S)`."""

CREDIT_ASSIGNMENTS: dict[str, CreditAssignment] = {}


def credit_assignment(name: str) -> Callable[[CreditAssignment], CreditAssignment]:
    """Register a function as `--credit_assignment NAME`."""

    def register(function: CreditAssignment) -> CreditAssignment:
        assert name not in CREDIT_ASSIGNMENTS, name
        CREDIT_ASSIGNMENTS[name] = function
        return function

    return register


@dataclass(frozen=True, kw_only=True)
class CreditSettings:
    """How step rewards become credit."""

    credit_assignment: str = "softmin"
    """How step rewards become credit: softmin is PURE's min-form; sum and gamma_decay are what it argues against; also
    min, mean, log_sum_exp, or FILE.py:FUNCTION for one of your own."""
    credit_temperature: Annotated[
        float,
        Bounds(
            above=0,
            remedy="softmax(-r/T) is undefined; use a small positive value, or --credit_assignment min",
        ),
    ] = 0.1
    """Temperature T of softmin and log_sum_exp, in units of the rewards; -> 0 is min."""
    credit_gamma: Annotated[
        float, Bounds(above=0, high=1, remedy="1 makes gamma_decay the plain sum")
    ] = 1.0
    """Discount per step of gamma_decay."""


@credit_assignment("softmin")
def _softmin(rewards_BS: Tensor, mask_BS: Tensor, settings: CreditSettings) -> Tensor:
    """softmax(-r / T)_k * r_k. Its sum goes to min(r) as T -> 0, to mean(r) as T -> inf."""
    logits_BS = (-rewards_BS / settings.credit_temperature).masked_fill(~mask_BS, -math.inf)
    return (
        logits_BS.softmax(dim=1) * rewards_BS
    )  # a row without any step is all -inf, its softmax NaN


@credit_assignment("min")
def _worst_step_only(rewards_BS: Tensor, mask_BS: Tensor, settings: CreditSettings) -> Tensor:
    """r_w at the (first) worst step w, 0 elsewhere, so that the return is min(r) up to w and 0 after it."""
    # argmin returns the first of equal minima.
    worst_B1 = rewards_BS.masked_fill(~mask_BS, math.inf).argmin(dim=1, keepdim=True)
    return rewards_BS.new_zeros(rewards_BS.shape).scatter(
        1, worst_B1, rewards_BS.gather(1, worst_B1)
    )


@credit_assignment("sum")
def _sum(rewards_BS: Tensor, mask_BS: Tensor, settings: CreditSettings) -> Tensor:
    """r_k."""
    return rewards_BS


@credit_assignment("gamma_decay")
def _gamma_decay(rewards_BS: Tensor, mask_BS: Tensor, settings: CreditSettings) -> Tensor:
    """G_k - G_{k+1} with G_k = sum over j >= k of gamma^(j-k) r_j."""
    # G_k - G_{k+1} = r_k - (1 - gamma) G_{k+1}: no difference of two large numbers.
    gamma = settings.credit_gamma
    credit_BS = rewards_BS.clone()
    return_B = rewards_BS.new_zeros(len(rewards_BS))
    for step in reversed(range(rewards_BS.shape[1])):
        credit_BS[:, step] -= (1 - gamma) * return_B
        return_B = rewards_BS[:, step] + gamma * return_B
    return credit_BS


@credit_assignment("mean")
def _mean(rewards_BS: Tensor, mask_BS: Tensor, settings: CreditSettings) -> Tensor:
    """r_k / n."""
    return rewards_BS / mask_BS.sum(dim=1, keepdim=True).clamp(min=1)


def log_sum_exp_minimum(rewards_BS: Tensor, mask_BS: Tensor, *, temperature: float) -> Tensor:
    """Returns V = -T log((1/n) sum_k exp(-r_k / T)), `(B,)`: between min r (T -> 0) and mean r (T -> infinity).

    Its gradient is softmax(-r/T): V rises with every reward, which the sum of softmin's credits does not.

    Args:
        rewards_BS: float32; anything where there is no step. mask_BS: true where there is one; a row without any
            gives NaN.

    Example: rewards 0.9 -0.2 0.6 with T = 0.1 give -0.090174 (softmin: -0.199713).
    """
    # From the worst reward on, with expm1: log n - log n would round, and T may be large. V does not depend on
    # where it is taken from, so the gradient need not go through the worst reward.
    worst_B1 = rewards_BS.masked_fill(~mask_BS, math.inf).amin(dim=1, keepdim=True).detach()
    scaled_BS = ((worst_B1 - rewards_BS) / temperature).masked_fill(~mask_BS, 0.0)
    mean_B = scaled_BS.expm1().sum(dim=1) / mask_BS.sum(dim=1)
    return worst_B1.squeeze(1) - temperature * mean_B.log1p()


@credit_assignment("log_sum_exp")
def _log_sum_exp(rewards_BS: Tensor, mask_BS: Tensor, settings: CreditSettings) -> Tensor:
    """softmax(-r / T)_k * V: softmin's weights share out a value that keeps the order of the responses."""
    # w_k (r_k + T log(n w_k)) = w_k V: each step earns its reward and what its weight is above 1 / n.
    logits_BS = (-rewards_BS / settings.credit_temperature).masked_fill(~mask_BS, -math.inf)
    value_B = log_sum_exp_minimum(rewards_BS, mask_BS, temperature=settings.credit_temperature)
    return logits_BS.softmax(dim=1) * value_B[:, None]


def find_credit_assignment(name: str) -> CreditAssignment:
    """The registered function of that name, or the one of the user's file that `FILE.py:FUNCTION` names.

    Raises:
        ValueError: there is no such function; with the registered names.
    """
    if name in CREDIT_ASSIGNMENTS:
        return CREDIT_ASSIGNMENTS[name]
    if ".py:" in name:
        return load_user_function("--credit_assignment", name)
    raise ValueError(
        f"--credit_assignment {name}: must be one of {', '.join(CREDIT_ASSIGNMENTS)}, or FILE.py:FUNCTION"
    )


def assign_credit(
    step_rewards_BS: Tensor, step_mask_BS: Tensor, settings: CreditSettings
) -> Tensor:
    """Returns the credit of each step, float32, 0 where the step does not exist.

    Example: rewards [0.8, -0.4] give, by softmin with T = 0.1, [4.9e-06, -0.3999975]; by min,
    [0, -0.4]; by sum, themselves; by gamma_decay with gamma = 0.5, [0.6 + 0.4, -0.4]; by mean,
    [0.4, -0.2]; by log_sum_exp, [-2.0e-06, -0.330684].

    Args:
        step_rewards_BS: rewards, in [-1, 1] for a PRM; anything where the step does not exist.
        step_mask_BS: true where the step exists.
        settings: in range (`settings.find_setting_problems`).

    Raises:
        ValueError: there is no such method; a reward of an existing step is not finite (its responses are named);
            a function of the user's gave another shape, or credit that is not finite.
    """
    assign = find_credit_assignment(settings.credit_assignment)
    rewards_BS = _finite_rewards(step_rewards_BS, step_mask_BS)
    credit_BS = assign(rewards_BS, step_mask_BS, settings)
    if credit_BS.shape != rewards_BS.shape:
        raise ValueError(
            f"--credit_assignment {settings.credit_assignment}: must return the credit of each step, of shape "
            f"{tuple(rewards_BS.shape)}; got {tuple(credit_BS.shape)}"
        )
    credit_BS = credit_BS.float().masked_fill(~step_mask_BS, 0.0)
    if not credit_BS.isfinite().all():
        raise ValueError(
            f"--credit_assignment {settings.credit_assignment}: gave NaN or infinity for rewards that are finite"
        )
    return credit_BS


def _finite_rewards(step_rewards_BS: Tensor, step_mask_BS: Tensor) -> Tensor:
    """Returns the rewards in float32 with 0 where the step does not exist."""
    rewards_BS = step_rewards_BS.float().masked_fill(~step_mask_BS, 0.0)
    bad_rows = (~rewards_BS.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if bad_rows:
        raise ValueError(
            f"step rewards must be finite, but the PRM gave NaN or infinity for the responses "
            f"{bad_rows} of {len(rewards_BS)}; check the PRM checkpoint and its number format"
        )
    return rewards_BS
