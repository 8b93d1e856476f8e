"""Stage 6, what is pushed: each weight under its plain name, with the trainable adapter (LoRA) merged into it.

peft wraps a model: its names begin with `base_model.model.`, a layer with an adapter keeps its own weight under
`base_layer`, and the adapter's two matrices A and B stand beside it. The engines and a plain Hugging Face folder know
the layer's name only, and the weight

    W + (alpha / rank) * B @ A

Nothing is merged in the model itself: the sum is computed in float32, into a tensor of its own, and rounded once to
the type of W. (Merging in place and taking it out again leaves bf16 rounding in W each time.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from peft.tuners.lora import Linear

PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """The two matrices that a layer's adapter adds: scaling * `up` @ `down`."""

    down: Tensor
    """A, `(rank, in)`."""
    up: Tensor
    """B, `(out, rank)`."""
    scaling: float
    """alpha / rank."""
    transposed: bool
    """The layer keeps its weight as `(in, out)`, as GPT-2 does."""


@dataclass(frozen=True)
class WeightSource:
    """One weight as the engines know it, and what it is computed from."""

    name: str
    base: Tensor
    adapter: Adapter | None = None

    @property
    def dtype(self) -> torch.dtype:
        return self.base.dtype

    @property
    def shape(self) -> list[int]:
        """The whole shape, also where ZeRO-3 has cut the parameter into partitions."""
        return list(getattr(self.base, "ds_shape", self.base.shape))

    @property
    def parameters(self) -> list[Tensor]:
        """What must be there in whole (ZeRO-3: be gathered) for `value()`."""
        return [self.base, *([self.adapter.down, self.adapter.up] if self.adapter else [])]

    @torch.no_grad()
    def value(self) -> Tensor:
        """The weight to push: the parameter itself, or a new tensor with the adapter merged."""
        base = self.base.detach()
        return base if self.adapter is None else merge(base, self.adapter)


def merge(base: Tensor, adapter: Adapter) -> Tensor:
    """W + scaling * B @ A in float32, rounded to the type of W; no argument is changed."""
    merged = base.to(torch.float32, copy=True)
    view = merged.T if adapter.transposed else merged
    view.addmm_(adapter.up.float(), adapter.down.float(), alpha=adapter.scaling)
    return merged.to(base.dtype)


def weight_sources(model: nn.Module) -> list[WeightSource]:
    """Every weight of a model, with its adapter where it has one; a plain model's are its named parameters.

    Raises:
        ValueError: the model holds an adapter that is not the product of two matrices (an embedding's, DoRA), or
            several of them in one layer.
    """
    adapted = dict(_adapted_layers(model))
    adapters = {f"{name}.base_layer.weight": _adapter_of(layer) for name, layer in adapted.items()}
    merged = {id(matrix) for each in adapters.values() for matrix in (each.down, each.up)}
    is_wrapped = hasattr(model, "peft_config")
    sources = []
    for name, parameter in model.named_parameters():
        if id(parameter) in merged:
            continue
        if is_wrapped and parameter.requires_grad:
            raise ValueError(f"{name} is trained and is neither of the two matrices of an adapter")
        plain = plain_name(name) if is_wrapped else name
        sources.append(WeightSource(plain, parameter, adapters.get(name)))
    return sources


def plain_name(name: str) -> str:
    """`base_model.model.lm_head.base_layer.weight` -> `lm_head.weight`."""
    return name.removeprefix(PEFT_PREFIX).replace(".base_layer.", ".")


def _adapted_layers(model: nn.Module) -> Iterator[tuple[str, Linear]]:
    if not hasattr(model, "peft_config"):
        return
    # here, because the engines, which read the layout, do without it
    from peft.tuners.lora import Linear

    for name, module in model.named_modules():
        if isinstance(module, Linear):
            yield name, module


def _adapter_of(layer: Linear) -> Adapter:
    names = list(layer.lora_A)
    if len(names) != 1:
        raise ValueError(f"a layer has the adapters {names}; one can be merged")
    (name,) = names
    return Adapter(
        layer.lora_A[name].get_parameter("weight"),
        layer.lora_B[name].get_parameter("weight"),
        layer.scaling[name],
        layer.fan_in_fan_out,
    )
