"""Real public data sets, read where they are and never copied: PURE_SHARED_DATA, or shared/data beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("PURE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


def shared_file(name: str) -> Path:
    """The path of a file of the data sets; skips the test where it is missing."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"{name} is not here; set PURE_SHARED_DATA to the folder that holds it")
    return path
