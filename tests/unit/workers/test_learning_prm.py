"""The losses of the workers that learn, on the worked batches; one pass over the rows; what a step reports."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.algorithm.prm_losses import outcome_weights  # noqa: E402
from pure_rlhf.config import PureConfig, RolloutConfig  # noqa: E402
from pure_rlhf.prm.learning import PrmConfig  # noqa: E402
from pure_rlhf.types import ImplicitRows, PrmInputs, StepRows  # noqa: E402
from pure_rlhf.workers import launcher  # noqa: E402
from pure_rlhf.workers.learning_prm import (  # noqa: E402
    ImplicitPrmWorker,
    LearningPrm,
    LearningPrmWorker,
)
from tests.unit.algorithm.prime_batch import OUTCOMES, prime_batch  # noqa: E402

REFERENCE = -1.5


class Strategy:
    """DeepSpeed's part, written down."""

    ring_attn_group = None

    def __init__(self, grad_norm: float = 2.0) -> None:
        self.losses: list[float] = []
        self.steps = 0
        self.grad_norm = grad_norm

    def backward(self, loss: Tensor, *_: object) -> None:
        self.losses.append(loss.item())

    def optimizer_step(self, *_: object, name: str) -> None:
        self.steps += 1

    def get_grad_norm(self, model: nn.Module) -> float:
        return self.grad_norm

    def all_reduce(self, value: float) -> float:
        return value


def worker_of(worker_class: type[LearningPrm], model: nn.Module, **settings: Any) -> Any:
    worker: Any = object.__new__(worker_class)
    worker.config = PureConfig(**settings)
    worker.strategy, worker.model, worker.rows = Strategy(), model, []
    worker.optimizer = None
    worker.scheduler = SimpleNamespace(get_last_lr=lambda: [1e-6])
    return worker


class LanguageModel(nn.Module):
    """Says `REFERENCE + q` of the tokens of the rows that are asked for."""

    def __init__(self, q_BA: Tensor) -> None:
        super().__init__()
        self.q_BA = nn.Parameter(q_BA)

    def forward(self, sequences: Tensor, action_mask: Tensor, *_: Any, **__: Any) -> Tensor:
        rows = sequences[:, 0]
        return (self.q_BA[rows, : action_mask.shape[1]] + REFERENCE) * action_mask


def implicit_rows(chosen: list[int], weight_B: Tensor) -> ImplicitRows:
    """The first token of a sequence says whose it is."""
    _, action_mask, _ = prime_batch()
    sequences = torch.zeros(4, action_mask.shape[1] + 1, dtype=torch.int64)
    sequences[:, 0] = torch.arange(4)
    return ImplicitRows(
        sequences_BT=sequences[chosen],
        attention_mask_BT=torch.ones_like(sequences)[chosen],
        action_mask_BA=action_mask[chosen].long(),
        reference_log_probs_BA=(REFERENCE * action_mask)[chosen],
        outcome_B=torch.tensor(OUTCOMES)[chosen],
        weight_B=weight_B[chosen],
    )


def test_the_loss_of_an_implicit_prm_and_its_gradient() -> None:
    _, action_mask, q = prime_batch()
    model = LanguageModel(q)
    worker = worker_of(ImplicitPrmWorker, model)
    loss = worker._loss(implicit_rows([0, 1, 2, 3], outcome_weights(torch.tensor(OUTCOMES))))
    assert loss.item() == pytest.approx(0.685462, abs=1e-6)
    loss.backward()
    # beta (sigma(beta S) - a) / K, at each token of the response
    expected = torch.tensor([-0.006156, 0.006156, -0.006141, 0.006352])[:, None] * action_mask
    torch.testing.assert_close(model.q_BA.grad, expected, atol=1e-6, rtol=0)


def test_micro_batches_of_two_ranks_add_up_to_the_loss_of_the_batch() -> None:
    """One labelled response in the first, two in the other: the mean over the three, wherever they fall."""
    _, _, q = prime_batch()
    outcome = torch.tensor([1.0, math.nan, 1.0, 0.0])
    weight = outcome_weights(outcome)
    worker = worker_of(ImplicitPrmWorker, LanguageModel(q))
    whole = worker._loss(implicit_rows([0, 1, 2, 3], weight)).item()
    parts = [worker._loss(implicit_rows(rows, weight)).item() for rows in ([0, 1], [2, 3])]
    assert sum(parts) / 2 == pytest.approx(whole, abs=1e-7)


