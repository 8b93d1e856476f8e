"""A lock that nobody holds is removed, one that a living process holds is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pure_rlhf.build_locks import remove_stale_build_locks

# as torch.utils.file_baton takes a lock, and then is busy or killed
HOLD = """
import sys
from torch.utils.file_baton import FileBaton
assert FileBaton(sys.argv[1]).try_acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lock_of_a_killed_build_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    lock = tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    (lock.parent / "build.ninja").touch()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as builder:
        assert builder.stdout is not None and builder.stdout.readline() == b"held\n"
        assert remove_stale_build_locks(tmp_path) == [] and lock.exists()
        builder.kill()
    assert lock.exists()  # what makes the next run wait for ever
    assert remove_stale_build_locks(tmp_path) == [lock] and not lock.exists()
    assert (lock.parent / "build.ninja").exists()


@pytest.mark.parametrize("folder", ["own", "cache"])
def test_it_looks_where_torch_builds(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if folder == "own":
        monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "own"))
    from torch.utils.cpp_extension import _get_build_directory

    lock = Path(_get_build_directory("deepspeed_shm_comm", verbose=False)) / "lock"
    assert lock.is_relative_to(tmp_path / folder)
    lock.touch()
    assert remove_stale_build_locks() == [lock] and not lock.exists()
    assert remove_stale_build_locks() == []
