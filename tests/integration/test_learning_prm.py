"""Real runs on the CPU host in which the PRM learns: PRIME with its resume, on two ranks and on one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.conftest import RandomWorld
from tests.integration.runs import Run, assert_prime_learned, metrics

pytestmark = pytest.mark.integration


@pytest.mark.slow  # one rank is in test_programs.py; that a checkpoint comes back to the last bit in the next test
def test_prime_on_two_ranks_and_its_resume(world: RandomWorld, tmp_path: Path) -> None:
    """The random policy is never right: all outcomes are 0, which is enough for the mechanics."""
    folder = tmp_path / "run"
    flags = world.flags(
        folder,
        process_reward="implicit",
        prm_update="outcome",
        convention="prime",
        reward__model_name_or_path=None,
        prm__adam__lr=2e-3,
        prm__batch_size=32,  # one optimiser step of the PRM each
        actor__num_gpus_per_node=2,
        ref__num_gpus_per_node=2,
        reward__num_gpus_per_node=2,
        rollout__micro_batch_size=4,
        train__micro_batch_size=4,
        max_steps=3,
        ckpt__max_num=2,
    )
    flags.append("--curriculum.no_keep_unlabelled")
    with Run(flags) as run:
        assert run.wait() == 0, run.text[-6000:]
    rows = metrics(folder)
    assert_prime_learned(folder, world.policy, learning_rate=2e-3)
    assert rows[2]["prm/drift"] > rows[1]["prm/drift"]
    assert rows[2]["prm/loss"] < rows[1]["prm/loss"] < rows[0]["prm/loss"]
    assert all(row["prm/pair_accuracy"] == 0.5 for row in rows)  # no two outcomes differ

    resume = [*flags, "--ckpt.load_enable"]
    resume[resume.index("--max_steps") + 1] = "4"
    with Run(resume) as run:
        assert run.wait() == 0, run.text[-6000:]
    resumed = metrics(folder)[3]
    # it goes on with the trained PRM: at its start the drift would be exactly 0, and the loss ln 2
    assert resumed["prm/drift"] > rows[1]["prm/drift"]
    assert resumed["prm/loss"] < rows[1]["prm/loss"]


def probe(flags: list[str], num_ranks: int) -> dict[str, Any]:
    """What the ranks of `learning_probe` find."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = [sys.executable, "-m", "tests.integration.learning_probe"]
    ranks = [
        subprocess.Popen(
            [*program, str(rank), str(num_ranks), port, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_ranks)
    ]
    outputs = [rank.communicate(timeout=300) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * num_ranks, outputs[0][1][-3000:]
    return json.loads(outputs[0][0].strip().splitlines()[-1])


@pytest.mark.parametrize("kind", ["implicit", pytest.param("learned", marks=pytest.mark.slow)])
def test_two_ranks_and_zero_3_learn_what_one_rank_learns(
    world: RandomWorld, tmp_path: Path, kind: str
) -> None:
    found = {}
    for num_ranks, zero_stage in ((1, 2), (2, 2), (2, 3)):
        folder = tmp_path / f"{num_ranks}-{zero_stage}"
        changes: dict[str, object] = {"prm_update": "last_step"}
        if kind == "implicit":
            changes = {
                "process_reward": "implicit",
                "prm_update": "outcome",
                "convention": "prime",
                "reward__model_name_or_path": None,
                "prm__beta": 1,
            }
        flags = world.flags(
            folder,
            **changes,
            prm__adam__lr=1e-2,
            prm__batch_size=16,
            prm__micro_batch_size=2,
            actor__num_gpus_per_node=num_ranks,
            ref__num_gpus_per_node=num_ranks,
            reward__num_gpus_per_node=num_ranks,
            ds__zero_stage=zero_stage,
        )
        result = probe(flags, num_ranks)
        assert result["first_from_start"] > 0.01 and result["second_from_first"] > 0.01
        # a roll back, and the update after it, to the last bit
        assert result["rolled_back_from_first"] == result["again_from_second"] == 0
        assert result["losses"][2] == result["losses"][1]
        found[num_ranks, zero_stage] = result["losses"], folder / "prm"
    one, folder = found.pop((1, 2))
    for losses, other in found.values():
        # bf16 weights after steps as large as these: 0.69, then about 0.03
        assert losses == pytest.approx(one, rel=0.1)
        # Adam's step is lr whatever the gradient's size, so a rounded gradient of 0 may go either way; measured: 0.01
        assert mean_change(folder, other) < 0.05 * mean_change(
            world.policy if kind == "implicit" else world.prm, folder
        )


def mean_change(start: Path, end: Path) -> float:
    """Mean |difference| of the weights of two model folders."""
    a, b = load_file(start / "model.safetensors"), load_file(end / "model.safetensors")
    assert a.keys() ^ b.keys() <= {"lm_head.weight"}  # tied: some write it twice
    shared = a.keys() & b.keys()
    total = sum(float((a[name].float() - b[name].float()).abs().sum()) for name in shared)
    return total / sum(a[name].numel() for name in shared)