class Classifier(nn.Module):
    """Gives (0, d) where it is read: `input_ids` are the places of the logits d."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        right = self.logits[input_ids]
        return SimpleNamespace(logits=torch.stack([torch.zeros_like(right), right], dim=-1))


# the worked batch of the classifier: step rewards r, outcomes a; d = 2 artanh(r)
REWARDS = [[0.9, -0.2, 0.6], [0.9, 0.8, 0.85], [0.95, 0.9, 0.9, 0.97], [0.3, -0.9]]
RIGHT = [1.0, 0.0, 1.0, 0.0]


def step_rows(labels_BS: Tensor | None = None) -> tuple[Classifier, StepRows]:
    logits = [2 * math.atanh(reward) for row in REWARDS for reward in row]
    width = max(map(len, REWARDS))
    ids, mask = torch.zeros(4, width, dtype=torch.int64), torch.zeros(4, width, dtype=torch.bool)
    place = 0
    for row, rewards in enumerate(REWARDS):
        ids[row, : len(rewards)] = torch.arange(place, place + len(rewards))
        mask[row, : len(rewards)] = True
        place += len(rewards)
    rows = StepRows(
        inputs=PrmInputs(
            input_ids_BU=ids,
            attention_mask_BU=mask.long(),
            read_index_BS=torch.arange(width).repeat(4, 1) * mask,
        ),
        mask_BS=mask,
        outcome_B=torch.tensor(RIGHT),
        labels_BS=labels_BS,
        weight_B=torch.ones(4),
    )
    return Classifier(logits), rows


def test_a_classifier_learns_from_outcomes_at_its_worst_step() -> None:
    model, rows = step_rows()
    worker = worker_of(LearningPrmWorker, model, prm_update="outcome")
    loss = worker._loss(rows)
    assert loss.item() == pytest.approx(1.087678, abs=2e-6)
    loss.backward()
    assert model.logits.grad is not None
    # d loss / d r = -0.58900 of the doubted step of a right answer, times dr / dd = (1 - 0.2^2) / 2
    assert model.logits.grad[1].item() == pytest.approx(-0.58900 * 0.48, abs=1e-5)


def test_a_classifier_learns_from_labels_of_steps() -> None:
    nan = math.nan
    labels = torch.tensor(
        [[1, 1, 1, nan], [nan, nan, 0, nan], [1, 1, 1, 1], [nan, 0, nan, nan]], dtype=torch.float32
    )
    model, rows = step_rows(labels)
    worker = worker_of(LearningPrmWorker, model, prm_update="last_step")
    weight = torch.full((4,), 4 / 9)  # of nine labels
    rows = StepRows(**{**vars(rows), "weight_B": weight})
    assert worker._loss(rows).item() == pytest.approx(0.441701, abs=2e-6)


def test_one_pass_over_what_was_appended() -> None:
    _, _, q = prime_batch()
    worker = worker_of(ImplicitPrmWorker, LanguageModel(q))
    assert worker.fit() == {}, "a step without a label"
    weight = torch.ones(4)
    for chosen in ([0, 1], [2, 3]):
        worker.append(implicit_rows(chosen, weight))
    reported = worker.fit()
    assert worker.strategy.steps == 2 and not worker.model.training
    assert reported["loss"] == pytest.approx(sum(worker.strategy.losses) / 2)
    assert (reported["grad_norm"], reported["learning_rate"]) == (2.0, 1e-6)
    assert worker.fit() == {}
    worker.append(implicit_rows([0], weight))
    worker.strategy.grad_norm = -1.0  # what DeepSpeed says of a norm of NaN
    assert math.isnan(worker.fit()["grad_norm"])


@pytest.mark.parametrize(
    ("settings", "worker"),
    [
        ({}, "PrmWorker"),
        ({"prm_update": "last_step"}, "LearningPrmWorker"),
        ({"process_reward": "implicit", "prm_update": "outcome"}, "ImplicitPrmWorker"),
        # a frozen one gives log-probabilities, as the reference does
        ({"process_reward": "implicit"}, "ReferenceWorker"),
    ],
)
def test_who_scores(settings: dict[str, Any], worker: str) -> None:
    assert launcher._prm_worker(PureConfig(**settings)).__name__ == worker


def test_optimiser_steps_of_the_run() -> None:
    config = PureConfig(
        max_steps=5,
        rollout=RolloutConfig(batch_size=64, n_samples_per_prompt=4),
        prm=PrmConfig(batch_size=64),
    )
    assert launcher._prm_update_steps(config, num_prompts=1000) == 5 * 256 // 64
