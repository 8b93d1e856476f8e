"""Finds the program in a response: the last block of Python.

    Here it is:
    ```python
    print(input())
    ```

A block begins at a line that starts with three or more backquotes and `python`, `python3` or `py`, in any case, and
ends at the next line of as many backquotes alone, or with the response: a model may end its response with its
program. White space before the fence, as in a list, is taken from all lines of the block. Blocks of other languages
and of none are no programs."""

from __future__ import annotations

import re
import textwrap

_FENCE = re.compile(r"[ \t]*(`{3,})[ \t]*([A-Za-z0-9_+-]*)[^`\n]*")
_LANGUAGES = {"python", "python3", "py"}


def extract_program(response: str) -> str | None:
    """The text of the last Python block without its fences; None: there is none. In linear time.

    Example: `extract_program("so\\n```python\\nprint(1)\\n```")` is `"print(1)\\n"`.
    """
    program: str | None = None
    opened: tuple[str, bool] | None = (
        None  # the fence that opened the block that we are in, and whether it is Python
    )
    block: list[str] = []
    for line in response.splitlines(keepends=True):
        match = _FENCE.fullmatch(line.rstrip("\r\n"))
        if opened is None:
            if match is not None:
                opened, block = (match[1], match[2].lower() in _LANGUAGES), []
        elif (
            match is not None
            and not match[2]
            and match[0].strip().strip("`") == ""
            and len(match[1]) >= len(opened[0])
        ):
            program = _text(block) if opened[1] else program
            opened = None
        elif match is not None and match[2].lower() in _LANGUAGES and match[1] == opened[0]:
            opened, block = (match[1], True), []  # the one before was not closed
        else:
            block.append(line)
    return _text(block) if opened is not None and opened[1] else program


def _text(lines: list[str]) -> str:
    return textwrap.dedent("".join(lines))
