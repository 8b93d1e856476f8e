"""Everything that a user can get wrong is reported at once, before an engine starts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.answers import Answer
from evaluation.evaluate import EXIT_BAD_SETTINGS, run
from evaluation.models import display_names
from evaluation.plan import EvaluationSettings, prepare
from tests.conftest import RandomWorld


def settings(world: RandomWorld, tmp_path: Path, **changes: object) -> EvaluationSettings:
    base = EvaluationSettings(
        models=(str(world.policy),), benchmarks=(str(world.test),), output_dir=tmp_path / "out"
    )
    return replace(base, **changes)  # pyright: ignore[reportArgumentType]


def test_all_problems_at_once(
    world: RandomWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(world.policy / "config.json", bare)
    cut = tmp_path / "cut"
    shutil.copytree(world.policy, cut)
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"question": "1 + 1?", "solution": "2"}\n')
    models = (str(bare), str(cut), str(world.prm), str(tmp_path / "nothing"), str(world.policy))
    code = run(
        settings(
            world,
            tmp_path,
            models=models,
            benchmarks=("aime42", str(empty), str(wrong)),
            temperature=0.0,
            num_samples=-1,
        )
    )
    assert code == EXIT_BAD_SETTINGS
    said = capsys.readouterr().err
    for words in (
        "no weights (*.safetensors), no tokenizer (tokenizer.json)",
        "model.safetensors is truncated",
        "is no causal language model but Qwen2ForTokenClassification",
        "no model folder there",
        "aime42 is neither a benchmark nor a file here",
        "Known: aime24, aime25, amc23, math500, minerva_math, olympiadbench, olympiadbench_674, gsm8k, math",
        "empty.jsonl holds no rows",
        "has no column 'answer'; its columns are 'question', 'solution'",
        "--temperature 0.0: must be > 0",
        "--num_samples -1: must be 0 or more",
    ):
        assert words in said, said
    assert not (tmp_path / "out").exists()


def test_a_good_plan_and_a_folder_of_another_model(
    world: RandomWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = settings(world, tmp_path, num_samples=2)
    plan = prepare(good)
    assert [task.mode for task in plan.tasks] == ["greedy", "sampled"]
    answer = Answer(text="1", num_tokens=1, truncated=False, correct=False, extracted="1")
    plan.tasks[0].file.append("0", [answer])
    assert prepare(good).tasks[0].file.answers == {"0": [answer]}
    more = replace(good, max_problems=3, num_samples=4)
    assert prepare(more).tasks[0].file.answers, "the greedy answers do not depend on these"

    assert run(replace(good, max_new_tokens=5)) == EXIT_BAD_SETTINGS
    assert "max_new_tokens: 3000 there, 5 now" in capsys.readouterr().err
    other = tmp_path / "other" / "policy"
    shutil.copytree(world.policy, other)
    assert run(replace(good, models=(str(other),))) == EXIT_BAD_SETTINGS
    assert "holds results of other models (world0-policy)" in capsys.readouterr().err
    same_name = tmp_path / "world0" / "policy"
    shutil.copytree(world.policy, same_name)
    weights = same_name / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\7")
    assert run(replace(good, models=(str(same_name),))) == EXIT_BAD_SETTINGS
    assert "weights:" in capsys.readouterr().err


def test_display_names() -> None:
    assert display_names(["/runs/a/model", "Qwen/X"]) == ["a/model", "Qwen/X"]
    assert display_names(["/1/a/model", "/2/a/model"]) == ["/1/a/model", "/2/a/model"]
