"""The start of a run: refused, warned of, or let through. Machines are plain data."""

from __future__ import annotations

from pathlib import Path

import pytest

from pure_rlhf.cli.train_pure import parse
from pure_rlhf.config import ConfigError, PureConfig
from pure_rlhf.fit.check import (
    find_cpu_problems,
    find_fit_problems,
    find_host_problems,
    find_memory_problems,
    load_models,
)
from pure_rlhf.fit.estimate import GB
from pure_rlhf.fit.host import Gpu, Host
from pure_rlhf.validation import prepare
from tests.conftest import RandomWorld

H100 = Gpu("NVIDIA H100 80GB HBM3", 81559 * 2**20)
RTX = Gpu("NVIDIA GeForce RTX 4090", 24564 * 2**20)
RECIPE = ("--ds.adam_offload", "--actor.gradient_checkpointing_enable")


def settings(*flags: str, num_gpus: int = 8) -> PureConfig:
    config, problems = parse([*flags], num_gpus)
    assert problems == []
    return config


def memory_problems(config: PureConfig, host: Host) -> tuple[list[str], list[str]]:
    models, warnings = load_models(config), []
    assert models is not None
    return list(find_memory_problems(config, models, host, warnings)), warnings


def test_7b_with_the_defaults_ends_with_advice() -> None:
    host = Host(gpus=(H100,) * 8, memory_bytes=1000 * GB)
    (problem,), warnings = memory_problems(settings(), host)
    assert problem.startswith("--actor.model_name_or_path Qwen/Qwen2.5-Math-7B: does not fit")
    assert "training GPU, update: " in problem and "of 86 GB" in problem
    assert "--ds.adam_offload --actor.gradient_checkpointing_enable" in problem
    assert "--memory_check warn starts all the same" in problem and warnings == []


def test_the_check_can_be_a_warning() -> None:
    host = Host(gpus=(H100,) * 8, memory_bytes=1000 * GB)
    problems, (warning,) = memory_problems(settings("--memory_check", "warn"), host)
    assert problems == [] and "does not fit" in warning


def test_the_published_recipe_starts_without_a_word() -> None:
    host = Host(gpus=(H100,) * 8, memory_bytes=1000 * GB)
    assert memory_problems(settings(*RECIPE), host) == ([], [])


def test_host_memory_too_small_for_the_offloaded_optimiser() -> None:
    host = Host(gpus=(H100,) * 8, memory_bytes=128 * GB)
    (problem,), _ = memory_problems(settings(*RECIPE), host)
    assert "host memory: 169 of 128 GB" in problem
    between = Host(gpus=(H100,) * 8, memory_bytes=256 * GB)
    problems, (warning,) = memory_problems(settings(*RECIPE), between)
    assert problems == [] and "it is close: host memory: 169 of 256 GB" in warning


def test_the_smallest_gpu_counts() -> None:
    host = Host(gpus=(*(H100,) * 7, RTX), memory_bytes=1000 * GB)
    (problem,), _ = memory_problems(settings(*RECIPE), host)
    assert "of 26 GB" in problem
    warnings: list[str] = []
    assert list(find_host_problems(settings(), host, warnings)) == []
    assert "7 x NVIDIA H100 80GB HBM3 (85.5 GB), 1 x NVIDIA GeForce RTX 4090" in warnings[0]


def test_gpus_that_others_use_are_named() -> None:
    busy = Gpu(H100.name, H100.total_bytes, 40 * GB)
    warnings: list[str] = []
    list(find_host_problems(settings(), Host(gpus=(H100, busy)), warnings))
    assert "1 of 2 GPUs are in use by other programs (up to 40 GB" in warnings[0]


def test_a_container_without_shared_memory_is_refused() -> None:
    host = Host(gpus=(H100,), shared_memory_bytes=64 * 2**20)
    (problem,) = find_host_problems(settings(), host, [])
    assert problem.startswith("/dev/shm has 0.07 GB free") and "--shm-size=16g" in problem
    assert not list(find_host_problems(settings(), Host(shared_memory_bytes=8 * GB), []))


def test_a_cpu_host_refuses_7b_and_nothing_small(world: RandomWorld, tmp_path: Path) -> None:
    config = settings()
    models = load_models(config)
    assert models is not None
    (problem,) = find_cpu_problems(config, models, Host(memory_bytes=16 * GB))
    assert "and there are 16; use a smaller model" in problem
    small, _ = parse(world.flags(tmp_path / "run"))
    models = load_models(small)
    assert models is not None
    # two engines of nothing but their cache would fit in 4 GB
    assert not list(find_cpu_problems(small, models, Host(memory_bytes=4 * GB)))
    assert not list(find_cpu_problems(small, models, Host()))


def test_a_run_on_gpus_is_checked_before_it_starts(
    world: RandomWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through `prepare`, with a stand-in for the driver's tool: one card of 4 GB."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU-aa, 580.95, 4096, 0, Small card'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("PURE_HOST", "gpu")
    # its variable was read long ago
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    flags = world.flags(tmp_path / "run", num_gpus=2, reward_mode="VR")
    large = [*flags, "--actor.model_name_or_path", "Qwen/Qwen2.5-Math-1.5B"]
    with pytest.raises(ConfigError) as refused:
        prepare(*parse(large))
    said = [problem for problem in refused.value.problems if "does not fit" in problem]
    assert len(said) == 1 and "of 4 GB" in said[0]
    monkeypatch.setenv("RAY_ADDRESS", "auto")  # the GPUs are elsewhere
    assert list(find_fit_problems(parse(large)[0], [])) == []


def test_what_is_not_known_is_not_judged(
    world: RandomWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PURE_HOST", "gpu")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config, _ = parse(world.flags(tmp_path / "run"))
    warnings: list[str] = []
    list(find_fit_problems(config, warnings))
    assert "the memory of the GPUs is not known" in warnings[-1]
    unknown, _ = parse(world.flags(tmp_path / "run", actor__model_name_or_path="some/model"))
    list(find_fit_problems(unknown, warnings))
    assert "the shape of policy or PRM is not known" in warnings[-1]
