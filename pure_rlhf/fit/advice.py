"""What would make a run fit, the cheapest first; every advice was tried against the estimate, none is a guess."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

from pure_rlhf.config import PureConfig, with_split
from pure_rlhf.fit.estimate import Models, longest_row
from pure_rlhf.fit.host import Host
from pure_rlhf.fit.shapes import KNOWN_MODELS
from pure_rlhf.fit.verdict import Assessment, Verdict, assess
from pure_rlhf.placement import share

LORA_RANK = 32
SMALL_SHARE = 0.3
SMALLER_MODELS = ("Qwen/Qwen2.5-Math-1.5B", "Qwen/Qwen2.5-0.5B")
MOST_ADVICE = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings that might fit, and the flags that lead to them."""

    config: PureConfig
    models: Models
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Advice:
    flags: tuple[str, ...]
    assessment: Assessment

    def sentence(self) -> str:
        """The flags, and how full the fullest GPU is then."""
        fullest = self.assessment.fullest
        then = "" if fullest is None else f" ({fullest.sentence()})"
        close = "" if self.assessment.verdict == "fits" else ", close"
        return f"{' '.join(self.flags)}{then}{close}"


Step = Callable[[Plan, Host], Plan | None]


def find_advice(plan: Plan, host: Host) -> list[Advice]:
    """Up to three ways to fit, each with another most costly step, the cheapest first; none where nothing helps.

    All combinations of STEPS are tried in the order of their most costly step, and then of their number. Where none
    fits with this model, those that are close are named, and smaller models.
    """
    names = list(STEPS)
    same_model = sum(name not in SMALLER_MODELS for name in names)
    same, smaller = range(same_model), range(same_model, len(names))
    found = _ways(names, same, plan, host, "fits")
    if not found:
        found = _ways(names, same, plan, host, "close")
        found += _ways(names, smaller, plan, host, "fits") or _ways(
            names, smaller, plan, host, "close"
        )
    return found[:MOST_ADVICE]


def _ways(names: list[str], steps: range, plan: Plan, host: Host, wanted: Verdict) -> list[Advice]:
    """The smallest combination for each of `steps` as the most costly one."""
    found: list[Advice] = []
    for last in steps:
        advice = _cheapest_with(names[: last + 1], plan, host, wanted)
        # what fits without this step is no better with it
        if advice and not any(set(known.flags) <= set(advice.flags) for known in found):
            found.append(advice)
    return found


def _cheapest_with(names: list[str], plan: Plan, host: Host, wanted: Verdict) -> Advice | None:
    """The smallest combination of the steps that has the last of them and this verdict."""
    for size in range(len(names)):
        for chosen in combinations(names[:-1], size):
            changed: Plan | None = plan
            for name in (*chosen, names[-1]):
                changed = STEPS[name](changed, host) if changed else None
            if changed is None:
                continue
            assessment = assess(changed.config, changed.models, host, disk_free=None)
            if assessment.verdict == wanted:
                return Advice(flags=changed.flags, assessment=assessment)
    return None


def _with(plan: Plan, config: PureConfig, *flags: str) -> Plan:
    return dataclasses.replace(plan, config=config, flags=(*plan.flags, *flags))


def _offload(plan: Plan, host: Host) -> Plan | None:
    c = plan.config
    if c.ds.adam_offload:
        return None
    ds = dataclasses.replace(c.ds, adam_offload=True)
    return _with(plan, dataclasses.replace(c, ds=ds), "--ds.adam_offload")


def _share(plan: Plan, host: Host) -> Plan | None:
    """Every GPU trains and generates; as many as a power of two, which divides the batches."""
    c = plan.config
    there = len(host.gpus) - c.prm_gpus
    if c.shares_gpus or c.prm_gpus or there < c.vllm.tensor_parallel_size:
        return None
    config = with_split(c, share(there, gpus_per_engine=c.vllm.tensor_parallel_size))
    return _with(plan, config, "--placement shared")


