"""Reading rows of benchmark files: what is wrong with them, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pure_rlhf.data import LOCAL_SUFFIXES, load_rows

NUM_REASONS_SHOWN = 5
T = TypeVar("T")


def read_rows(source: str, split: str) -> list[Any]:
    """Rows of a file (.json, .jsonl, .parquet, also .gz) or of a hub data set.

    Raises:
        ValueError: as `load_rows`, or a .gz that is cut or is none.
    """
    try:
        return load_rows(source, split)
    except (EOFError, OSError) as error:
        raise ValueError(f"{source}: {error}") from error


def check_rows(where: str, problems: Sequence[str | None]) -> None:
    """Raise a ValueError that names the rows that cannot be used; `problems` has an entry for each row.

    Rows of the same problem are named by the first of them.
    """
    rows: dict[str, list[int]] = {}
    for number, problem in enumerate(problems, start=1):
        if problem:
            rows.setdefault(problem, []).append(number)
    if not rows:
        return
    lines = [
        f"\n  row {numbers[0]}{f' and {len(numbers) - 1} more' if numbers[1:] else ''}: {problem}"
        for problem, numbers in list(rows.items())[:NUM_REASONS_SHOWN]
    ]
    hidden = len(rows) - NUM_REASONS_SHOWN
    more = f"\n  and {hidden} more reasons" if hidden > 0 else ""
    num_bad = sum(map(len, rows.values()))
    raise ValueError(
        f"{where}: {num_bad} of {len(problems)} rows cannot be used{''.join(lines)}{more}"
    )


def missing_columns(row: Any, columns: Sequence[str]) -> str | None:
    """What to say of a row that lacks columns, or None."""
    if not isinstance(row, dict):
        return f"is a {type(row).__name__}; expected an object with columns {', '.join(columns)}"
    missing = " and ".join(repr(column) for column in columns if column not in row)
    return f"has no column {missing}; its columns are {', '.join(row)}" if missing else None


def is_text(value: Any) -> bool:
    """Whether a column's value is a text that says something."""
    return isinstance(value, str) and bool(value.strip())


def is_texts(value: Any) -> bool:
    """Whether a column's value is a list of at least one text (which may be empty)."""
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def short_name(source: str) -> str:
    """A file's or data set's name for a table. Example: `short_name("data/math.json.gz")` is "math"."""
    name = Path(source).name
    suffix = max((s for s in LOCAL_SUFFIXES if name.endswith(s)), key=len, default="")
    return name.removesuffix(suffix)


def spread(items: Sequence[T], count: int | None) -> list[T]:
    """So many of the items, evenly spread (benchmark files are sorted by kind); all where there are no more.

    Example: `spread("abcdef", 3)` is `["a", "c", "e"]`.
    """
    if count is None or count >= len(items):
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]
