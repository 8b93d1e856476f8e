"""What differs on a host with GPUs, as far as a CPU shows it: calls in their order, resolved arguments, messages."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import itertools
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch

from pure_rlhf import cpu_host, ray_runtime
from pure_rlhf.config import (
    ActorConfig,
    DeepspeedConfig,
    PureConfig,
    RolloutConfig,
    TrainConfig,
    VllmConfig,
)
from pure_rlhf.monitoring.progress import PhaseTimeoutError
from pure_rlhf.ray_runtime import PlacementError, place, require_resources

cpu_host.install()

from openrlhf.trainer.ray import ppo_actor  # noqa: E402

from pure_rlhf.workers import launcher, policy_worker, rollout_actor  # noqa: E402
from pure_rlhf.workers.transports import Transport  # noqa: E402
from pure_rlhf.workers.upstream import upstream_args  # noqa: E402


class Calls:
    """Engines whose remote calls are written down; a reference is the name of its call."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def remote(*_: Any) -> str:
            self.made.append(name)
            return name

        return SimpleNamespace(remote=remote)


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Calls]:
    """The sender of the weights on rank 0, with its transport left out."""
    calls = Calls()
    monkeypatch.setattr(policy_worker.ray, "get", lambda references: references)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(policy_worker, "torch_dist_barrier_and_cuda_sync", lambda: None)

    def push(*_: Any, transport: Transport, **__: Any) -> dict[str, float]:
        calls.made.append(f"push {type(transport).__name__}")
        return {"sync/buckets": 1.0}

    monkeypatch.setattr(policy_worker, "push_weights", push)
    trainer: Any = object.__new__(policy_worker.PolicyTrainer)
    trainer.vllm_engines = [calls]
    trainer.use_cuda_ipc = False
    trainer.actor = SimpleNamespace(model=SimpleNamespace(module=None))
    return trainer, calls


@pytest.mark.parametrize("caching", [False, True])
def test_what_the_engines_cached_of_the_old_weights_is_dropped(
    policy: tuple[Any, Calls], caching: bool
) -> None:
    trainer, calls = policy
    config = PureConfig(vllm=VllmConfig(enable_prefix_caching=caching))
    trainer.strategy = SimpleNamespace(args=upstream_args(config))
    assert trainer.broadcast_to_vllm() == {"sync/buckets": 1.0}
    assert calls.made == ["push Broadcast", "reset_prefix_cache"][: 1 + caching]


def test_on_shared_gpus_the_engine_opens_the_policys_memory(policy: tuple[Any, Calls]) -> None:
    """Upstream opens no group of NCCL there, which refuses two ranks on one GPU."""
    trainer, calls = policy
    args = upstream_args(PureConfig(placement="shared"))
    # as upstream's constructor decides
    source = inspect.getsource(ppo_actor.ActorPPOTrainer.__init__)
    assert 'self.use_cuda_ipc = backend == "nccl" and self.args.train.colocate_all' in source
    assert args.train.colocate_all and args.vllm.sync_backend == "nccl"
    assert not args.train.async_enable
    trainer.use_cuda_ipc = True
    trainer.strategy = SimpleNamespace(args=args)
    trainer.broadcast_to_vllm()
    assert calls.made == ["push SameDevice"]


