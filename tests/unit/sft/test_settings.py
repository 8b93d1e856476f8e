"""What is wrong with an SFT run is said before it starts, all at once; its settings come back from its folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pure_rlhf.cli.train_sft import CONFIG_FILE, main, prepare, read_config
from pure_rlhf.config import AdamConfig, ConfigError
from pure_rlhf.prompt_styles import ACTIONS, read_system_prompt
from pure_rlhf.sft.settings import SftConfig, SftDataConfig, SftTrainConfig
from tests.conftest import RandomWorld


def problems_of(world: RandomWorld, folder: Path, **changes: object) -> list[str]:
    rows = folder / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"question": f"q{n}", "response": "r"}) + "\n" for n in range(40))
    )
    config = SftConfig(output_dir=str(folder / "run"))
    values: dict = {
        "data.dataset": str(rows),
        "model.model_name_or_path": str(world.policy),
        "train.batch_size": 8,
    }
    values |= {name.replace("__", "."): value for name, value in changes.items()}
    for name, value in values.items():
        group, _, field = name.rpartition(".")
        if group:
            part = dataclasses.replace(getattr(config, group), **{field: value})
            config = dataclasses.replace(config, **{group: part})
        else:
            config = dataclasses.replace(config, **{field: value})
    try:
        prepare(config)
    except ConfigError as error:
        return error.problems
    return []


def test_a_run_without_a_problem(world: RandomWorld, tmp_path: Path) -> None:
    assert problems_of(world, tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adam__lr": -1.0}, "--adam.lr -1.0"),
        ({"adam__lr": float("nan")}, "--adam.lr nan"),
        ({"train__max_epochs": 0}, "--train.max_epochs 0: must be >= 1"),
        ({"train__batch_size": 5, "train__micro_batch_size": 2}, "must be a multiple of 1 ranks x"),
        ({"train__batch_size": 64}, "has only 38 rows to train on"),
        ({"data__dataset": None}, "--data.dataset is missing"),
        ({"data__dataset": "none.jsonl"}, "--data.dataset: no such file"),
        ({"data__input_template": "no place"}, "must contain {}"),
        ({"data__system_prompt": "prime"}, "--data.system_prompt 'prime' is neither 'none' nor"),
        ({"model__model_name_or_path": "./none"}, "--model.model_name_or_path ./none: no model"),
        ({"eval__rows": -1}, "--eval.rows -1"),
        ({"max_norm": float("inf")}, "--max_norm inf"),
    ],
)
def test_a_mistake_ends_it_with_its_flag(
    world: RandomWorld, tmp_path: Path, changes: dict, said: str
) -> None:
    (problem,) = problems_of(world, tmp_path, **changes)
    assert said in problem


def test_all_problems_at_once(world: RandomWorld, tmp_path: Path) -> None:
    found = problems_of(
        world,
        tmp_path,
        data__dataset="none.jsonl",
        data__system_prompt="?",
        ds__packing_samples=True,
    )
    assert len(found) == 3


def test_a_folder_that_holds_a_run_is_left_alone(
    world: RandomWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CONFIG_FILE).write_text("{}")
    (problem,) = problems_of(world, tmp_path)
    assert "already holds a run" in problem and "--ckpt.load_enable" in problem
    with pytest.raises(SystemExit) as ended:
        main(["--output_dir", str(tmp_path / "run"), "--model.model_name_or_path", "./none"])
    assert "3 problems in the settings; nothing was started" in str(ended.value)


def test_the_settings_of_a_run_come_back(tmp_path: Path) -> None:
    config = SftConfig(
        output_dir=str(tmp_path),
        adam=AdamConfig(lr=3e-4, betas=(0.8, 0.9)),
        data=SftDataConfig(dataset="rows.jsonl", max_len=100),
        train=SftTrainConfig(seed=3),
    )
    record = dataclasses.asdict(config) | {"rows": 5}
    (tmp_path / CONFIG_FILE).write_text(json.dumps(record))
    assert read_config(tmp_path) == config


def test_system_prompts_by_name_and_from_a_file(tmp_path: Path) -> None:
    assert read_system_prompt("none") is None
    actions = read_system_prompt("actions") or ""
    assert all(f"[{name}]" in actions for name in ACTIONS)
    (tmp_path / "mine.txt").write_text("Think.\n")
    assert read_system_prompt(str(tmp_path / "mine.txt")) == "Think."
    for nothing in ("", "prime", str(tmp_path), "x" * 10_000, "\0"):
        with pytest.raises(ValueError, match=r"name one of these|cannot be read"):
            read_system_prompt(nothing)
