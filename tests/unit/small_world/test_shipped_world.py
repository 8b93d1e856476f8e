"""What of a finished world is copied to the repository, and that a damaged copy is not used."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from examples.small_world.make_world import WORLD_FORMAT, WorldSettings
from examples.small_world.prm_data import BLIND_SPOTS
from examples.small_world.shipped_world import MOST_MIB, SHIPPED, SUMS, problems, ship
from examples.small_world.solutions import PLANTED


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
    measured = {"source": str(world / "prm_data/by_defect/guess.jsonl"), "name": "guess"}
    report = {"model": str(world / "prm"), "best_of_n": [measured], "labelled_steps": [measured]}
    (world / "prm/measured/prm_report.json").write_text(json.dumps(report))
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
    report = (shipped / "prm/measured/prm_report.json").read_text()
    assert '"source": "guess.jsonl"' in report and '"model": "prm"' in report
    assert str(shipped.parent) not in report


def test_the_world_of_the_repository_is_whole_small_and_of_the_quality_that_is_said() -> None:
    assert problems() == []
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_MIB * 2**20
    text = "".join(path.read_text() for path in files if path.suffix == ".json")
    assert "/tmp/" not in text and "/home/" not in text
    world = json.loads((SHIPPED / "world.json").read_text())
    assert 0.25 <= world["base_greedy_accuracy"] <= 0.5
    assert world["settings"] == {"world_format": WORLD_FORMAT, **asdict(WorldSettings())}
    for prm in ("prm", *(f"prm_blind_to_{name}" for name in BLIND_SPOTS)):
        report = json.loads((SHIPPED / prm / "measured/prm_report.json").read_text())
        blind = BLIND_SPOTS.get(prm.removeprefix("prm_blind_to_"), ())
        kinds = {kind["name"]: kind for kind in report["labelled_steps"]}
        assert kinds.keys() == set(PLANTED)
        for name, kind in kinds.items():
            assert not kind["num_right"] or kind["right_passed"]["value"] >= 0.97, (prm, name)
            if name in blind:
                assert kind["wrong_found"]["value"] <= 0.15, (prm, name)
            elif prm == "prm" and name != "none":
                assert kind["wrong_found"]["value"] >= 0.95, name


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
