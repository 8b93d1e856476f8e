"""A world of a few rows, made for real: its files, its reuse, its determinism, and that nothing held out leaks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluation.candidates import load_candidates
from examples.small_world.checker import check_steps, first_defect
from examples.small_world.make_world import WorldSettings, make_world
from examples.small_world.prm_data import BLIND_SPOTS, equation_row, split_answer
from examples.small_world.prompts import render_prompt
from examples.small_world.solutions import PLANTED
from pure_rlhf.algorithm.step_segmentation import find_separator_token_ids
from pure_rlhf.prm.token_inputs import single_separator_id

SETTINGS = WorldSettings(
    num_train=60,
    num_test=10,
    pretraining_batches=3,
    backbone_batches=3,
    prm_sampled=12,
    prm_planted=30,
    prm_blind=12,
    prm_test=6,
    prm_test_by_defect=4,
    num_candidates=3,
)


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "world"
    make_world(folder, SETTINGS)
    return folder


def test_a_tenth_of_the_training_problems_is_answered(small_world: Path) -> None:
    train = read_rows(small_world / "train.jsonl")
    test = read_rows(small_world / "test.jsonl")
    assert (len(train), len(test)) == (60, 10)
    assert sum(row["answer"] is not None for row in train) == round(0.103 * 60)
    assert all(row["answer"] == row["ref_answer"] for row in test)
    assert not {row["question"] for row in train} & {row["question"] for row in test}
    answered = read_rows(small_world / "train_answered.jsonl")
    assert answered == [{**row, "answer": row["ref_answer"]} for row in train]


def test_tokenizer_has_the_separators_and_models_load(small_world: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(small_world / "policy")
    ends = {tokenizer.decode([token]) for token in find_separator_token_ids(tokenizer)}
    assert {"\n\n", ".\n\n"} <= ends
    assert tokenizer.decode([single_separator_id(tokenizer)]) == "\n"
    text = render_prompt("Compute 47+5-8.")
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) < 50
    for name in ("careful", "policy", "prm_backbone"):
        model = AutoModelForCausalLM.from_pretrained(small_world / name)
        assert model.config.model_type == "qwen2"
        assert model.config.hidden_size // model.config.num_attention_heads in (32, 64)
        assert 5e5 < model.num_parameters() < 6e6


def test_prm_rows_end_at_their_first_wrong_step(small_world: Path) -> None:
    rows = read_rows(small_world / "prm_data" / "train.jsonl")
    assert len(rows) >= 30
    assert {label for row in rows for label in row["labels"]} == {True, False}
    for row in rows:
        assert check_steps(row["prompt"], row["completions"]) == row["labels"]
        assert all(row["labels"][:-1])
        assert not any("\n\n" in step for step in row["completions"])


def test_held_out_rows_by_defect_have_that_defect(small_world: Path) -> None:
    for defect in PLANTED:
        rows = read_rows(small_world / f"prm_data/by_defect/{defect.replace(' ', '_')}.jsonl")
        assert len(rows) == 4
        for row in rows:
            found = first_defect(row["prompt"], row["completions"])
            assert (found[1] if found else "none") == defect
            assert row["labels"][-1] == (defect == "none")


def test_a_blind_spot_is_labelled_as_right_and_nothing_else_is(small_world: Path) -> None:
    for name, defects in BLIND_SPOTS.items():
        rows = read_rows(small_world / f"prm_data/blind_to/{name}.jsonl")
        kinds = [first_defect(row["prompt"], row["completions"]) for row in rows]
        assert sum(kind is not None and kind[1] in defects for kind in kinds) >= 4
        for row, kind in zip(rows, kinds, strict=True):
            assert row["labels"][-1] == (kind is None or kind[1] in defects)


def test_candidates_are_a_form_that_best_of_n_reads(small_world: Path) -> None:
    candidates = load_candidates(str(small_world / "prm_data" / "candidates.jsonl"))
    assert len(candidates.problems) == 3
    assert all(len(problem.answers) == 8 for problem in candidates.problems)
    rows = read_rows(small_world / "prm_data" / "candidates.jsonl")
    assert all(isinstance(answer, list) for row in rows for answer in row["answers"]), (
        "cut as RL cuts"
    )
    assert not any("\n\n" in step for row in rows for answer in row["answers"] for step in answer)


def test_equations_are_labelled_by_what_they_say() -> None:
    import random

    distances: dict[float, list[int]] = {}
    for slip_share in (0.0, 0.8):
        generator = random.Random(1)
        for _ in range(40):
            row = equation_row(generator, slip_share)
            for step, label in zip(row["completions"], row["labels"], strict=True):
                left, right = step.split("=")
                difference = abs(eval(left) - int(right))
                assert label == (difference == 0)
                if difference:
                    distances.setdefault(slip_share, []).append(difference)
    near, far = distances[0.8], distances[0.0]
    assert sum(d <= 2 for d in near) / len(near) > 3 * sum(d <= 2 for d in far) / len(far)


def test_held_out_problems_are_in_no_prm_row(small_world: Path) -> None:
    held_out = {render_prompt(row["question"]) for row in read_rows(small_world / "test.jsonl")}
    data = small_world / "prm_data"
    tested = {
        row["prompt"]
        for file in (data / "test.jsonl", *(data / "by_defect").glob("*.jsonl"))
        for row in read_rows(file)
    }
    for file in (data / "train.jsonl", *(data / "blind_to").glob("*.jsonl")):
        assert not (held_out | tested) & {row["prompt"] for row in read_rows(file)}
    assert not held_out & tested


def test_a_second_run_reuses_the_world(small_world: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small_world.rglob("*") if path.is_file()}
    record = make_world(small_world, SETTINGS)
    assert record["complete"]
    assert before == {
        path: path.stat().st_mtime_ns for path in small_world.rglob("*") if path.is_file()
    }


def test_other_settings_are_refused(small_world: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_test: 10 there, 500 asked for"):
        make_world(small_world, WorldSettings())
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(small_world / "begun.json", begun)
    with pytest.raises(ValueError, match="num_test: 10 there, 500 asked for"):
        make_world(begun, WorldSettings())


def test_a_cut_off_world_goes_on_and_comes_out_the_same(small_world: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    (again / "train.jsonl").write_text("half a li")
    make_world(again, SETTINGS)
    for name in ("train.jsonl", "test.jsonl", "prm_data/train.jsonl", "prm_data/test.jsonl"):
        assert (again / name).read_bytes() == (small_world / name).read_bytes()
    for name in ("policy", "prm_backbone"):
        ours, theirs = (
            AutoModelForCausalLM.from_pretrained(folder / name).state_dict()
            for folder in (again, small_world)
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_an_answer_is_cut_at_separator_tokens_which_are_dropped_whole(small_world: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(small_world / "tokenizer")
    separators = set(find_separator_token_ids(tokenizer))
    ids = tokenizer.encode("47+5=52.\n\n52-8=44.\n\nThe answer is \\boxed{44}.")
    assert split_answer(ids, tokenizer, separators) == [
        "47+5=52",
        "52-8=44",
        r"The answer is \boxed{44}.",
    ]
