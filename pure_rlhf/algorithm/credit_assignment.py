"""Turns step rewards into credit per step (stage 3): what one answer is worth, and who is to blame.

Every method is written so that the plain sum of the credits from a step on is the return of that
step. The sum of all of them is then the value of the answer, and later stages need not know the
method. `softmin` is equation 5 of the paper (arXiv 2504.15275); `min` is the return G_t that it
approximates; `sum` and `gamma_decay` are what the paper argues against; `mean` is what the public
option `disable_weighted_reward` computes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pure_rlhf.algorithm.advantage_settings import CREDIT_ASSIGNMENTS, find_credit_problems

__all__ = ["CREDIT_ASSIGNMENTS", "assign_credit"]


def assign_credit(
    step_rewards_BS: Tensor,
    step_mask_BS: Tensor,
    *,
    method: str,
    temperature: float = 0.1,
    gamma: float = 1.0,
) -> Tensor:
    """Returns the credit of each step, float32, 0 where the step does not exist.

    With r_1..r_n the rewards of an answer, the credit of step k is

    * `softmin`: softmax(-r / T)_k * r_k. Its sum goes to min(r) as T -> 0, to mean(r) as T -> inf.
    * `min`: r_w at the (first) worst step w, 0 elsewhere, so that the return is min(r) up to the
      worst step and 0 after it.
    * `sum`: r_k.
    * `gamma_decay`: G_k - G_{k+1} with G_k = sum over j >= k of gamma^(j-k) r_j.
    * `mean`: r_k / n.

    Example: rewards [0.8, -0.4] give, by softmin with T = 0.1, [4.9e-06, -0.3999975]; by min,
    [0, -0.4]; by sum, themselves; by gamma_decay with gamma = 0.5, [0.6 + 0.4, -0.4]; by mean,
    [0.4, -0.2].

    Args:
        step_rewards_BS: rewards, in [-1, 1] for a PRM; anything where the step does not exist.
        step_mask_BS: true where the step exists.
        temperature: T > 0 of `softmin`, in units of the rewards.
        gamma: discount per step of `gamma_decay`, in (0, 1].

    Raises:
        ValueError: unknown method, T or gamma out of range, or a reward of an existing step that is
            not finite (its answers are named).
    """
    problems = find_credit_problems(method=method, temperature=temperature, gamma=gamma)
    if problems:
        raise ValueError("; ".join(problems))
    rewards_BS = _finite_rewards(step_rewards_BS, step_mask_BS)
    if method == "softmin":
        return _softmin(rewards_BS, step_mask_BS, temperature)
    if method == "min":
        return _worst_step_only(rewards_BS, step_mask_BS)
    if method == "gamma_decay":
        return _gamma_decay(rewards_BS, gamma)
    if method == "mean":
        return rewards_BS / step_mask_BS.sum(dim=1, keepdim=True).clamp(min=1)
    return rewards_BS


def _finite_rewards(step_rewards_BS: Tensor, step_mask_BS: Tensor) -> Tensor:
    """Returns the rewards in float32 with 0 where the step does not exist."""
    rewards_BS = step_rewards_BS.float().masked_fill(~step_mask_BS, 0.0)
    bad_rows = (~rewards_BS.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if bad_rows:
        raise ValueError(
            f"step rewards must be finite, but the PRM gave NaN or infinity for the answers "
            f"{bad_rows} of {len(rewards_BS)}; check the PRM checkpoint and its number format"
        )
    return rewards_BS


def _softmin(rewards_BS: Tensor, step_mask_BS: Tensor, temperature: float) -> Tensor:
    logits_BS = (-rewards_BS / temperature).masked_fill(~step_mask_BS, -torch.inf)
    # A row without any step is all -inf and its softmax NaN; the mask makes it 0.
    return (logits_BS.softmax(dim=1) * rewards_BS).masked_fill(~step_mask_BS, 0.0)


def _worst_step_only(rewards_BS: Tensor, step_mask_BS: Tensor) -> Tensor:
    # argmin returns the first of equal minima.
    worst_B1 = rewards_BS.masked_fill(~step_mask_BS, torch.inf).argmin(dim=1, keepdim=True)
    return torch.zeros_like(rewards_BS).scatter(1, worst_B1, rewards_BS.gather(1, worst_B1))


def _gamma_decay(rewards_BS: Tensor, gamma: float) -> Tensor:
    # G_k - G_{k+1} = r_k - (1 - gamma) G_{k+1}: no difference of two large numbers.
    credit_BS = rewards_BS.clone()
    return_B = torch.zeros_like(rewards_BS[:, 0])
    for step in reversed(range(rewards_BS.shape[1])):
        credit_BS[:, step] -= (1 - gamma) * return_B
        return_B = rewards_BS[:, step] + gamma * return_B
    return credit_BS
