"""Scoring under generation for real: what is scored early is what is scored late."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RandomWorld
from tests.integration.runs import Run, metrics

pytestmark = pytest.mark.integration


def test_scored_early_or_late_a_run_has_the_same_numbers(
    world: RandomWorld, tmp_path: Path
) -> None:
    """To the last digit, two updates long: log-probabilities, KL, step rewards, losses and gradients.

    Early while models and engines have places of their own, late while they take turns. The engines draw the most
    probable token, so that both runs have the same responses, and write two groups at a time, so that there is
    something to score before the last.
    """
    rows = {}
    for early in (True, False):
        flags = world.flags(
            tmp_path / str(early),
            placement="split" if early else "shared",
            rollout__score_parts=8,
            rollout__temperature=1e-4,
            log_prob_temperature="one",
            rollout__micro_batch_size=2,
            vllm__max_num_seqs=8,
            vllm__gpu_memory_utilization=0.4,
            curriculum__method="remove_extreme",
            actor__adam__lr=1e-3,
        )
        with Run(flags) as run:
            assert run.wait() == 0, run.text[-6000:]
        rows[early] = metrics(tmp_path / str(early))
    for one, other in zip(rows[True], rows[False], strict=True):
        for row in (one, other):
            del row["wall_seconds"]
        names = {
            key for key in one.keys() | other.keys() if not key.startswith(("timing/", "sync/"))
        }
        assert {key: (one[key], other[key]) for key in names if one[key] != other[key]} == {}
        assert (
            one["curriculum/rounds"] > 1
        )  # in each the engines wake and sleep, where they take turns
        # what was read before the last response was there
        assert one["timing/score_prm_hidden"] > 0 and one["timing/log_probs_hidden"] > 0
        assert "timing/log_probs_hidden" not in other
