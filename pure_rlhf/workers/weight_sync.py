"""Stage 6, weight sync: the policy's weights into every rollout engine, in buckets with a checksum. The sender.

OpenRLHF sends one remote call per parameter. Here the parameters are packed into few large buffers; each
buffer is one transfer (`transports.py`) and one call of the engine's loader. Every engine answers with the
checksum of what it received.

The receiver is `engine_worker.py`.

Ordering contract: the policy must not be updated, and no request may be in flight, between the first bucket
and the last; the trainer calls this between the PPO update and the next generation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import ray
import torch
from torch import Tensor, nn

from pure_rlhf.workers.transports import Offer, Transport
from pure_rlhf.workers.weight_sources import weight_sources

if TYPE_CHECKING:
    from ray.actor import ActorHandle

ALIGNMENT_BYTES = 64
CHECKSUM_WORDS = 2**24

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
    """Sum of the buffer's 32-bit words as int64: the same on every device, cheap beside the transfer.

    In chunks: CUDA widens what it sums, and twice a bucket may be more than what is free.
    """
    chunks = buffer.view(torch.int32).split(CHECKSUM_WORDS)
    return int(torch.stack([chunk.sum(dtype=torch.int64) for chunk in chunks]).sum())


def _view(buffer: Tensor, slot: Slot) -> Tensor:
    _, dtype_name, shape, offset = slot
    dtype = getattr(torch, dtype_name)
    return buffer[offset : offset + math.prod(shape) * dtype.itemsize].view(dtype).view(list(shape))


def push_weights(
    model: nn.Module,
    engines: list[ActorHandle],
    *,
    zero_stage: int,
    bucket_bytes: int,
    transport: Transport,
) -> dict[str, float]:
    """Send all weights, adapters merged, to all engines; every rank of the policy must call this (ZeRO-3 gathers).

    Returns: metrics of the transfer (empty on ranks that do not call the engines).

    Raises:
        RuntimeError: an engine received other bytes than were sent.
    """
    import deepspeed  # here, because the engines, which read the layout from this module, do without it

    sources = {source.name: source for source in weight_sources(model)}
    buckets = lay_out(((s.name, s.dtype, s.shape) for s in sources.values()), bucket_bytes)
    is_sender = torch.distributed.get_rank() == 0
    fills = is_sender or transport.every_rank
    device = next(iter(sources.values())).base.device
    memory = transport.allocate(max(size for _, size in buckets) if fills else 0, device)
    for number, (slots, size) in enumerate(buckets):
        ends = (number == 0, number == len(buckets) - 1)
        chunk = [sources[name] for name, *_ in slots]
        needed = [parameter for source in chunk for parameter in source.parameters]
        with deepspeed.zero.GatheredParameters(needed, enabled=zero_stage == 3):
            if fills:
                bucket = memory[:size]
                pack((source.value() for source in chunk), slots, bucket)  # one merged at a time
                offer = transport.offer(memory)
                if is_sender:
                    _send_bucket(bucket, slots, ends, engines, transport, offer)
                transport.settle()
    transport.close()
    if not is_sender:
        return {}
    return {
        "sync/buckets": float(len(buckets)),
        "sync/megabytes": sum(size for _, size in buckets) / 1e6,
    }


def _send_bucket(
    bucket: Tensor,
    slots: list[Slot],
    ends: tuple[bool, bool],
    engines: list[ActorHandle],
    transport: Transport,
    offer: Offer | None,
) -> None:
    replies = [
        engine.update_weight_bucket.remote(slots, len(bucket), offer, *ends) for engine in engines
    ]
    try:
        transport.send(bucket)
    except RuntimeError:  # gloo: the other end is gone; an engine that died says so with its name
        ray.get(replies)
        raise
    sent = checksum(bucket)
    received = {value for reply in ray.get(replies) for value in reply}
    if received != {sent}:
        raise RuntimeError(
            f"weight sync of {slots[0][0]} and {len(slots) - 1} more: sent checksum {sent}, engines received {received}"
        )
