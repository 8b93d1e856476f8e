"""A frozen model's weights in host memory, from where they come to the GPU for its turn (`gpu_turns.py`)."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn


class HostCopy:
    """Both ways of a model that does not learn: to the host nothing travels, since the copy there is still true.

    Args:
        model: on its device, with whole weights (at ZeRO-3 DeepSpeed cuts them, and moves them itself).
    """

    def __init__(self, model: nn.Module) -> None:
        self.tensors = [*model.parameters(), *model.buffers()]  # each once, tied ones too
        self.device = next(model.parameters()).device
        self.copies = [self._copy(tensor) for tensor in self.tensors]

    def _copy(self, tensor: Tensor) -> Tensor:
        copy = tensor.detach().to("cpu")
        # twice as fast to the GPU; on a CPU host the "copy" is the tensor itself
        return copy.pin_memory() if self.device.type == "cuda" else copy

    def to_host(self) -> None:
        """Free the device's memory."""
        for tensor, copy in zip(self.tensors, self.copies, strict=True):
            tensor.data = copy
        torch.cuda.empty_cache()

    def to_device(self) -> None:
        """Bring the weights back to where they were."""
        for tensor, copy in zip(self.tensors, self.copies, strict=True):
            tensor.data = copy.to(self.device, non_blocking=True)
        torch.cuda.synchronize()


class TakesTurns:
    """Mixed into the worker of a frozen model, which is `self.model`."""

    model: nn.Module

    @cached_property
    def _host_copy(self) -> HostCopy:
        return HostCopy(self.model)

    def to_host(self) -> None:
        """Leave the GPU to others."""
        self._host_copy.to_host()

    def to_gpu(self) -> None:
        """Come back to the GPU."""
        self._host_copy.to_device()
