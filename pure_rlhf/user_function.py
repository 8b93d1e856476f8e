"""Functions of the user's, named on the command line as FILE.py:FUNCTION."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any


@functools.cache
def load_user_function(flag: str, name: str) -> Callable[..., Any]:
    """The function of that file; the file is run once in a process.

    Args:
        flag: for the message, e.g. `--credit_assignment`. name: `FILE.py:FUNCTION`.

    Raises:
        ValueError: it is not of this form, there is no such file, or it has no such function.
    """
    file, colon, function = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise ValueError(f"{flag} {name}: must be FILE.py:FUNCTION")
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"{flag} {name}: there is no file {path.absolute()}; check the path")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"{flag} {name}: {path.absolute()} has no function {function}")
    return found


def with_absolute_path(name: str) -> str:
    """The same function for processes in other folders; a name without a file as it is."""
    file, colon, function = name.rpartition(":")
    return f"{Path(file).absolute()}:{function}" if colon else name
