"""Stage 6, weight sync: the policy's weights into every rollout engine, in buckets with a checksum.

OpenRLHF sends one remote call per parameter. Here the parameters are packed into few large buffers; each
buffer is one NCCL broadcast (GPU host, over the group that OpenRLHF opens) or one object in Ray's store (CPU
host), and one call of the engine's loader. Every engine answers with the checksum of what it received.

Ordering contract: the policy must not be updated, and no request may be in flight, between the first bucket
and the last; the trainer calls this between the PPO update and the next generation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import deepspeed
import ray
import torch
from openrlhf.trainer.ray.vllm_worker_wrap import WorkerWrap
from torch import Tensor, nn
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from pure_rlhf.cpu_host import is_cpu_host

ALIGNMENT_BYTES = 64

# name, dtype, shape, offset in the bucket: plain values, because vLLM re-encodes the arguments of a call
Slot = tuple[str, str, list[int], int]


def lay_out(
    tensors: Iterable[tuple[str, torch.dtype, list[int]]], bucket_bytes: int
) -> list[tuple[list[Slot], int]]:
    """Distribute tensors over buckets of at most `bucket_bytes` (a larger tensor gets its own).

    Returns: for each bucket its slots and its size in bytes.
    """
    buckets: list[tuple[list[Slot], int]] = []
    slots: list[Slot] = []
    size = 0
    for name, dtype, shape in tensors:
        needed = math.ceil(math.prod(shape) * dtype.itemsize / ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        if slots and size + needed > bucket_bytes:
            buckets.append((slots, size))
            slots, size = [], 0
        slots.append((name, str(dtype).removeprefix("torch."), shape, size))
        size += needed
    if slots:
        buckets.append((slots, size))
    return buckets


def pack(tensors: Iterable[Tensor], slots: list[Slot], buffer: Tensor) -> None:
    """Copy tensors (in the order of the slots) into the byte buffer."""
    for tensor, slot in zip(tensors, slots, strict=True):
        _view(buffer, slot).copy_(tensor.detach())


def unpack(buffer: Tensor, slots: Iterable[Slot]) -> Iterator[tuple[str, Tensor]]:
    """The named tensors in a byte buffer, as views."""
    for slot in slots:
        yield slot[0], _view(buffer, slot)


def checksum(buffer: Tensor) -> int:
    """Sum of the buffer's 32-bit words as int64: the same on every device, cheap beside the transfer."""
    return int(buffer.view(torch.int32).sum(dtype=torch.int64))


def _view(buffer: Tensor, slot: Slot) -> Tensor:
    _, dtype_name, shape, offset = slot
    dtype = getattr(torch, dtype_name)
    return buffer[offset : offset + math.prod(shape) * dtype.itemsize].view(dtype).view(list(shape))


class EngineWorker(WorkerWrap):
    """Mixed into vLLM's worker (`worker_extension_cls`): receives buckets and loads them."""

    def update_weight_bucket(
        self, slots: list[Slot], size: int, payload: bytes | None, first: bool, last: bool
    ) -> int:
        """Receive one bucket, load it into the running model, return its checksum.

        Args:
            slots: layout of the bucket; size: its bytes.
            payload: the bytes themselves (CPU host), or None when they come by NCCL broadcast.
            first, last: where the bucket stands in the sync.
        """
        model = self.model_runner.model
        if payload is None:
            buffer = torch.empty(size, dtype=torch.uint8, device=self.device)
            stream = torch.cuda.current_stream()
            self._model_update_group.broadcast(buffer, src=0, stream=stream)
            model.load_weights(weights=unpack(buffer, slots))
            return checksum(buffer)
        # The CPU backend packs Linear weights after loading and drops the originals, so that a plain
        # load_weights() fails. vLLM's reload session restores them; it must span all buckets, or a layer
        # whose parts come in two of them (q, k and v) would be packed half empty.
        if first:
            initialize_layerwise_reload(model)
        buffer = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
        model.load_weights(weights=unpack(buffer, slots))
        if last:
            finalize_layerwise_reload(model, self.model_config)
            _repack_output_layers(model)
        return checksum(buffer)


def _repack_output_layers(model: nn.Module) -> None:
    """Pack embeddings and output layer again: vLLM 0.29 forgets an output layer tied to the embedding.

    Its weight is the embedding's, so no weight arrives under its own name, and the packed copy that the CPU
    backend multiplies with stays that of the old weights. Seen in `sync/log_prob_gap`.
    """
    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding):
            module.quant_method.process_weights_after_loading(module)


def push_weights(
    model: nn.Module,
    engines: list[Any],
    *,
    zero_stage: int,
    bucket_bytes: int,
    nccl_group: Any,
    is_sender: bool,
) -> dict[str, float]:
    """Send all parameters to all engines; every rank of the policy must call this (ZeRO-3 gathers).

    Returns: metrics of the transfer (empty on ranks that do not send).

    Raises:
        RuntimeError: an engine received other bytes than were sent.
    """
    parameters = dict(model.named_parameters())
    shapes = {name: list(getattr(p, "ds_shape", p.shape)) for name, p in parameters.items()}
    buckets = lay_out(((n, p.dtype, shapes[n]) for n, p in parameters.items()), bucket_bytes)
    for number, (slots, size) in enumerate(buckets):
        ends = (number == 0, number == len(buckets) - 1)
        chunk = [parameters[name] for name, *_ in slots]
        with deepspeed.zero.GatheredParameters(chunk, enabled=zero_stage == 3):
            if is_sender:
                _send_bucket(chunk, slots, size, ends, engines, nccl_group)
    if not is_sender:
        return {}
    return {
        "sync/buckets": float(len(buckets)),
        "sync/megabytes": sum(size for _, size in buckets) / 1e6,
    }


def _send_bucket(
    chunk: Sequence[Tensor],
    slots: list[Slot],
    size: int,
    ends: tuple[bool, bool],
    engines: list[Any],
    nccl_group: Any,
) -> None:
    buffer = torch.zeros(size, dtype=torch.uint8, device=chunk[0].device)
    pack(chunk, slots, buffer)
    payload = ray.put(buffer.numpy().tobytes()) if is_cpu_host() else None
    replies = [
        engine.update_weight_bucket.remote(slots, size, payload, *ends) for engine in engines
    ]
    if payload is None:
        nccl_group.broadcast(buffer, src=0, stream=torch.cuda.current_stream())
    sent = checksum(buffer)
    received = {value for reply in ray.get(replies) for value in reply}
    if received != {sent}:
        raise RuntimeError(
            f"weight sync of {slots[0][0]} and {len(slots) - 1} more: sent checksum {sent}, engines received {received}"
        )
