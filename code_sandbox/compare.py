"""When what came out equals what was expected. Runs in the trusted process, on at most some megabytes, in linear time.

Output of a program (`equal_output`), the first rule that says yes:

    written   the same text, but for white space at the ends of lines and empty lines at the end
    tokens    the same words in the same order, whatever white space is between them
    numbers   word by word the same, or two numbers: against an expected whole number of the same value, against another
              one within 1e-6 of it or of its size

Values of a call (`equal_value`), as JSON has them: the same shape and the same leaves; a tuple is a list; true is not
1; numbers as above. Neither says yes to nothing where something was expected, nor takes NaN for a number.
"""

from __future__ import annotations

import json
import math
import re
from typing import Literal

OutputRule = Literal["written", "tokens", "numbers"]
RELATIVE_TOLERANCE = 1e-6
_WHOLE = re.compile(r"[+-]?[0-9]{1,4000}", re.ASCII)
_NUMBER = re.compile(
    r"[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?", re.ASCII
)
_NUL = "\0"


class NotJsonError(ValueError):
    """Bytes that are not one JSON value that can be read here."""


def equal_output(expected: str, output: bytes) -> OutputRule | None:
    """The rule by which the output equals the expected one, None: it does not.

    Example: `equal_output("0.5 yes", b"0.50000001\\nyes\\n")` is "numbers".
    """
    try:
        text = output.decode()
    except UnicodeDecodeError:
        return None
    if _lines(expected) == _lines(text):
        return "written"
    wanted, got = expected.split(), text.split()
    if len(wanted) != len(got) or _NUL in text:
        return None
    if wanted == got:
        return "tokens"
    if all(
        one == other or _equal_words(one, other) for one, other in zip(wanted, got, strict=True)
    ):
        return "numbers"
    return None


def equal_value(expected: object, value: object) -> bool:
    """Whether two JSON values are equal, numbers within the tolerance.

    Example: `equal_value([1, 0.5], [1.0, 0.50000001])`, but not `equal_value(1, True)`.
    """
    pairs: list[tuple[object, object]] = [(expected, value)]
    while pairs:  # not recursive: a value may be nested as deep as the reader allows
        one, other = pairs.pop()
        if isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pairs += zip(one, other, strict=True)
        elif isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pairs += [(one[key], other[key]) for key in one]
        elif not _equal_leaves(one, other):
            return False
    return True


def read_json(data: bytes | str) -> object:
    """One JSON value.

    Raises:
        NotJsonError: it is none, or has a number of more than 4,000 digits, or is nested too deep.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise NotJsonError("nested too deep") from None
    except ValueError as error:  # of JSON, of UTF-8, of a number too long
        raise NotJsonError(str(error)) from None


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _equal_words(expected: str, word: str) -> bool:
    if _NUMBER.fullmatch(expected) is None or _NUMBER.fullmatch(word) is None:
        return False
    if _WHOLE.fullmatch(expected) and _WHOLE.fullmatch(word):
        return int(expected) == int(word)
    return _close(float(expected), float(word), exact=_WHOLE.fullmatch(expected) is not None)


def _equal_leaves(expected: object, value: object) -> bool:
    if isinstance(expected, bool) or isinstance(value, bool):
        return expected is value
    if isinstance(expected, int) and isinstance(value, int):
        return expected == value
    if isinstance(expected, int | float) and isinstance(value, int | float):
        try:
            return _close(float(expected), float(value), exact=isinstance(expected, int))
        except OverflowError:  # a whole number beyond all floats
            return False
    return type(expected) is type(value) and expected == value


def _close(expected: float, value: float, *, exact: bool) -> bool:
    if not (math.isfinite(expected) and math.isfinite(value)):
        return False
    if exact:
        return expected == value
    return abs(expected - value) <= RELATIVE_TOLERANCE * max(1.0, abs(expected))
