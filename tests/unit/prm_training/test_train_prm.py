"""Both stages on a small random model: what is trained, what is not, what is written, what is refused."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from prm_training.settings import PrmTrainingSettings, training_arguments
from prm_training.train_prm import load_prm, train_prm
from pure_rlhf.prm.scorer import PrmSample, PrmScorer
from tests.conftest import RandomWorld

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps that say "First" are right, those that say "So" are wrong: a head alone can learn it."""
    generator = random.Random(0)
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    with path.open("w") as file:
        for number in range(96):
            labels = [generator.random() < 0.5 for _ in range(3)]
            steps = [f"{'First' if right else 'So'} {number}" for right in labels]
            row = {"prompt": f"What is {number}?", "completions": steps, "labels": labels}
            file.write(json.dumps(row) + "\n")
    return path


def settings_for(
    stage: int, model: Path, rows: Path, output: Path, **changes: object
) -> PrmTrainingSettings:
    values: dict[str, object] = {
        "stage": stage,
        "model": str(model),
        "train_data": str(rows),
        "eval_data": str(rows),
        "output_dir": output,
        "micro_batch_size": 16,
        "global_batch_size": 16,
        "dropout": 0.0,
        "threads": 1,
        "bf16": False,
    }
    return PrmTrainingSettings(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stages(
    world: RandomWorld, rows_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("stages")
    one, two = folder / "stage_1", folder / "stage_2"
    train_prm(settings_for(1, world.policy, rows_file, one, learning_rate=1e-2, epochs=2.0))
    train_prm(settings_for(2, one, rows_file, two, learning_rate=2e-3, epochs=6.0))
    return one, two


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32)
    return model.state_dict()


def test_stage_1_trains_the_head_alone(
    stages: tuple[Path, Path], world: RandomWorld, rows_file: Path, tmp_path: Path
) -> None:
    torch.manual_seed(42)
    before = load_prm(settings_for(1, world.policy, rows_file, tmp_path)).state_dict()
    after = weights(stages[0])
    assert before.keys() == after.keys()
    for name in before:
        if not name.startswith("score."):
            assert torch.equal(before[name], after[name]), name
    assert after["score.weight"].shape[0] == 2
    assert not torch.equal(before["score.weight"], after["score.weight"])


def test_stage_2_trains_everything(stages: tuple[Path, Path]) -> None:
    one, two = (weights(folder) for folder in stages)
    unchanged = [name for name in one if torch.equal(one[name], two[name])]
    assert not [name for name in unchanged if "inv_freq" not in name]


def test_the_second_stage_has_learned_the_rule(stages: tuple[Path, Path]) -> None:
    report = json.loads((stages[1] / "prm_evaluation.json").read_text())
    assert report["steps"] == 288 and report["stage"] == 2
    assert report["f1_wrong_steps"] > 0.95
    assert report["auc"] > 0.95


def test_the_card_scores_as_it_says(stages: tuple[Path, Path], tmp_path: Path) -> None:
    card = (stages[1] / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code is not None
    names = {"folder": str(stages[1]), "prompt": "What is 7?", "steps": ["First 7", "So 7"]}
    exec(code[1], names)
    right, wrong = names["step_rewards"]  # type: ignore[misc]
    assert float(right) > 0 > float(wrong)  # type: ignore[arg-type]
    sample = PrmSample("", "What is 7?", ("First 7", "So 7"))
    for beginning in (None, "<|endoftext|>"):
        with_bos = tmp_path / str(beginning).strip("<|>")
        shutil.copytree(stages[1], with_bos)
        tokenizer = AutoTokenizer.from_pretrained(with_bos)
        tokenizer.bos_token = beginning
        tokenizer.save_pretrained(with_bos)
        names["folder"] = str(with_bos)
        exec(code[1], names)
        (expected,) = PrmScorer(str(with_bos)).score([sample])
        assert names["step_rewards"].tolist() == pytest.approx(expected, abs=1e-5)  # type: ignore[attr-defined]


def test_stage_2_needs_the_folder_of_stage_1(
    world: RandomWorld, rows_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="stage 2 goes on from the output folder of stage 1"):
        train_prm(settings_for(2, world.policy, rows_file, tmp_path / "out"))


def test_batch_sizes_must_divide(world: RandomWorld, rows_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got 100 and 16 x 1"):
        train_prm(settings_for(1, world.policy, rows_file, tmp_path, global_batch_size=100))


def test_published_values_are_the_defaults(tmp_path: Path) -> None:
    for stage, rate, epochs in ((1, 1e-4, 3), (2, 1e-6, 1)):
        arguments = training_arguments(
            PrmTrainingSettings(stage=stage, model="m", train_data="d", output_dir=tmp_path)  # type: ignore[arg-type]
        )
        assert arguments.learning_rate == rate and arguments.num_train_epochs == epochs
        rows = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
        assert rows == 128
        assert arguments.lr_scheduler_type == "constant" and arguments.weight_decay == 0.1
        assert (arguments.adam_beta1, arguments.adam_beta2) == (0.9, 0.95)


def test_a_model_that_is_not_there_is_named(rows_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--model .*nowhere: no model folder there"):
        train_prm(settings_for(1, tmp_path / "nowhere", rows_file, tmp_path / "out"))


@pytest.mark.parametrize("stage", [1, 2])
def test_shipped_scripts_stop_at_bad_rows(stage: int, world: RandomWorld, tmp_path: Path) -> None:
    """Variables come from the environment; relative paths are those of the caller."""
    (tmp_path / "bad.jsonl").write_text('{"prompt": "1", "completions": ["2"], "labels": [3]}\n')
    environment = os.environ | {
        "PYTHON": sys.executable,
        "MODEL": str(world.policy),
        "DATA": "bad.jsonl",
        "OUTPUT_DIR": "out",
    }
    done = subprocess.run(
        ["bash", ROOT / "prm_training" / f"train_stage_{stage}.sh", "--seed", "1"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert "row 1: the label of step 1 is 3" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
