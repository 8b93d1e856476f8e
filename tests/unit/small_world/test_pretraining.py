"""Pretraining that is cut off goes on from its checkpoint to the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from examples.small_world import pretraining
from examples.small_world.pretraining import learning_rate_at, next_token_loss, pad_rows, pretrain
from examples.small_world.progress import Progress


class Cut(Exception):
    """Stands for a killed process."""


def train(folder: Path, cut_at: int | None = None, stop_after: int | None = None) -> nn.Linear:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def batch_loss(index: int) -> tuple[Tensor, str]:
        if index == cut_at:
            raise Cut
        inputs = torch.full((2, 3), float(index % 5))
        return model(inputs).pow(2).mean(), ""

    pretrain(
        model,
        batch_loss,
        num_batches=12,
        learning_rate=0.1,
        checkpoint=folder / "checkpoint",
        progress=Progress("test"),
        stop_after=stop_after,
    )
    return model


def test_a_cut_off_run_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "CHECKPOINT_EVERY", 4)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = train(tmp_path / "whole")
    with pytest.raises(Cut):
        train(tmp_path / "cut", cut_at=7)
    again = train(tmp_path / "cut")
    assert torch.equal(whole.weight, again.weight) and torch.equal(whole.bias, again.bias)
    # one that stops in between, and a second call that goes on
    (tmp_path / "halves").mkdir()
    train(tmp_path / "halves", stop_after=5)
    assert torch.equal(train(tmp_path / "halves").weight, whole.weight)
    # a finished one is only loaded
    assert torch.equal(train(tmp_path / "cut", cut_at=0).weight, whole.weight)


def test_the_loss_weighs_tokens_of_short_and_long_rows_alike() -> None:
    logits = torch.zeros(2, 4, 10)
    one = torch.tensor([[-100, 3, -100, -100], [-100, -100, -100, -100]])
    three = torch.tensor([[-100, 3, 3, 3], [-100, -100, -100, -100]])
    assert next_token_loss(logits, three) == pytest.approx(3 * next_token_loss(logits, one).item())


def test_rows_are_padded_on_the_right_to_few_widths() -> None:
    padded = pad_rows([[1, 2, 3], [4]], 9)
    assert padded.shape == (2, 16)
    assert padded[0, :4].tolist() == [1, 2, 3, 9] and padded[1, :2].tolist() == [4, 9]


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate_at(index, 100, 1.0) for index in range(100)]
    assert rates[0] < rates[4] and max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
