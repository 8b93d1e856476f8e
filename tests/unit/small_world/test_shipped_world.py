"""What of a finished world is copied to the repository, and that a damaged copy is not used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from examples.small_world.shipped_world import SUMS, problems, ship


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """Of a world with the files that matter here, each of a few bytes."""
    world = tmp_path / "made"
    files = ("world.json", "train.jsonl", "test.jsonl", "begun.json", "policy/config.json", "policy/model.safetensors",
             "policy/README.md", "prm/config.json", "prm/model.safetensors", "prm/measured/prm_report.json",
             "prm/measured/scores.jsonl", "prm_data/by_defect/guess.jsonl", "careful/model.safetensors")  # fmt: skip
    for name in files:
        (world / name).parent.mkdir(parents=True, exist_ok=True)
        (world / name).write_text("{}\n")
    for name, base in (("prm", "prm_stage_1"), ("prm_stage_1", "prm_backbone")):
        (world / name).mkdir(exist_ok=True)
        record = {"base": str(world / base), "data": str(world / "prm_data/train.jsonl")}
        (world / name / "prm_evaluation.json").write_text(json.dumps(record))
    ship(world, tmp_path / "shipped")
    return tmp_path / "shipped"


def test_what_is_shipped(shipped: Path) -> None:
    names = {path.relative_to(shipped).as_posix() for path in shipped.rglob("*") if path.is_file()}
    assert names == {
        "world.json", "train.jsonl", "test.jsonl", "policy/config.json", "policy/model.safetensors", "prm/config.json",
        "prm/model.safetensors", "prm/measured/prm_report.json", "prm/prm_evaluation.json",
        "prm_stage_1/prm_evaluation.json", "prm_data/by_defect/guess.jsonl", SUMS,
    }  # fmt: skip
    assert problems(shipped) == []


def test_no_path_of_the_machine_that_made_it_is_in_it(shipped: Path) -> None:
    record = json.loads((shipped / "prm/prm_evaluation.json").read_text())
    assert record == {"base": "../prm_stage_1", "data": "train.jsonl"}


def test_a_damaged_one_is_not_used(shipped: Path) -> None:
    (shipped / "test.jsonl").write_text("{ }\n")
    (shipped / "policy/model.safetensors").unlink()
    assert problems(shipped) == [
        "policy/model.safetensors is missing",
        "test.jsonl is not the file that was shipped",
    ]
    command = [sys.executable, "-m", "examples.small_world.shipped_world", "check", str(shipped)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "WORLD=new" in done.stderr
    (shipped / SUMS).unlink()
    assert len(problems(shipped)) == 1


def test_an_unfinished_world_is_not_shipped(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished world with a PRM"):
        ship(tmp_path, tmp_path / "shipped")
