"""In which order the policy's update reads the responses."""

from __future__ import annotations

import torch

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.workers.policy_worker import SimilarLengths  # noqa: E402

LENGTHS = [3, 50, 7, 41, 9, 33, 1, 28, 60, 2, 18, 5]


def test_an_optimiser_step_holds_what_chance_gave_it_sorted_by_length() -> None:
    sampler = SimilarLengths(LENGTHS, step_rows=4)
    torch.manual_seed(3)
    drawn = torch.randperm(len(LENGTHS)).tolist()
    torch.manual_seed(3)
    order = list(sampler)
    assert len(sampler) == len(order) == len(LENGTHS)
    for start in range(0, len(order), 4):
        step = order[start : start + 4]
        assert sorted(step) == sorted(drawn[start : start + 4])
        assert [LENGTHS[row] for row in step] == sorted(
            (LENGTHS[row] for row in step), reverse=True
        )
    assert list(sampler) != order, "the next epoch draws anew"
