"""Labels of steps: rows drawn alike again, laid out as PRM training lays them out, weighed; a function that labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from transformers import AutoTokenizer

from pure_rlhf.prm.batching import join_plans
from pure_rlhf.prm.conventions import PrmSample, PureConvention
from pure_rlhf.prm.step_labels import (
    HeldOutRows,
    LaidOutRow,
    Replay,
    label_steps,
    lay_out_rows,
    parse_labelled_responses,
)
from tests.conftest import RandomWorld

ROWS = [
    {"prompt": "1 + 1?", "completions": ["1 + 1 = 2", "So 2"], "labels": [True, True]},
    {"prompt": "1 + 2?", "completions": ["1 + 2 = 4"], "labels": [0]},
]


def laid_out(world: RandomWorld, max_tokens: int = 64) -> list[LaidOutRow]:
    tokenizer = AutoTokenizer.from_pretrained(world.prm)
    return lay_out_rows(ROWS, PureConvention(), tokenizer, max_tokens=max_tokens)


@pytest.fixture
def replay(world: RandomWorld) -> Replay:
    return Replay(laid_out(world), seed=7)


def test_a_draw_depends_on_the_step_alone(replay: Replay) -> None:
    def labels(step: int) -> list[list[float]]:
        parts = replay.draw(16, micro_batch_size=4, step=step)
        assert len(parts) == 4
        return [
            part.labels_BS.nan_to_num(9).tolist() for part in parts if part.labels_BS is not None
        ]

    first = labels(3)
    labels(4)
    assert labels(3) == first != labels(4)


def test_rows_are_read_where_training_reads_them(replay: Replay, world: RandomWorld) -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.prm)
    known = {
        tuple(PureConvention().lay_out(PrmSample(p, p, tuple(steps)), tokenizer).input_ids): (
            labels
        )
        for p, steps, labels in (tuple(row.values()) for row in ROWS)
    }
    num_labels, num_weighed = 0, 0.0
    for part in replay.draw(12, micro_batch_size=2, step=0):
        assert part.labels_BS is not None
        for row in range(2):
            ids = part.inputs.input_ids_BU[row][part.inputs.attention_mask_BU[row].bool()]
            mine = part.labels_BS[row][part.mask_BS[row]]
            assert mine.tolist() == known[tuple(ids.tolist())]
            num_labels += len(mine)
            num_weighed += part.weight_B[row].item() * len(mine)
    # the mean over micro-batches is the mean over the labelled steps of the draw
    assert num_weighed / 12 == pytest.approx(1.0) and num_labels > 12
    assert math.isnan(part.outcome_B[0].item())


def test_rows_that_cannot_be_learnt_from() -> None:
    for row, why in (
        ({"prompt": "p", "labels": []}, "row 2: the columns prompt, completions, labels"),
        ({"prompt": "p", "completions": [], "labels": []}, "row 2: needs one label"),
        ({"prompt": "p", "completions": ["a"], "labels": [2]}, "row 2: needs one label"),
    ):
        with pytest.raises(ValueError, match=why):
            parse_labelled_responses([ROWS[0], row])
    with pytest.raises(ValueError, match="there are no rows"):
        parse_labelled_responses([])


def test_micro_batches_of_both_kinds_stand_in_every_optimiser_step() -> None:
    # two ranks with two optimiser steps each: parts of two rows and of one
    joined = join_plans(list("abcdefgh"), [1, 2, 3, 4], 4)
    assert joined == ["a", "b", 1, "c", "d", 2, "e", "f", 3, "g", "h", 4]


def test_held_out_rows_are_all_there(world: RandomWorld) -> None:
    held_out = HeldOutRows.of(laid_out(world))
    assert held_out.labels_BS.nan_to_num(9).tolist() == [[1, 1], [0, 9]]
    assert (held_out.inputs.read_index_BS > 0).tolist() == [[True, True], [True, False]]
    shortest = int(held_out.inputs.attention_mask_BU.sum(1).min())
    assert len(laid_out(world, max_tokens=shortest)) == 1
    with pytest.raises(ValueError, match="all rows are longer than 2 tokens"):
        laid_out(world, max_tokens=2)


def test_a_function_labels_steps() -> None:
    def labeller(prompt: str, steps: Sequence[str]) -> list[bool | str | None]:
        return [prompt in step or f"no {prompt}" if step else None for step in steps]

    mask_BS = torch.tensor([[True, True, True, True], [True, False, False, False]])
    texts = [("a.", "", "c", "d"), ("b",)]
    found = label_steps(labeller, ["a", "b"], texts, mask_BS)
    assert found.labels_BS.nan_to_num(9).tolist() == [[1, 9, 0, 0], [1, 9, 9, 9]]
    assert found.defects == [[None, None, "no a", "no a"], [None]]
    assert found.first_defects() == ["no a", None]
    unnamed = label_steps(lambda prompt, steps: [False] * len(steps), ["a", "b"], texts, mask_BS)
    assert unnamed.first_defects() == ["wrong", "wrong"]
    for wrong in ([True], [True, 0.5, None, True], [1, 1, 1, 1]):
        with pytest.raises(ValueError, match="for a response of 4 steps; it must give True"):
            label_steps(lambda prompt, steps, w=wrong: w, ["a"], texts[:1], mask_BS[:1])
