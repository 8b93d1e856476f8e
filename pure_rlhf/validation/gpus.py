"""GPUs, driver and placement: what this host or cluster has, and what the settings ask of it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pure_rlhf import cpu_host
from pure_rlhf.config import PureConfig
from pure_rlhf.placement import OLDEST_DRIVER, driver_version, visible_gpus


def check_gpus() -> Iterator[str]:
    """A driver that is too old would turn a run on GPUs into one on the CPU without a word."""
    count = visible_gpus()
    if not count or not cpu_host.is_cpu_host():
        return
    import torch

    driver = driver_version()
    if torch.version.cuda is None:
        why = "this environment has the CPU build of PyTorch; set it up with examples/scripts/setup.sh on this host"
    elif driver.partition(".")[0].isdigit() and int(driver.partition(".")[0]) < OLDEST_DRIVER:
        why = f"the driver is {driver}, CUDA {torch.version.cuda} needs {OLDEST_DRIVER} or newer; update it"
    else:
        why = f"driver {driver}, CUDA {torch.version.cuda}; `python -c 'import torch; torch.zeros(1).cuda()'` says why"
    yield f"{count} GPUs are here and PyTorch sees none: {why}. PURE_HOST=cpu runs on the CPU"


def check_placement(c: PureConfig) -> Iterator[str]:
    sharing = [("ref", c.ref)] + [("reward", c.reward)] * (c.reward.backend == "transformers")
    for name, group in sharing:
        if (group.num_nodes, group.num_gpus_per_node) != (
            c.actor.num_nodes,
            c.actor.num_gpus_per_node,
        ):
            yield (
                f"--{name}.num_nodes {group.num_nodes} --{name}.num_gpus_per_node {group.num_gpus_per_node}: policy, "
                f"reference and PRM share the same GPUs; use {c.actor.num_nodes} and {c.actor.num_gpus_per_node}, "
                f"as for --actor.num_nodes and --actor.num_gpus_per_node"
            )
    for name, group in (("ref", c.ref), ("reward", c.reward)):
        if group.offload and c.ds.zero_stage != 3:
            yield (
                f"--{name}.offload: DeepSpeed moves weights only where it has cut them into partitions; set "
                f"--ds.zero_stage 3, or drop the flag"
            )
    if c.ref.offload and c.ds.lora.rank:
        yield "--ref.offload: with --ds.lora.rank the policy is its own reference, nothing can be moved; drop the flag"
    yield from _check_sharing(c)
    have = c.num_gpus
    if have is None and not os.environ.get("RAY_ADDRESS") and not cpu_host.is_cpu_host():
        import torch

        have = torch.cuda.device_count()
    own = f" + --reward.backend vllm {c.prm_gpus}" if c.prm_gpus else ""
    if have is not None and c.needed_gpus > have:
        engines = f" + --vllm.num_engines {c.vllm.num_engines} x {c.vllm.tensor_parallel_size}"
        yield (
            f"--actor.num_gpus_per_node {c.actor.num_gpus_per_node} x {c.actor.num_nodes} nodes"
            f"{'' if c.shares_gpus else engines}{own}: needs {c.needed_gpus} GPUs, there are {have}; lower one of them"
            f"{'' if c.shares_gpus else ', or let all take turns on the same ones: --placement shared'}"
        )


def _check_sharing(c: PureConfig) -> Iterator[str]:
    if not c.shares_gpus:
        return
    if c.rollout_gpus != c.training_gpus:
        yield (
            f"--placement shared with --vllm.num_engines {c.vllm.num_engines} x --vllm.tensor_parallel_size "
            f"{c.vllm.tensor_parallel_size}: the engines live on the {c.training_gpus} GPUs of "
            f"--actor.num_gpus_per_node {c.actor.num_gpus_per_node} x --actor.num_nodes {c.actor.num_nodes}, and every "
            f"GPU gets its part of one; the product must be {c.training_gpus}"
        )
    if c.uses_prm and c.reward.backend == "vllm":
        yield (
            "--placement shared with --reward.backend vllm: an engine of the PRM needs a GPU of its own; use "
            "--reward.backend transformers"
        )
    frozen = [("ref", c.ref.offload)] * c.has_reference_worker
    frozen += [("reward", c.reward.offload)] * (c.uses_prm and not c.learns_prm)
    for name, offload in frozen:
        if c.ds.zero_stage == 3 and not offload:
            yield (
                f"--placement shared with --ds.zero_stage 3: DeepSpeed has cut the weights into partitions, which only "
                f"it can move to host memory; add --{name}.offload"
            )
