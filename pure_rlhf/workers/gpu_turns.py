"""Whose turn it is on the GPUs: under `--placement shared` policy, reference, PRM and engines live on the same ones.

    turn       engine       policy's optimiser   reference, PRM
    generate   awake        host                 host
    score      asleep       host                 GPU
    update     asleep       GPU                  host
    sync       weights      host                 host

The policy's 16-bit weights always stay on the GPU: three of the four turns need them. A PRM that learns is moved like
the policy. What a turn does not need leaves the GPU before what it needs comes. An engine sleeps at vLLM's level 1: its
weights wait in host memory, so that it can also wake where no push follows (evaluation, a curriculum's further rounds).

The same calls run on a CPU host, where sleeping is vLLM's own state without any memory to move.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import ray

if TYPE_CHECKING:
    from openrlhf.trainer.ray.launcher import RayActorGroup
    from ray.actor import ActorHandle

    from pure_rlhf.workers.lora import ReferenceInPolicy

Turn = Literal["generate", "score", "update", "sync"]


@dataclass(frozen=True)
class Residents:
    """What is on the GPUs: tags of vLLM's memory that is mapped, and whose tensors are there."""

    engine: tuple[str, ...] = ()
    optimizer: bool = False
    frozen: bool = False
    """Reference and PRM."""


RESIDENTS: dict[Turn, Residents] = {
    "generate": Residents(engine=("weights", "kv_cache")),
    "score": Residents(frozen=True),
    "update": Residents(optimizer=True),
    "sync": Residents(engine=("weights",)),
}


class OwnGpus:
    """`--placement split`: everybody has GPUs of their own, and nobody waits."""

    def __init__(self) -> None:
        self._taken: list[tuple[str, float]] = []

    def take(self, turn: Turn) -> None:
        """Whoever works in this turn may begin."""
        self._taken.append((turn, time.time()))

    def drain_turns(self) -> list[tuple[str, float]]:
        """The turns that were taken since the last call, with the time of each, seconds since the epoch."""
        taken, self._taken = self._taken, []
        return taken

    def drain_metrics(self) -> dict[str, float]:
        """What the turns of a step have cost."""
        return {}


class SharedGpus(OwnGpus):
    """`--placement shared`: one works at a time. As `launcher.build` leaves them, the GPUs hold nobody but the policy.

    Args:
        engines: the rollout engines.
        learning: workers of models that are trained, the policy first (`offload_states`, `reload_states`).
        frozen: workers of models that do not learn (`to_host`, `to_gpu`).
    """

    def __init__(
        self,
        engines: Sequence[ActorHandle],
        learning: Sequence[RayActorGroup],
        frozen: Sequence[RayActorGroup | ReferenceInPolicy],
    ) -> None:
        super().__init__()
        self.engines = engines
        self.learning = learning
        self.frozen = frozen
        self.there = Residents()
        self._seconds = 0.0

    def drain_metrics(self) -> dict[str, float]:
        seconds, self._seconds = self._seconds, 0.0
        return {"timing/gpu_turns": seconds}

    def take(self, turn: Turn) -> None:
        """Bring to the GPUs what the turn needs, after what it does not need has left; nothing where all is there."""
        super().take(turn)
        start = time.perf_counter()
        now, then = self.there, RESIDENTS[turn]
        sleeps = not set(now.engine) <= set(then.engine)  # it lets go of all or of nothing
        if sleeps:
            self._put_engines_to_sleep(now.engine)
        if now.optimizer and not then.optimizer:
            self._move(self.learning, "offload_states")
        if now.frozen and not then.frozen:
            self._move(self.frozen, "to_host")
        self._wake_engines([tag for tag in then.engine if sleeps or tag not in now.engine])
        if then.optimizer and not now.optimizer:
            self._move(self.learning, "reload_states")
        if then.frozen and not now.frozen:
            self._move(self.frozen, "to_gpu")
        self.there = then
        self._seconds += time.perf_counter() - start

    def _put_engines_to_sleep(self, awake: Sequence[str]) -> None:
        # vLLM passes over the call where an engine is half asleep
        self._wake_engines([tag for tag in RESIDENTS["generate"].engine if tag not in awake])
        ray.get([engine.sleep.remote() for engine in self.engines])

    def _wake_engines(self, tags: list[str]) -> None:
        if tags:
            ray.get([engine.wake_up.remote(tags=tags) for engine in self.engines])

    def _move(self, groups: Sequence[RayActorGroup | ReferenceInPolicy], method: str) -> None:
        ray.get([done for group in groups for done in group.async_run_method(method)])
