"""Buckets: what is packed comes out unchanged, sizes are respected, and a changed byte changes the checksum."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.workers import weight_sync  # noqa: E402
from pure_rlhf.workers.weight_sync import checksum, lay_out, pack, unpack  # noqa: E402


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "embed": torch.randn(10, 7).bfloat16(),
        "odd": torch.randn(3).bfloat16(),
        "norm": torch.randn(5),  # another dtype in the same bucket
        "scalar": torch.randn(()).bfloat16(),
    }


def test_round_trip_over_several_buckets(tensors: dict[str, torch.Tensor]) -> None:
    buckets = lay_out(((n, t.dtype, list(t.shape)) for n, t in tensors.items()), bucket_bytes=192)
    assert len(buckets) == 2  # 192 bytes of embed alone (140 rounded to 64s), then the rest
    received = {}
    for slots, size in buckets:
        buffer = torch.zeros(size, dtype=torch.uint8)
        pack([tensors[name] for name, *_ in slots], slots, buffer)
        received |= dict(
            unpack(torch.frombuffer(bytearray(buffer.numpy().tobytes()), dtype=torch.uint8), slots)
        )
    assert received.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert received[name].dtype == tensor.dtype
        assert torch.equal(received[name], tensor)


def test_a_tensor_larger_than_a_bucket_gets_its_own() -> None:
    sizes = [("a", torch.float32, [10]), ("big", torch.float32, [1000]), ("b", torch.float32, [10])]
    assert [[slot[0] for slot in slots] for slots, _ in lay_out(sizes, bucket_bytes=256)] == [
        ["a"],
        ["big"],
        ["b"],
    ]


def test_checksum_sees_a_changed_weight(tensors: dict[str, torch.Tensor]) -> None:
    (slots, size), *_ = lay_out([("embed", torch.bfloat16, [10, 7])], bucket_bytes=1024)
    buffer = torch.zeros(size, dtype=torch.uint8)
    pack([tensors["embed"]], slots, buffer)
    before = checksum(buffer)
    tensors["embed"][3, 3] += 1
    pack([tensors["embed"]], slots, buffer)
    assert checksum(buffer) != before


def test_checksum_is_the_same_however_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    buffer = torch.randint(0, 256, (4 * 1003,), dtype=torch.uint8)
    whole = sum(buffer.view(torch.int32).tolist())
    for words in (1, 10, 1003, 5000):
        monkeypatch.setattr(weight_sync, "CHECKSUM_WORDS", words)
        assert checksum(buffer) == whole


@pytest.mark.parametrize("died", [True, False])
def test_a_broadcast_that_fails_is_blamed_on_the_engine_that_died(
    monkeypatch: pytest.MonkeyPatch, died: bool
) -> None:
    """gloo knows an address only; where all engines live its error stands."""

    class Broken:
        def send(self, buffer: torch.Tensor) -> None:
            raise RuntimeError("Connection closed by peer")

    def get(replies: list[str]) -> list[str]:
        if died:
            raise ValueError(f"{replies[0]} died")
        return replies

    monkeypatch.setattr(weight_sync.ray, "get", get)
    update = SimpleNamespace(remote=lambda *_: "rollout-0")
    engine: Any = SimpleNamespace(update_weight_bucket=update)
    broken: Any = Broken()
    with pytest.raises(
        (ValueError, RuntimeError), match="rollout-0 died" if died else "Connection closed"
    ):
        weight_sync._send_bucket(
            torch.zeros(4, dtype=torch.uint8), [], (True, True), [engine], broken, None
        )
