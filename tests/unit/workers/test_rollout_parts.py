"""Parts of a rollout: how large they are, when they are handed on, and that scoring takes all that wait at once."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.config import PureConfig, RewardConfig, RolloutConfig, TrainConfig  # noqa: E402
from pure_rlhf.workers.rollout_parts import (  # noqa: E402
    PartScorer,
    PartsInTheMaking,
    groups_in_part,
    micro_batches_by_length,
    rows_of_all_ranks,
)


@pytest.mark.parametrize(
    ("num_groups", "group_size", "unit_rows", "expected"),
    [
        (64, 4, 16, 4),  # a micro-batch of 4 for each of four ranks
        (16, 8, 8, 1),
        (16, 8, 4, 1),  # two micro-batches
        (6, 3, 4, 6),  # four groups fill the ranks, the other two do not
        (5, 2, 4, 5),
        (256, 4, 4, 8),  # not more than 32 parts
        (72, 4, 4, 3),
    ],
)
def test_every_part_gives_each_rank_whole_micro_batches(
    num_groups: int, group_size: int, unit_rows: int, expected: int
) -> None:
    found = groups_in_part(
        num_groups=num_groups, group_size=group_size, unit_rows=unit_rows, most_parts=32
    )
    assert found == expected
    sizes = [min(found, num_groups - first) for first in range(0, num_groups, found)]
    assert len(sizes) <= 32
    assert found == num_groups or all(size * group_size % unit_rows == 0 for size in sizes)


def test_one_part_is_the_whole() -> None:
    assert groups_in_part(num_groups=64, group_size=4, unit_rows=16, most_parts=1) == 64


def test_micro_batches_hold_responses_of_similar_length() -> None:
    lengths = [10, 100, 20, 90, 30, 80, 40, 70]
    plan = micro_batches_by_length(lengths, micro_batch_size=2, num_ranks=1)
    assert plan == [[1, 3], [5, 7], [6, 4], [2, 0]]
    # two ranks: the dearest and the cheapest against the two between
    plan = micro_batches_by_length(lengths, micro_batch_size=2, num_ranks=2)
    assert plan == [[1, 3], [2, 0], [5, 7], [6, 4]]
    costs = [
        sum(max(lengths[row] for row in rows) for rows in half) for half in (plan[:2], plan[2:])
    ]
    assert costs == [120, 120]
    plan = micro_batches_by_length(lengths[:7], micro_batch_size=2, num_ranks=2)
    assert plan == [[0, 1], [2, 3], [4, 5], [6]], "upstream's, where they do not come out even"


def test_rows_of_all_ranks_hold_the_prms_too() -> None:
    four = PureConfig(rollout=RolloutConfig(micro_batch_size=2))
    assert rows_of_all_ranks(four) == 8
    three = PureConfig(
        rollout=RolloutConfig(micro_batch_size=2), reward=RewardConfig(num_gpus_per_node=3)
    )
    assert rows_of_all_ranks(three) == 24
    assert rows_of_all_ranks(PureConfig(reward_mode="VR")) == 16
    assert rows_of_all_ranks(PureConfig(train=TrainConfig(dynamic_batch_enable=True))) == 4


@pytest.mark.parametrize("order", itertools.permutations(range(5)))
def test_a_part_is_handed_on_when_its_last_group_is_there(order: tuple[int, ...]) -> None:
    handed: list[tuple[int, list[Any]]] = []
    parts = PartsInTheMaking(5, 2, lambda first, samples: handed.append((first, samples)))
    there: set[int] = set()
    for place in order:
        before = len(handed)
        parts.add(place, [f"{place}a", f"{place}b", f"{place}c"])  # type: ignore[list-item]
        there.add(place)
        complete = {part for part in ((0, 1), (2, 3), (4,)) if there.issuperset(part)}
        assert len(handed) == len(complete) and len(handed) - before <= 1
    assert sorted(handed) == [
        (0, ["0a", "0b", "0c", "1a", "1b", "1c"]),
        (6, ["2a", "2b", "2c", "3a", "3b", "3c"]),
        (12, ["4a", "4b", "4c"]),
    ]


@pytest.mark.parametrize("order", itertools.permutations(range(5)))
def test_what_a_curriculum_drops_is_in_no_part(order: tuple[int, ...]) -> None:
    """Of five draws the second is dropped and the fifth is one too many."""
    handed: list[tuple[int, list[Any]]] = []
    parts = PartsInTheMaking(3, 1, lambda first, samples: handed.append((first, samples)))
    for draw in order:
        parts.decide(draw, None if draw == 1 else [f"{draw}a", f"{draw}b"])  # type: ignore[list-item]
    assert handed == [(0, ["0a", "0b"]), (2, ["2a", "2b"]), (4, ["3a", "3b"])]


def test_all_parts_that_wait_are_scored_in_one_call() -> None:
    calls: list[list[Any]] = []
    first_is_in, may_go_on = threading.Event(), threading.Event()

    def score(parts: list[Any]) -> None:
        calls.append(parts)
        first_is_in.set()
        assert may_go_on.wait(30)

    scorer = PartScorer(score)
    parts: list[Any] = ["one", "two", "three", "four"]
    scorer.put(parts[0])
    assert first_is_in.wait(30)
    for part in parts[1:]:
        scorer.put(part)
    may_go_on.set()
    scorer.wait()
    assert calls == [["one"], ["two", "three", "four"]]
    scorer.put(parts[0])
    scorer.wait()
    assert calls[2:] == [["one"]]


def test_what_went_wrong_is_raised_where_it_is_waited_for() -> None:
    def score(parts: list[Any]) -> None:
        raise RuntimeError("the PRM's worker has died")

    scorer = PartScorer(score)
    part: Any = "one"
    scorer.put(part)
    with pytest.raises(RuntimeError, match="has died"):
        scorer.wait()
