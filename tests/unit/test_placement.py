"""How many GPUs there are, and what each of them does, on hosts of every size; nvidia-smi is a stand-in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pure_rlhf.cli.train_pure import parse
from pure_rlhf.placement import (
    ON_A_CPU,
    PUBLISHED,
    Split,
    default_split,
    share,
    split,
    visible_gpus,
)
from pure_rlhf.validation.gpus import check_gpus, check_placement

ROOT = Path(__file__).parents[2]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A host of eight GPUs."""
    tool = tmp_path / "nvidia-smi"
    lines = "\n".join(f"echo 'GPU {n}: NVIDIA H100 80GB HBM3 (UUID: GPU-{n})'" for n in range(8))
    tool.write_text(
        f"#!/bin/sh\ncase $1 in --query-gpu=driver_version) echo 570.86; exit;; esac\n{lines}\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("PURE_HOST", "RAY_ADDRESS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("named", "count"),
    [(None, 8), ("", 0), ("0", 1), ("6, 7", 2), ("GPU-3,GPU-5,GPU-1", 3), ("0,-1,1", 1), ("9", 0)],
)
def test_what_cuda_would_show(host: pytest.MonkeyPatch, named: str | None, count: int) -> None:
    if named is not None:
        host.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == count
    if named in ("0,-1,1", "9"):
        return  # the script only counts names
    found = subprocess.run(
        ["bash", "-c", ". examples/scripts/environment.sh; echo $num_gpus $host"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.split() == [str(count), "gpu" if count else "cpu"]
    assert ("hides all 8 GPUs" in found.stderr) == (named == "")


def test_without_gpus_or_where_they_are_hidden(host: pytest.MonkeyPatch) -> None:
    host.setenv("PURE_HOST", "cpu")
    assert visible_gpus() == 0 and default_split() == ON_A_CPU
    host.setenv("PATH", "/nowhere")
    host.setenv("PURE_HOST", "gpu")  # a driver without GPUs that belongs to a cluster
    assert visible_gpus() == 0 and default_split() == PUBLISHED
    host.delenv("PURE_HOST")
    assert default_split(training=2) == Split(2, 1, 1)
    host.setenv("RAY_ADDRESS", "auto")
    assert default_split() == PUBLISHED


def test_gpus_that_pytorch_cannot_use_are_not_passed_over(host: pytest.MonkeyPatch) -> None:
    import torch

    host.setattr(torch.cuda, "is_available", lambda: False)
    (problem,) = check_gpus()
    assert "8 GPUs are here and PyTorch sees none" in problem and "CPU build" in problem
    host.setattr(torch.version, "cuda", "13.0")
    (problem,) = check_gpus()
    assert "the driver is 570.86, CUDA 13.0 needs 580 or newer" in problem
    host.setenv("PURE_HOST", "cpu")
    assert list(check_gpus()) == []


def test_sensible_splits() -> None:
    found = {n: (split(n).training, split(n).engines) for n in (2, 3, 4, 5, 6, 7, 8, 12, 16, 32)}
    assert found == {
        2: (1, 1), 3: (2, 1), 4: (2, 2), 5: (4, 1), 6: (4, 2), 7: (4, 3), 8: (4, 4),
        12: (4, 8), 16: (8, 8), 32: (16, 16),
    }  # fmt: skip
    assert split(8) == PUBLISHED
    assert split(8, gpus_per_engine=2) == Split(4, 2)
    assert split(6, gpus_per_engine=4) == Split(2, 1)
    assert split(8, training=2) == Split(2, 6)
    assert split(8, prm_engines=1) == Split(4, 3, 1)


@pytest.mark.parametrize("num_gpus", range(2, 65))
@pytest.mark.parametrize("gpus_per_engine", [1, 2, 4])
def test_no_gpu_too_many_and_none_idle(num_gpus: int, gpus_per_engine: int) -> None:
    found = split(num_gpus, gpus_per_engine=gpus_per_engine)
    used = found.training + found.engines * gpus_per_engine
    if num_gpus > gpus_per_engine:
        assert used <= num_gpus < used + gpus_per_engine
    assert found.training & (found.training - 1) == 0, (
        "the published batches divide by powers of two"
    )
    assert found.training <= max(num_gpus / 2, 4)


def test_the_command_line_starts_from_the_hosts_split(host: pytest.MonkeyPatch) -> None:
    config, problems = parse([])
    assert problems == []
    assert (config.training_gpus, config.rollout_gpus, config.ref.num_gpus_per_node) == (4, 4, 4)
    host.setenv("CUDA_VISIBLE_DEVICES", "2,3,5")
    assert parse([])[0].placement_line == (
        "Placement split (3 GPUs, or processes on a CPU): policy + reference + PRM on 2, 1 rollout engine on 1"
    )
    host.delenv("CUDA_VISIBLE_DEVICES")
    config, _ = parse(["--actor.num_gpus_per_node", "2", "--vllm.tensor_parallel_size", "2"])
    assert (config.training_gpus, config.rollout_gpus, config.reward.num_gpus_per_node) == (2, 6, 2)
    config, _ = parse(["--reward.backend", "vllm", "--reward_mode", "PRM"])
    assert (config.training_gpus, config.rollout_gpus, config.prm_gpus) == (4, 3, 1)
    config, problems = parse(["--actor.num_gpus_per_node", "many"])
    assert len(problems) == 1 and config.training_gpus == 4


def test_one_gpu_is_shared_and_more_are_where_asked(host: pytest.MonkeyPatch) -> None:
    host.setenv("CUDA_VISIBLE_DEVICES", "3")
    for flags in ([], ["--placement", "auto"]):
        config, problems = parse(flags)
        assert problems == [] and config.shares_gpus and config.needed_gpus == 1
        assert config.placement_line == (
            "Placement shared (1 GPU, or processes on a CPU): policy + reference + PRM and 1 rollout engine take turns "
            "on all of them, scoring after the last response"
        )
        assert config.vllm.gpu_memory_utilization == 0.4
    host.delenv("CUDA_VISIBLE_DEVICES")
    config, _ = parse(["--placement", "shared", "--vllm.gpu_memory_utilization", "0.3"])
    assert (config.needed_gpus, config.training_gpus, config.vllm.num_engines) == (8, 8, 8)
    assert config.vllm.gpu_memory_utilization == 0.3
    config, _ = parse(["--placement", "shared", "--actor.num_gpus_per_node", "2"])
    assert (config.needed_gpus, config.vllm.num_engines) == (2, 2)
    assert not parse(["--placement", "split"])[0].shares_gpus
    _, problems = parse(["--placement", "both"])
    assert len(problems) == 1 and "--placement both" in problems[0]


def test_shared_gpus_are_a_power_of_two_and_hold_whole_engines() -> None:
    found = {n: share(n) for n in (1, 2, 3, 6, 8)}
    assert {n: (s.training, s.engines, s.shared) for n, s in found.items()} == {
        1: (1, 1, True), 2: (2, 2, True), 3: (2, 2, True), 6: (4, 4, True), 8: (8, 8, True)
    }  # fmt: skip
    assert share(8, gpus_per_engine=4) == Split(8, 2, shared=True)
    assert share(8, training=4) == Split(4, 4, shared=True)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--vllm.num_engines", "3"], "--placement shared with --vllm.num_engines 3"),
        (["--vllm.tensor_parallel_size", "3"], "the product must be 8"),
        (["--reward.backend", "vllm"], "needs a GPU of its own"),
        (["--ds.zero_stage", "3"], "add --ref.offload"),
        (["--actor.num_gpus_per_node", "16"], "needs 16 GPUs, there are 8"),
    ],
)
def test_what_cannot_be_shared(host: pytest.MonkeyPatch, flags: list[str], words: str) -> None:
    config, problems = parse(["--placement", "shared", "--num_gpus", "8", *flags])
    assert problems == []
    assert any(words in problem for problem in check_placement(config))


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"DATA": "/no/prompts.jsonl"}, "there is no file /no/prompts.jsonl"),
    ],
)
def test_the_script_says_so_before_anything_is_installed(
    host: pytest.MonkeyPatch, tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    host.setenv("PURE_VENV", str(tmp_path / "venv"))
    done = subprocess.run(
        ["bash", str(ROOT / "examples/scripts/train_pure.sh")],
        env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "venv").exists()
