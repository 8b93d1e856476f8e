"""The temporary folder of a run: what Ray, vLLM, wandb and others leave in TMPDIR goes into one folder.

It is removed when the run ends well. After a failure it stays for a week, since Ray's logs are in it. What a killed
run left is removed by the next one. So is the KiB of shared memory that Intel's OpenMP, with which PyTorch computes on
a CPU, leaves of every process that is killed, as Ray ends its own, and the semaphores of such a process, of its pools
or of its vLLM.
"""

from __future__ import annotations

import multiprocessing.process
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEEP_FAILED_SECONDS = 7 * 24 * 3600
LONGEST_PARENT = 30
"""Characters; Ray's sockets are some 70 deeper, and Linux takes 107."""
SHARED_MEMORY = Path("/dev/shm")
OPENMP_PREFIX = "__KMP_REGISTERED_LIB_"
SEMAPHORE_PREFIX = "sem.pure_"
_FAILED = "failed"


def make_scratch() -> Path | None:
    """Make the folder of this process, and point TMPDIR and RAY_TMPDIR at it; None where the user has RAY_TMPDIR."""
    if os.environ.get("RAY_TMPDIR"):
        return None
    scratch = _make_folder()
    if scratch is not None:
        os.environ["RAY_TMPDIR"] = str(scratch)
        use_for_temporary_files(scratch)
    return scratch


def use_for_temporary_files(folder: Path) -> None:
    """Of this process and of those that it starts from now on."""
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # it remembers


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for the TMPDIR of programs that this process starts; removed when this context is left."""
    folder = _make_folder() or Path(tempfile.mkdtemp(prefix="pure-"))
    try:
        yield folder
    finally:
        remove_shared_memory()
        shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> Path | None:
    """Called after this process, below a folder that only this user can read; None where somebody else can.

    What killed runs left there is removed first.
    """
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > LONGEST_PARENT:
        parent = Path("/tmp")
    parent /= f"pure-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    if parent.stat().st_uid != os.getuid():  # somebody else made it
        return None
    _remove_old(parent)
    remove_shared_memory()
    folder = parent / str(os.getpid())
    folder.mkdir(exist_ok=True)
    return folder


def leave_scratch(scratch: Path | None, *, failed: bool) -> None:
    """Remove the folder, or keep it with its logs after a failure."""
    remove_shared_memory()
    if scratch is None:
        return
    if failed:
        (scratch / _FAILED).touch()
    else:
        shutil.rmtree(scratch, ignore_errors=True)


def name_semaphores() -> None:
    """Call the semaphores of this process from now on after it, so that they can be told from others' later.

    So are those of the processes that it spawns by `multiprocessing`, as vLLM its engine's. They have a name where
    processes are spawned, and whoever is killed with Python's resource tracker leaves it behind.
    """
    config = multiprocessing.process.current_process()._config  # type: ignore[attr-defined]
    config["semprefix"] = f"/{SEMAPHORE_PREFIX.removeprefix('sem.')}{os.getpid()}_{os.getuid()}"


def remove_shared_memory() -> None:
    """Of this user's processes that are gone; each is called after its process and its user."""
    user = os.getuid()
    for prefix, names in (
        (OPENMP_PREFIX, f"{OPENMP_PREFIX}*_{user}"),
        (SEMAPHORE_PREFIX, f"{SEMAPHORE_PREFIX}*_{user}-*"),
    ):
        for left in SHARED_MEMORY.glob(names):
            process = left.name.removeprefix(prefix).partition("_")[0]
            if process.isdecimal() and not Path("/proc", process).exists():
                left.unlink(missing_ok=True)


def _remove_old(parent: Path) -> None:
    for folder in parent.iterdir():
        if not folder.name.isdecimal() or Path("/proc", folder.name).exists():
            continue
        mark = folder / _FAILED
        if mark.is_file() and time.time() - mark.stat().st_mtime < KEEP_FAILED_SECONDS:
            continue
        shutil.rmtree(folder, ignore_errors=True)
