"""A JSONL file that is appended to while results come in, so that the run after a kill goes on from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class LineFile:
    """A first line that says what the others belong to, then a line for each row.

    A torn last line, which a kill leaves, is cut back to the last whole one.

    Args:
        header: the first line of a new file.
        accept: takes the number (from 1) and the content of each line that is there; it raises ValueError where the
            file is of another run, KeyError or TypeError where the line is not as it should be.

    Raises:
        ValueError: as `accept` says, or a line is damaged.
    """

    def __init__(
        self, path: Path, header: dict[str, Any], accept: Callable[[int, Any], None]
    ) -> None:
        self.path = path
        self.header = header
        self._num_bytes = self._read(accept) if path.exists() else 0

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """On disk when this returns."""
        if not self._num_bytes:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            rows = [self.header, *rows]
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        with self.path.open("r+b") as file:
            file.truncate(self._num_bytes)  # a torn line that an earlier run left
            file.seek(self._num_bytes)
            file.write(data)
        self._num_bytes += len(data)

    def _read(self, accept: Callable[[int, Any], None]) -> int:
        """The length in bytes of what can be kept."""
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
            try:
                accept(number, json.loads(line))
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.path}, line {number} is damaged ({error}); remove the file"
                ) from error
        return len(whole)
