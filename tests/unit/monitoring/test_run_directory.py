"""What a run keeps on disk, and what it deletes."""

from __future__ import annotations

from pathlib import Path

from pure_rlhf.monitoring.run_directory import prune_hf_folders


def test_hugging_face_folders_go_with_their_checkpoints(tmp_path: Path) -> None:
    """DeepSpeed kept 60, 80 and the best so far, 20."""
    for step in (20, 40, 60, 80, 100):
        (tmp_path / f"global_step{step}_hf").mkdir()
    for tag in ("global_step20", "global_step60", "global_step80", "best_global_step20"):
        (tmp_path / "_actor" / tag).mkdir(parents=True)
    (tmp_path / "best_global_step20_hf").mkdir()
    gone = prune_hf_folders(tmp_path, keep=1)
    assert [folder.name for folder in gone] == ["global_step40_hf"]
    assert sorted(folder.name for folder in tmp_path.glob("*_hf")) == [
        "best_global_step20_hf",
        "global_step100_hf",
        "global_step20_hf",
        "global_step60_hf",
        "global_step80_hf",
    ]


def test_without_deepspeed_checkpoints_the_newest_stay(tmp_path: Path) -> None:
    for step in (8, 9, 10, 11):
        (tmp_path / f"global_step{step}_hf").mkdir()
    gone = prune_hf_folders(tmp_path, keep=2)
    assert [folder.name for folder in gone] == ["global_step8_hf", "global_step9_hf"]
    assert prune_hf_folders(tmp_path / "none", keep=2) == []
