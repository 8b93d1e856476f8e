"""Stage 0 on the driver: the rollout engines as one, what they were asked, and what is done where one has died.

    asked      p0 -> rollout-0    p1 -> rollout-1    p2 -> rollout-0    p3 -> rollout-1
    rollout-1 dies:  another one in its place, which joins the group of the weights and gets the policy's
    asked again                   p1 -> rollout-1                       p3 -> rollout-1

An engine has no state that cannot be made again: its weights are the policy's, and what it writes follows from the
prompts and, where a run is repeatable, from a seed. So a run goes on without it as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.exceptions import RayError

from pure_rlhf.types import Completion

if TYPE_CHECKING:
    from openrlhf.trainer.ray.launcher import RayActorGroup
    from ray.actor import ActorHandle

    from pure_rlhf.workers.gpu_turns import OwnGpus


class RolloutEngines:
    """The engines of a run, by number, with the policy whose weights they hold.

    Args:
        handles: their actors; a replaced one is replaced in this list, which others may hold too.
        policy: its workers.
        gpus: asked for the turn in which weights travel.
        start: starts another one in place of that number; its second argument is how often that was done.
        most_replacements: of the whole run; the engine that dies after them ends it.
        tell: is told in words what was done.

    `metrics` holds what to log of the last push.
    """

    def __init__(
        self,
        handles: list[ActorHandle],
        *,
        policy: RayActorGroup,
        gpus: OwnGpus,
        start: Callable[[int, int], ActorHandle],
        most_replacements: int,
        tell: Callable[[str], None],
    ) -> None:
        self.handles = handles
        self.num_replaced = 0
        self.metrics: dict[str, float] = {}
        self._policy = policy
        self._gpus = gpus
        self._start = start
        self._most_replacements = most_replacements
        self._tell = tell

    def push(self) -> None:
        """Bring the policy's weights into the engines, and other engines into the place of those that have died.

        Raises:
            ray.exceptions.RayError: that of an engine that may not be replaced, or of the policy.
        """
        start = time.perf_counter()
        # now: NCCL would wait for one that died in the meantime, and gloo's error does not name it
        self._replace_dead()
        self._gpus.take("sync")
        try:
            sent = self._send_weights()
        except RayError:
            if not self._replace_dead():
                raise
            sent = self._send_weights()
        self.metrics = {**sent, "timing/broadcast": time.perf_counter() - start}

    def revive(self) -> None:
        """Put another engine, with the policy's weights, into the place of each that has died; see `push`."""
        if self._replace_dead():
            self._send_weights()

    def _send_weights(self) -> dict[str, float]:
        return ray.get(self._policy.async_run_method("broadcast_to_vllm"))[0]

    def _replace_dead(self) -> bool:
        """Returns whether there were any; the new ones hold the weights that are on disk."""
        asked = [handle.check_health.remote() for handle in self.handles]
        dead = {
            number: error
            for number, health in enumerate(asked)
            if (error := _why_dead(health)) is not None
        }
        for number, error in dead.items():
            if self.num_replaced == self._most_replacements:
                raise error
            self.num_replaced += 1
            ray.kill(self.handles[number])  # where only the process that computes for it has died
            self.handles[number] = self._start(number, self.num_replaced)
            self._tell(
                f"rollout-{number} died ({_first_line(error)}); another engine takes its place, and what it had been "
                f"asked is asked again (replacement {self.num_replaced} of --vllm.max_replacements "
                f"{self._most_replacements})"
            )
        if dead:
            ray.get(self._policy.async_run_method("join_engines", engines=self.handles))
        return bool(dead)


def _why_dead(health: ray.ObjectRef) -> RayError | None:
    """From an engine's `check_health`; None: it works."""
    try:
        ray.get(health)
    except RayError as error:  # of the actor, or of the process that computes for it
        return error
    return None


def _first_line(error: RayError) -> str:
    cause = getattr(error, "cause", None) or error
    line = str(cause).strip().partition("\n")[0]
    return f"{type(cause).__name__}: {line}".removesuffix(": ")


class Request(NamedTuple):
    """A prompt and what is wanted of it, for the engine of that number."""

    engine: int
    arguments: tuple[Any, ...]
    options: dict[str, Any]


class Requests:
    """Requests that were sent at the same time, and their answers.

    Args:
        engines: by number.
        revive: puts others, with the policy's weights, into the place of the engines that have died.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        engines: list[ActorHandle],
        revive: Callable[[], None],
    ) -> None:
        self.requests = requests
        self._engines = engines
        self._asked = list(engines)
        self._revive = revive
        self._waiting = self._send(range(len(requests)))

    def _send(self, places: Iterable[int]) -> dict[ray.ObjectRef, int]:
        sent = {}
        for place in places:
            engine, arguments, options = self.requests[place]
            sent[self._asked[engine].generate_answers.remote(*arguments, **options)] = place
        return sent

    def as_they_come(self) -> Iterator[tuple[int, list[Completion]]]:
        """What is ready first comes first, with its place among the requests.

        Raises:
            ray.exceptions.RayError: an engine died that may not be replaced, or cannot answer a request.
        """
        answered: set[int] = set()
        while self._waiting:
            (ready,), _ = ray.wait(list(self._waiting), num_returns=1)
            place = self._waiting.pop(ready)
            try:
                answers = ray.get(ready)
            except RayError:
                engine = self.requests[place].engine
                if self._is_the_same(engine):
                    self._revive()
                if self._is_the_same(engine):
                    raise  # it lives: the request is at fault
                self._ask_again(engine)
                continue
            if place not in answered:
                answered.add(place)
                yield place, answers

    def _is_the_same(self, engine: int) -> bool:
        return self._engines[engine] is self._asked[engine]

    def _ask_again(self, engine: int) -> None:
        """All that the engine was asked, also what it had answered: what is begun together is written together."""
        self._asked[engine] = self._engines[engine]
        self._waiting = {
            reference: place
            for reference, place in self._waiting.items()
            if self.requests[place].engine != engine
        }
        self._waiting |= self._send(
            place for place, request in enumerate(self.requests) if request.engine == engine
        )

    def in_order(self) -> list[list[Completion]]:
        """All answers, in the order of the requests."""
        found = dict(self.as_they_come())
        return [found[place] for place in range(len(self.requests))]
