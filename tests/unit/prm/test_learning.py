"""The settings of a PRM that learns, and the fingerprint of its reference."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from pure_rlhf.algorithm.implicit_reward import RETURN_FLOOR
from pure_rlhf.prm.learning import (
    PrmAdamConfig,
    PrmConfig,
    changed_settings,
    model_fingerprint,
    reference_problem,
    write_reference_record,
)
from tests.conftest import RandomWorld


def test_the_floor_is_the_algorithms() -> None:
    assert PrmConfig().return_floor == RETURN_FLOOR


def test_changed_settings_are_named_as_flags() -> None:
    assert changed_settings(PrmConfig()) == []
    changed = PrmConfig(adam=PrmAdamConfig(lr=1e-5), sharpness=8.0)
    assert changed_settings(changed) == ["adam.lr", "sharpness"]


def test_a_copy_has_the_same_fingerprint_and_a_trained_model_another(
    world: RandomWorld, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(world.policy, copy)
    assert model_fingerprint(str(copy)) == model_fingerprint(str(world.policy))
    write_reference_record(tmp_path, str(world.policy))
    assert reference_problem(tmp_path, str(copy)) is None
    weights = load_file(copy / "model.safetensors")
    save_file(
        {name: tensor * 1.5 for name, tensor in weights.items()},
        copy / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert model_fingerprint(str(copy)) != model_fingerprint(str(world.policy))
    problem = reference_problem(tmp_path, str(copy))
    assert problem is not None and f"reference {world.policy}" in problem


def test_without_a_record_nothing_is_refused(tmp_path: Path) -> None:
    assert reference_problem(tmp_path, "some/model") is None
    assert model_fingerprint("some/model") == "some/model"
