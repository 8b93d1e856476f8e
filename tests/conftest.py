"""A small world of random models, made once a session; which of two processes has which tests (`tests/run.sh`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from tests.command_lines import as_flags
from tests.host_speed import MEASURED, host_is_fast_enough, host_seconds  # noqa: F401 (a fixture)

os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# before --hypothesis-profile is read (tests/unit/test_properties.py)
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "database": None}
settings.register_profile("short", max_examples=1000, derandomize=True, **COMMON)
settings.register_profile("long", max_examples=100_000, **COMMON)
settings.load_profile("short")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):  # xdist's own processes have none
        os.environ[MEASURED] = str(host_seconds())  # now, while nothing else is going on


REAL = "tests/integration/"
LONGEST = (
    "training",
    "survival",
    "prm_training",
    "async",
    "programs",
    "scoring",
    "lora",
)  # first


class RealRunsAtOnce(LoadFileScheduling):
    """One process begins with the files of real runs, the other with all else, and then helps the first.

    The longest are begun first, so that neither waits for the other's last one.
    """

    def _assign_work_unit(self, node: WorkerController) -> None:
        queue = list(self.workqueue)
        longest = [file for name in LONGEST if (file := f"{REAL}test_{name}.py") in queue]
        real = longest + [file for file in queue if file.startswith(REAL) and file not in longest]
        others = [file for file in queue if file not in real]
        chosen = (real or others)[0] if node is self.nodes[0] else (others or real)[0]
        self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> RealRunsAtOnce | None:
    return RealRunsAtOnce(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def rays_environment_is_put_back() -> Iterator[None]:
    """What the command line sets for its own process (a token, time-outs) is not for the Ray of a later test."""
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    yield
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        del os.environ[name]
    os.environ.update(before)


@dataclass(frozen=True)
class RandomWorld:
    """Random models and problems in the forms that the command line takes."""

    folder: Path
    policy: Path
    prm: Path
    train: Path
    test: Path

    def flags(self, output_dir: Path, **changes: object) -> list[str]:
        """A run of two small steps on the CPU host; `a__b=1` changes or adds `--a.b 1`, None drops it."""
        values: dict[str, object] = {
            "actor.model_name_or_path": self.policy,
            "reward.model_name_or_path": self.prm,
            "data.prompt_dataset": self.train,
            "output_dir": output_dir,
            "actor.num_gpus_per_node": 1,
            "ref.num_gpus_per_node": 1,
            "reward.num_gpus_per_node": 1,
            "vllm.num_engines": 1,
            "ds.attn_implementation": "sdpa",
            "data.max_len": 192,
            "data.prompt_max_len": 128,
            "rollout.max_new_tokens": 64,
            "rollout.batch_size": 8,
            "rollout.n_samples_per_prompt": 4,
            "rollout.micro_batch_size": 8,
            "rollout.temperature": 1.0,
            "train.batch_size": 16,
            "train.micro_batch_size": 8,
            "max_steps": 2,
            "ckpt.save_steps": 1,
        }
        values |= {name.replace("__", "."): value for name, value in changes.items()}
        return as_flags(values)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> RandomWorld:
    from tests.tiny_models import save_models

    folder = tmp_path_factory.mktemp("world")
    rows = [
        {"question": f"What is {a} + {a + 7}?", "answer": str(2 * a + 7) if a % 3 else None}
        for a in range(48)
    ]
    solutions = [
        f"{row['question']} We add.\n\nFirst step: {n}.\n\nSo \\boxed{{{n}}}"
        for n, row in enumerate(rows)
    ]
    policy, prm = save_models(folder, solutions)
    for name, chosen in (("train", rows), ("test", [row for row in rows if row["answer"]][:8])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen))
    return RandomWorld(folder, policy, prm, folder / "train.jsonl", folder / "test.jsonl")
