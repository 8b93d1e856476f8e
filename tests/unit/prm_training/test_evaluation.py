"""Rewards on a held-out split, and the picture of their calibration."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from prm_training.data import PadCollator, PrmDataset
from prm_training.evaluation import predict_step_rewards, save_calibration_plot
from prm_training.selection import StepLabelledRow
from pure_rlhf.prm.quality import step_metrics
from tests.conftest import RandomWorld


def test_calibration_picture(tmp_path: Path) -> None:
    from PIL import Image

    metrics = step_metrics(torch.linspace(-1, 1, 50), (torch.arange(50) > 20).long())
    save_calibration_plot(metrics, tmp_path / "calibration.png")
    with Image.open(tmp_path / "calibration.png") as picture:
        assert picture.width >= 400 and len(picture.convert("RGB").getcolors(1 << 20) or ()) > 3


def test_rewards_of_a_batch_are_those_of_single_rows(world: RandomWorld) -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.prm)
    model = AutoModelForTokenClassification.from_pretrained(world.prm, dtype=torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        model.score.weight.normal_(std=0.05)  # rewards that differ, and are not saturated
    rows = [
        StepLabelledRow("What is 1 + 8?", ["We add", "9"], [1, 0]),
        StepLabelledRow("What is 2 + 9?", ["11"], [1]),
    ]
    dataset = PrmDataset(rows, tokenizer, "\n")
    rewards, labels = predict_step_rewards(model, dataset, PadCollator(tokenizer.pad_token_id))
    expected = []
    for example, row in zip(dataset.examples, rows, strict=True):
        ends = [i for i, label in enumerate(example["labels"]) if label >= 0]
        with torch.no_grad():
            logits = model(torch.tensor([example["input_ids"]])).logits[0, ends]
        difference = logits.softmax(-1)[:, 1] - logits.softmax(-1)[:, 0]
        expected.append((row.labels, difference.tolist()))
    # rows may be visited in another order: compare as sets of (label, reward)
    pairs = sorted(zip(labels.tolist(), rewards.tolist(), strict=True))
    wanted = sorted(
        (label, reward)
        for row_labels, values in expected
        for label, reward in zip(row_labels, values, strict=True)
    )
    assert [label for label, _ in pairs] == [label for label, _ in wanted]
    assert [r for _, r in pairs] == pytest.approx([r for _, r in wanted], abs=1e-5)
    assert len({round(reward, 3) for _, reward in pairs}) == 3
