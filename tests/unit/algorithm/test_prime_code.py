"""PRIME's own functions beside ours on 1,000 random batches, where its code is at hand.

    git clone https://github.com/PRIME-RL/PRIME && PURE_PRIME_CODE=PRIME bash tests/run.sh --slow tests/unit/algorithm

Its modules load half of verl, so the functions are cut out of the source files and run by themselves; nothing of them
is copied here. The normalisation stands in the middle of `update_policy`, and is cut out as a statement.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pure_rlhf.algorithm.advantages import compute_advantages
from pure_rlhf.algorithm.implicit_reward import implicit_rewards
from pure_rlhf.algorithm.prm_losses import (
    implicit_outcome_logits,
    outcome_loss,
    outcome_weights,
    pair_accuracy,
)
from pure_rlhf.algorithm.settings import AdvantageSettings, convention_settings
from pure_rlhf.algorithm.step_segmentation import response_spans, token_spans
from tests.unit.algorithm.six_answers import lay_out, place

NUM_BATCHES = 1000
BETA = 0.05
PROMPT_TOKENS = 2

pytestmark = pytest.mark.slow


class PublicCode:
    """The functions of a checkout, by name, and its normalisation."""

    def __init__(self, training: Path) -> None:
        torch_functional = self._functions(training / "verl/utils/torch_functional.py", {})
        self.core: dict[str, Any] = self._functions(
            training / "verl/trainer/ppo/core_algos.py",
            {
                "verl_F": SimpleNamespace(**torch_functional),
                "verl": SimpleNamespace(DataProto=None),
            },
        )
        source = training / "verl/workers/actor/dp_prime.py"
        nodes = list(ast.walk(ast.parse(source.read_text(encoding="utf-8"))))
        wanted: list[ast.stmt] = [
            n
            for n in nodes
            if isinstance(n, ast.FunctionDef) and n.name == "compute_implicit_reward"
        ]
        names: dict[str, Any] = {"torch": torch}
        exec(compile(ast.Module(wanted, []), str(source), "exec"), names)
        self._reward = names["compute_implicit_reward"]
        (norm,) = (
            n for n in nodes if isinstance(n, ast.If) and "prime_norm" in ast.unparse(n.test)
        )
        self._norm = compile(ast.Module([norm], []), str(source), "exec")

    @staticmethod
    def _functions(source: Path, names: dict[str, Any]) -> dict[str, Any]:
        wanted = ("compute_rloo_returns", "compute_ce_dpo_loss_rm", "compute_dpo_accuracy")
        wanted += ("masked_mean", "masked_var", "masked_whiten")
        tree = ast.parse(source.read_text(encoding="utf-8"))
        found: list[ast.stmt] = [
            n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in wanted
        ]
        names = {"torch": torch, **names}
        exec(compile(ast.Module(found, []), str(source), "exec"), names)
        return {name: names[name] for name in wanted if name in names}

    def rewards(self, q: Tensor, mask: Tensor, granularity: str) -> Tensor:
        """Normalised token scores, as its worker returns them."""
        config = SimpleNamespace(prime_granularity=granularity, prime_norm="batch_norm")
        worker = SimpleNamespace(config=config)
        batch = {"responses": mask, "attention_mask": mask, "input_ids": mask}
        scores, _ = self._reward(worker, batch, q, torch.zeros_like(q))
        names = {"torch": torch, "self": worker, "token_level_scores": scores}
        exec(self._norm, names)
        return names["token_level_scores"]

    def advantages(self, rewards: Tensor, outcome_B: Tensor, mask: Tensor, group: int) -> Any:
        prompts = torch.ones(len(mask), PROMPT_TOKENS, dtype=torch.long)
        outcomes = torch.zeros_like(rewards)
        outcomes[torch.arange(len(mask)), mask.sum(1) - 1] = outcome_B
        batch = {
            "responses": mask,
            "prompts": prompts,
            "attention_mask": torch.cat([prompts, mask], 1),
            "rm_scores": rewards,
            "gt_scores": outcomes,
        }
        gammas = SimpleNamespace(reward_model_gamma=1.0, verifier_gamma=1.0)
        config = SimpleNamespace(algorithm=SimpleNamespace(adv_params=gammas))
        return self.core["compute_rloo_returns"](SimpleNamespace(batch=batch), mask, group, config)


@pytest.fixture(scope="module")
def public() -> PublicCode:
    checkout = os.environ.get("PURE_PRIME_CODE")
    if not checkout:
        pytest.skip("set PURE_PRIME_CODE to a checkout of github.com/PRIME-RL/PRIME")
    return PublicCode(Path(checkout) / "training")


class RandomBatch:
    """One to four prompts, two to five responses each, of 1 to 12 tokens; outcomes 0, 1 or a share of tests."""

    def __init__(self, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.group_size = int(torch.randint(2, 6, (1,), generator=draw))
        num_responses = self.group_size * int(torch.randint(1, 5, (1,), generator=draw))
        lengths = torch.randint(1, 13, (num_responses,), generator=draw).tolist()
        lengths[0] += 1  # the public whitening refuses a batch of one token
        scale = 10.0 ** float(torch.randint(-2, 2, (1,), generator=draw))
        q = [(scale * torch.randn(length, generator=draw)).tolist() for length in lengths]
        if seed % 3:
            self.outcome_B = torch.randint(0, 2, (num_responses,), generator=draw).float()
        else:
            self.outcome_B = torch.randint(0, 11, (num_responses,), generator=draw) / 10
        responses = [[5] * (length - 1) + [1] for length in lengths]
        self.steps, self.action_mask = lay_out(responses, [PROMPT_TOKENS] * num_responses)
        self.q_BA = place(q, self.action_mask)

    def response_part(self, values_BA: Tensor) -> Tensor:
        """What the public code holds: the responses, without the prompts."""
        return values_BA[:, PROMPT_TOKENS - 1 :]


def largest(difference: Tensor) -> float:
    return difference.abs().max().item()


def test_rewards_returns_and_advantages(public: PublicCode) -> None:
    worst = {"rewards": 0.0, "returns": 0.0, "advantages": 0.0}
    for seed in range(NUM_BATCHES):
        batch = RandomBatch(seed)
        mask = batch.response_part(batch.action_mask).long()
        spans = token_spans(batch.steps, batch.action_mask)
        rewards_BS = implicit_rewards(batch.q_BA, spans, beta=BETA).rewards_BS
        theirs = public.rewards(batch.response_part(batch.q_BA), mask, "token")
        worst["rewards"] = max(
            worst["rewards"], largest(theirs[:, : rewards_BS.shape[1]] - rewards_BS)
        )

        found = compute_advantages(
            AdvantageSettings(
                **{**convention_settings("prime"), "advantage_estimator": "reinforce_baseline"}
            ),
            group_size=batch.group_size,
            max_response_tokens=16,
            kl_coef=0.0,
            step_rewards_BS=rewards_BS,
            steps=spans,
            verifiable_reward_B=batch.outcome_B,
            kl_BA=None,
            action_mask_BA=batch.action_mask,
        )
        advantages, returns = public.advantages(theirs, batch.outcome_B, mask, batch.group_size)
        factor = batch.group_size / (batch.group_size - 1)
        returns_BA = batch.response_part(found.returns_BA) * factor
        advantages_BA = batch.response_part(found.advantages_BA)
        worst["returns"] = max(worst["returns"], largest((returns_BA - returns) * mask))
        worst["advantages"] = max(worst["advantages"], largest((advantages_BA - advantages) * mask))
    assert worst["rewards"] < 1e-6 and worst["returns"] < 1e-5, worst
    assert worst["advantages"] < 1e-4, worst


def test_one_reward_a_response(public: PublicCode) -> None:
    worst = 0.0
    for seed in range(NUM_BATCHES):
        batch = RandomBatch(seed)
        mask = batch.response_part(batch.action_mask).long()
        spans = response_spans(batch.steps, batch.action_mask)
        rewards_B = implicit_rewards(batch.q_BA, spans, beta=BETA).rewards_BS.flatten()
        theirs = public.rewards(batch.response_part(batch.q_BA), mask, "whole")
        worst = max(worst, largest(theirs.sum(1) - rewards_B))
    assert worst < 1e-6, worst


def test_loss_its_gradient_and_pair_accuracy(public: PublicCode) -> None:
    worst = {"loss": 0.0, "gradient": 0.0, "pairs": 0.0}
    for seed in range(NUM_BATCHES):
        batch = RandomBatch(seed)
        mask = batch.response_part(batch.action_mask).long()
        ours_q = batch.q_BA.clone().requires_grad_()
        loss = outcome_loss(
            implicit_outcome_logits(ours_q, beta=BETA),
            batch.outcome_B,
            outcome_weights(batch.outcome_B),
        )
        loss.backward()
        their_q = batch.response_part(batch.q_BA).clone().requires_grad_()
        their_loss = public.core["compute_ce_dpo_loss_rm"](their_q, batch.outcome_B, mask, BETA)
        their_loss.backward()
        assert ours_q.grad is not None and their_q.grad is not None
        worst["loss"] = max(worst["loss"], abs(loss.item() - their_loss.item()))
        gradient = batch.response_part(ours_q.grad) * mask
        worst["gradient"] = max(worst["gradient"], largest(gradient - their_q.grad))

        ours = pair_accuracy(batch.q_BA.sum(1), batch.outcome_B, group_size=batch.group_size)
        pairs = public.core["compute_dpo_accuracy"](
            their_q.detach(), batch.outcome_B, mask, batch.group_size
        )
        worst["pairs"] = max(worst["pairs"], abs(ours - pairs.item()))
    assert max(worst.values()) < 1e-5, worst
