"""Runs to which something happens: each goes on, and ends as one to which nothing did."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.conftest import RandomWorld
from tests.integration.runs import Run, assert_same_run, metrics, small_world_flags

pytestmark = pytest.mark.integration
KEYS = dict.fromkeys(("HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"), "planted-key")


def test_a_run_that_is_hit_again_and_again_ends_as_one_that_is_not(tmp_path: Path) -> None:
    """SIGTERM, kill -9 of the driver, a dead engine: with a curriculum, a PRM that learns, an adaptive KL penalty,
    evaluations and a best checkpoint the run is the same to the last digit. (Workers: `tests.benchmarks.faults`.)"""
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "run"
    changes: dict[str, object] = {"max_steps": 7, "ckpt__save_steps": 2}
    with Run(small_world_flags(undisturbed, tmp_path / "problems", **changes)) as run:
        assert run.wait() == 0, run.text[-6000:]
    flags = small_world_flags(folder, tmp_path / "problems", **changes)

    with Run(flags, **KEYS) as run:
        wait_for_step(run, folder, 2)
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 143, run.text[-6000:]
        stopped = re.search(r"Stopped after step (\d+), as asked", run.text)
    assert stopped and metrics(folder)[-1]["step"] == int(stopped[1])
    assert (folder / f"checkpoints/_actor/global_step{stopped[1]}/metric.json").exists()

    with Run([*flags, "--ckpt.load_enable"], **KEYS) as run:
        wait_for_step(run, folder, int(stopped[1]) + 1)
        run.process.kill()
        run.wait()
        # it leaves Ray's logs behind, and no key in them
        assert list(run.ray_folder.rglob("raylet.out"))
        assert files_with(b"planted-key", run.ray_folder, folder) == []
    with (folder / "metrics.jsonl").open(
        "a"
    ) as file:  # as one that is killed while it writes leaves it
        file.write('{"step": 99, "wall')

    with Run([*flags, "--ckpt.load_enable"]) as run:
        run.wait_for(lambda: "\ntraining ..." in run.text, "the training")
        process(run, "VLLM::EngineCore").kill()
        assert run.wait() == 0, run.text[-6000:]
        assert "another engine takes its place" in run.text
    assert metrics(folder)[-1]["rollout/engines_replaced"] == 1
    assert_same_run(folder, undisturbed)


@pytest.mark.slow  # its parts are unit tests
def test_a_worker_that_hangs_ends_the_run_by_the_name_of_its_phase(
    world: RandomWorld, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with Run(world.flags(folder, max_steps=400, train__phase_timeout=100)) as run:
        wait_for_step(run, folder, 2)
        engine = process(run, "VLLM::EngineCore")
        engine.suspend()
        assert run.wait() == 1, run.text[-6000:]
        assert re.search(r"generation of step \d+ took more than 100 s", run.text)
    assert not engine.is_running()


def files_with(secret: bytes, *folders: Path) -> list[Path]:
    """Which of their files hold it."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if secret in path.read_bytes()]


def wait_for_step(run: Run, folder: Path, step: int) -> None:
    """Until a program that is being watched has made it: what is cut off from an earlier one does not count."""

    def is_made() -> bool:
        return (folder / "metrics.jsonl").exists() and len(metrics(folder)) >= step

    run.wait_for(is_made, f"step {step}")


def process(run: Run, title: str) -> psutil.Process:
    """The process of a run whose title begins like this, as soon as there is one."""
    run.wait_for(lambda: run.processes(title), f"a process {title}", 60)
    return run.processes(title)[0]
