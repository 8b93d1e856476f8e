"""Benchmarks of code: what a row asks, and its tests. HumanEval, MBPP, LeetCode (asserts), LiveCodeBench (tests).

Asserts can be read by the program that they test, so they are for evaluation only; the sandbox keeps the program from
everything else (docs/code_sandbox.md).
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import pickle
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn

from code_sandbox.data_set_forms import read_humaneval, read_livecodebench, read_mbpp
from code_sandbox.problems import Problem, ProblemError, checked_text, shown

ProgramForm = Literal["humaneval", "mbpp", "leetcode", "livecodebench"]
MOST_UNPACKED_BYTES = 256 << 20
"""Of the private tests of one problem of LiveCodeBench; more is a bomb, or damage."""


def read_program_row(row: Mapping[str, Any], form: ProgramForm, where: str) -> tuple[str, Problem]:
    """The question and the tests of a row.

    Raises:
        ProblemError: the row is not of this form, or cannot be graded.
    """
    return _FORMS[form](row, where)


def _humaneval(row: Mapping[str, Any], where: str) -> tuple[str, Problem]:
    head = checked_text(row.get("prompt"), f"{where}, prompt")
    problem = read_humaneval(row, where)
    question = (
        f"Complete this function, with everything that it needs:\n\n```python\n{head.rstrip()}\n```"
    )
    return question, problem


def _mbpp(row: Mapping[str, Any], where: str) -> tuple[str, Problem]:
    """The tests are shown, as is usual: they say what the function is called."""
    text = checked_text(row.get("prompt", row.get("text")), f"{where}, prompt")
    problem = read_mbpp(row, where)
    tests = "\n".join(row["test_list"])
    return (
        f"{text.strip()}\n\nYour code has to pass these tests:\n\n```python\n{tests}\n```",
        problem,
    )


def _leetcode(row: Mapping[str, Any], where: str) -> tuple[str, Problem]:
    """A row of DeepSeek-Coder's LeetCode contest problems: `prompt_sft`, and `test`, which makes a `Solution`."""
    question = checked_text(row.get("prompt_sft"), f"{where}, prompt_sft")
    test = checked_text(row.get("test"), f"{where}, test")
    return question.strip(), Problem(kind="asserts", checks=test, site_imports=True)


def _livecodebench(row: Mapping[str, Any], where: str) -> tuple[str, Problem]:
    """All tests, public and private; with the code that a function has to begin with, where there is some."""
    question = checked_text(row.get("question_content"), f"{where}, question_content").strip()
    starter = row.get("starter_code") or ""
    if starter:
        begin = checked_text(starter, f"{where}, starter_code").rstrip()
        question += f"\n\nBegin with this code:\n\n```python\n{begin}\n```"
    else:
        question += "\n\nRead from standard input and print to standard output."
    cases = [*_cases(row.get("public_test_cases"), f"{where}, public_test_cases")]
    private = row.get("private_test_cases")
    if private:
        cases += _cases(private, f"{where}, private_test_cases")
    return question, read_livecodebench({**row, "public_test_cases": json.dumps(cases)}, where)


def _cases(value: object, where: str) -> list[Any]:
    """Tests as JSON text; or that text pickled, compressed and in base64, as private ones come."""
    text = checked_text(value, where)
    if not text.lstrip().startswith("["):
        text = unpack_text(text, where)
    try:
        cases = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProblemError(f"{where}: is not JSON ({error}); drop the row") from None
    if not isinstance(cases, list):
        raise ProblemError(f"{where}: must be a list of tests, got {shown(cases)}; drop the row")
    return cases


def unpack_text(packed: str, where: str) -> str:
    """The text in a base64 of a compressed pickle. A pickle can run code; this one can hold a text, and nothing else.

    Raises:
        ProblemError: it is something else.
    """
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(packed, validate=True), MOST_UNPACKED_BYTES)
        if not unpacker.eof:
            raise ProblemError(
                f"{where}: has more than {MOST_UNPACKED_BYTES:,} bytes, or is cut off; drop the row"
            )
        value = _TextUnpickler(io.BytesIO(data)).load()
    except ProblemError:
        raise
    except (binascii.Error, zlib.error, pickle.UnpicklingError, ValueError, EOFError, IndexError,
            KeyError, TypeError, AttributeError, MemoryError, OverflowError) as error:  # fmt: skip
        raise ProblemError(f"{where}: is no packed text ({error}); drop the row") from None
    if not isinstance(value, str):
        raise ProblemError(f"{where}: must hold a text, got {shown(value)}; drop the row")
    return value


class _TextUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        """Whatever is not made of plain values is asked for here, before any of it is called."""
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it asks for something outside")


_FORMS: dict[ProgramForm, Callable[[Mapping[str, Any], str], tuple[str, Problem]]] = {
    "humaneval": _humaneval,
    "mbpp": _mbpp,
    "leetcode": _leetcode,
    "livecodebench": _livecodebench,
}
