"""The last Python block of a response, and nothing else."""

from __future__ import annotations

import pytest

from code_sandbox.extraction import extract_program


@pytest.mark.parametrize(
    ("response", "program"),
    [
        ("so\n```python\nprint(1)\n```\ndone", "print(1)\n"),
        ("```python\nprint(1)\n```\n\n```python\nprint(2)\n```", "print(2)\n"),
        ("```Python3\nprint(1)\n```", "print(1)\n"),
        ("``` py \nprint(1)\n```", "print(1)\n"),
        ("```python title='a.py'\nprint(1)\n```", "print(1)\n"),
        ("```python\nprint(1)", "print(1)"),  # the response ends with its program
        ("```python\nprint(1)\n```\nOutput:\n```\n1\n```", "print(1)\n"),
        ("```python\nprint(1)\n```\n```cpp\nint x;\n```", "print(1)\n"),
        ("1. first\n   ```python\n   if x:\n       y()\n   ```\n", "if x:\n    y()\n"),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n"),
        ("```python\ns = '```'\nprint(s)\n```", "s = '```'\nprint(s)\n"),
        ("```python\r\nprint(1)\r\n```\r\n", "print(1)\r\n"),
        ("```python\n```", ""),
        ("```python\nold\n```python\nnew\n```", "new\n"),  # a block that was begun anew
        ("no code", None),
        ("", None),
        ("```\nprint(1)\n```", None),
        ("```cpp\nint x;\n```", None),
        ("use ```python here", None),
        ("`python`\nprint(1)", None),
        ("```text\n```python\nprint(1)\n```", "print(1)\n"),
    ],
)
def test_the_last_python_block(response: str, program: str | None) -> None:
    assert extract_program(response) == program


@pytest.mark.parametrize(
    "response",
    [
        "`" * 200_000,
        "```python\n" * 100_000,
        ("```" + " " * 1000 + "\n") * 1000,
        "```" + "a" * 500_000,
        " " * 500_000 + "`",
    ],
)
def test_long_hostile_responses_are_read_too(response: str) -> None:
    extract_program(response)
