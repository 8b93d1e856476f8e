"""Does a run fit this machine? Asked by `validation/` before Ray starts; `pure-rlhf-doctor` shows the same in full.

A run that cannot fit ends with what would make it fit; one that is close starts with a warning. What is not known (a
model of unknown shape, the nodes of a Ray cluster) is not judged.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pure_rlhf.config import PureConfig
from pure_rlhf.cpu_host import is_cpu_host
from pure_rlhf.fit.advice import Plan, find_advice
from pure_rlhf.fit.estimate import GB, Models
from pure_rlhf.fit.host import Host, existing_parent, read_host
from pure_rlhf.fit.shapes import count_parameters, read_shape, without_output
from pure_rlhf.fit.verdict import Assessment, Need, assess, assess_cpu_host, disk_need

LEAST_SHARED_MEMORY = 1 * GB
"""NCCL takes some ten megabytes a pair of GPUs there, Ray its objects; a container's default is 0.064."""


def load_models(config: PureConfig) -> Models | None:
    """Shapes of policy and PRM; None where one of them is not known."""
    policy = read_shape(config.actor.model_name_or_path)
    prm = read_shape(config.reward.model_name_or_path) if config.uses_prm else None
    if policy is None or (config.uses_prm and prm is None):
        return None
    if prm is not None and not config.uses_implicit_prm:
        prm = without_output(prm)
    return Models(policy=policy, prm=prm)


def free_disk(config: PureConfig) -> int:
    """Bytes free where --output_dir lies or will lie."""
    return shutil.disk_usage(existing_parent(Path(config.output_dir))).free


def find_fit_problems(config: PureConfig, warnings: list[str]) -> Iterator[str]:
    """Why this run does not fit this machine; appends to `warnings` what is close or odd."""
    free = free_disk(config)
    yield from _find_disk_problems(config, free)
    if os.environ.get("RAY_ADDRESS"):
        return  # the nodes that will do the work are others
    host = read_host()
    models = load_models(config)
    if is_cpu_host():
        if models is not None:
            yield from find_cpu_problems(config, models, host)
        return
    yield from find_host_problems(config, host, warnings)
    if models is None or not host.gpus:
        unknown = "the memory of the GPUs" if models else "the shape of policy or PRM"
        warnings.append(f"{unknown} is not known: whether the run fits was not checked")
        return
    yield from find_memory_problems(config, models, host, warnings)


def _find_disk_problems(config: PureConfig, free: int) -> Iterator[str]:
    num_parameters = count_parameters(config.actor.model_name_or_path)
    if num_parameters is None:
        return
    need = disk_need(config, num_parameters, free)
    if need.verdict == "does not fit":
        yield (
            f"--output_dir {config.output_dir}: {need.note} need about {need.amount / GB:.1f} GB, {free / GB:.1f} GB "
            "are free; free some, choose another disk, lower --ckpt.max_num, drop --ckpt.save_hf or use "
            "--ckpt.disable_ds"
        )


def find_host_problems(config: PureConfig, host: Host, warnings: list[str]) -> Iterator[str]:
    """What is wrong with a GPU host whatever the model."""
    shared = host.shared_memory_bytes
    if shared is not None and shared < LEAST_SHARED_MEMORY:
        yield (
            f"/dev/shm has {shared / GB:.2f} GB free: NCCL and Ray need {LEAST_SHARED_MEMORY / GB:.0f} GB or more; "
            "start the container with --shm-size=16g or --ipc=host, or enlarge it: mount -o remount,size=16g /dev/shm"
        )
    if len(host.kinds) > 1:
        warnings.append(
            f"GPUs of different kinds: {', '.join(host.kinds)}; the smallest sets what fits and the slowest the pace; "
            "CUDA_VISIBLE_DEVICES chooses"
        )
    taken = [gpu for gpu in host.gpus if gpu.used_bytes > GB]
    if taken:
        most = max(gpu.used_bytes for gpu in taken)
        warnings.append(
            f"{len(taken)} of {len(host.gpus)} GPUs are in use by other programs (up to {most / GB:.0f} GB, "
            "`nvidia-smi` names them); what they hold is not counted as free"
        )


def find_memory_problems(
    config: PureConfig, models: Models, host: Host, warnings: list[str]
) -> Iterator[str]:
    """Whether GPUs and host memory suffice; with what would make them suffice."""
    assessment = assess(config, models, host, disk_free=None)
    failing = [need for need in assessment.needs if need.verdict == "does not fit"]
    close = [need.sentence() for need in assessment.needs if need.verdict == "close"]
    if not failing:
        if close:
            warnings.append(
                f"by the estimate it is close: {'; '.join(close)}. `pure-rlhf-doctor` with the same flags has the table"
            )
        return
    problem = (
        f"--actor.model_name_or_path {config.actor.model_name_or_path}: does not fit ("
        f"{'; '.join(need.sentence() for need in failing)}). {advice_text(config, models, host)}. "
        "`pure-rlhf-doctor` with the same flags has the table"
    )
    if config.memory_check == "warn":
        warnings.append(problem)
    else:
        yield f"{problem}; --memory_check warn starts all the same"


def advice_text(config: PureConfig, models: Models, host: Host) -> str:
    """What would make it fit, in one line."""
    advice = find_advice(Plan(config=config, models=models), host)
    if not advice:
        return "Nothing that was tried makes it fit; more or larger GPUs, or a smaller model or PRM"
    return "Would fit, the cheapest first: " + "; or ".join(each.sentence() for each in advice)


def find_cpu_problems(config: PureConfig, models: Models, host: Host) -> Iterator[str]:
    """A CPU host refuses only what cannot fit: models, optimiser and KV caches in more memory than it has."""
    need = _memory_need(assess_cpu_host(config, models, host, disk_free=None))
    if need.verdict == "does not fit" and config.memory_check == "refuse":
        yield (
            f"--actor.model_name_or_path {config.actor.model_name_or_path}: needs {need.least / GB:.0f} GB of host "
            f"memory for models, optimiser and KV cache, and there are {(need.have or 0) / GB:.0f}; use a smaller "
            "model, fewer processes (--actor.num_gpus_per_node, --vllm.num_engines), or a host with GPUs"
        )


def _memory_need(assessment: Assessment) -> Need:
    return next(need for need in assessment.needs if need.what == "host memory")
