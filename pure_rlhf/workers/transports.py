"""How a bucket of weights gets from the policy's memory into an engine's: by broadcast, or by opening the same memory.

    --placement split    one broadcast from rank 0 to every engine: NCCL between GPUs, gloo between CPU processes
    --placement shared   each rank offers its bucket to the engine on its own device: CUDA IPC, or an anonymous file

The receiving side is `engine_worker.py`, the layout of a bucket `weight_sync.py`. CUDA's ways were not run by us.
"""

from __future__ import annotations

import os
import pickle
from datetime import timedelta
from typing import Protocol

import torch
from torch import Tensor

Offer = dict[str, bytes]
"""For each device, by its id, what opens the bucket on it."""

_JOIN_TIMEOUT = timedelta(minutes=5)


class Transport(Protocol):
    """One way; the policy's ranks call it for each bucket."""

    every_rank: bool
    """Whether each rank fills a bucket of its own; else rank 0 alone."""

    def allocate(self, size: int, device: torch.device) -> Tensor:
        """Bytes on the policy's device, to be filled with one bucket after the other."""
        ...

    def offer(self, buffer: Tensor) -> Offer | None:
        """What the engines are told of a filled bucket; None: it comes by broadcast."""
        ...

    def send(self, buffer: Tensor) -> None:
        """Called by rank 0 when the engines have been told."""
        ...

    def settle(self) -> None:
        """Called when the engines have read a bucket: it may be filled anew."""
        ...

    def close(self) -> None:
        """Called when the engines have read the last bucket."""
        ...


class BroadcastGroup(Protocol):
    """Rank 0 of the policy and all engine workers."""

    def broadcast(self, tensor: Tensor, src: int, stream: torch.cuda.Stream | None = None) -> None:
        """Send from rank `src` to all others, in a stream of CUDA."""
        ...


class GlooGroup:
    """What upstream's group is to CUDA tensors (vLLM's `PyNcclCommunicator`), for tensors in host memory."""

    def __init__(self, host: str, port: int, rank: int, world_size: int) -> None:
        distributed = torch.distributed
        self._store = distributed.TCPStore(
            host, port, world_size, is_master=rank == 0, timeout=_JOIN_TIMEOUT
        )
        self._group = distributed.ProcessGroupGloo(self._store, rank, world_size, _JOIN_TIMEOUT)

    def broadcast(self, tensor: Tensor, src: int, stream: object = None) -> None:
        options = torch.distributed.BroadcastOptions()
        options.rootRank = src
        self._group.broadcast([tensor], options).wait()


def open_group(
    host: str, port: int, rank: int, world_size: int, device: int | str | torch.device
) -> BroadcastGroup:
    """The group of rank 0 of the policy (rank 0) and all engine workers; in place of upstream's function of NCCL."""
    if torch.device(device).type == "cpu":
        return GlooGroup(host, port, rank, world_size)
    from openrlhf.utils.distributed_util import stateless_init_process_group

    return stateless_init_process_group(host, port, rank, world_size, device)


class Broadcast:
    """From rank 0 over the group that OpenRLHF's trainer opened with `open_group`; other ranks have none."""

    every_rank = False

    def __init__(self, group: BroadcastGroup | None) -> None:
        self.group = group

    def allocate(self, size: int, device: torch.device) -> Tensor:
        return torch.zeros(size, dtype=torch.uint8, device=device)

    def offer(self, buffer: Tensor) -> None:
        return None

    def send(self, buffer: Tensor) -> None:
        assert self.group is not None, "only rank 0 sends"
        stream = torch.cuda.current_stream() if buffer.is_cuda else None
        self.group.broadcast(buffer, src=0, stream=stream)

    def settle(self) -> None:
        pass

    def close(self) -> None:
        pass


class SameDevice:
    """Each rank's own memory, opened by the engine on its device; nothing is copied on the way."""

    every_rank = True

    def allocate(self, size: int, device: torch.device) -> Tensor:
        if device.type == "cuda":
            return torch.zeros(size, dtype=torch.uint8, device=device)
        # anonymous: it is gone with the last process that has it open, however that ends
        self._file = os.memfd_create("weights")
        os.ftruncate(self._file, size)
        return _map_file(f"/proc/self/fd/{self._file}", size)

    def offer(self, buffer: Tensor) -> Offer:
        """All ranks call it; each gets the offers of all."""
        if buffer.is_cuda:
            from torch.multiprocessing.reductions import reduce_tensor

            torch.cuda.synchronize()  # the bucket is filled
            # a fresh handle for every bucket: torch counts how often one is opened
            opens = pickle.dumps(reduce_tensor(buffer)[1])
        else:
            opens = f"/proc/{os.getpid()}/fd/{self._file}".encode()
        offers: list[Offer] = [{}] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(offers, {device_id(buffer.device): opens})
        return {device: opens for offer in offers for device, opens in offer.items()}

    def send(self, buffer: Tensor) -> None:
        pass

    def settle(self) -> None:
        torch.distributed.barrier()

    def close(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.ipc_collect()
        else:
            os.close(self._file)


def device_id(device: torch.device) -> str:
    """The same in every process, whatever number the device has there."""
    if device.type == "cpu":
        return "cpu"
    return str(torch.cuda.get_device_properties(device).uuid)


def open_offer(offer: Offer, size: int, device: torch.device) -> Tensor:
    """A bucket as the engine on that device sees it; valid until the call of the engine returns."""
    opens = offer[device_id(device)]
    if device.type == "cpu":
        return _map_file(opens.decode(), size)
    from torch.multiprocessing.reductions import rebuild_cuda_tensor

    arguments = list(pickle.loads(opens))
    arguments[6] = device.index  # the sender's number of the device
    return rebuild_cuda_tensor(*arguments)[:size]


def _map_file(path: str, size: int) -> Tensor:
    return torch.from_file(path, shared=True, size=size, dtype=torch.uint8)
