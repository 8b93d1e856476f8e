"""Engines that die: which are replaced, what is asked again, and when the run ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayError

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.workers import rollout_engines  # noqa: E402
from pure_rlhf.workers.gpu_turns import OwnGpus  # noqa: E402
from pure_rlhf.workers.rollout_engines import Request, Requests, RolloutEngines  # noqa: E402


class Engine:
    """An actor's handle. It dies when it is to answer one of the prompts of `dies_at`."""

    def __init__(
        self, name: str, dies_at: tuple[int, ...] = (), refuses: int | None = None
    ) -> None:
        self.name, self.dies_at, self.refuses = name, dies_at, refuses
        self.is_dead = False
        self.asked: list[int] = []
        self.check_health = SimpleNamespace(remote=lambda: self._health)
        self.generate_answers = SimpleNamespace(remote=self._ask)

    def _health(self) -> None:
        if self.is_dead:
            raise RayError(f"{self.name} is dead\nand more")

    def _ask(self, prompt: int, **_: Any) -> Any:
        self.asked.append(prompt)

        def answer() -> list[str]:
            self.is_dead |= prompt in self.dies_at
            self._health()
            if prompt == self.refuses:
                raise RayError("too long")
            return [f"{self.name}: {prompt}"]

        return answer


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done besides asking; Ray's functions do at once what a handle promised."""
    made: list[str] = []
    monkeypatch.setattr(rollout_engines.ray, "get", lambda promise: promise())
    monkeypatch.setattr(rollout_engines.ray, "wait", lambda refs, **_: ([refs[0]], refs[1:]))
    monkeypatch.setattr(
        rollout_engines.ray, "kill", lambda engine: made.append(f"kill {engine.name}")
    )
    return made


class Policy:
    """Its workers."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        self.fails = 0  # so many pushes, since an engine dies in them

    def async_run_method(self, method: str, *, engines: list[Any] | None = None) -> Any:
        self.calls.append(" ".join([method, *(engine.name for engine in engines or [])]))

        def done() -> list[dict[str, float]]:
            if method == "broadcast_to_vllm" and self.fails:
                self.fails -= 1
                raise RayError("the other end is gone")
            return [{"sync/buckets": 1.0}]

        return done


def group(handles: list[Any], calls: list[str], *, most: int = 3) -> RolloutEngines:
    def start(number: int, replacement: int) -> Any:
        calls.append(f"start {number}, {replacement}")
        return Engine(f"new {number}")

    policy: Any = Policy(calls)
    return RolloutEngines(
        handles,
        policy=policy,
        gpus=OwnGpus(),
        start=start,
        most_replacements=most,
        tell=calls.append,
    )


def ask(engines: RolloutEngines, count: int = 4) -> Requests:
    """Prompts in turn to each engine."""
    handles = engines.handles
    requests = [Request(place % len(handles), (place,), {}) for place in range(count)]
    return Requests(requests, handles, engines.revive)


def test_what_a_dead_engine_was_asked_is_asked_again_of_another(calls: list[str]) -> None:
    handles: list[Any] = [Engine("a"), Engine("b", dies_at=(3,))]
    engines = group(handles, calls)
    answers = ask(engines).in_order()
    # all that it was asked, since what is begun together is written together; what had been answered is kept
    assert answers == [["a: 0"], ["b: 1"], ["a: 2"], ["new 1: 3"]]
    assert handles[1].asked == [1, 3] and handles[0].asked == [0, 2]
    assert calls == [
        "kill b",
        "start 1, 1",
        "rollout-1 died (RayError: b is dead); another engine takes its place, and what it had been asked is asked "
        "again (replacement 1 of --vllm.max_replacements 3)",
        "join_engines a new 1",
        "broadcast_to_vllm",
    ]


def test_two_that_die_together_are_replaced_together(calls: list[str]) -> None:
    first, second = Engine("a", dies_at=(0,)), Engine("b")
    second.is_dead = True
    engines = group([first, second], calls)
    assert ask(engines).in_order() == [[f"new {n % 2}: {n}"] for n in range(4)]
    assert engines.num_replaced == 2 and calls.count("broadcast_to_vllm") == 1


def test_a_request_that_an_engine_cannot_answer_ends_the_run(calls: list[str]) -> None:
    with pytest.raises(RayError, match="too long"):
        ask(group([Engine("a", refuses=1)], calls)).in_order()
    assert calls == []


def test_the_engine_that_dies_after_the_last_replacement_ends_the_run(calls: list[str]) -> None:
    engines = group([Engine("a", dies_at=(0,))], calls, most=0)
    with pytest.raises(RayError, match="a is dead"):
        ask(engines).in_order()
    with pytest.raises(RayError, match="a is dead"):
        engines.push()
    assert calls == []


def test_engines_that_work_are_left_alone(calls: list[str]) -> None:
    engines = group([Engine("a"), Engine("b")], calls)
    engines.revive()
    assert calls == []
    engines.push()
    assert calls == ["broadcast_to_vllm"] and engines.metrics["sync/buckets"] == 1


def test_an_engine_that_dies_before_a_push_or_in_it_is_replaced(calls: list[str]) -> None:
    first = Engine("a")
    engines = group([first], calls)
    first.is_dead = True
    engines.push()
    assert calls[-2:] == ["join_engines new 0", "broadcast_to_vllm"]
    policy: Any = engines._policy
    policy.fails = 1
    with pytest.raises(RayError, match="other end is gone"):
        engines.push()  # no engine is to blame
    policy.fails = 1
    dying: Any = engines.handles[0]
    policy.async_run_method = dies_in_it(dying, policy.async_run_method)
    engines.push()
    assert engines.num_replaced == 2 and calls[-2:] == ["join_engines new 0", "broadcast_to_vllm"]


def dies_in_it(engine: Engine, call: Any) -> Any:
    """The same call, and the engine dies with the first push."""

    def dying_call(method: str, **arguments: Any) -> Any:
        engine.is_dead = engine.is_dead or method == "broadcast_to_vllm"
        return call(method, **arguments)

    return dying_call
