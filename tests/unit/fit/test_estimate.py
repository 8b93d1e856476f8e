"""The estimate beside a table made by hand for the published recipe, and beside numbers worked out here."""

from __future__ import annotations

import pytest

from pure_rlhf.cli.describe_fit import by_hand_values
from pure_rlhf.cli.train_pure import parse
from pure_rlhf.config import PureConfig
from pure_rlhf.fit.estimate import (
    GB,
    PHASES,
    RESIDENT,
    Circumstances,
    Estimate,
    Models,
    cpu_host_memory,
    disk_of,
    estimate,
    trainable_parameters,
)
from pure_rlhf.fit.shapes import KNOWN_MODELS

SEVEN_B = Models(
    policy=KNOWN_MODELS["Qwen/Qwen2.5-Math-7B"], prm=KNOWN_MODELS["jinachris/PURE-PRM-7B"]
)
RECIPE = ("--ds.adam_offload", "--actor.gradient_checkpointing_enable")


def settings(*flags: str, num_gpus: int = 8) -> PureConfig:
    config, problems = parse([*flags], num_gpus)
    assert problems == []
    return config


def of(*flags: str, num_gpus: int = 8) -> Estimate:
    circumstances = Circumstances(gpu_bytes=85 * GB, fused_cross_entropy=True)
    return estimate(settings(*flags, num_gpus=num_gpus), SEVEN_B, circumstances)


@pytest.mark.parametrize(
    ("row", "least", "most"),
    [
        ("log-probabilities", 61, 61),
        ("PRM scoring", 54, 54),
        ("update", 65, 68),
        ("sync", 52, 52),
        ("update without flash-attn", 76, 76),
        ("update without --ds.adam_offload", 95, 95),
        ("update, shared, without --ds.adam_offload", 66, 66),
        ("KV cache of an engine", 55, 55),
        ("host memory", 180, 400),
        ("a checkpoint", 107, 107),
        ("disk of 500 steps, every _hf folder kept", 715, 715),
    ],
)
def test_within_ten_percent_of_the_table_made_by_hand(row: str, least: float, most: float) -> None:
    ours = by_hand_values()[row]
    assert 0.9 * least <= ours[0] <= 1.1 * least or 0.9 * least <= ours[0] <= 1.1 * most
    assert 0.9 * most <= ours[1] <= 1.1 * most


def test_parts_of_the_published_recipe_by_hand() -> None:
    parts = of(*RECIPE).parts
    assert parts["policy"] == parts["reference"] == 2 * 7_615_616_512
    assert parts["PRM"] == 2 * (7_615_616_512 - 152_064 * 3_584)
    assert parts["offload buffer"] == 2 * 152_064 * 3_584
    assert parts["forward logits"] == 6 * 4 * 3_072 * 152_064
    assert parts["logits"] == 14 * 2 * 3_072 * 152_064
    assert parts["bucket"] == 2 * 152_064 * 3_584 + 2**27
    assert parts["optimiser"] == 0


def test_every_part_that_lies_somewhere_has_a_size() -> None:
    parts = of(*RECIPE).parts
    for phases in RESIDENT.values():
        assert tuple(phases) == PHASES
        assert {part for names in phases.values() for part in names} <= set(parts)


def test_what_each_setting_saves() -> None:
    base, recipe = of(), of(*RECIPE)
    assert base.parts["optimiser"] == 12 * 7_615_616_512 / 4
    # 28 layers in place of one: (8 I + 26 H) 27 T more, but for their inputs 2 H 28 T
    tokens = 2 * 3_072
    saved = (8 * 18_944 + 26 * 3_584) * 27 * tokens - 2 * 3_584 * 28 * tokens
    assert base.parts["activations"] - recipe.parts["activations"] == saved
    cut = of(*RECIPE, "--ds.zero_stage", "3")
    assert cut.parts["policy"] == 2 * 7_615_616_512 / 4 + 2 * 10**9
    small = of(*RECIPE, "--train.micro_batch_size", "1", "--rollout.micro_batch_size", "1")
    assert small.parts["logits"] == recipe.parts["logits"] / 2
    assert small.parts["forward logits"] == recipe.parts["forward logits"] / 4
    assert of("--algo.kl.init_coef", "0").parts["reference"] == 0


def test_a_mode_without_a_prm() -> None:
    found = estimate(
        settings("--reward_mode", "VR"),
        Models(policy=SEVEN_B.policy, prm=None),
        Circumstances(gpu_bytes=85 * GB),
    )
    assert found.parts["PRM"] == found.parts["PRM activations"] == 0
    assert found.parts["contexts"] == 2 * GB


def test_lora_trains_adapters_and_shares_the_base() -> None:
    config = settings("--ds.lora.rank", "8")
    adapters = SEVEN_B.policy.adapter_parameters(8)
    # q and o 3,584 + 3,584, k and v 3,584 + 512, gate, up and down 3,584 + 18,944
    assert adapters == 8 * 28 * (2 * 7_168 + 2 * 4_096 + 3 * 22_528)
    assert trainable_parameters(config, SEVEN_B.policy) == adapters
    parts = of("--ds.lora.rank", "8").parts
    assert parts["reference"] == 0
    assert parts["policy"] == 2 * 7_615_616_512 + 2 * adapters
    assert parts["optimiser"] == 12 * adapters / 4


