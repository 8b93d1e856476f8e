"""Both ways of a bucket, between real processes on the CPU; the GPU's against the signatures of torch and vLLM."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.workers.transports import (  # noqa: E402
    Broadcast,
    GlooGroup,
    SameDevice,
    open_group,
    open_offer,
)
from pure_rlhf.workers.weight_sync import checksum  # noqa: E402

SIZE = 4096


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def filled(size: int) -> torch.Tensor:
    return torch.arange(size, dtype=torch.int64).to(torch.uint8)


def _receive(port: int, rank: int, queue: Any) -> None:
    group = open_group("127.0.0.1", port, rank, 3, torch.device("cpu"))
    for _ in range(2):
        buffer = torch.empty(SIZE, dtype=torch.uint8)
        group.broadcast(buffer, src=0, stream=None)
        queue.put((rank, checksum(buffer)))


def test_a_broadcast_reaches_every_engine() -> None:
    spawn = multiprocessing.get_context("spawn")
    port, queue = free_port(), spawn.Queue()
    engines = [spawn.Process(target=_receive, args=(port, rank, queue)) for rank in (1, 2)]
    for engine in engines:
        engine.start()
    # upstream hands the policy's device on, which reads "cpu" here
    group = open_group("127.0.0.1", port, 0, 3, torch.cuda.current_device())
    assert isinstance(group, GlooGroup)
    transport = Broadcast(group)
    buffer = transport.allocate(SIZE, torch.device("cpu"))
    expected = []
    for fill in (filled(SIZE), filled(SIZE).flip(0) + 1):
        buffer.copy_(fill)
        assert transport.offer(buffer) is None
        transport.send(buffer)
        expected += [(1, checksum(buffer)), (2, checksum(buffer))]
    assert sorted(queue.get(timeout=300) for _ in range(4)) == sorted(expected)
    for engine in engines:
        engine.join(300)
        assert engine.exitcode == 0


def _open(offer: dict[str, bytes], queue: Any) -> None:
    queue.put(checksum(open_offer(offer, SIZE, torch.device("cpu"))))


def test_an_offer_is_opened_in_another_process_and_leaves_nothing(tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        before = len(os.listdir("/proc/self/fd"))
        transport = SameDevice()
        memory = transport.allocate(SIZE, torch.device("cpu"))
        spawn = multiprocessing.get_context("spawn")
        queue = spawn.Queue()
        for fill in (filled(SIZE), filled(SIZE).flip(0) + 1):
            memory.copy_(fill)
            offer = transport.offer(memory)
            transport.send(memory)
            engine = spawn.Process(target=_open, args=(offer, queue))
            engine.start()
            assert queue.get(timeout=300) == checksum(fill)
            engine.join(300)
            transport.settle()
        transport.close()
        del memory, queue
        assert len(os.listdir("/proc/self/fd")) <= before + 4  # of the queue; none of the memory
        assert not any("weights" in os.readlink(f"/proc/self/fd/{n}") for n in _open_files())
    finally:
        torch.distributed.destroy_process_group()


def _open_files() -> list[str]:
    return [n for n in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{n}")]


@pytest.mark.parametrize("name", ["rebuild_cuda_tensor"])
def test_what_cuda_ipc_rests_on(name: str) -> None:
    """The seventh argument is the device's number, which differs between processes; the handle is the next."""
    from torch.multiprocessing import reductions

    names = list(inspect.signature(getattr(reductions, name)).parameters)
    assert names[6:8] == ["storage_device", "storage_handle"]


def test_the_nccl_group_broadcasts_as_ours_does() -> None:
    """Upstream opens vLLM's communicator; read from the source, since vLLM is slow to import."""
    import importlib.util

    spec = importlib.util.find_spec("vllm")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).parent / "distributed/device_communicators/pynccl.py"
    assert "def broadcast(self, tensor: torch.Tensor, src: int, stream=None)" in source.read_text()
    assert list(inspect.signature(GlooGroup.broadcast).parameters) == [
        "self", "tensor", "src", "stream"
    ]  # fmt: skip
