"""Who is on the GPUs in which turn, by the calls that were made; what an engine that sleeps says."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.workers import gpu_turns  # noqa: E402
from pure_rlhf.workers.gpu_turns import RESIDENTS, OwnGpus, SharedGpus, Turn  # noqa: E402
from pure_rlhf.workers.host_copy import HostCopy  # noqa: E402
from pure_rlhf.workers.rollout_actor import PureRolloutActor  # noqa: E402

MODELS = ("offload_states", "reload_states", "to_host", "to_gpu")


class Host:
    """One GPU whose residents write down what they are asked, and refuse what cannot be."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.mapped: set[str] = set()  # vLLM's memory
        self.sleep = SimpleNamespace(remote=self._sleep)
        self.wake_up = SimpleNamespace(remote=self._wake_up)

    def _sleep(self) -> None:
        assert self.mapped == {"weights", "kv_cache"}, "vLLM passes over this call"
        self.mapped.clear()
        self.calls.append("sleep")

    def _wake_up(self, tags: list[str]) -> None:
        assert tags and not self.mapped & set(tags), "vLLM passes over this call"
        self.mapped |= set(tags)
        self.calls.append("wake " + " ".join(tags))

    def async_run_method(self, name: str) -> list[None]:
        assert name in MODELS
        self.calls.append(name)
        return [None, None]

    def take(self, gpus: SharedGpus, turn: Turn) -> list[str]:
        """The calls that this turn makes."""
        self.calls.clear()
        gpus.take(turn)
        return list(self.calls)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> tuple[Host, SharedGpus]:
    monkeypatch.setattr(gpu_turns.ray, "get", lambda references: references)
    made: Any = Host()
    return made, SharedGpus([made], [made], [made])


def test_a_step_in_its_order(host: tuple[Host, SharedGpus]) -> None:
    there, gpus = host
    assert there.take(gpus, "generate") == ["wake weights kv_cache"]
    assert there.take(gpus, "generate") == [], "a curriculum's second round"
    assert there.take(gpus, "score") == ["sleep", "to_gpu"]
    assert there.take(gpus, "update") == ["to_host", "reload_states"]
    assert there.take(gpus, "sync") == ["offload_states", "wake weights"]
    assert there.take(gpus, "generate") == ["wake kv_cache"], "the weights are there already"
    assert gpus.drain_metrics()["timing/gpu_turns"] > 0
    assert gpus.drain_metrics() == {"timing/gpu_turns": 0}


def test_a_roll_back_after_the_weights_were_pushed(host: tuple[Host, SharedGpus]) -> None:
    there, gpus = host
    assert there.take(gpus, "sync") == ["wake weights"], "a resumed run begins with a push"
    # half asleep, an engine has to wake before it can sleep
    assert there.take(gpus, "update") == ["wake kv_cache", "sleep", "reload_states"]
    assert there.take(gpus, "sync") == ["offload_states", "wake weights"]


@pytest.mark.parametrize("first", RESIDENTS)
@pytest.mark.parametrize("second", RESIDENTS)
def test_every_turn_can_follow_every_other(
    host: tuple[Host, SharedGpus], first: Turn, second: Turn
) -> None:
    there, gpus = host
    gpus.take(first)
    calls = there.take(gpus, second)
    assert there.mapped == set(RESIDENTS[second].engine)
    leaving = [n for n, call in enumerate(calls) if call in ("sleep", "offload_states", "to_host")]
    coming = [n for n, call in enumerate(calls) if call in ("reload_states", "to_gpu")]
    assert not leaving or not coming or max(leaving) < min(coming), calls


def test_on_gpus_of_their_own_nobody_moves() -> None:
    gpus = OwnGpus()
    gpus.take("generate")
    assert gpus.drain_metrics() == {}


def test_an_engine_that_sleeps_refuses_to_answer() -> None:
    calls: list[str] = []

    async def note(what: str, **_: object) -> None:
        calls.append(what)

    engine: Any = object.__new__(PureRolloutActor)
    engine.llm = SimpleNamespace(
        sleep=lambda level: note(f"sleep {level}"), wake_up=lambda tags: note(f"wake {tags}")
    )
    options: dict[str, Any] = {
        "num_answers": 1, "max_new_tokens": 1, "temperature": 1.0, "top_p": 1.0
    }  # fmt: skip
    asyncio.run(engine.sleep())
    with pytest.raises(RuntimeError, match="sleeps"):
        asyncio.run(engine.generate_answers(0, [1], **options))
    asyncio.run(engine.wake_up(tags=["weights"]))
    with pytest.raises(RuntimeError, match="sleeps"):
        asyncio.run(engine.generate_answers(0, [1], **options))
    asyncio.run(engine.wake_up(tags=["kv_cache"]))
    assert not engine.asleep
    assert calls == ["sleep 1", "wake ['weights']", "wake ['kv_cache']"]


def test_a_frozen_model_is_the_same_after_its_way_to_the_host_and_back() -> None:
    torch.manual_seed(0)
    model = torch.nn.ModuleDict(
        {
            "embed": torch.nn.Linear(3, 4),
            "norm": torch.nn.BatchNorm1d(4),
            "head": torch.nn.Linear(3, 4, bias=False),
        }
    ).eval()
    model["head"].weight = model["embed"].weight
    inputs = torch.randn(2, 3)

    def outputs() -> torch.Tensor:
        return model["norm"](model["embed"](inputs)) + model["head"](inputs)

    expected = outputs()
    copy = HostCopy(model)
    assert len(copy.tensors) == 4 + 3  # a tied weight once, the buffers too
    for _ in range(2):
        copy.to_host()
        copy.to_device()
    assert torch.equal(outputs(), expected)
    assert model["head"].weight.data_ptr() == model["embed"].weight.data_ptr()
