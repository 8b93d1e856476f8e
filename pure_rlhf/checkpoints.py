"""Checkpoints of the policy on disk: which of them are whole, which a run goes on from, and which are deleted.

A checkpoint is written as `global_stepN.part` and gets its name when every rank has written its share, so that a run
that is killed, or a disk that is full, never leaves half of one under a name that is loaded. Older ones are deleted
after that: the only good one is never given up for one that does not exist yet.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

DRAFT = ".part"
METRIC_FILE = "metric.json"
"""OpenRLHF's: the value that checkpoints are compared by. It is written last."""
LATEST = "latest"
"""DeepSpeed's: a text file with the tag of the last checkpoint."""
BEST = "best_"
REGULAR = "global_step"


def policy_checkpoints(checkpoints: str | Path) -> Path:
    """The folder of the policy's, in that of all checkpoints (`--ckpt.path`)."""
    return Path(checkpoints) / "_actor"


def checkpoint_tag(checkpoints: str) -> str | None:
    """The tag of the checkpoint that a run goes on from; None where there is none."""
    return tag_to_load(policy_checkpoints(checkpoints))


def last_good(checkpoints: str) -> str:
    """For a message: where the checkpoint is that a run goes on from."""
    tag = checkpoint_tag(checkpoints)
    return f"Last good checkpoint: {policy_checkpoints(checkpoints) / tag if tag else 'none was saved yet'}"


def is_whole(checkpoint: Path) -> bool:
    """Whether a folder holds a checkpoint that was written to its end."""
    return not checkpoint.name.endswith(DRAFT) and (checkpoint / METRIC_FILE).is_file()


def step_of(checkpoint: Path) -> int:
    """The training step after which it was written: 12 of global_step12 and of best_global_step12."""
    return int(checkpoint.name.removeprefix(BEST).removeprefix(REGULAR))


def whole_checkpoints(folder: Path, *, prefix: str = REGULAR) -> list[Path]:
    """The whole ones whose names are `prefix` and a step, oldest first."""
    named = [
        path
        for path in folder.glob(f"{prefix}*")
        if path.name.removeprefix(prefix).isdecimal() and is_whole(path)
    ]
    return sorted(named, key=step_of)


def tag_to_load(folder: Path) -> str | None:
    """What `latest` names, or the newest whole checkpoint where that is gone or was cut off; None: there is none."""
    latest = folder / LATEST
    if latest.is_file():
        named = latest.read_text(encoding="utf-8", errors="replace").strip()
        if Path(named).name == named and is_whole(folder / named):
            return named
    whole = [*whole_checkpoints(folder), *whole_checkpoints(folder, prefix=BEST + REGULAR)]
    return max(whole, key=step_of).name if whole else None


def finish(draft: Path, metric: dict[str, object], *, becomes_latest: bool = True) -> Path:
    """Give a draft, to which all ranks have written, its name."""
    (draft / METRIC_FILE).write_text(json.dumps(metric, indent=2, sort_keys=True), encoding="utf-8")
    checkpoint = draft.with_name(draft.name.removesuffix(DRAFT))
    if checkpoint.exists():  # of the same step, before a roll back
        shutil.rmtree(checkpoint)
    draft.rename(checkpoint)
    if becomes_latest:
        unfinished = draft.parent / f"{LATEST}{DRAFT}"
        unfinished.write_text(checkpoint.name, encoding="utf-8")
        unfinished.replace(draft.parent / LATEST)
    return checkpoint


def remove_drafts(folder: Path) -> None:
    """Delete what killed runs left."""
    for draft in folder.glob(f"*{DRAFT}"):
        if draft.is_dir():
            shutil.rmtree(draft)


def prune(folder: Path, new: Path, most: int) -> list[Path]:
    """Delete older checkpoints until `most` are there, `new` among them; a new best one replaces the best before it.

    As in OpenRLHF those without a metric go first, then those with the lowest, then the oldest. Returns what is gone.
    """
    if new.name.startswith(BEST):
        gone = [path for path in folder.glob(f"{BEST}*") if path != new and path.is_dir()]
    else:
        older = sorted(_regular(folder, new), key=_least_wanted)
        gone = older[: max(len(older) + 1 - most, 0)]
    for path in gone:
        shutil.rmtree(path)
    return gone


def _regular(folder: Path, new: Path) -> Iterator[Path]:
    for path in folder.glob(f"{REGULAR}*"):
        if path != new and path.name.removeprefix(REGULAR).isdecimal():
            yield path


def _least_wanted(checkpoint: Path) -> tuple[bool, float, int]:
    value = None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # then it has none
        value = json.loads((checkpoint / METRIC_FILE).read_text(encoding="utf-8"))["metric_value"]
    is_number = isinstance(value, int | float)
    return is_number, float(value) if is_number else 0.0, step_of(checkpoint)
