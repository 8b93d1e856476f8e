"""Mistakes about an implicit PRM, or one that learns, end before Ray starts: flag, value, rule, remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pure_rlhf.cli.train_pure import parse
from pure_rlhf.prm.learning import write_reference_record
from tests.conftest import RandomWorld
from tests.tiny_models import save_models
from tests.unit.test_bad_input import problems_of


def prime_flags(world: RandomWorld, folder: Path, **changes: object) -> list[str]:
    flags = world.flags(
        folder,
        **{
            "process_reward": "implicit",
            "prm_update": "outcome",
            "convention": "prime",
            "reward__model_name_or_path": None,
        }
        | changes,
    )
    return [*flags, "--curriculum.no_keep_unlabelled"]


def test_prime_has_no_problem_and_its_prm_is_the_policys_model(
    world: RandomWorld, tmp_path: Path
) -> None:
    flags = prime_flags(world, tmp_path / "run")
    assert problems_of(flags) == []
    config, _ = parse(flags)
    assert config.reward.model_name_or_path == str(world.policy)
    assert config.uses_reference and config.algo.kl.init_coef == 0
    assert (config.granularity, config.prm_batch_size, config.prm_micro_batch_size) == (
        "token", 16, 8
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "flag", "remedy"),
    [
        (
            {"rollout__temperature": 0.5},
            "--rollout.temperature 0.5 with --process_reward implicit",
            "add --log_prob_temperature one",
        ),
        ({"convention": "openrlhf"}, "--process_granularity token", "add --no_mask_separator"),
        ({"prm_update": "last_step"}, "--prm_update last_step", "use --prm_update outcome"),
        ({"reward__backend": "vllm"}, "--reward.backend vllm", "use --reward.backend transformers"),
        (
            {"prm_update": "none"},
            "--reward.model_name_or_path",
            "use --prm_update outcome, or name a PRM",
        ),
        (
            {
                "process_reward": "learned",
                "prm_update": "none",
                "prm__adam__lr": 1e-5,
                "prm__beta": 0.1,
            },
            "--prm.adam.lr, --prm.beta: nothing reads them",
            "add --prm_update outcome",
        ),
        ({"process_reward": "learned"}, "", ""),
        (
            {"process_reward": "learned", "process_granularity": "token"},
            "--process_granularity token with --process_reward learned",
            "use step, or --process_reward implicit",
        ),
        (
            {"process_reward": "learned", "reward__backend": "vllm"},
            "--reward.backend vllm with --prm_update outcome: an engine cannot train",
            "use --reward.backend transformers",
        ),
        ({"prm__batch_size": 24}, "--prm.batch_size 24: must divide the 32 answers", "use 32"),
        ({"prm__micro_batch_size": 5}, "--prm.micro_batch_size 5", "must divide"),
        ({"prm__beta": 0}, "--prm.beta 0.0: must be > 0", "PRIME uses 0.05"),
        ({"prm__replay_share": 0.5}, "--prm.replay_dataset None", "implicit PRM cannot learn"),
        ({"prm_update": "step_labels"}, "--prm_update step_labels", "use --prm_update outcome"),
        (
            {"prm__held_out_dataset": "rows.jsonl"},
            "--prm.held_out_dataset rows.jsonl with --process_reward implicit",
            "drop --prm.held_out_dataset",
        ),
        (
            {"process_reward": "learned", "prm_update": "step_labels"},
            "--prm_update step_labels: who labels the steps?",
            "--step_labeller FILE.py:FUNCTION",
        ),
        (
            {"process_reward": "learned", "step_labeller": "labels.py:label"},
            "--step_labeller",
            "there is no file",
        ),
    ],
)
def test_values_at_odds(
    world: RandomWorld, tmp_path: Path, changes: dict[str, object], flag: str, remedy: str
) -> None:
    if changes.get("process_reward") == "learned":
        changes = {"reward__model_name_or_path": world.prm, **changes}
    problems = problems_of(prime_flags(world, tmp_path / "run", **changes))
    if not flag:
        assert problems == []
        return
    assert len(problems) == 1, problems
    assert flag in problems[0] and remedy in problems[0]


def test_rows_to_replay(world: RandomWorld, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "p", "completions": ["a", "b"], "labels": [True]}) + "\n")
    flags = world.flags(
        tmp_path / "run", prm_update="last_step", prm__replay_dataset=rows, prm__replay_share=0.5
    )
    (problem,) = problems_of(flags)
    assert "row 1: needs one label" in problem and "--prm.replay_dataset" in problem
    rows.write_text(json.dumps({"prompt": "p", "completions": ["a"], "labels": [True]}) + "\n")
    assert problems_of(flags) == []
    assert parse(flags)[0].prm_replay_rows == 16  # as many as --prm.batch_size
    (problem,) = problems_of(flags[:-2])
    assert "one does nothing without the other" in problem


def test_held_out_rows(world: RandomWorld, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    row = json.dumps({"prompt": "p", "completions": ["a"], "labels": [True]}) + "\n"
    rows.write_text(row)
    flags = world.flags(tmp_path / "run", prm_update="last_step", prm__held_out_dataset=rows)
    ranks = parse(flags)[0].training_gpus
    rows.write_text(row * ranks)
    assert problems_of(flags) == []
    flags = [*flags, "--actor.num_gpus_per_node", "2", "--ref.num_gpus_per_node", "2"]
    flags += ["--reward.num_gpus_per_node", "2"]
    rows.write_text(row)
    (problem,) = problems_of(flags)
    assert "has 1 rows for 2 PRM ranks; name a file with more rows" in problem


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return [True for _ in steps]", ""),
        ("return ['a slip', None]", ""),
        ("return [True]", "gave [True] for a response of 2 steps"),
        ("return [int(step) > 0 for step in steps]", "failed on the first prompt with two made-up"),
        ("return {}[prompt]", "KeyError"),
    ],
)
def test_a_function_that_labels_is_tried(
    world: RandomWorld, tmp_path: Path, body: str, why: str
) -> None:
    file = tmp_path / "labels.py"
    file.write_text(f"def label(prompt, steps):\n    {body}\n")
    labeller = f"{file}:label"
    for changes in ({"prm_update": "step_labels"}, {}, {"reward_mode": "VR"}):
        flags = world.flags(tmp_path / "run", step_labeller=labeller, **changes)
        problems = problems_of(flags)
        assert len(problems) == bool(why)
        assert all(problem.startswith("--step_labeller") and why in problem for problem in problems)


def test_step_labels_need_no_answers(world: RandomWorld, tmp_path: Path) -> None:
    unanswered = tmp_path / "unanswered.jsonl"
    rows = map(json.loads, world.train.read_text().splitlines())
    unanswered.write_text("".join(json.dumps({**row, "answer": None}) + "\n" for row in rows))
    file = tmp_path / "labels.py"
    file.write_text("def label(prompt, steps):\n    return [None for _ in steps]\n")
    flags = world.flags(
        tmp_path / "run",
        reward_mode="PRM",
        prm_update="step_labels",
        step_labeller=f"{file}:label",
        data__prompt_dataset=unanswered,
    )
    assert problems_of(flags) == []


def test_prompts_without_an_answer_are_refused(world: RandomWorld, tmp_path: Path) -> None:
    flags = prime_flags(world, tmp_path / "run")[:-1]
    (problem,) = problems_of(flags)
    assert "16 of 48 problems have no answer" in problem
    assert "add --curriculum.no_keep_unlabelled" in problem
    unanswered = tmp_path / "unanswered.jsonl"
    rows = map(json.loads, world.train.read_text().splitlines())
    unanswered.write_text("".join(json.dumps({**row, "answer": None}) + "\n" for row in rows))
    problems = problems_of(
        world.flags(
            tmp_path / "other",
            prm_update="last_step",
            data__prompt_dataset=unanswered,
        )
    )
    assert any("the PRM would learn nothing" in problem for problem in problems)


def test_in_mode_vr_nothing_of_it_is_read(world: RandomWorld, tmp_path: Path) -> None:
    flags = prime_flags(world, tmp_path / "run", reward_mode="VR", prm__adam__lr=1e-5)
    assert problems_of(flags) == []
    assert not parse(flags)[0].uses_reference


def test_an_implicit_prm_reads_the_policys_text(world: RandomWorld, tmp_path: Path) -> None:
    other, _ = save_models(tmp_path / "other", ["quite different texts"] * 20)
    (problem,) = problems_of(prime_flags(world, tmp_path / "run", reward__model_name_or_path=other))
    assert "has another tokenizer" in problem and "trained from it" in problem
    chatty = tmp_path / "chatty"
    shutil.copytree(world.policy, chatty)
    tokenizer = AutoTokenizer.from_pretrained(chatty)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(chatty)
    (problem,) = problems_of(
        prime_flags(world, tmp_path / "run", reward__model_name_or_path=chatty)
    )
    assert "has another chat template" in problem
    (problem,) = problems_of(
        prime_flags(world, tmp_path / "run", reward__model_name_or_path=world.prm)
    )
    assert "an implicit PRM is a causal language model" in problem


def test_a_prm_of_another_reference_is_refused(world: RandomWorld, tmp_path: Path) -> None:
    other, _ = save_models(tmp_path / "other", ["a"], seed=3)
    trained = tmp_path / "prm"
    shutil.copytree(world.policy, trained)
    flags = prime_flags(world, tmp_path / "run", reward__model_name_or_path=trained)
    assert problems_of(flags) == []
    write_reference_record(trained, str(other))
    (problem,) = problems_of(flags)
    assert f"were learnt from the reference {other}" in problem and "take another PRM" in problem


def test_a_run_is_resumed_with_its_prm(world: RandomWorld, tmp_path: Path) -> None:
    flags = [*prime_flags(world, tmp_path / "run"), "--ckpt.load_enable"]
    checkpoints = tmp_path / "run/checkpoints"
    (checkpoints / "_actor/global_step3").mkdir(parents=True)
    (checkpoints / "_actor/global_step3/metric.json").touch()
    (checkpoints / "_actor/latest").write_text("global_step3")
    (checkpoints / "_prm/global_step2").mkdir(parents=True)
    (problem,) = problems_of(flags)
    assert "has no checkpoint global_step3" in problem and "start another run" in problem
    (checkpoints / "_prm/global_step3").mkdir()
    assert problems_of(flags) == []
    other, _ = save_models(tmp_path / "other", ["a"], seed=3)
    write_reference_record(checkpoints / "_prm", str(other))
    (problem,) = problems_of(flags)
    assert "--ckpt.load_enable" in problem and f"reference {other}" in problem
