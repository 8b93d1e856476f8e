"""Batches keep to the token budget, hold every row once, and are dealt evenly to the ranks."""

from __future__ import annotations

import random

import pytest
import torch

from pure_rlhf.prm.batching import cut_into_batches, plan_batches, plan_training
from pure_rlhf.types import PrmInputs


def cost(batch: list[int], lengths: list[int]) -> int:
    return len(batch) * max(lengths[row] for row in batch)


def test_documented_example() -> None:
    assert plan_batches([10, 90, 12, 100], max_tokens=200) == [[3, 1], [2, 0]]


def test_a_row_longer_than_the_budget_is_alone() -> None:
    assert plan_batches([10, 500, 10], max_tokens=30) == [[1], [0, 2]]


@pytest.mark.parametrize("seed", range(20))
def test_rules_hold_for_random_lengths(seed: int) -> None:
    generator = random.Random(seed)
    num_ranks = generator.randint(1, 4)
    lengths = [generator.randint(5, 400) for _ in range(num_ranks * generator.randint(2, 30))]
    max_tokens = generator.choice([800, 2000, 10_000])
    batches = plan_batches(lengths, max_tokens=max_tokens, num_ranks=num_ranks)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or cost(batch, lengths) <= max_tokens for batch in batches)
    assert len(batches) >= num_ranks
    assert len(batches) % num_ranks == 0


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_ranks_get_about_the_same_number_of_tokens(num_ranks: int) -> None:
    generator = random.Random(1)
    lengths = [int(generator.lognormvariate(5, 0.6)) + 1 for _ in range(256)]
    batches = plan_batches(lengths, max_tokens=4000, num_ranks=num_ranks)
    per_rank = len(batches) // num_ranks
    parts = [batches[rank * per_rank : (rank + 1) * per_rank] for rank in range(num_ranks)]
    costs = [sum(cost(batch, lengths) for batch in part) for part in parts]
    assert max(costs) <= 1.1 * min(costs)
    for part in parts:
        part_costs = [cost(batch, lengths) for batch in part]
        assert part_costs == sorted(part_costs, reverse=True)


def test_rows_of_one_length_are_shared_out_although_one_batch_would_hold_them() -> None:
    batches = plan_batches([100] * 64, max_tokens=10_000, num_ranks=2)
    assert [len(batch) for batch in batches] == [32, 32]


def test_similar_lengths_share_a_batch() -> None:
    assert sorted(map(sorted, plan_batches([9, 80, 10, 81], max_tokens=162))) == [[0, 2], [1, 3]]


def test_a_few_long_rows_do_not_make_the_others_long() -> None:
    """64 rows, two of them twenty times as long as the rest: one batch would be nine tenths padding."""
    lengths = [4000, 4000] + [200] * 62
    batches = plan_batches(lengths, max_tokens=300_000)
    assert sum(cost(batch, lengths) for batch in batches) < 1.2 * sum(lengths)
    assert 2 <= len(batches) <= 4
    # small batches are not worth a call each, whatever their padding
    assert len(plan_batches([40, 40] + [2] * 62, max_tokens=300_000)) == 1


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"4 ranks need 4 batches.*only 3 rows"):
        plan_batches([5, 5, 5], max_tokens=100, num_ranks=4)
    with pytest.raises(ValueError, match=r"2 ranks need 4 batches of at most 10 tokens.*only 3"):
        plan_batches([9, 9, 9], max_tokens=10, num_ranks=2)
    with pytest.raises(ValueError, match="only 0 rows"):
        plan_batches([], max_tokens=10)


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "num_ranks"), [([0, 3], 10, 1), ([3], 0, 1), ([3], 10, 0)]
)
def test_numbers_below_one_are_refused(lengths: list[int], max_tokens: int, num_ranks: int) -> None:
    with pytest.raises(ValueError, match="must be >= 1"):
        plan_batches(lengths, max_tokens=max_tokens, num_ranks=num_ranks)


def test_rewards_come_back_in_the_order_of_the_rows() -> None:
    """Rows 0 to 3 have 2, 9, 3 and 10 tokens and as many steps as their index; a reward is its read position."""
    lengths = torch.tensor([2, 9, 3, 10])
    mask_BU = (torch.arange(12) < lengths[:, None]).long()
    mask_BS = torch.arange(3) < torch.arange(4)[:, None]
    read_BS = torch.where(mask_BS, torch.arange(3) + lengths[:, None] - 3, 0)
    inputs = PrmInputs(
        input_ids_BU=mask_BU * torch.arange(4)[:, None],
        attention_mask_BU=mask_BU,
        read_index_BS=read_BS,
    )
    batches = cut_into_batches(inputs, max_tokens=20, num_ranks=2)
    assert batches.rows == [[3, 1], [2, 0]]
    for rows, batch in zip(batches.rows, batches.inputs, strict=True):
        width = max(int(lengths[row]) for row in rows)
        assert batch.input_ids_BU.shape == batch.attention_mask_BU.shape == (2, width)
        assert [int(row[0]) for row in batch.input_ids_BU] == rows
    # where there is no step anything may come
    rewards = [
        torch.where(mask_BS[rows], batch.read_index_BS.float(), 99.0)
        for rows, batch in zip(batches.rows, batches.inputs, strict=True)
    ]
    found = batches.collect(rewards, mask_BS)
    assert torch.equal(found, read_BS.float())


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_an_optimiser_step_has_the_same_rows_on_any_number_of_ranks(num_ranks: int) -> None:
    plan = plan_training(16, batch_size=8, micro_batch_size=2, num_ranks=num_ranks)
    per_rank = len(plan) // num_ranks
    ranks = [plan[rank * per_rank : (rank + 1) * per_rank] for rank in range(num_ranks)]
    for step in range(2):
        share = per_rank // 2
        rows = sorted(
            row
            for rank in ranks
            for part in rank[step * share : (step + 1) * share]
            for row in part
        )
        assert rows == list(range(8 * step, 8 * step + 8))


def test_training_plan_by_hand() -> None:
    found = plan_training(8, batch_size=4, micro_batch_size=1, num_ranks=2)
    assert found == [[0], [1], [4], [5], [2], [3], [6], [7]]
