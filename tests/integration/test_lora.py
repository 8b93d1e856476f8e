"""A real run with LoRA on the CPU host: adapters trained, merged for every push, saved, resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM

from pure_rlhf.cli.train_pure import parse
from pure_rlhf.config import ConfigError
from pure_rlhf.validation import prepare
from tests.conftest import RandomWorld
from tests.integration.runs import Run, kept_responses, metrics

pytestmark = pytest.mark.integration


def weights(folder: Path) -> dict[str, Tensor]:
    loaded, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", output_loading_info=True
    )
    assert type(loaded) is Qwen2ForCausalLM
    assert not info["missing_keys"] and not info["unexpected_keys"]
    return dict(loaded.named_parameters())


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_one_rank_trains_rolls_back_and_saves(
    world: RandomWorld, tmp_path: Path, zero_stage: int
) -> None:
    """Everything to the last bit: the reference, what is pushed after a roll back, and the update that follows it."""
    folder = tmp_path / "run"
    flags = world.flags(
        folder,
        actor__adam__lr=1e-2,
        train__batch_size=8,
        ds__zero_stage=zero_stage,
        ds__lora__rank=4,
        ds__lora__alpha=8,
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.lora_probe", *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["trained"] == result["trained_at_start"] and len(result["trained"]) == 28
    assert result["gap_at_start"] == 0 and result["base_moved"] == 0
    assert result["moved"] > 0.1 and result["third_from_second"] > 0.01
    assert result["rolled_back_from_second"] == result["log_probs_rolled_back"] == 0
    assert result["third_again_from_third"] == 0
    pushed, saved = torch.load(folder / "pushed.pt"), weights(folder / "model")
    assert pushed.keys() == saved.keys()
    for name, value in saved.items():
        assert_same(pushed[name], value)
    check_merged(world.policy, folder / "model")


def check_merged(base_folder: Path, folder: Path) -> None:
    """The model folder is base + alpha / rank * B @ A in every projection of both layers, and the base elsewhere."""
    merged = weights(folder)
    # as the run loaded it
    base = {name: value.to(merged[name].dtype) for name, value in weights(base_folder).items()}
    changed = {name for name, value in merged.items() if not torch.equal(value, base[name])}
    assert len(changed) == 14 and all("_proj.weight" in name for name in changed)
    matrices = load_file(folder / "adapter/adapter_model.safetensors")
    assert len(matrices) == 28
    for name in changed:
        layer = f"base_model.model.{name.removesuffix('.weight')}"
        down, up = (matrices[f"{layer}.lora_{x}.weight"].float() for x in "AB")
        assert down.shape[0] == up.shape[1] == 4
        assert_same(merged[name], (base[name].float() + 2 * up @ down).to(merged[name].dtype))


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Equal; in float32 (of a CPU without bfloat16) but for the last digits, which depend on the number of threads."""
    assert found.dtype == expected.dtype
    tolerance = 1e-6 if found.dtype == torch.float32 else 0.0
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def lora_run(
    world: RandomWorld, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """Three steps, each with a checkpoint and its Hugging Face folder; the run's folder and flags.

    With verifiable rewards alone, so without a PRM. All answers of the random policy are wrong: what moves it is its
    entropy.
    """
    folder = tmp_path_factory.mktemp("lora") / "run"
    flags = world.flags(
        folder,
        reward_mode="VR",
        reward__model_name_or_path="/no/prm",
        # sampled at 0.5, log-probabilities at 1: in policy, reference and engine alike
        rollout__temperature=0.5,
        log_prob_temperature="one",
        actor__entropy_coef=0.5,
        actor__adam__lr=3e-2,
        ds__lora__rank=4,
        ds__lora__alpha=8,
        max_steps=3,
    )
    flags.append("--ckpt.save_hf")
    with Run(flags) as run:
        run.wait_for(lambda: "training ..." in run.text, "the training")
        assert "policy on 1" in run.text
        assert run.processes("ray::LoraPolicyWorker") and not run.processes("ray::PrmWorker")
        assert not run.processes("ray::ReferenceWorker"), "the policy without its adapter"
        assert run.wait() == 0, run.text[-6000:]
    return folder, flags


def test_a_run_with_lora_and_verifiable_rewards_alone(
    world: RandomWorld, lora_run: tuple[Path, list[str]]
) -> None:
    folder, flags = lora_run
    rows = metrics(folder)
    assert rows[0]["policy/kl_reference"] == 0  # the reference is the policy itself, bit for bit
    assert all(row["sync/log_prob_gap"] < 0.03 for row in rows)
    # sampled after two pushes: the engine had the merged weights, which are far from the base's
    assert rows[2]["policy/kl_reference"] > 3 * rows[2]["sync/log_prob_gap"]

    assert all("reward/process_return" not in row for row in rows)
    answers = kept_responses(folder, 1)
    assert all(answer["step_rewards"] is None for answer in answers)
    # leave-one-out leaves nothing, and open prompts give 0
    assert all(abs(value) < 0.05 for answer in answers for value in answer["advantages"])

    check_merged(world.policy, folder / "model")
    merged, last = weights(folder / "model"), weights(folder / "checkpoints/global_step3_hf")
    assert all(torch.equal(last[name], value) for name, value in merged.items())

    note = json.loads((folder / "checkpoints/_actor/global_step2/adapter.json").read_text())
    assert note == {"rank": 4, "alpha": 8, "target_modules": ["all-linear"]}
    other = [*flags, "--ckpt.load_enable"]
    other[other.index("--ds.lora.rank") + 1] = "8"
    with pytest.raises(ConfigError, match=r"resume with --ds\.lora\.rank 4 --ds\.lora\.alpha 8"):
        prepare(*parse(other))


@pytest.mark.slow  # that a checkpoint comes back to the last bit is in test_one_rank_trains_rolls_back_and_saves
def test_a_resume_with_lora(lora_run: tuple[Path, list[str]]) -> None:
    folder, flags = lora_run
    rows = metrics(folder)
    (folder / "checkpoints/_actor/latest").write_text("global_step2")  # the third step once more
    with Run([*flags, "--ckpt.load_enable"]) as run:
        assert run.wait() == 0, run.text[-6000:]
    again = metrics(folder)
    assert [row["step"] for row in again] == [1, 2, 3] and again[:2] == rows[:2]
    assert again[2]["sync/log_prob_gap"] < 0.03
    # other samples of the same weights, which are far from the base's
    assert again[2]["policy/kl_reference"] > 3 * again[2]["sync/log_prob_gap"]
