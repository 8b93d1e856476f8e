"""Which checkpoints are whole, which a run goes on from, which are deleted; and how the strategy writes them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pure_rlhf.checkpoints import (
    finish,
    is_whole,
    prune,
    remove_drafts,
    tag_to_load,
    whole_checkpoints,
)
from pure_rlhf.config import PureConfig


def write(folder: Path, tag: str, metric: object = None, *, whole: bool = True) -> Path:
    checkpoint = folder / tag
    checkpoint.mkdir(parents=True)
    (checkpoint / "mp_rank_00_model_states.pt").write_text("weights")
    if whole:
        (checkpoint / "metric.json").write_text(json.dumps({"metric_value": metric}))
    return checkpoint


def names(paths: list[Path]) -> list[str]:
    return sorted(path.name for path in paths)


def test_what_was_cut_off_is_not_whole(tmp_path: Path) -> None:
    assert is_whole(write(tmp_path, "global_step1"))
    assert not is_whole(write(tmp_path, "global_step2", whole=False))
    assert not is_whole(write(tmp_path, "global_step3.part"))
    write(tmp_path, "global_step10")
    write(tmp_path, "global_step10_hf")
    assert [path.name for path in whole_checkpoints(tmp_path)] == ["global_step1", "global_step10"]


def test_the_latest_is_loaded_unless_it_is_not_whole(tmp_path: Path) -> None:
    assert tag_to_load(tmp_path) is None
    for step in (1, 2, 10):
        write(tmp_path, f"global_step{step}")
    assert tag_to_load(tmp_path) == "global_step10", "without the file: the newest, by number"
    (tmp_path / "latest").write_text("global_step2\n")
    assert tag_to_load(tmp_path) == "global_step2", "a user may have chosen"
    write(tmp_path, "best_global_step11")
    for broken in (b"global_step99", b"", b"../global_step1", b"global_step2\x00", b"\xff\xfe"):
        (tmp_path / "latest").write_bytes(broken)
        assert tag_to_load(tmp_path) == "best_global_step11", broken


def test_a_draft_gets_its_name_and_latest_after_all_of_it_is_there(tmp_path: Path) -> None:
    draft = write(tmp_path, "global_step4.part", whole=False)
    assert finish(draft, {"metric_value": 0.5}).name == "global_step4"
    assert tag_to_load(tmp_path) == "global_step4" and not draft.exists()
    assert (tmp_path / "latest").read_text() == "global_step4"
    # after a roll back the same step is saved again
    again = write(tmp_path, "global_step4.part", whole=False)
    (again / "mp_rank_00_model_states.pt").write_text("other weights")
    finish(again, {})
    assert (tmp_path / "global_step4/mp_rank_00_model_states.pt").read_text() == "other weights"
    write(tmp_path, "global_step5.part")
    remove_drafts(tmp_path)
    assert names(list(tmp_path.iterdir())) == ["global_step4", "latest"]


def test_older_ones_go_when_the_new_one_is_there(tmp_path: Path) -> None:
    for step, metric in ((1, 0.9), (2, None), (3, 0.2), (4, 0.4), (10, None)):
        write(tmp_path, f"global_step{step}", metric)
    new = write(tmp_path, "global_step11")
    assert names(prune(tmp_path, new, 4)) == ["global_step10", "global_step2"], "without a metric"
    assert names(prune(tmp_path, new, 2)) == ["global_step3", "global_step4"], "the lowest"
    assert names(prune(tmp_path, new, 1)) == ["global_step1"] and is_whole(new)
    assert prune(tmp_path, new, 1) == []
    best = [write(tmp_path, f"best_global_step{step}") for step in (5, 7)]
    assert prune(tmp_path, best[1], 1) == [best[0]] and is_whole(new)


class Engine:
    """Stands where DeepSpeed's engine does."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def save_checkpoint(
        self, folder: str, *, tag: str, client_state: Any, save_latest: bool
    ) -> None:
        assert not save_latest
        (Path(folder) / tag).mkdir()
        (Path(folder) / tag / "states.pt").write_text(str(client_state))
        if self.fails:
            raise OSError("No space left on device")


def test_a_full_disk_costs_the_new_checkpoint_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pure_rlhf import cpu_host

    cpu_host.install()
    from pure_rlhf.workers import strategy

    monkeypatch.setattr(strategy, "torch_dist_barrier_and_cuda_sync", lambda: None)
    saver: Any = object.__new__(strategy.Strategy)
    saver.args = SimpleNamespace(pure=PureConfig())
    folder = tmp_path / "_actor"
    saver.save_ckpt(Engine(), str(folder), "global_step1", 1, client_state={"step": 1})
    with pytest.raises(OSError, match="No space left"):
        saver.save_ckpt(
            Engine(fails=True), str(folder), "global_step2", 1, client_state={"step": 2}
        )
    assert tag_to_load(folder) == "global_step1"
    assert (folder / "global_step1/states.pt").read_text() == "{'step': 1}"
    saver.save_ckpt(Engine(), str(folder), "global_step3", 1, client_state={"step": 3})
    assert names(list(folder.iterdir())) == ["global_step3", "latest"]
    with pytest.raises(RuntimeError, match="no checkpoint"):
        saver.load_ckpt(Engine(), str(tmp_path / "empty"))
