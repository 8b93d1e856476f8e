"""How the GPUs of a host are shared out where no flag says so. Loads nothing heavy: the command line asks it.

`split`: policy, reference and PRM share the first GPUs, each other GPU is a rollout engine. Published are 4 + 4.
`shared`: all of them share every GPU and take turns on it (`workers/gpu_turns.py`); what one GPU can do.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, replace
from typing import Literal

PlacementName = Literal["auto", "split", "shared"]


@dataclass(frozen=True)
class Split:
    """GPUs that train (policy, reference and PRM on each), rollout engines, and GPUs of a PRM with its own."""

    training: int
    engines: int
    prm: int = 0
    shared: bool = False
    """Whether the engines live on the GPUs that train."""


OLDEST_DRIVER = 580
"""That runs CUDA 13, for which this torch and this vLLM are built."""
PUBLISHED = Split(training=4, engines=4)
ON_A_CPU = Split(training=1, engines=1, prm=1)
"""One process each."""


def visible_gpus() -> int:
    """GPUs of this host that CUDA would show, by the driver's tool and CUDA_VISIBLE_DEVICES; 0 without a driver."""
    if os.environ.get("PURE_HOST") == "cpu":
        return 0
    there = sum(line.startswith("GPU ") for line in nvidia_smi("-L"))
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return there
    count = 0
    for name in filter(None, named.replace(" ", "").split(",")):
        # an index that there is not hides itself and all after it
        if name.lstrip("-").isdigit() and not 0 <= int(name) < there:
            break
        count += 1
    return count


def driver_version() -> str:
    """Of the NVIDIA driver, such as "580.95.05"; "" without one."""
    lines = nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader")
    return lines[0].strip() if lines else ""


def nvidia_smi(*arguments: str) -> list[str]:
    """What the driver's tool prints; nothing where there is none, or where it fails."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return done.stdout.splitlines()


def split(
    num_gpus: int, *, training: int | None = None, gpus_per_engine: int = 1, prm_engines: int = 0
) -> Split:
    """What trains and what generates, of `num_gpus`; with too few of them one of each, which validation refuses.

    The number of training GPUs is a power of two, so that it divides the published batches: 1 of 2, 2 of 3 and 4, 4 of
    5 to 15, 8 of 16 to 31, and so on; fewer where engines of several GPUs need the room. `training` sets it.

    Example: `split(8)` is `Split(4, 4)`, `split(3)` is `Split(2, 1)`, `split(8, gpus_per_engine=4)` is `Split(4, 1)`.
    """
    rest = num_gpus - prm_engines
    if training is None:
        training = 1
        while 4 * training <= rest or (training < 4 and 2 * training < rest):
            training *= 2
        while training > 1 and rest - training < gpus_per_engine:
            training //= 2
    return Split(training, max((rest - training) // gpus_per_engine, 1), prm_engines)


def share(num_gpus: int, *, training: int | None = None, gpus_per_engine: int = 1) -> Split:
    """Everything on the same GPUs: the largest power of two of them, which divides the published batches.

    Example: `share(1)` is `Split(1, 1, shared=True)`, `share(6, gpus_per_engine=2)` is `Split(4, 2, shared=True)`.
    """
    if training is None:
        training = 1 << (num_gpus.bit_length() - 1)
    return Split(training, max(training // gpus_per_engine, 1), shared=True)


def default_split(
    placement: PlacementName = "auto",
    *,
    training: int | None = None,
    gpus_per_engine: int = 1,
    prm_engines: int = 0,
    num_gpus: int | None = None,
) -> Split:
    """What this host does, or one with `num_gpus` GPUs, see `split` and `share`; as published for a Ray cluster, whose
    size is not known yet.

    `auto` shares where there is one GPU, and splits elsewhere.
    """
    if num_gpus is None:
        num_gpus = 0 if os.environ.get("RAY_ADDRESS") else visible_gpus()
    is_cluster = os.environ.get("RAY_ADDRESS") or os.environ.get("PURE_HOST") == "gpu"
    chosen = PUBLISHED if is_cluster else ON_A_CPU
    if placement == "shared" or (placement == "auto" and num_gpus == 1):
        there = num_gpus or chosen.training
        return share(there, training=training, gpus_per_engine=gpus_per_engine)
    if num_gpus:
        return split(
            num_gpus, training=training, gpus_per_engine=gpus_per_engine, prm_engines=prm_engines
        )
    return chosen if training is None else replace(chosen, training=training)
