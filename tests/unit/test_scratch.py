"""The temporary folder of a run: in use, after success and failure, and after a run that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pure_rlhf import scratch
from pure_rlhf.scratch import leave_scratch, make_scratch, scratch_folder


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the folders of this user are; the environment is put back afterwards."""
    monkeypatch.setattr(scratch, "LONGEST_PARENT", 1000)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    return tmp_path / f"pure-{os.getuid()}"


def test_everything_temporary_goes_into_it(parent: Path) -> None:
    made = make_scratch()
    assert made == parent / str(os.getpid()) and parent.stat().st_mode & 0o777 == 0o700
    assert os.environ["TMPDIR"] == os.environ["RAY_TMPDIR"] == str(made)
    with tempfile.NamedTemporaryFile(delete=False) as file:
        assert Path(file.name).parent == made
    leave_scratch(made, failed=False)
    assert made is not None and not made.exists()


def test_the_logs_of_a_failure_stay_and_what_was_killed_goes(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_scratch()
    assert made is not None
    leave_scratch(made, failed=True)
    assert made.is_dir()
    dead = 2**22 + 7  # above the largest number of a process
    killed, failed, other = parent / str(dead), parent / str(dead + 1), parent / "mine"
    for folder in (killed, failed, other):
        folder.mkdir()
    leave_scratch(failed, failed=True)
    living = parent / str(os.getppid())
    living.mkdir()
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv("TMPDIR", str(parent.parent))
    tempfile.tempdir = None
    make_scratch()
    assert not killed.exists() and failed.exists() and other.exists() and living.exists()
    monkeypatch.setattr(scratch, "KEEP_FAILED_SECONDS", -1)
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv("TMPDIR", str(parent.parent))
    tempfile.tempdir = None
    make_scratch()
    assert not failed.exists()


def test_programs_that_are_started_get_a_folder_that_goes(parent: Path) -> None:
    with scratch_folder() as folder:
        assert folder == parent / str(os.getpid()) and "RAY_TMPDIR" not in os.environ
        (folder / "vllm_dist_1").touch()
    assert parent.is_dir() and not folder.exists()
    with scratch_folder() as again:
        assert again.is_dir()


def test_a_folder_of_the_users_own_is_left_alone(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/somewhere")
    assert make_scratch() is None and not parent.exists()
    leave_scratch(None, failed=False)


def test_shared_memory_of_processes_that_are_gone_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "SHARED_MEMORY", tmp_path)
    user, gone = os.getuid(), 2**22 + 1  # above the largest number of a process
    kept = [
        f"__KMP_REGISTERED_LIB_{os.getpid()}_{user}",
        f"__KMP_REGISTERED_LIB_{gone}_{user + 1}",
        f"sem.pure_{os.getpid()}_{user}-abc",
        f"sem.pure_{gone}_{user + 1}-abc",
        "sem.mp-abc",
        "other",
    ]
    removed = [f"__KMP_REGISTERED_LIB_{gone}_{user}", f"sem.pure_{gone}_{user}-abc"]
    for name in (*removed, *kept):
        (tmp_path / name).touch()
    scratch.remove_shared_memory()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_semaphores_of_a_killed_process_are_removed() -> None:
    """With its resource tracker, as Ray ends whole groups of processes; Python alone leaves them."""
    program = (
        "import multiprocessing, os, signal\n"
        "from multiprocessing import resource_tracker\n"
        "from pure_rlhf.scratch import name_semaphores\n"
        "name_semaphores()\n"
        "queue = multiprocessing.get_context('spawn').SimpleQueue()\n"
        "print(os.getpid(), flush=True)\n"
        "os.kill(resource_tracker._resource_tracker._pid, signal.SIGKILL)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    names = f"sem.pure_{int(killed.stdout)}_*"
    assert list(Path("/dev/shm").glob(names))
    scratch.remove_shared_memory()
    assert not list(Path("/dev/shm").glob(names))
