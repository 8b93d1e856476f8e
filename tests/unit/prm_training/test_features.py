"""Kept outputs of the frozen backbone: each distinct one once, and the same head at the end as the plain way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from prm_training import train_prm as train_prm_module
from prm_training.data import PadCollator, PrmDataset
from prm_training.evaluation import predict_from_features, predict_step_rewards
from prm_training.features import compute_features, memory_verdict, plan_features
from prm_training.selection import IGNORED, StepLabelledRow
from prm_training.settings import training_arguments
from prm_training.train_prm import train_prm
from tests.conftest import RandomWorld
from tests.unit.prm_training.test_train_prm import rows_file, settings_for

__all__ = ["rows_file"]  # the fixture

ROWS = [
    StepLabelledRow("1+1?", ["So 2", "Then 3"], [1, 0]),
    StepLabelledRow("1+1?", ["So 2", "First 2", "Done"], [IGNORED, IGNORED, 1]),
    StepLabelledRow("1+1?", ["So 2"], [0]),
    StepLabelledRow("2+1?", ["So 2"], [1]),
]


def test_shared_prefixes_are_computed_once(world: RandomWorld) -> None:
    dataset = PrmDataset(ROWS, AutoTokenizer.from_pretrained(world.policy), "\n")
    plan = plan_features(dataset)
    # labelled: "Done"; "So 2" of the first problem and "Then 3"; "So 2" of the second. Row 3 need not be run.
    assert plan.num_slots == 4
    assert [row for row, _, _ in plan.runs] == [1, 0, 3]
    assert plan.slots == [[1, 2], [0], [1], [3]] and plan.labels == [[1, 0], [1], [0], [1]]
    assert plan.num_bytes(64, torch.bfloat16) == 4 * 64 * 2


def test_features_give_the_rewards_of_the_whole_model(world: RandomWorld, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.prm)
    model = AutoModelForTokenClassification.from_pretrained(world.prm, dtype=torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        model.score.weight.normal_(std=0.05)
    dataset = PrmDataset(ROWS, tokenizer, "\n")
    collator = PadCollator(tokenizer.pad_token_id)
    arguments = training_arguments(settings_for(1, world.prm, tmp_path, tmp_path))
    kept = compute_features(model, dataset, plan_features(dataset), collator, arguments, "rows")
    rewards, labels = predict_from_features(model.score, kept)
    expected, expected_labels = predict_step_rewards(model, dataset, collator)
    found = sorted(zip(labels.tolist(), rewards.tolist(), strict=True))
    wanted = sorted(zip(expected_labels.tolist(), expected.tolist(), strict=True))
    assert [label for label, _ in found] == [label for label, _ in wanted]
    assert [r for _, r in found] == pytest.approx([r for _, r in wanted], abs=1e-6)
    assert len({round(r, 4) for r in rewards.tolist()}) == 4


@pytest.mark.parametrize("grouping", [True, False])
def test_the_head_is_that_of_the_plain_way(
    grouping: bool, world: RandomWorld, rows_file: Path, tmp_path: Path
) -> None:
    """96 rows, batches of 20 in passes of 5, so that the last batch of an epoch is small; 3 epochs."""
    scores = []
    for name, cached in (("plain", False), ("cached", True)):
        settings = settings_for(
            1,
            world.policy,
            rows_file,
            tmp_path / name,
            learning_rate=1e-2,
            epochs=3.0,
            micro_batch_size=5,
            global_batch_size=20,
            length_grouping=grouping,
            cache_features=cached,
        )
        report = train_prm(settings)
        model = AutoModelForTokenClassification.from_pretrained(
            tmp_path / name, dtype=torch.float32
        )
        scores.append((model.score.weight, model.score.bias, report))
    (plain, plain_bias, plain_report), (cached, cached_bias, cached_report) = scores
    torch.testing.assert_close(cached, plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(cached_bias, plain_bias, atol=1e-5, rtol=0)
    assert plain_report["optimizer_steps"] == cached_report["optimizer_steps"] == 15
    assert cached_report["train_loss"] == pytest.approx(plain_report["train_loss"], abs=1e-5)
    assert cached_report["auc"] == pytest.approx(plain_report["auc"], abs=1e-4)
    steps = [entry["step"] for entry in plain_report["during_training"]]
    assert steps == [entry["step"] for entry in cached_report["during_training"]] == [4, 8, 12, 15]


def test_too_large_a_table_falls_back(
    world: RandomWorld,
    rows_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fits, sentence = memory_verdict(2**50)
    assert not fits and "1048576.00 GiB" in sentence and "in every epoch" in sentence
    assert memory_verdict(2**20)[0]
    monkeypatch.setattr("prm_training.features.MAX_MEMORY_FRAC", 0.0)

    def refuse(*_: object) -> None:
        raise AssertionError("nothing may be kept")

    monkeypatch.setattr(train_prm_module, "compute_features", refuse)
    train_prm(settings_for(1, world.policy, rows_file, tmp_path, epochs=0.5))
    assert "too much, so the backbone runs in every epoch" in capsys.readouterr().out
