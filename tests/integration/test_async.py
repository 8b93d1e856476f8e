"""Asynchronous training for real: staleness, evaluation between two batches, and a resume from the middle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import RandomWorld
from tests.integration.runs import Run, kept_responses, metrics

pytestmark = pytest.mark.integration


def test_a_run_one_step_ahead_and_its_resume(world: RandomWorld, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    flags = world.flags(
        folder,
        train__async_steps=1,
        actor__adam__lr=1e-3,
        eval__dataset=world.test,
        eval__steps=2,
        max_steps=4,
        ckpt__save_steps=1,
        ckpt__max_num=4,
    )
    with Run(flags) as run:
        assert run.wait() == 0, run.text[-6000:]
    rows = metrics(folder)
    assert [row["async/staleness"] for row in rows] == [0, 1, 1, 1]
    assert all(row["timing/generation_hidden"] >= 0 for row in rows)
    # the engines have other weights than the policy, and its loss is corrected for that
    assert rows[3]["sync/log_prob_gap"] > 0
    assert {"before", "step 2", "step 4", "after"} <= json.loads(
        (folder / "evaluation.json").read_text()
    ).keys()
    # what the second step is trained on was drawn before the first update: it is drawn again
    drawn = prompts_of(folder, 2)
    (folder / "checkpoints/_actor/latest").write_text("global_step1")
    with Run([*flags, "--ckpt.load_enable"]) as run:
        assert run.wait() == 0, run.text[-6000:]
    again = metrics(folder)
    assert [row["step"] for row in again] == [1, 2, 3, 4]
    assert [row["async/staleness"] for row in again[1:]] == [0, 1, 1]
    assert prompts_of(folder, 2) == drawn != prompts_of(folder, 3)


def prompts_of(folder: Path, step: int) -> list[str]:
    """The prompts of the responses that a step kept."""
    return [response["prompt"] for response in kept_responses(folder, step)]
