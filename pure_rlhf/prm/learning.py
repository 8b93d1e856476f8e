"""The settings of a PRM that learns during RL, and the identity of the model that an implicit PRM is measured from.

`PrmConfig` is the group `--prm` of the command line. Torch is not loaded here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from pure_rlhf.bounds import Bounds
from pure_rlhf.types import SchedulerName

REFERENCE_RECORD = "prm_reference.json"
"""Beside the weights of an implicit PRM: which model its log-ratios are taken from."""
_SAMPLED_BLOCKS = 64
_BLOCK_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class PrmAdamConfig:
    lr: Annotated[float, Bounds(low=0, high=1, remedy="PRIME uses 1e-6")] = 1e-6
    """Learning rate of the PRM."""
    betas: Annotated[tuple[float, float], Bounds(low=0, below=1, remedy="use 0.9 0.999")] = (
        0.9,
        0.999,
    )
    eps: Annotated[float, Bounds(above=0, high=1, remedy="use 1e-8")] = 1e-8
    weight_decay: Annotated[float, Bounds(low=0, high=1, remedy="0 turns it off")] = 0.0


@dataclass(frozen=True, kw_only=True)
class PrmConfig:
    """A PRM that learns while the policy does (docs/prime.md); the defaults are PRIME's."""

    adam: PrmAdamConfig = field(default_factory=PrmAdamConfig)
    lr_scheduler: SchedulerName = "constant"
    """As --actor.lr_scheduler."""
    max_norm: Annotated[float, Bounds(low=0, remedy="PRIME uses 10, 0 does not clip")] = 10.0
    """Gradient clipping."""
    batch_size: Annotated[int | None, Bounds(low=1, remedy="it counts responses")] = None
    """Responses in one optimiser step of the PRM. None: --train.batch_size."""
    micro_batch_size: Annotated[int | None, Bounds(low=1, remedy="it counts responses")] = None
    """Responses in one forward and backward of a rank. None: --train.micro_batch_size."""
    beta: Annotated[float, Bounds(above=0, remedy="PRIME uses 0.05")] = 0.05
    """Weight of a nat of log-ratio in the logit of "right" of an implicit PRM (docs/prime.md)."""
    sharpness: Annotated[float, Bounds(above=0, remedy="use for example 4")] = 4.0
    """Weight of the smallest step reward in the logit of "right" of a PRM that scores steps; read by outcome."""
    warmup_steps: Annotated[int, Bounds(low=0, remedy="0 pays from the first step")] = 0
    """First steps of the run in which the PRM learns and its rewards count 0."""
    replay_dataset: str | None = None
    """Rows with step labels that a PRM which scores steps goes on learning from: a file with the columns prompt,
    completions and labels (docs/prm.md)."""
    replay_share: Annotated[float, Bounds(low=0, high=0.9, remedy="0.5 is half of every batch")] = (
        0.0
    )
    """Share of those rows in what the PRM learns from: they come on top of --prm.batch_size, as whole micro-batches."""
    held_out_dataset: str | None = None
    """Such rows that a PRM which learns is never trained on: its F1 on wrong steps there after the first step, after
    every --eval.steps and after the last one shows whether it forgets."""
    normalize: Literal["largest_return", "none"] = "largest_return"
    """How implicit rewards are scaled: by the largest return of the rollout, as published, or by --prm.beta alone."""
    return_floor: Annotated[float, Bounds(low=0, remedy="the default is 1e-4")] = 1e-4
    """Largest return in nats below which implicit rewards are 0: there they would be rounding errors scaled up."""


READ_BY_FROZEN_IMPLICIT = ("beta", "normalize", "return_floor")
"""What of `PrmConfig` an implicit PRM that does not learn reads too."""


def changed_settings(config: PrmConfig) -> list[str]:
    """The flags of the group that differ from their defaults, `adam.lr` for one of the inner group."""
    found = []
    for setting in fields(PrmConfig):
        value, default = getattr(config, setting.name), getattr(PrmConfig(), setting.name)
        if isinstance(value, PrmAdamConfig):
            found += [
                f"{setting.name}.{inner.name}"
                for inner in fields(PrmAdamConfig)
                if getattr(value, inner.name) != getattr(default, inner.name)
            ]
        elif value != default:
            found.append(setting.name)
    return found


def model_fingerprint(source: str) -> str:
    """What tells two models apart: of a folder the sizes of its weight files and blocks of them,
    spread over each; of anything else, a hub name, the name.

    Example: a copy of a folder has the fingerprint of the original; one trained further has another.
    """
    folder = Path(source)
    if not folder.is_dir():
        return source
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for block in range(_SAMPLED_BLOCKS + 1):
                file.seek((size - min(size, _BLOCK_BYTES)) * block // _SAMPLED_BLOCKS)
                digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()


def write_reference_record(folder: Path, model: str) -> None:
    """Write down that the implicit PRM in this folder is measured from `model`, a folder or a hub name."""
    record = {"model": model, "fingerprint": model_fingerprint(model)}
    (folder / REFERENCE_RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")


def reference_problem(folder: Path, model: str) -> str | None:
    """Why an implicit PRM from this folder cannot be measured from `model`; None where it can, or nothing is known."""
    path = folder / REFERENCE_RECORD
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["fingerprint"] == model_fingerprint(model):
        return None
    return (
        f"{folder}: its log-ratios were learnt from the reference {record['model']}, and --actor.model_name_or_path "
        f"{model} holds other weights; start the policy from that model, or take another PRM"
    )
