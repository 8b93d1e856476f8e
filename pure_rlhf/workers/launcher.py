"""From a validated configuration to a finished run: Ray, placement groups, actor groups, trainer.

    first GPUs of the group        policy + reference + PRM workers, one of each on every GPU
    one GPU (or TP GPUs) each      rollout engines; with --placement shared on the same GPUs
    one GPU each                   PRM engines, with --reward.backend vllm

The same code runs where there is no GPU: Ray is then told of as many GPUs as are asked for, and `cpu_host`
makes the workers run without one.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import ray
from openrlhf.trainer.ray.launcher import RayActorGroup

from pure_rlhf import cpu_host
from pure_rlhf.config import PureConfig
from pure_rlhf.monitoring.progress import PhaseTimeoutError, StopRequest, follow
from pure_rlhf.monitoring.records import EvaluationRecord
from pure_rlhf.monitoring.run_directory import RunDirectory
from pure_rlhf.ray_runtime import (
    place,
    remove_token,
    require_ray,
    require_resources,
    stop_ray,
    wait_for,
)
from pure_rlhf.report.prm import collect_prm_record
from pure_rlhf.report.run import write_report
from pure_rlhf.validation import Inputs
from pure_rlhf.workers.learning_prm import ImplicitPrmWorker, LearningPrmWorker
from pure_rlhf.workers.lora import LoraPolicyWorker, ReferenceInPolicy
from pure_rlhf.workers.policy_worker import PolicyWorker
from pure_rlhf.workers.prm_worker import PrmEngineWorker, PrmWorker
from pure_rlhf.workers.reference_worker import ReferenceWorker
from pure_rlhf.workers.rollout_actor import EngineStarter
from pure_rlhf.workers.strategy import make_strategy
from pure_rlhf.workers.trainer import PureTrainer, planned_steps
from pure_rlhf.workers.upstream import check_version, upstream_args

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from ray.util.placement_group import PlacementGroup

# Shares of one GPU, which Ray only books. As published three processes live on each training GPU.
SPLIT_GPU = {"policy": 0.6, "reference": 0.3, "prm": 0.1, "engine": 1}
SHARED_GPU = {"policy": 0.4, "reference": 0.2, "prm": 0.2, "engine": 0.2}
ENGINE_TYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
"""vLLM's words for `--ds.param_dtype`."""


class _NamedActorClass:
    """A remote class whose n-th actor is called `prefix-n`, so that the dashboard can be read."""

    def __init__(
        self, actor_class: type, prefix: str, environment: dict[str, str] | None = None
    ) -> None:
        self._remote = ray.remote(actor_class)
        self._prefix = prefix
        self._environment = environment
        self._count = 0

    def options(self, **options: Any) -> Any:
        name = f"{self._prefix}-{self._count}"
        self._count += 1
        if self._environment:
            options["runtime_env"] = {"env_vars": self._environment}
        return self._remote.options(name=name, **options)


def train(
    config: PureConfig, inputs: Inputs, stop: StopRequest | None = None
) -> dict[str, EvaluationRecord]:
    """Run the whole training on the Ray that `start_ray` started; returns the evaluations.

    Ray is shut down at the end, also after an error.

    Args:
        stop: asks the run to end after a step; None: nobody will.

    Raises:
        ray.exceptions.RayError: a worker died or raised; the last checkpoint is intact.
        PhaseTimeoutError: a phase of a step took longer than --train.phase_timeout.
        StoppedError: it was asked to.
    """
    check_version()
    run = RunDirectory(config.output_dir)
    run.write_config(dataclasses.asdict(config), seed=config.train.seed)
    if config.uses_prm and (record := collect_prm_record(config.reward.model_name_or_path)):
        run.write_prm_record(record)
    try:
        trainer, learning = build(config, inputs)
        evaluations = follow(
            trainer,
            trainer.run_training.remote(),
            phase_timeout=config.train.phase_timeout,
            stop=stop,
            check=require_ray,
        )
        wait_for([done for group in learning for done in group.async_save_model()])
    finally:
        stop_ray()
        remove_token(run.path)
    write_report(run.path)
    return evaluations


def build(config: PureConfig, inputs: Inputs) -> tuple[ActorHandle, list[RayActorGroup]]:
    """Place and load every worker; returns the trainer actor and the groups that learn, the policy's first."""
    args = upstream_args(config)
    # On a CPU host the models do not share a GPU's memory, so their forwards may overlap.
    args.train.colocate_actor_ref = not cpu_host.is_cpu_host()
    strategy = make_strategy(args)
    require_resources(config)
    training = place(config.training_gpus)
    starter = _engine_starter(
        config, training if config.shares_gpus else place(config.rollout_gpus)
    )
    engines = [starter.start(number) for number in range(config.vllm.num_engines)]
    if config.shares_gpus:  # before the models come: an engine takes its share of what is free
        wait_for([engine.sleep.remote() for engine in engines])

    def group(actor_class: type, prefix: str) -> RayActorGroup:
        # upstream's hints are narrower than what it does: it calls .options(...).remote(...) and takes fractions
        return RayActorGroup(
            config.actor.num_nodes,
            config.actor.num_gpus_per_node,
            _NamedActorClass(actor_class, prefix, _environment(config, prefix)),  # pyright: ignore[reportArgumentType]
            pg=training,
            num_gpus_per_actor=_gpu_shares(config)[prefix],  # pyright: ignore[reportArgumentType]
        )

    policy = group(LoraPolicyWorker if config.ds.lora.rank else PolicyWorker, "policy")
    reference = group(ReferenceWorker, "reference") if config.has_reference_worker else None
    with_adapter_off = config.uses_reference and reference is None
    prm = None
    if config.uses_prm:
        prm = _prm_engines(config) if config.prm_gpus else group(_prm_worker(config), "prm")
    trainer = (
        ray.remote(PureTrainer)
        .options(name="trainer", num_cpus=1, max_concurrency=2)
        .remote(
            strategy,
            config,
            inputs=inputs,
            actor_group=policy,
            prm_group=prm,
            reference_group=ReferenceInPolicy(policy) if with_adapter_off else reference,
            engines=engines,
            start_engine=starter.start,
        )
    )
    model = config.actor.model_name_or_path
    num_prompts = len(inputs.train_prompts.records)
    learning = [policy] + ([prm] if prm is not None and config.learns_prm else [])
    loading: list[tuple[RayActorGroup, tuple[Any, ...]]] = [
        (policy, (strategy, model, _update_steps(config, num_prompts), engines))
    ]
    if reference is not None:
        loading.append((reference, (strategy, model)))
    if prm is not None:
        kind = [] if config.uses_implicit_prm else [inputs.prm_convention]
        steps = [_prm_update_steps(config, num_prompts)] if config.learns_prm else []
        loading.append((prm, (strategy, config.reward.model_name_or_path, *kind, *steps)))
    _load(config, learning, loading)
    return trainer, learning


