"""Groups answers of similar length into batches under a token budget, equally many for each rank.

A batch is padded to its longest row, so it costs rows * longest tokens. Every data-parallel rank
must run the same number of batches (their collectives would wait for each other for ever
otherwise), and the slowest rank sets the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from pure_rlhf.algorithm.step_segmentation import cat_padded
from pure_rlhf.types import PrmInputs

T = TypeVar("T")

MOST_PADDING = 1.2  # tokens that are read, over tokens that there are
ENOUGH_TOKENS = 2048  # of a forward, to keep a device busy


def plan_batches(lengths: Sequence[int], *, max_tokens: int, num_ranks: int = 1) -> list[list[int]]:
    """Returns the row indices of each batch; every row is in exactly one batch.

    A batch costs at most `max_tokens` (rows * longest), except for a single row that is longer by
    itself. The number of batches is a multiple of `num_ranks`: rank i runs the i-th contiguous part
    of the list. The parts cost about the same, and each starts with its most expensive batch, so
    that a lack of memory shows at once.

    Example: `plan_batches([10, 90, 12, 100], max_tokens=200)` gives `[[3, 1], [2, 0]]`.

    Raises:
        ValueError: a length, `max_tokens` or `num_ranks` is below 1, or the rows cannot be put into
            equally many batches for each rank.
    """
    if max_tokens < 1 or num_ranks < 1 or any(length < 1 for length in lengths):
        raise ValueError(
            f"lengths, max_tokens and num_ranks must be >= 1, got a shortest length of "
            f"{min(lengths, default=1)}, max_tokens {max_tokens}, num_ranks {num_ranks}"
        )
    longest_first = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    fewest = len(_fill_batches(longest_first, lengths, max_tokens))
    num_batches = num_ranks * max(1, -(-fewest // num_ranks))
    if num_batches > len(lengths):
        raise ValueError(
            f"{num_ranks} ranks need {num_batches} batches of at most {max_tokens} tokens, but "
            f"there are only {len(lengths)} rows; raise max_tokens, or use a number of rows that "
            f"is a multiple of {num_ranks}"
        )
    while True:
        budget = _smallest_budget(longest_first, lengths, max_tokens, num_batches)
        batches = _fill_batches(longest_first, lengths, budget)
        while len(batches) < num_batches:
            _split_most_expensive(batches, lengths)
        cost = sum(_cost(batch, lengths) for batch in batches)
        is_full = cost <= MOST_PADDING * sum(lengths) or cost < 2 * ENOUGH_TOKENS * num_batches
        if is_full or 2 * num_batches > len(lengths):
            return _deal_to_ranks(batches, lengths, num_ranks)
        num_batches *= 2


def join_inputs(parts: Sequence[PrmInputs]) -> PrmInputs:
    """What the PRM reads of several batches as that of one; any id pads, since the mask hides it."""
    return PrmInputs(
        input_ids_BU=cat_padded([part.input_ids_BU for part in parts]),
        attention_mask_BU=cat_padded([part.attention_mask_BU for part in parts]),
        read_index_BS=cat_padded([part.read_index_BS for part in parts]),
    )


@dataclass(frozen=True)
class PrmBatches:
    """What the PRM reads, cut into batches that `plan_batches` made."""

    rows: list[list[int]]  # row indices of each batch
    inputs: list[PrmInputs]  # each padded to its own longest row

    def collect(self, rewards: Sequence[Tensor], mask_BS: Tensor) -> Tensor:
        """Step rewards of the batches, `(rows, S)` each, in the order of the rows: `(B, S)`, 0 outside the mask."""
        step_rewards_BS = torch.zeros(mask_BS.shape)
        for rows, found in zip(self.rows, rewards, strict=True):
            step_rewards_BS[rows] = found
        return step_rewards_BS.masked_fill(~mask_BS, 0.0)


def cut_into_batches(inputs: PrmInputs, *, max_tokens: int, num_ranks: int) -> PrmBatches:
    """The rows of `inputs` in batches of at most `max_tokens`; see `plan_batches`."""
    lengths = inputs.attention_mask_BU.sum(-1)
    plan = plan_batches(lengths.tolist(), max_tokens=max_tokens, num_ranks=num_ranks)
    return PrmBatches(
        plan,
        [
            PrmInputs(
                input_ids_BU=inputs.input_ids_BU[rows, :width],
                attention_mask_BU=inputs.attention_mask_BU[rows, :width],
                read_index_BS=inputs.read_index_BS[rows],
            )
            for rows, width in ((rows, int(lengths[rows].max())) for rows in plan)
        ],
    )


def plan_training(
    num_rows: int, *, batch_size: int, micro_batch_size: int, num_ranks: int
) -> list[list[int]]:
    """Returns the row indices of each micro-batch of a PRM that learns: those of rank 0 in their order, then rank 1's.

    Whatever the number of ranks, optimiser step k is made of the same rows: k * batch_size to (k + 1) * batch_size.

    Args: `batch_size` divides `num_rows`, `num_ranks * micro_batch_size` divides `batch_size`.

    Example: 8 rows in batches of 4 and micro-batches of 1 on two ranks: `[[0], [1], [4], [5], [2], [3], [6], [7]]`.
    """
    assert num_rows % batch_size == 0 and batch_size % (num_ranks * micro_batch_size) == 0
    share = batch_size // num_ranks
    return [
        list(range(start, start + micro_batch_size))
        for rank in range(num_ranks)
        for batch in range(0, num_rows, batch_size)
        for start in range(batch + rank * share, batch + (rank + 1) * share, micro_batch_size)
    ]


def join_plans(first: list[T], second: list[T], num_parts: int) -> list[T]:
    """Two lists of equally many parts as one: of each part what is in the first, then what is in the second.

    Example: `join_plans(["a", "b"], [1, 2], 2)` gives `["a", 1, "b", 2]`.
    """
    sizes = len(first) // num_parts, len(second) // num_parts
    joined: list[T] = []
    for part in range(num_parts):
        for items, size in zip((first, second), sizes, strict=True):
            joined += items[part * size : (part + 1) * size]
    return joined


def _cost(batch: Sequence[int], lengths: Sequence[int]) -> int:
    return len(batch) * max(lengths[row] for row in batch)


def _fill_batches(
    longest_first: Sequence[int], lengths: Sequence[int], budget: int
) -> list[list[int]]:
    """Fills one batch after the other; its first row is its longest."""
    batches: list[list[int]] = []
    for row in longest_first:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _smallest_budget(
    longest_first: Sequence[int], lengths: Sequence[int], max_tokens: int, num_batches: int
) -> int:
    """Returns the smallest budget that still needs no more than `num_batches` batches."""
    too_small, enough = 0, max_tokens
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if len(_fill_batches(longest_first, lengths, middle)) <= num_batches:
            enough = middle
        else:
            too_small = middle
    return enough


def _split_most_expensive(batches: list[list[int]], lengths: Sequence[int]) -> None:
    """Halves the most expensive batch that has more than one row."""
    index = max(
        (i for i, batch in enumerate(batches) if len(batch) > 1),
        key=lambda i: _cost(batches[i], lengths),
    )
    batch = batches.pop(index)
    half = (len(batch) + 1) // 2
    batches.extend([batch[:half], batch[half:]])


def _deal_to_ranks(
    batches: list[list[int]], lengths: Sequence[int], num_ranks: int
) -> list[list[int]]:
    """Gives each batch, most expensive first, to the cheapest rank that still has room."""
    per_rank = len(batches) // num_ranks
    parts: list[list[list[int]]] = [[] for _ in range(num_ranks)]
    part_costs = [0] * num_ranks
    for batch in sorted(batches, key=lambda batch: -_cost(batch, lengths)):
        open_ranks = [rank for rank in range(num_ranks) if len(parts[rank]) < per_rank]
        rank = min(open_ranks, key=lambda rank: part_costs[rank])
        parts[rank].append(batch)
        part_costs[rank] += _cost(batch, lengths)
    return [batch for part in parts for batch in part]