def _small_update(plan: Plan, host: Host) -> Plan | None:
    c = plan.config
    if c.train.micro_batch_size == 1 or c.train.dynamic_batch_enable:
        return None
    train = dataclasses.replace(c.train, micro_batch_size=1)
    return _with(plan, dataclasses.replace(c, train=train), "--train.micro_batch_size 1")


def _small_forward(plan: Plan, host: Host) -> Plan | None:
    c = plan.config
    if c.rollout.micro_batch_size == 1 or c.train.dynamic_batch_enable:
        return None
    rollout = dataclasses.replace(c.rollout, micro_batch_size=1)
    return _with(plan, dataclasses.replace(c, rollout=rollout), "--rollout.micro_batch_size 1")


def _small_scoring(plan: Plan, host: Host) -> Plan | None:
    c, row = plan.config, longest_row(plan.config)
    if plan.models.prm is None or c.reward.max_tokens_per_batch <= row:
        return None
    reward = dataclasses.replace(c.reward, max_tokens_per_batch=row)
    return _with(
        plan, dataclasses.replace(c, reward=reward), f"--reward.max_tokens_per_batch {row}"
    )


def _checkpoint(plan: Plan, host: Host) -> Plan | None:
    c = plan.config
    if c.actor.gradient_checkpointing_enable:
        return None
    actor = dataclasses.replace(c.actor, gradient_checkpointing_enable=True)
    return _with(plan, dataclasses.replace(c, actor=actor), "--actor.gradient_checkpointing_enable")


def _divide_engines(plan: Plan, host: Host) -> Plan | None:
    """Half as many engines, each on twice as many GPUs."""
    c = plan.config
    heads, ways = plan.models.policy.num_heads, 2 * c.vllm.tensor_parallel_size
    if c.vllm.num_engines % 2 or heads % ways:
        return None
    vllm = dataclasses.replace(
        c.vllm, num_engines=c.vllm.num_engines // 2, tensor_parallel_size=ways
    )
    flags = f"--vllm.num_engines {vllm.num_engines} --vllm.tensor_parallel_size {ways}"
    return _with(plan, dataclasses.replace(c, vllm=vllm), flags)


def _smaller_share(plan: Plan, host: Host) -> Plan | None:
    """An engine that shares its GPU leaves more of it."""
    c = plan.config
    if not c.shares_gpus or c.vllm.gpu_memory_utilization <= SMALL_SHARE:
        return None
    vllm = dataclasses.replace(c.vllm, gpu_memory_utilization=SMALL_SHARE)
    flags = f"--vllm.gpu_memory_utilization {SMALL_SHARE}"
    return _with(plan, dataclasses.replace(c, vllm=vllm), flags)


def _adapt(plan: Plan, host: Host) -> Plan | None:
    c = plan.config
    if c.ds.lora.rank:
        return None
    lora = dataclasses.replace(c.ds.lora, rank=LORA_RANK)
    ds = dataclasses.replace(c.ds, lora=lora)
    return _with(plan, dataclasses.replace(c, ds=ds), f"--ds.lora.rank {LORA_RANK}")


def _smaller(name: str) -> Step:
    def step(plan: Plan, host: Host) -> Plan | None:
        shape = KNOWN_MODELS[name]
        already = any("--actor.model_name_or_path" in flag for flag in plan.flags)
        if already or shape.num_parameters >= plan.models.policy.num_parameters:
            return None
        actor = dataclasses.replace(plan.config.actor, model_name_or_path=name)
        changed = _with(
            plan,
            dataclasses.replace(plan.config, actor=actor),
            f"--actor.model_name_or_path {name}",
        )
        return dataclasses.replace(changed, models=dataclasses.replace(plan.models, policy=shape))

    return step


# In the order of cost: host memory, time, another algorithm, another model.
STEPS: dict[str, Step] = {
    "offload": _offload,
    "shared": _share,
    "small update": _small_update,
    "small forward": _small_forward,
    "small scoring": _small_scoring,
    "divided engines": _divide_engines,
    "smaller share": _smaller_share,
    "checkpointing": _checkpoint,
    "lora": _adapt,
    **{name: _smaller(name) for name in SMALLER_MODELS},
}