def _load(
    config: PureConfig,
    learning: list[RayActorGroup],
    loading: list[tuple[RayActorGroup, tuple[Any, ...]]],
) -> None:
    """All models at once; on shared GPUs one after the other, and each leaves room for the next."""

    def wait(done: list[ray.ObjectRef]) -> None:
        try:
            wait_for(done, config.train.phase_timeout)
        except ray.exceptions.GetTimeoutError:
            raise PhaseTimeoutError("loading the models", config.train.phase_timeout) from None

    if not config.shares_gpus:
        started = [
            group.async_init_model_from_pretrained(*arguments) for group, arguments in loading
        ]
        wait([one for each in started for one in each])
        return
    for group, arguments in loading:
        wait(group.async_init_model_from_pretrained(*arguments))
        if group in learning:
            wait(group.async_run_method("offload_states"))
        elif config.ds.zero_stage < 3:
            wait(group.async_run_method("to_host"))


def _engine_starter(config: PureConfig, placement_group: PlacementGroup) -> EngineStarter:
    return EngineStarter(
        tensor_parallel_size=config.vllm.tensor_parallel_size,
        model=config.actor.model_name_or_path,
        seed=config.train.seed,
        max_model_len=config.data.max_len,
        max_num_seqs=config.vllm.max_num_seqs or min(max(config.answers_per_engine, 128), 1024),
        max_num_batched_tokens=config.vllm.max_num_batched_tokens,
        dtype=ENGINE_TYPES[cpu_host.parameter_type(config.ds.param_dtype)],
        gpu_memory_utilization=config.vllm.gpu_memory_utilization,
        enforce_eager=config.vllm.enforce_eager,
        enable_prefix_caching=config.vllm.enable_prefix_caching,
        full_determinism=config.train.full_determinism_enable,
        trust_remote_code=config.trust_remote_code,
        log_probs_at_sampling_temperature=config.log_prob_temperature == "sampling",
        placement_group=placement_group,
        gpu_share=_gpu_shares(config)["engine"],
    )


def _prm_engines(config: PureConfig) -> RayActorGroup:
    """`--reward.backend vllm`: a PRM on GPUs of its own."""
    return RayActorGroup(
        config.reward.num_nodes,
        config.reward.num_gpus_per_node,
        _NamedActorClass(PrmEngineWorker, "prm"),  # pyright: ignore[reportArgumentType]
        pg=place(config.prm_gpus),
        num_gpus_per_actor=1,
    )


def _prm_worker(config: PureConfig) -> type:
    """Who scores on the policy's GPUs; an implicit PRM that does not learn does what the reference does."""
    if config.uses_implicit_prm:
        return ImplicitPrmWorker if config.learns_prm else ReferenceWorker
    return LearningPrmWorker if config.learns_prm else PrmWorker


def _gpu_shares(config: PureConfig) -> dict[str, float]:
    """What part of a GPU Ray books for a process of each kind."""
    return SHARED_GPU if config.shares_gpus else SPLIT_GPU


def _environment(config: PureConfig, kind: str) -> dict[str, str]:
    """What an actor that trains or scores on a GPU gets besides the job's environment; the user's own values win."""
    if cpu_host.is_cpu_host():
        return {}
    # not for the engines: vLLM's all-reduce of several GPUs refuses such memory, and so does CUDA IPC in containers
    defaults = {} if config.shares_gpus else {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    learns = kind == "policy" or (kind == "prm" and config.learns_prm)
    if learns and config.ds.adam_offload:
        # Ray would give the optimiser, which then runs on the CPU, one thread for its share of one CPU.
        cores = (os.cpu_count() or 1) // config.actor.num_gpus_per_node // (1 + config.learns_prm)
        defaults["OMP_NUM_THREADS"] = str(max(1, cores))
    return {name: os.environ.get(name, value) for name, value in defaults.items()}


def _update_steps(config: PureConfig, num_prompts: int) -> int:
    """Optimiser steps of the whole run, for the learning-rate scheduler."""
    answers = _num_answers(config, num_prompts)
    return max(answers // config.train.batch_size * config.train.max_epochs, 1)


def _prm_update_steps(config: PureConfig, num_prompts: int) -> int:
    """The same of a PRM that learns, which sees each response once."""
    return max(_num_answers(config, num_prompts) // config.prm_batch_size, 1)


def _num_answers(config: PureConfig, num_prompts: int) -> int:
    """Responses of the whole run."""
    steps = planned_steps(config, num_prompts)
    return steps * config.rollout.batch_size * config.rollout.n_samples_per_prompt
