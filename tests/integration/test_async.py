"""Asynchronous training for real: staleness, evaluation between batches, a dead engine and a restart, a roll back."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from tests.conftest import RandomWorld
from tests.integration.runs import ROLLED_BACK, Run, kept_responses, metrics

pytestmark = pytest.mark.integration


def test_a_killed_engine_ends_the_run_and_a_restart_goes_on(
    world: RandomWorld, tmp_path: Path
) -> None:
    """While the policy learns: what needs the engine next is a weight sync, which must not wait for it.

    The data is just enough for the run, so a prompt that was lost or drawn twice would show.
    """
    folder = tmp_path / "run"
    flags = world.flags(
        folder,
        train__async_steps=1,
        train__max_restarts=1,
        rollouts_per_step=32,
        max_steps=6,
        ckpt__max_num=6,
    )
    with Run(flags) as run:
        run.wait_for(
            lambda: (folder / "checkpoints/_actor/global_step1/metric.json").exists(),
            "a checkpoint",
        )
        (policy,) = run.processes("ray::PolicyWorker")
        (engine,) = run.processes("ray::PureRolloutActor")
        (computing,) = run.processes("VLLM::EngineCore")
        while policy.cmdline()[0] != "ray::PolicyWorker.fit":
            assert run.process.poll() is None, run.text[-6000:]
            time.sleep(0.02)
        policy.suspend()
        run.wait_for(lambda: computing.cpu_percent(1.0) < 5, "a batch that is written")
        engine.kill()
        # else it would keep its GPU from the restart, and its end of the weight sync open
        run.wait_for(lambda: computing not in run.family(), "the end of the engine's child", 60)
        policy.resume()
        assert run.wait() == 0, run.text[-6000:]
        assert "A worker failed" in run.text and "name: rollout-0" in run.text
        restart = re.search(
            r"Restart 1 of --train.max_restarts 1, from checkpoint global_step(\d+)", run.text
        )
    assert restart is not None
    rows, last = metrics(folder), int(restart[1])
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    # the first step of each program is trained on what its own policy wrote
    firsts = (1, last + 1)
    assert [row["async/staleness"] for row in rows] == [row["step"] not in firsts for row in rows]
    assert_each_prompt_once(folder)


def test_a_roll_back_drops_what_the_undone_policy_wrote(world: RandomWorld, tmp_path: Path) -> None:
    """The learning rate passes the limit at steps 4 and 6: one alarm undoes two steps, the next ends the run."""
    folder = tmp_path / "run"
    flags = world.flags(
        folder,
        train__async_steps=1,
        rollouts_per_step=32,
        eval__dataset=world.test,
        eval__steps=2,
        **ROLLED_BACK,
    )
    with Run(flags) as run:
        assert run.wait() == 0, run.text[-6000:]
    alarms = [json.loads(line) for line in (folder / "alarms.jsonl").read_text().splitlines()]
    assert [(a["step"], a.get("rolled_back_to")) for a in alarms] == [(4, 2), (6, None)]
    rows = metrics(folder)
    # what was written during step 4 would be two versions old at step 5: an update and a roll back
    assert [row["async/staleness"] for row in rows] == [0, 1, 1, 1, 0, 1]
    assert all(row["timing/generation_hidden"] >= 0 for row in rows)
    assert {"before", "step 2", "step 4"} <= json.loads(
        (folder / "evaluation.json").read_text()
    ).keys()
    rates = [row["policy/learning_rate"] for row in rows]
    assert rates[4:] == pytest.approx(rates[2:4])
    # at step 4 the policy is a large update away from the weights that wrote the batch; at step 5 it has the same ones
    assert rows[4]["sync/log_prob_gap"] < 0.03 < rows[3]["sync/log_prob_gap"]
    assert_each_prompt_once(folder)


def assert_each_prompt_once(folder: Path) -> None:
    """Six steps of eight prompts are the 48 that there are, each with its four responses."""
    drawn = [prompts_of(folder, step) for step in range(1, 7)]
    assert [len(prompts) for prompts in drawn] == [32] * 6
    assert len({prompt for prompts in drawn for prompt in prompts}) == 48


def prompts_of(folder: Path, step: int) -> list[str]:
    """The prompts of the responses that a step kept."""
    return [response["prompt"] for response in kept_responses(folder, step)]
