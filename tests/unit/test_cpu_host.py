"""The five helpers that stand in for flash_attn do what its own do; PURE_HOST decides where torch cannot know."""

from __future__ import annotations

import pytest
import torch

from pure_rlhf import cpu_host

cpu_host.install()


def test_unpad_and_pad_are_inverse() -> None:
    from flash_attn.bert_padding import index_first_axis, pad_input, unpad_input

    hidden = torch.arange(24.0).view(2, 4, 3)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    flat, indices, cumulative, longest, lengths = unpad_input(hidden, mask)
    assert indices.tolist() == [0, 1, 2, 4, 5]
    assert (cumulative.tolist(), longest, lengths.tolist()) == ([0, 3, 5], 3, [3, 2])
    assert torch.equal(flat, index_first_axis(hidden.flatten(0, 1), indices))
    assert torch.equal(pad_input(flat, indices, 2, 4), hidden * mask.unsqueeze(-1))


def test_the_device_serves_both_of_upstreams_uses() -> None:
    device = torch.cuda.current_device()
    assert torch.zeros(2).to(device).device.type == "cpu"
    assert torch.device(f"cuda:{device}").index == 0  # replay buffer; never used


@pytest.mark.parametrize(("value", "expected"), [("cpu", True), ("gpu", False)])
def test_pure_host_wins(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv("PURE_HOST", value)
    assert cpu_host.is_cpu_host() is expected


def test_values_of_the_user_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cpu_host.environment()["OMP_NUM_THREADS"] == "3"
    assert cpu_host.environment()["VLLM_CPU_KVCACHE_SPACE"] == "1"


@pytest.mark.parametrize(
    ("cores", "processes", "expected"), [("8", 1, 8), ("8", 3, 2), ("2", 4, 1), ("0", 1, 1)]
)
def test_who_works_alone_gets_all_cores(
    monkeypatch: pytest.MonkeyPatch, cores: str, processes: int, expected: int
) -> None:
    monkeypatch.setenv(cpu_host.CORES, cores)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with cpu_host.all_cores(processes):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_threads_that_the_user_chose_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", cpu_host.CORES):
        monkeypatch.delenv(name, raising=False)
    chosen_by_us = cpu_host.environment()
    assert int(chosen_by_us[cpu_host.CORES]) >= 1
    for name, value in chosen_by_us.items():  # what the workers of this process see
        monkeypatch.setenv(name, value)
    assert cpu_host.environment()[cpu_host.CORES] == chosen_by_us[cpu_host.CORES]
    monkeypatch.delenv(cpu_host.CORES)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cpu_host.environment()[cpu_host.CORES] == "0"


def test_a_gpu_host_compiles_no_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURE_HOST", "gpu")
    assert cpu_host.environment() == {"PURE_HOST": "gpu", "VLLM_USE_FLASHINFER_SAMPLER": "0"}
    assert cpu_host.engine_arguments() == {} and cpu_host.device() == "cuda"
    monkeypatch.setenv("VLLM_USE_FLASHINFER_SAMPLER", "1")
    assert cpu_host.environment()["VLLM_USE_FLASHINFER_SAMPLER"] == "1"
    monkeypatch.setenv("PURE_HOST", "cpu")
    assert cpu_host.engine_arguments()["enforce_eager"] and cpu_host.device() == "cpu"


def test_attention_is_flash_attns_where_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_host.attention_implementation("auto") == "sdpa"
    assert cpu_host.attention_implementation("eager") == "eager"
    monkeypatch.setenv("PURE_HOST", "gpu")
    assert not cpu_host.flash_attn_loads(), "the helpers are not flash-attn"
    assert cpu_host.attention_implementation("auto") == "sdpa"
    monkeypatch.setattr(cpu_host, "flash_attn_loads", lambda: True)
    assert cpu_host.attention_implementation("auto") == "flash_attention_2"
    monkeypatch.setenv("PURE_HOST", "cpu")
    assert cpu_host.attention_implementation("auto") == "sdpa"


def test_transformers_does_not_take_the_helpers_for_flash_attn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers.utils import import_utils

    monkeypatch.setattr(import_utils, "is_torch_cuda_available", lambda: True)
    asked = import_utils.is_flash_attn_2_available
    assert getattr(asked, "__wrapped__", asked)() is False
