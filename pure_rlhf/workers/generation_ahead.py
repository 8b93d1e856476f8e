"""Stage 0 of asynchronous training (`--train.async_steps 1`): the engines write the next batch during the update.

    engines   | batch 1, V0 | batch 2, V0    | batch 3, V1    |
    trainers  |             | 1: V0 -> V1    | 2: V1 -> V2    |
                            ^ nothing new    ^ push V1        ^ push V2     between two batches, when both are done

A batch is then one update older than the policy that it trains; what that does to the loss is corrected with the
engines' log-probabilities (`--algo.advantage.is_correction_level`, on by default here). Weights travel at the borders
of batches, so every response is written by one version of the policy. Whatever needs the engines between two batches
(evaluation, a roll back) waits for the batch that is being written.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pure_rlhf.data import PromptRecord
from pure_rlhf.types import Completion
from pure_rlhf.workers.samples_generator import PureSamplesGenerator, Rollout


@dataclass(frozen=True)
class Written:
    """A batch that is ready, and what is to be said of it."""

    rollout: Rollout
    version: int  # of the policy that wrote it: its updates so far
    metrics: dict[str, float]
    seconds: float


class GenerationAhead:
    """A `PureSamplesGenerator` that works in a thread of its own, one batch ahead."""

    def __init__(self, inner: PureSamplesGenerator) -> None:
        self.inner = inner
        self.metrics: dict[str, float] = {}
        self.version = 0  # of the policy
        self.engine_version = 0
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")
        self._next: Future[Written] | None = None
        self._ready: Written | None = None
        # Of the batch that is being written, or is ready: where the data stood before it, and the steps that were left.
        self._starts_at: tuple[dict[str, Any], int] | None = None
        self._stopped = False

    @property
    def unfilled(self) -> str | None:
        """Why a batch could not be filled, which ended the run; None until then."""
        return self.inner.unfilled

    def generate_samples(self, **generate_kwargs: object) -> Rollout:
        """The batch that was written meanwhile; the first one, and the first of an episode, are waited for."""
        start = time.perf_counter()
        self._collect()
        push_seconds = self._push_if_due()
        if self._stopped:
            return [], None, 0, True
        written = self._ready or self._write(self.version, generate_kwargs)
        self._ready = self._starts_at = None
        samples, _, _, exhausted = written.rollout
        if samples and not exhausted:
            self._starts_at = self.inner.data_state(), self.inner.steps_left
            self._next = self._executor.submit(self._write, self.version, generate_kwargs)
        exposed = time.perf_counter() - start - push_seconds
        self.metrics = {
            **written.metrics,
            "async/staleness": float(self.version - written.version),
            "timing/generation": exposed,
            "timing/generation_hidden": max(written.seconds - exposed, 0.0),
        }
        return written.rollout

    def _write(self, version: int, generate_kwargs: dict[str, object]) -> Written:
        start = time.perf_counter()
        rollout = self.inner.generate_samples(**generate_kwargs)
        seconds = time.perf_counter() - start
        return Written(rollout, version, dict(self.inner.metrics), seconds)

    def _collect(self) -> None:
        """Wait for the batch that is being written."""
        if self._next is not None:
            self._ready = self._next.result()
            self._next = None

    def _push_if_due(self) -> float:
        """Bring the policy's weights into the engines, unless they have them; returns the seconds that it took."""
        start = time.perf_counter()
        if self.engine_version != self.version:
            self.inner.push()
            self.engine_version = self.version
        return time.perf_counter() - start

    def generate(self, prompts: Sequence[PromptRecord], temperature: float) -> list[Completion]:
        """One answer to each prompt (for evaluation, after `settle`)."""
        return self.inner.generate(prompts, temperature)

    def weights_changed(self) -> None:
        """The policy was updated: the engines get it between two batches."""
        self.version += 1

    def settle(self) -> None:
        """Bring the policy's weights into engines that do nothing else; the batch that was being written is kept."""
        self._collect()
        self._push_if_due()

    def discard(self) -> None:
        """Drop the batch that was being written, by a policy that is no more; its prompts are drawn again."""
        self._collect()
        if self._starts_at is not None:
            self.inner.go_back(*self._starts_at)
            self._ready = self._starts_at = None
        self.weights_changed()

    def stop(self) -> None:
        """No batch after the one that is trained on."""
        self._stopped = True
        self.inner.stop()

    def skip_steps(self, count: int) -> None:
        """As many steps are done already."""
        self.inner.skip_steps(count)

    def data_state(self) -> dict[str, Any]:
        """Where the data stood before the batch that is being written: a run that is resumed has it written again."""
        return self._starts_at[0] if self._starts_at else self.inner.data_state()
