"""The settings of an adapter (LoRA), and every check of them before anything is loaded: layers, checkpoints, rates.

What trains, pushes and saves the adapter is `workers/lora.py` and `workers/weight_sources.py`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pure_rlhf.bounds import Bounds

if TYPE_CHECKING:
    from transformers import PretrainedConfig

ALL_LINEAR = "all-linear"
ADAPTER_NOTE = "adapter.json"
"""Stands in the folder of each checkpoint of a policy with an adapter."""
LOWEST_USUAL_RATE = 5e-6


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """A trainable adapter in place of all weights: W + (alpha / rank) * B @ A, W frozen (arXiv 2106.09685)."""

    rank: Annotated[int, Bounds(low=0, remedy="0 trains all weights, 8 to 64 is usual")] = 0
    """Rank of the adapter of each layer; 0: no LoRA, all weights are trained. With LoRA no reference is loaded, the
    policy without its adapter is the reference; raise --actor.adam.lr, 1e-5 to 2e-4 is usual."""
    alpha: Annotated[int, Bounds(low=1, remedy="use the rank, or twice the rank")] = 16
    """The adapter counts alpha / rank times."""
    dropout: Annotated[
        float,
        Bounds(low=0, high=0.99, remedy="1 would drop everything; use 0, or for example 0.05"),
    ] = 0.0
    """Dropout before the adapter, in the update only: the policy ratio is then not 1 at its start."""
    target_modules: tuple[str, ...] = (ALL_LINEAR,)
    """Names of the linear layers that get an adapter, such as q_proj v_proj; all-linear: all but the output layer."""

    @property
    def has_all_linear(self) -> bool:
        return self.target_modules == (ALL_LINEAR,)

    @property
    def kind(self) -> dict[str, object]:
        """What must be the same when a checkpoint is loaded, or its matrices mean something else."""
        targets = sorted(set(self.target_modules))
        return {"rank": self.rank, "alpha": self.alpha, "target_modules": targets}

    def write_note(self, checkpoint: Path) -> None:
        """Leave the kind of the adapter in the folder of a checkpoint."""
        note = json.dumps(self.kind) + "\n"
        (checkpoint / ADAPTER_NOTE).write_text(note, encoding="utf-8")


def find_lora_problems(lora: LoraSettings) -> Iterator[str]:
    """What of the settings is at odds, besides their bounds."""
    if not lora.rank:
        for field in dataclasses.fields(lora):
            flag = f"ds.lora.{field.name}"
            if getattr(lora, field.name) != field.default:
                yield f"--{flag}: needs LoRA, which --ds.lora.rank 0 leaves off; set --ds.lora.rank 8"
    elif not lora.target_modules:
        yield f"--ds.lora.target_modules: names no layer; use {ALL_LINEAR}"


def find_resume_problems(lora: LoraSettings, checkpoint: Path) -> Iterator[str]:
    """Whether a checkpoint's folder has this adapter."""
    path = checkpoint / ADAPTER_NOTE
    saved = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if saved == (lora.kind if lora.rank else None):
        return
    if saved is None:
        yield (
            f"--ds.lora.rank {lora.rank}: the checkpoint {checkpoint} was written without LoRA; drop --ds.lora.rank, "
            f"or start afresh in another --output_dir from the model of that run"
        )
        return
    targets = " ".join(saved["target_modules"])
    yield (
        f"--ds.lora.rank {lora.rank}: the checkpoint {checkpoint} was written with another adapter; resume with "
        f"--ds.lora.rank {saved['rank']} --ds.lora.alpha {saved['alpha']} --ds.lora.target_modules {targets}"
    )


def find_target_problems(
    lora: LoraSettings, config: PretrainedConfig, *, trust_remote_code: bool = False
) -> Iterator[str]:
    """Whether the model has the layers that are named; builds it without its weights."""
    if lora.has_all_linear:
        return
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except ValueError as error:
        yield f"--ds.lora.target_modules: the model's layers are not known ({error}); use {ALL_LINEAR}"
        return
    layers = dict(model.named_modules())
    linear = {name for name, layer in layers.items() if isinstance(layer, torch.nn.Linear)}
    output = {name for name, layer in layers.items() if layer is model.get_output_embeddings()}
    for target in lora.target_modules:
        # peft's rule for a list of names
        named = {name for name in layers if name == target or name.endswith(f".{target}")}
        flag = f"--ds.lora.target_modules {target}"
        if named & output and getattr(config, "tie_word_embeddings", False):
            yield f"{flag}: is the output layer, whose weight is the embedding's in this model; leave it out"
        elif not named or not named <= linear:
            choices = sorted({name.rpartition(".")[2] for name in linear})
            yield (
                f"{flag}: must name linear layers of the model ({', '.join(choices)}); or use {ALL_LINEAR} alone"
            )
