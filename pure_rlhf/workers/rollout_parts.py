"""Between stages 0 and 1 on the driver: a rollout in parts, so that scoring goes on while the rest is being written.

    engines   | part 2 . . part 1 . . part 4 . . part 3 |
    models             | 2        | 1         | 4        | 3 |     the last part is what the step waits for

A part is some consecutive groups of the rollout: as many as give every rank of the models whole micro-batches. A model
never sees two parts in one forward, so it gives the same numbers whenever a part is sent, and in whatever company. On
a CPU host all of a rollout is one part: models and engines share the cores, and the larger a part, the less is padding.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openrlhf.trainer.ppo_utils.experience import Experience
from torch import Tensor

from pure_rlhf.types import StepSpans

if TYPE_CHECKING:
    from pure_rlhf.config import PureConfig


def rows_of_all_ranks(config: PureConfig) -> int:
    """Responses that give each rank of policy, reference and PRM the same number of micro-batches."""
    prm_ranks = config.reward.num_nodes * config.reward.num_gpus_per_node if config.uses_prm else 1
    micro_batch = 1 if config.train.dynamic_batch_enable else config.rollout.micro_batch_size
    return math.lcm(config.training_gpus * micro_batch, prm_ranks)


def groups_in_part(*, num_groups: int, group_size: int, unit_rows: int, most_parts: int) -> int:
    """Groups in each part, the last one too, so that a part has a multiple of `unit_rows` responses.

    Args: `num_groups` prompts with `group_size` responses each; `unit_rows`: a micro-batch for each rank;
        `most_parts`: of a rollout, since each costs a call to every worker.

    Returns: `num_groups`, one part, where they cannot be shared out so.

    Example (at most 32 parts): 64 groups of 4 in units of 16: 4 groups; 6 groups of 3 in units of 4: 6, because 4 of
    them leave two.
    """
    unit_groups = math.lcm(group_size, unit_rows) // group_size
    if num_groups % unit_groups:
        return num_groups
    return unit_groups * math.ceil(num_groups / unit_groups / most_parts)


@dataclass(frozen=True, kw_only=True)
class RolloutPart:
    """Consecutive responses of a rollout, on their way through the models."""

    first: int  # row of the rollout
    samples: list[Experience]  # one response each
    batch: Experience
    texts: list[str]
    steps: StepSpans
    micro_batches: list[Experience]  # `index` holds rows of the rollout
    verdict_codes: Future[Tensor]

    @property
    def rows(self) -> slice:
        return slice(self.first, self.first + len(self.samples))


def micro_batches_by_length(
    lengths: Sequence[int], *, micro_batch_size: int, num_ranks: int
) -> list[list[int]]:
    """Rows of each micro-batch, those of rank 0 first: alike in length, since all are padded to the longest.

    Every rank gets as many, of about the same cost, the longest first, so that a lack of memory shows at once. Where
    the rows do not fill them all, they stay in their order.

    Example: `micro_batches_by_length([5, 90, 7, 80], micro_batch_size=1, num_ranks=2)` gives `[[1], [0], [3], [2]]`.
    """
    rows = list(range(len(lengths)))
    sorts = len(rows) % (micro_batch_size * num_ranks) == 0
    if sorts:
        rows.sort(key=lambda row: -lengths[row])
    cut = [
        rows[start : start + micro_batch_size] for start in range(0, len(rows), micro_batch_size)
    ]
    if not sorts:
        return cut
    # to and fro over the ranks
    rounds = [cut[start : start + num_ranks] for start in range(0, len(cut), num_ranks)]
    dealt = [each if place % 2 == 0 else each[::-1] for place, each in enumerate(rounds)]
    return [each[rank] for rank in range(num_ranks) for each in dealt]


class PartsInTheMaking:
    """Hands on the parts of one rollout as their groups arrive.

    Args:
        num_groups: of the rollout.
        groups_in_part: of each part but the last, which may have fewer.
        hand_on: gets the first row and the responses of a part that is complete.
    """

    def __init__(
        self,
        num_groups: int,
        groups_in_part: int,
        hand_on: Callable[[int, list[Experience]], None],
    ) -> None:
        self.num_groups = num_groups
        self.groups_in_part = groups_in_part
        self.hand_on = hand_on
        self._arrived: dict[int, list[Experience]] = {}  # place -> group
        self._decided: dict[int, list[Experience] | None] = {}
        self._num_decided = self._num_kept = 0

    def add(self, place: int, group: list[Experience]) -> None:
        """The group at this place of the rollout, in any order."""
        self._arrived[place] = group
        first = place // self.groups_in_part * self.groups_in_part
        places = range(first, min(first + self.groups_in_part, self.num_groups))
        if all(place in self._arrived for place in places):
            samples = [sample for place in places for sample in self._arrived.pop(place)]
            self.hand_on(first * len(group), samples)

    def decide(self, draw: int, group: list[Experience] | None) -> None:
        """The group of the prompt that was drawn as number `draw`, in any order; None: a curriculum drops it.

        Its place is known when all that were drawn before it are decided.
        """
        self._decided[draw] = group
        while self._num_decided in self._decided:
            kept = self._decided.pop(self._num_decided)
            self._num_decided += 1
            if kept is not None and self._num_kept < self.num_groups:
                self.add(self._num_kept, kept)
                self._num_kept += 1


class PartScorer:
    """Scores parts in one thread, all that wait at a time, so that calls reach the ranks in one order.

    Args:
        score: blocks until the models have answered.
    """

    def __init__(self, score: Callable[[list[RolloutPart]], None]) -> None:
        self._score = score
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="score")
        self._waiting: deque[RolloutPart] = deque()
        self._calls: list[Future[None]] = []

    def put(self, part: RolloutPart) -> None:
        self._waiting.append(part)
        self._calls.append(self._executor.submit(self._score_all_that_wait))

    def wait(self) -> None:
        """Until everything is scored; raises what went wrong."""
        calls, self._calls = self._calls, []
        for call in calls:
            call.result()

    def _score_all_that_wait(self) -> None:
        parts = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if parts:
            self._score(parts)
