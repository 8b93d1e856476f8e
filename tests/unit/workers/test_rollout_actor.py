"""Requests that an engine begins together, whatever order they arrive in."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.workers import rollout_actor  # noqa: E402
from pure_rlhf.workers.rollout_actor import PureRolloutActor, Together  # noqa: E402


class Engine:
    """Stands where vLLM's `AsyncLLM` does and writes down what it is told."""

    def __init__(self, refuses: str | None = None) -> None:
        self.told: list[Any] = []
        self.refuses = refuses

    async def pause_generation(self, *, mode: str, clear_cache: bool) -> None:
        assert mode == "keep" and not clear_cache
        await asyncio.sleep(0.01)
        self.told.append("pause")

    async def resume_generation(self) -> None:
        self.told.append("resume")

    async def collective_rpc(self, method: str, args: tuple[int]) -> None:
        self.told.append((method, *args))

    async def add_request(self, request_id: str, prompt: str, sampling: None) -> str:
        if prompt == self.refuses:
            raise ValueError(prompt)
        await asyncio.sleep(0)
        self.told.append(prompt)
        return f"output of {prompt}"


def actor(engine: Engine) -> Any:
    made: Any = SimpleNamespace(llm=engine, _gathered=[])
    for name in ("_add_together", "_begin"):
        setattr(made, name, getattr(PureRolloutActor, name).__get__(made))
    return made


def test_they_begin_in_their_order_when_the_last_has_come() -> None:
    engine = Engine()

    async def run() -> list[str]:
        made = actor(engine)
        late = [made._add_together(Together(n, 3, 7), f"p{n}", None) for n in (2, 0, 1)]
        return await asyncio.gather(*late)

    assert asyncio.run(run()) == ["output of p2", "output of p0", "output of p1"]
    assert engine.told == ["pause", ("seed_sampling", 7), "p0", "p1", "p2", "resume"]


def test_one_that_is_refused_holds_up_nobody() -> None:
    engine = Engine(refuses="p1")

    async def run() -> list[Any]:
        made = actor(engine)
        all_of_them = [made._add_together(Together(n, 3, 7), f"p{n}", None) for n in range(3)]
        return await asyncio.gather(*all_of_them, return_exceptions=True)

    first, *others = asyncio.run(run())
    assert first == "output of p0" and all(isinstance(one, ValueError) for one in others)
    assert engine.told[-1] == "resume"


def test_an_actor_whose_engine_has_died_ends_though_a_call_waits_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """vLLM fails the requests that it has, and leaves who waits for a pause, a seed or weights waiting."""
    ended: list[int] = []
    monkeypatch.setattr(rollout_actor.os, "_exit", ended.append)
    monkeypatch.setattr(rollout_actor, "LAST_WORDS_SECONDS", 0.01)

    async def run() -> None:
        llm = SimpleNamespace(errored=False)
        made: Any = SimpleNamespace(llm=llm)
        watch = asyncio.create_task(PureRolloutActor._end_with_the_engine(made))
        await asyncio.sleep(0.05)
        assert not watch.done()
        llm.errored = True
        await asyncio.wait_for(watch, 5)

    asyncio.run(run())
    assert ended == [1]