def test_the_sync_group_is_opened_when_the_engines_are_up(
    policy: tuple[Any, Calls], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, calls = policy
    monkeypatch.setattr(
        ppo_actor.ActorPPOTrainer,
        "_init_vllm_sync_group",
        lambda self, backend: calls.made.append(f"open {backend}"),
    )
    trainer._init_vllm_sync_group("nccl")
    assert calls.made == ["__ray_ready__", "open nccl"]
    assert ppo_actor.stateless_init_process_group.__name__ == "stateless_init_process_group"


def engine_arguments(config: PureConfig, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `launcher.build` gives the first engine, with what Ray is told under `options`, before any model loads."""
    made: list[dict[str, Any]] = []

    class Remote:
        asked: dict[str, Any]

        def options(self, **asked: Any) -> Remote:
            self.asked = asked
            return self

        def remote(self, **arguments: Any) -> Any:
            made.append(arguments | {"options": self.asked, "slept": False})
            sleep = SimpleNamespace(remote=lambda: made[0].update(slept=True))
            return SimpleNamespace(sleep=sleep)

    class Enough(Exception):
        pass

    def stop(*_: Any, **__: Any) -> None:
        raise Enough

    monkeypatch.setattr(rollout_actor.ray, "remote", lambda _: Remote())
    monkeypatch.setattr(launcher, "wait_for", lambda references: references)
    monkeypatch.setattr(rollout_actor, "PlacementGroupSchedulingStrategy", lambda **_: None)
    monkeypatch.setattr(launcher, "require_resources", lambda _: None)
    monkeypatch.setattr(launcher, "place", lambda _: None)
    monkeypatch.setattr(launcher, "RayActorGroup", stop)
    with pytest.raises(Enough):
        launcher.build(config, SimpleNamespace())  # type: ignore[arg-type]
    return made[0]


@pytest.mark.parametrize(
    ("prompts", "engines", "asked", "width"),
    [(64, 4, None, 128), (128, 2, None, 256), (1024, 1, None, 1024), (64, 4, 40, 40)],
)
def test_an_engine_is_as_wide_as_its_share_of_a_step(
    monkeypatch: pytest.MonkeyPatch, prompts: int, engines: int, asked: int | None, width: int
) -> None:
    config = PureConfig(
        rollout=RolloutConfig(batch_size=prompts, n_samples_per_prompt=4),
        vllm=VllmConfig(num_engines=engines, max_num_seqs=asked, max_num_batched_tokens=8192),
    )
    arguments = engine_arguments(config, monkeypatch)
    assert arguments["max_num_seqs"] == width and arguments["max_num_batched_tokens"] == 8192


@pytest.mark.parametrize(
    ("policy_type", "engine_type"),
    [("bf16", "bfloat16"), ("fp16", "float16"), ("fp32", "float32")],
)
def test_the_engine_computes_in_the_policys_type(
    monkeypatch: pytest.MonkeyPatch, policy_type: Any, engine_type: str
) -> None:
    config = PureConfig(ds=DeepspeedConfig(param_dtype=policy_type))
    assert upstream_args(config).ds.param_dtype == policy_type
    assert engine_arguments(config, monkeypatch)["dtype"] == engine_type


def test_bfloat16_is_not_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, fast, used in (
        ("cpu", True, "bf16"),
        ("cpu", False, "fp32"),
        ("gpu", False, "bf16"),
    ):
        monkeypatch.setenv("PURE_HOST", host)
        monkeypatch.setattr(cpu_host, "bfloat16_is_fast", lambda fast=fast: fast)
        assert upstream_args(PureConfig()).ds.param_dtype == used
        assert engine_arguments(PureConfig(), monkeypatch)["dtype"] == launcher.ENGINE_TYPES[used]


def test_openrlhf_takes_float32_where_it_asks_for_a_type() -> None:
    """Its own function refuses it (`cpu_host.offer_float32`), and its configuration of DeepSpeed has it."""
    from openrlhf.utils import utils
    from openrlhf.utils.deepspeed.deepspeed_utils import get_train_ds_config

    assert utils.convert_to_torch_dtype("fp32") is torch.float32
    assert utils.convert_to_torch_dtype("bf16") is torch.bfloat16
    with pytest.raises(ValueError, match="Invalid"):
        utils.convert_to_torch_dtype.__wrapped__("fp32")
    asked = get_train_ds_config(offload=False, param_dtype="fp32")
    assert not asked["bf16"]["enabled"] and not asked["fp16"]["enabled"]


@pytest.mark.parametrize("tensor_parallel_size", [1, 2])
def test_an_engine_of_shared_gpus_sleeps_before_the_models_come(
    monkeypatch: pytest.MonkeyPatch, tensor_parallel_size: int
) -> None:
    monkeypatch.setattr(rollout_actor, "get_bundle_indices", lambda *_: [0, 1])
    monkeypatch.setenv("PURE_HOST", "gpu")
    vllm = VllmConfig(num_engines=4, tensor_parallel_size=tensor_parallel_size)
    found = engine_arguments(PureConfig(placement="shared", vllm=vllm), monkeypatch)
    assert found["enable_sleep_mode"] and found["slept"]
    # with tensor parallelism vLLM's own workers take it, a fifth of each GPU
    assert found["num_gpus"] == 0.2
    assert found["options"]["num_gpus"] == (0.2 if tensor_parallel_size == 1 else 0)
    assert sum(launcher.SHARED_GPU.values()) == pytest.approx(1)
    found = engine_arguments(PureConfig(vllm=vllm), monkeypatch)
    assert not found["enable_sleep_mode"] and not found["slept"] and found["num_gpus"] == 1


@pytest.mark.parametrize(("asked", "used"), [(None, 5000), (700, 700)])
def test_dynamic_batches_have_a_budget_for_log_probabilities(asked: int | None, used: int) -> None:
    config = PureConfig(
        rollout=RolloutConfig(max_tokens_per_gpu=asked), train=TrainConfig(max_tokens_per_gpu=5000)
    )
    assert upstream_args(config).rollout.max_tokens_per_gpu == used


def test_environment_of_the_training_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's all-reduce of several GPUs refuses expandable segments, and Ray gives a CPU optimiser one thread."""
    config = PureConfig(
        actor=ActorConfig(num_gpus_per_node=4), ds=DeepspeedConfig(adam_offload=True)
    )
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    assert launcher._environment(config, "policy") == {}, "this is a CPU host"
    monkeypatch.setenv("PURE_HOST", "gpu")
    monkeypatch.setattr(launcher.os, "cpu_count", lambda: 26)
    segments = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    assert launcher._environment(config, "policy") == segments | {"OMP_NUM_THREADS": "6"}
    assert launcher._environment(config, "prm") == segments
    # CUDA IPC of such memory needs a right that containers do not have
    assert launcher._environment(dataclasses.replace(config, placement="shared"), "prm") == {}
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "")
    assert launcher._environment(config, "prm") == {"PYTORCH_CUDA_ALLOC_CONF": ""}


def test_a_cluster_that_is_too_small_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config = PureConfig()  # the published placement: 4 + 4
    monkeypatch.setattr(ray_runtime.ray, "cluster_resources", lambda: {"GPU": 8.0, "CPU": 64.0})
    require_resources(config)
    monkeypatch.setattr(ray_runtime.ray, "cluster_resources", lambda: {"CPU": 8.0})
    with pytest.raises(PlacementError, match=r"8 GPUs are needed and Ray has 0; 9 CPUs .* has 8"):
        require_resources(config)


def test_gpus_that_others_hold_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    # `ray.util.placement_group` is the function, unless one asks for the module of that name
    module = importlib.import_module("ray.util.placement_group")
    waited: list[float] = []

    def group(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(wait=lambda seconds: bool(waited.append(seconds)))

    monkeypatch.setattr(module, "placement_group", group)
    monkeypatch.setattr(ray_runtime.ray, "available_resources", lambda: {"GPU": 2.0, "CPU": 3.0})
    with pytest.raises(PlacementError, match=r"4 GPUs .* within 60 s: 2 GPUs and 3 CPUs are"):
        place(4)
    assert waited == [60.0]


@pytest.mark.parametrize("placement", ["split", "shared"])
def test_models_that_do_not_load_are_not_waited_for_for_ever(
    placement: Literal["split", "shared"], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(references: list[str], num_returns: int, timeout: float) -> Any:
        assert references == ["loading"] and num_returns == 1 and timeout <= 1
        return [], references

    seconds = itertools.count()
    monkeypatch.setattr(ray_runtime.time, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(ray_runtime.ray, "wait", never)
    monkeypatch.setattr(ray_runtime.ray, "get", lambda references: [])
    config = PureConfig(placement=placement, train=TrainConfig(phase_timeout=5))
    group: Any = SimpleNamespace(async_init_model_from_pretrained=lambda *_: ["loading"])
    with pytest.raises(PhaseTimeoutError, match="loading the models took more than 5 s"):
        launcher._load(config, [group], [(group, ())])
