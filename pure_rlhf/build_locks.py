"""Removes the locks that a killed process left on the builds of torch's extensions, such as DeepSpeed's Adam.

torch.utils.file_baton waits for a lock file to go away, for ever and without a word: a run that is killed while it
builds makes every later one hang where its workers start.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def remove_stale_build_locks(root: Path | None = None) -> list[Path]:
    """Remove the locks below `root` (default: torch's folder of extensions) that no process of this host holds.

    A process that builds keeps its lock open (torch/utils/file_baton.py), which a killed one cannot. Returns what was
    removed. Builds of other hosts in a shared folder are not seen: TORCH_EXTENSIONS_DIR belongs on a local disk.
    """
    root = root or _extensions_folder()
    found = [*root.glob("*/*/lock"), *root.glob("*/lock")]
    held = _open_files() if found else set()
    stale = [path for path in found if str(path.resolve()) not in held]
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


def _extensions_folder() -> Path:
    """As torch.utils.cpp_extension has it, which takes seconds to import."""
    if folder := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch_extensions"


def _open_files() -> set[str]:
    names: set[str] = set()
    for process in psutil.process_iter():
        try:
            names |= {file.path for file in process.open_files()}
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return names
