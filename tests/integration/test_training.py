"""Real runs on the CPU host: Ray, DeepSpeed and vLLM, nothing faked. Some minutes."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import psutil
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from pure_rlhf.monitoring.metric_table import check_declared
from pure_rlhf.prm.conventions import PrmSample
from pure_rlhf.prm.scorer import PrmScorer
from tests.conftest import RandomWorld
from tests.integration.runs import ROLLED_BACK, Run, kept_responses, largest_change, metrics
from tests.tiny_models import qwen2_config, train_tokenizer

pytestmark = pytest.mark.integration

# A step of this size moves the weights far enough that an engine with old weights is found out.
LARGE_STEP = {"actor__adam__lr": 3e-3}


@pytest.fixture(scope="module")
def two_ranks(
    world: RandomWorld, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, int]]:
    """One PRMVR run with 2 policy, 2 reference and 2 PRM ranks and 2 engines, watched through the dashboard."""
    folder = tmp_path_factory.mktemp("two_ranks") / "run"
    flags = world.flags(
        folder,
        **LARGE_STEP,
        actor__num_gpus_per_node=2,
        ref__num_gpus_per_node=2,
        reward__num_gpus_per_node=2,
        vllm__num_engines=2,
        rollout__micro_batch_size=4,
        train__micro_batch_size=4,
        eval__dataset=world.test,
        max_steps=3,
    )
    with Run(flags, dashboard=True) as run:
        run.wait_for(lambda: len(run.actor_names()) == 9, "nine named actors on the dashboard")
        names = run.actor_names()
        assert {psutil.Process(process).nice() for process in names.values()} == {os.nice(0)}
        run.wait_for(lambda: len(semaphores(names)) >= 2, "a semaphore of each engine")
        assert run.wait() == 0, run.text[-6000:]
        assert "held-out problems (PRMVR)" in run.text and "report.html" in run.text
        assert semaphores(names) == [], "left in shared memory"
    return folder, names


def semaphores(processes: dict[str, int]) -> list[Path]:
    """What the engines of these actors have in shared memory."""
    engines = [process for name, process in processes.items() if name.startswith("rollout")]
    return [path for engine in engines for path in Path("/dev/shm").glob(f"sem.pure_{engine}_*")]


def test_every_rank_is_an_actor_with_a_readable_name(
    two_ranks: tuple[Path, dict[str, int]],
) -> None:
    names = two_ranks[1]
    expected = {
        f"{kind}-{i}" for kind in ("policy", "reference", "prm", "rollout") for i in (0, 1)
    } | {"trainer"}
    assert names.keys() == expected
    assert len(set(names.values())) == 9  # each in a process of its own


def test_the_engines_hold_the_updated_weights(
    world: RandomWorld, two_ranks: tuple[Path, dict[str, int]]
) -> None:
    """The gap between engine and policy stays at bf16 noise although the policy has moved far."""
    rows = metrics(two_ranks[0])
    assert largest_change(world.policy, two_ranks[0] / "model") > 1e-3
    moved = abs(rows[2]["policy/kl_reference"])
    assert rows[2]["sync/log_prob_gap"] < 0.03
    assert moved > 3 * rows[2]["sync/log_prob_gap"], (
        "the policy did not move: the gap proves nothing"
    )
    assert all(row["sync/buckets"] >= 1 for row in rows)


def test_metrics_are_flat_declared_and_complete(two_ranks: tuple[Path, dict[str, int]]) -> None:
    rows = metrics(two_ranks[0])
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(a["wall_seconds"] < b["wall_seconds"] for a, b in itertools.pairwise(rows))
    for row in rows:
        check_declared(key for key in row if key not in ("step", "wall_seconds"))
        assert row["rollout/num_answers"] == 32
        assert all(isinstance(value, (int, float)) for value in row.values())


def test_run_directory(two_ranks: tuple[Path, dict[str, int]]) -> None:
    folder = two_ranks[0]
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["actor"]["num_gpus_per_node"] == 2
    assert config["seed"] == 42 and config["packages"]["openrlhf"] == "0.11.2"
    evaluation = json.loads((folder / "evaluation.json").read_text())
    for when in ("before", "after"):
        assert evaluation[when]["n"] == 8
        low, high = evaluation[when]["ci95"]
        assert low <= evaluation[when]["pass@1"] <= high
    answers = kept_responses(folder, 3)
    assert len(answers) == 8
    for answer in answers:
        assert len(answer["steps"]) == len(answer["step_rewards"]) == len(answer["advantages"]) >= 1
        assert all(-1 <= reward <= 1 for reward in answer["step_rewards"])
        assert (answer["verifiable_reward"] is None) == (answer["label"] is None)
        # the steps are the whole answer
        assert "".join(answer["steps"]).replace("<|endoftext|>", "") == answer["text"]
    assert (folder / "report.html").stat().st_size > 10_000


def test_the_model_folder_generates(two_ranks: tuple[Path, dict[str, int]]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(two_ranks[0] / "model")
    model = AutoModelForCausalLM.from_pretrained(two_ranks[0] / "model")
    inputs = tokenizer("What is 1 + 2?", return_tensors="pt")
    assert (
        model.generate(**inputs, max_new_tokens=4, do_sample=False).shape[1]
        > inputs["input_ids"].shape[1]
    )


def test_prm_scores_are_those_of_the_checkpoint(
    world: RandomWorld, two_ranks: tuple[Path, dict[str, int]]
) -> None:
    """A step reward in the run is what the PRM folder says of the same text, computed here by hand."""
    from transformers import AutoModelForTokenClassification

    tokenizer = AutoTokenizer.from_pretrained(world.prm)
    prm = AutoModelForTokenClassification.from_pretrained(world.prm).float()
    # Decoded steps of a random policy need not encode back to the same tokens; take those that do.
    checked = 0
    responses = kept_responses(two_ranks[0], 1)
    for answer in responses:
        ids = tokenizer(answer["prompt"])["input_ids"]
        separator = tokenizer("\n")["input_ids"]
        rewards = []
        for text in answer["steps"]:
            step = tokenizer(text)["input_ids"]
            if tokenizer.decode(step) != text or "\ufffd" in text:
                break
            ends = step[-1] == tokenizer.eos_token_id or tokenizer.decode(step[-1:]).endswith(
                "\n\n"
            )
            ids = ids + (step[:-1] if ends else step) + separator
            with torch.no_grad():
                logits = prm(torch.tensor([ids])).logits[0, -1]
            rewards.append(float(torch.tanh((logits[1] - logits[0]) / 2)))
        else:
            assert rewards == pytest.approx(answer["step_rewards"], abs=0.02)
            checked += 1
    assert checked >= 1 or all("\ufffd" in "".join(answer["steps"]) for answer in responses)


@pytest.mark.parametrize("num_gpus", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_alarm_rolls_online_pure_on_shared_gpus_back(
    world: RandomWorld, tmp_path: Path, num_gpus: int
) -> None:
    """`--placement shared`: engines sleep, wake, and open the policy's memory.

    The learning rate rises to the limit at step 4, so weights, optimiser and schedule of step 2 come back. PURE's
    classifier learns from outcomes and from labels before each update, and scores with what it has learnt.
    """
    folder = tmp_path / "run"
    labelled = tmp_path / "labelled.jsonl"
    row = {"prompt": "What is 1 + 1?", "completions": ["It is 3.", "So 3"], "labels": [0, 0]}
    labelled.write_text(json.dumps(row) + "\n")
    flags = world.flags(
        folder,
        placement="shared",
        actor__num_gpus_per_node=num_gpus,
        ref__num_gpus_per_node=num_gpus,
        reward__num_gpus_per_node=num_gpus,
        vllm__num_engines=num_gpus,
        rollout__micro_batch_size=4,
        train__micro_batch_size=4,
        prm_update="outcome",
        prm_update_order="update_first",
        prm__adam__lr=1e-3,
        prm__replay_dataset=labelled,
        prm__replay_share=0.5,
        eval__dataset=world.test,
        eval__steps=2,
        **ROLLED_BACK,
    )
    with Run(flags) as run:
        assert run.wait() == 0, run.text[-6000:]
        assert f"Placement shared ({num_gpus} GPU" in run.text
        assert "ALARM limit at step 4" in run.text
    alarms = [json.loads(line) for line in (folder / "alarms.jsonl").read_text().splitlines()]
    assert [(a["step"], a.get("rolled_back_to")) for a in alarms] == [(4, 2), (6, None)]
    rows = metrics(folder)
    assert len(rows) == 6  # the second alarm is one more than may be undone
    assert all(row["timing/gpu_turns"] > 0 for row in rows)
    rates = [row["policy/learning_rate"] for row in rows]
    assert rates[4:] == pytest.approx(rates[2:4])
    assert [row["reward/process_reward_coef"] for row in rows] == [1, 1, 1, 1, 0.5, 0.5]
    # step 4 samples two large updates away from the reference, and the engine has those weights
    assert rows[3]["sync/log_prob_gap"] < 0.03
    assert abs(rows[3]["policy/kl_reference"]) > 3 * rows[3]["sync/log_prob_gap"]
    # steps 3 and 5 both sample from the weights of step 2
    assert rows[4]["policy/kl_reference"] == pytest.approx(rows[2]["policy/kl_reference"], abs=0.02)
    assert rows[4]["sync/log_prob_gap"] < 0.03
    assert {"before", "step 2", "step 4", "after"} <= json.loads(
        (folder / "evaluation.json").read_text()
    ).keys()
    assert all(0 < row["prm/loss"] < 3 and row["prm/grad_norm"] > 0 for row in rows)
    assert rows[1]["prm/loss"] < rows[0]["prm/loss"]
    assert "prm/drift" not in rows[0]
    # all outcomes and labels are 0: the smallest reward of a response falls
    assert rows[1]["reward/process_return"] < rows[0]["reward/process_return"]
    AutoModelForTokenClassification.from_pretrained(folder / "prm")
    assert largest_change(world.prm, folder / "prm") > 1e-4


@pytest.mark.slow  # the same push on one rank is in test_lora.py
def test_partitioned_weights_reach_the_engines(world: RandomWorld, tmp_path: Path) -> None:
    """ZeRO-3 on two ranks: each bucket is gathered before it is sent."""
    folder = tmp_path / "run"
    flags = world.flags(
        folder,
        **LARGE_STEP,
        reward_mode="VR",
        ds__zero_stage=3,
        actor__num_gpus_per_node=2,
        ref__num_gpus_per_node=2,
        reward__num_gpus_per_node=2,
        rollout__micro_batch_size=4,
        train__micro_batch_size=4,
        vllm__sync_bucket_mb=1,
        algo__kl__init_coef=0.5,  # all answers are wrong: what moves the policy is its noise against the reference
        actor__entropy_coef=0.5,
        ckpt__save_steps=-1,
        max_steps=3,
    )
    with Run(flags) as run:
        assert run.wait() == 0, run.text[-6000:]
    last = metrics(folder)[-1]
    assert last["sync/log_prob_gap"] < 0.03
    assert abs(last["policy/kl_reference"]) > 3 * last["sync/log_prob_gap"]


def test_process_rewards_alone_by_a_prm_with_its_own_tokenizer_and_engine(
    world: RandomWorld, tmp_path: Path
) -> None:
    """Steps go through text to vLLM, and their rewards through a credit assignment of the user's own file.

    Under a curriculum, of whose prompts the random policy solves none, so only unanswered ones are kept. It never
    writes a box: an alarm at the second step, which is then the last.
    """
    prm = tmp_path / "prm"
    tokenizer = train_tokenizer(["What is the sum? We add. First step.\n\nSo"] * 20, vocab_size=300)
    torch.manual_seed(1)
    AutoModelForTokenClassification.from_config(qwen2_config(tokenizer, num_labels=2)).to(
        torch.bfloat16
    ).save_pretrained(prm)
    tokenizer.save_pretrained(prm)
    toy = tmp_path / "toy.py"
    toy.write_text("def third(rewards_BS, mask_BS, settings):\n    return rewards_BS / 3\n")
    folder = tmp_path / "run"
    flags = world.flags(
        folder,
        reward_mode="PRM",
        reward__model_name_or_path=prm,
        reward__backend="vllm",
        credit_assignment=f"{toy}:third",
        curriculum__method="remove_extreme",
        max_steps=5,
        ckpt__save_steps=-1,
        alarm__window=1,
        alarm__action="stop",
        # a checkpoint is chosen on problems of the training: allowed, with a warning
        eval__selection_dataset=world.test,
        eval__steps=1,
    )
    flags.append("--logger.wandb.enable")
    with Run(flags, WANDB_API_KEY="") as run:
        assert run.wait() == 0, run.text[-6000:]
        assert "shares 8 problems with --data.prompt_dataset" in run.text
        assert "No WANDB_API_KEY" in run.text
        assert "ALARM only_thinking at step 2" in run.text
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    kept = [path.name for path in folder.glob("checkpoints/_actor/*global_step*")]
    assert kept == ["best_global_step1"]  # no later one was better
    rows = metrics(folder)
    assert len(rows) == 2
    assert rows[0]["curriculum/rounds"] > 1 and 0 < rows[0]["curriculum/yield"] < 1
    assert rows[0]["rollout/num_answers"] == 32 and rows[0]["reward/answered_frac"] == 0
    answers = kept_responses(folder, 1)
    assert all(answer["label"] is None for answer in answers)
    thirds = [sum(answer["step_rewards"]) / 3 for answer in answers]
    assert rows[0]["reward/process_return"] == pytest.approx(sum(thirds) / len(thirds), abs=0.1)
    with PrmScorer(str(prm), dtype=torch.bfloat16) as scorer:
        samples = [
            PrmSample(answer["prompt"], answer["prompt"], tuple(map(bare, answer["steps"])))
            for answer in answers
        ]
        for answer, rewards in zip(answers, scorer.score(samples), strict=True):
            assert rewards == pytest.approx(answer["step_rewards"], abs=0.02)


def bare(step: str) -> str:
    """The text of a step without EOS and the blank line that ended it."""
    return step.removesuffix("<|endoftext|>").removesuffix("\n\n").rstrip("\n")