def test_shared_leaves_out_what_does_not_work() -> None:
    split, shared = of(*RECIPE, num_gpus=8), of(*RECIPE, "--placement", "shared", num_gpus=4)
    models = split.parts["reference"] + split.parts["PRM"]
    assert shared.training["update"] == pytest.approx(
        split.training["update"] - models + split.parts["sleeping engine"]
    )
    engine = 0.4 * 85 * GB  # the policy's 16-bit weights stay beside it
    assert shared.training["generation"] == pytest.approx(
        engine + split.parts["policy"] + split.parts["contexts"]
    )
    # reference and PRM of every rank have a copy in host memory, and so has an engine that sleeps
    copies = split.parts["reference"] + split.parts["PRM"] + shared.engine.weights
    assert shared.host.training - split.host.training == pytest.approx(4 * copies)


def test_the_engine_by_hand() -> None:
    engine = of("--vllm.max_num_batched_tokens", "8192", "--vllm.max_num_seqs", "256").engine
    assert engine.weights == 2 * 7_615_616_512
    working = 2 * GB + (6 * 18_944 + 8 * 3_584) * 8_192 + 12 * 256 * 152_064
    assert engine.kv == pytest.approx(0.9 * 85 * GB - engine.weights - working)
    # keys and values, 28 layers, 4 heads of 128, 16 bits
    assert engine.responses_at_once == pytest.approx(engine.kv / (3_072 * 57_344))


def test_host_memory_of_the_offloaded_optimiser() -> None:
    host = of(*RECIPE).host
    assert host.training == 20 * 7_615_616_512
    assert host.loading == 4 * (2 * 2 * 7_615_616_512 + 2 * SEVEN_B_PRM)
    # 12 workers, 4 engines and the trainer, of 1 to 2 GB
    assert host.least == host.training + 17 * GB
    assert host.most == host.training + host.loading + 34 * GB


SEVEN_B_PRM = 7_615_616_512 - 152_064 * 3_584


@pytest.mark.parametrize(
    ("flags", "checkpoint", "kept"),
    [
        ((), 14, 4),  # 500 steps, every 20, 3 kept and one more
        (("--ckpt.save_hf",), 16, 4),
        (("--ckpt.disable_ds",), 0, 4),
        (("--max_steps", "40"), 14, 2),
        (("--ckpt.save_steps", "-1"), 14, 0),
    ],
)
def test_disk(flags: tuple[str, ...], checkpoint: int, kept: int) -> None:
    disk = disk_of(settings(*flags), 1_000)
    assert (disk.checkpoint, disk.kept, disk.model) == (checkpoint * 1_000, kept, 2_000)
    assert disk.total == kept * checkpoint * 1_000 + 2_000


def test_a_cpu_host_holds_everything_once_for_each_process() -> None:
    flags = ("--vllm.num_engines", "1", "--actor.num_gpus_per_node", "1")
    config = settings(*flags, "--ds.param_dtype", "bf16", num_gpus=2)
    memory = cpu_host_memory(config, SEVEN_B)
    p = 7_615_616_512
    # policy and reference, PRM, states, gradients, engine and its cache
    assert memory.least == 4 * p + 2 * SEVEN_B_PRM + 12 * p + 2 * p + 2 * p + 2**30
    assert memory.most > memory.least
    config = settings(*flags, "--ds.param_dtype", "fp32", num_gpus=2)
    # four models, and the policy's gradients
    assert cpu_host_memory(config, SEVEN_B).least - memory.least == 2 * (4 * p + SEVEN_B_PRM)


def test_a_prm_that_learns_takes_what_the_policy_takes() -> None:
    """PURE's classifier of 7.07 B: optimiser and gradients on the GPU, or 20 bytes a parameter in host memory."""
    frozen, learning = of(), of("--prm_update", "outcome")
    count = SEVEN_B.prm.num_parameters
    assert learning.parts["PRM optimiser"] == 12 * count / 4
    assert learning.parts["PRM gradient buckets"] == 2 * 5e8 + 2 * count / 4
    more = learning.training["update"] - frozen.training["update"]
    assert more == pytest.approx(14 * count / 4 + 1e9)
    assert frozen.parts["PRM optimiser"] == frozen.parts["learning PRM"] == 0
    offloaded = [of(*RECIPE, *flags).host.training for flags in ((), ("--prm_update", "outcome"))]
    assert offloaded[1] - offloaded[0] == 20 * count
    assert learning.disk.checkpoint == 2 * frozen.disk.checkpoint


def test_on_shared_gpus_the_weights_of_a_prm_that_learns_stay() -> None:
    shared = [of("--placement", "shared", *flags) for flags in ((), ("--prm_update", "outcome"))]
    count = SEVEN_B.prm.num_parameters
    for phase in ("generation", "sync", "checkpoint"):
        assert shared[1].training[phase] - shared[0].training[phase] == pytest.approx(2 * count)


def test_a_checkpoint_of_an_adapter_is_little_more_than_the_weights() -> None:
    assert of("--ds.lora.rank", "8").disk.checkpoint == 2 * SEVEN_B.policy.num_parameters
