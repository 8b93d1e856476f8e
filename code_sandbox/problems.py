"""What a problem with tests is, as JSON in the label column of a data set, and readers of the forms in which they come.

    {"kind": "stdin", "tests": [{"input": "1 2\\n", "output": "3\\n"}]}
    {"kind": "call", "function": "add", "tests": [{"arguments": [1, 2], "value": 3}]}
    {"kind": "asserts", "checks": "assert add(1, 2) == 3\\n"}      for evaluation only: the program can read its tests

All kinds may have `"special_checker": true`: several outputs are right, so that none can be graded by comparison.
Read too: `{"inputs": [...], "outputs": [...], "fn_name": ...}` of TACO, APPS and PRIME; rows of CodeContests,
LiveCodeBench, MBPP and HumanEval. A malformed problem is one `ProblemError`: where, what, the rule, what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from code_sandbox.compare import NotJsonError, read_json

Kind = Literal["stdin", "call", "asserts"]
SITE_IMPORTS = (
    "import bisect, collections, datetime, functools, heapq, itertools, math, operator, random, re, string, sys; "
    "from bisect import *; from collections import *; from functools import *; from heapq import *; "
    "from itertools import *; from math import *; from typing import *"
)
"""What `site_imports` puts before a program, on a line of its own: what LeetCode and its graders import."""
KINDS: tuple[Kind, ...] = ("stdin", "call", "asserts")
MAX_TEST_BYTES = 16 << 20
"""Of one input or expected output: a data set with larger ones is damaged, or no test of a program's thinking."""


class ProblemError(ValueError):
    """A problem that cannot be graded, in one sentence."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test.

    Args:
        input: standard input; of a call the arguments as a JSON list.
        expected: standard output; of a call the value as JSON.
    """

    input: str
    expected: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem with its tests.

    Args:
        kind: how a program is given its input.
        tests: at least one, but for asserts.
        function: of a call: the name of a function, or of a method of the class `Solution`.
        wrapped: of a call: all expected values are lists of one value, as APPS has them; the value alone is right too.
        checks: of asserts: source that fails where the program is wrong.
        special_checker: right outputs are not unique; nothing is graded.
        site_imports: the program is run as on sites that ask for functions, which have imported the usual already.
    """

    kind: Kind
    tests: tuple[Case, ...] = ()
    function: str | None = None
    wrapped: bool = False
    checks: str | None = None
    special_checker: bool = False
    site_imports: bool = False

    def to_json(self) -> str:
        """The label: `read_problem(problem.to_json()) == problem`."""
        label: dict[str, object] = {"kind": self.kind}
        if self.kind == "stdin":
            label["tests"] = [{"input": test.input, "output": test.expected} for test in self.tests]
        elif self.kind == "call":
            label["function"] = self.function
            label["tests"] = [
                {"arguments": json.loads(test.input), "value": json.loads(test.expected)}
                for test in self.tests
            ]
            if self.wrapped:
                label["wrapped"] = True
        else:
            label["checks"] = self.checks
        if self.special_checker:
            label["special_checker"] = True
        if self.site_imports:
            label["site_imports"] = True
        return json.dumps(label, ensure_ascii=False)


def read_problem(label: str | Mapping[str, object], where: str = "problem") -> Problem:
    """A problem from a label: of our schema, or `inputs` and `outputs` as TACO, APPS and PRIME have them.

    Args:
        label: JSON text, or what it says.
        where: begins every message, such as `row 17 of train.parquet`.

    Raises:
        ProblemError: it cannot be graded.
    """
    fields = json_object(label, where)
    if "kind" in fields:
        return _read_own(fields, where)
    if "inputs" in fields or "outputs" in fields:
        return _read_lists(fields, where)
    has = ", ".join(map(repr, list(fields)[:8])) or "nothing"
    raise ProblemError(
        f"{where}: tests need 'kind' and 'tests', or 'inputs' and 'outputs'; this has {has}: "
        "convert it with `code_sandbox.data_set_forms`"
    )


def _read_own(fields: Mapping[str, object], where: str) -> Problem:
    kind = fields["kind"]
    special = fields.get("special_checker", False)
    if not isinstance(special, bool):
        raise ProblemError(
            f"{where}: 'special_checker' must be true or false, got {shown(special)}"
        )
    if kind == "asserts":
        return Problem(
            kind="asserts",
            checks=checked_text(fields.get("checks"), f"{where}, checks"),
            special_checker=special,
            site_imports=fields.get("site_imports", False) is True,
        )
    if kind not in KINDS:
        raise ProblemError(f"{where}: 'kind' must be one of {', '.join(KINDS)}, got {shown(kind)}")
    tests = fields.get("tests")
    if not isinstance(tests, list):
        raise ProblemError(f"{where}: 'tests' must be a list of tests, got {shown(tests)}")
    names = ("input", "output") if kind == "stdin" else ("arguments", "value")
    inputs, outputs = [], []
    for number, test in enumerate(tests):
        if not isinstance(test, Mapping) or not all(name in test for name in names):
            raise ProblemError(
                f"{where}, test {number}: must have {names[0]!r} and {names[1]!r}, got {shown(test)}"
            )
        inputs.append(test[names[0]])
        outputs.append(test[names[1]])
    if kind == "stdin":
        return Problem(
            kind="stdin",
            tests=at_least_one(stdin_tests(inputs, outputs, where), where),
            special_checker=special,
        )
    calls = _call_tests(inputs, outputs, where)
    wrapped = fields.get("wrapped", False) is True
    name = function_name(fields.get("function"), f"{where}, function")
    return Problem(
        kind="call",
        tests=at_least_one(calls, where),
        function=name,
        wrapped=wrapped,
        special_checker=special,
        site_imports=fields.get("site_imports", False) is True,
    )


def _read_lists(fields: Mapping[str, object], where: str) -> Problem:
    """`inputs`, `outputs`, and for calls `fn_name`; TACO marks several right outputs by a checker of its own."""
    inputs, outputs = two_lists(fields, ("inputs", "outputs"), where)
    special = bool(fields.get("special_checker") or fields.get("checker"))
    name = fields.get("fn_name")
    if name is None or name == "":
        return Problem(
            kind="stdin",
            tests=at_least_one(stdin_tests(inputs, outputs, where), where),
            special_checker=special,
        )
    tests = _call_tests(inputs, outputs, where)
    # One value in a list, everywhere: a way of writing. Where one expected list is longer, lists are the values.
    wrapped = all(isinstance(output, list) and len(output) == 1 for output in outputs)
    return Problem(
        kind="call",
        tests=at_least_one(tests, where),
        function=function_name(name, f"{where}, fn_name"),
        wrapped=wrapped,
        special_checker=special,
        site_imports=True,
    )


def stdin_tests(
    inputs: Sequence[object], outputs: Sequence[object], where: str
) -> tuple[Case, ...]:
    tests = []
    for number, (one, two) in enumerate(zip(inputs, outputs, strict=True)):
        place = f"{where}, test {number}"
        tests.append(Case(_joined(one, f"{place}, input"), _joined(two, f"{place}, output")))
        if not tests[-1].expected.strip():
            raise ProblemError(
                f"{place}: the expected output is empty, so a program that does nothing would pass; drop the test"
            )
    return tuple(tests)


def _call_tests(
    inputs: Sequence[object], outputs: Sequence[object], where: str
) -> tuple[Case, ...]:
    return tuple(
        call_test(one, two, f"{where}, test {number}")
        for number, (one, two) in enumerate(zip(inputs, outputs, strict=True))
    )


def call_test(arguments: object, value: object, where: str) -> Case:
    if not isinstance(arguments, list):
        raise ProblemError(f"{where}: the arguments must be a list, got {shown(arguments)}")
    try:
        test = Case(json.dumps(arguments), json.dumps(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise ProblemError(
            f"{where}: arguments and value must be JSON: {error}; drop the test"
        ) from None
    for text in (test.input, test.expected):
        checked_text(text, where)
    return test


def at_least_one(tests: Sequence[Case], where: str) -> tuple[Case, ...]:
    if not tests:
        raise ProblemError(f"{where}: there is no test, so every program would pass; drop the row")
    return tuple(tests)


def two_lists(
    fields: Mapping[str, object], names: tuple[str, str], where: str
) -> tuple[list[object], list[object]]:
    found = []
    for name in names:
        values = fields.get(name)
        values = values.tolist() if hasattr(values, "tolist") else values  # type: ignore[union-attr] # arrays of parquet
        if not isinstance(values, list | tuple):
            raise ProblemError(f"{where}: {name!r} must be a list, got {shown(values)}")
        found.append(list(values))
    if len(found[0]) != len(found[1]):
        counts = f"{len(found[0])} of {names[0]!r} and {len(found[1])} of {names[1]!r}"
        raise ProblemError(f"{where}: each input needs its output, got {counts}; drop the row")
    return found[0], found[1]


def json_object(value: object, where: str) -> Mapping[str, object]:
    value = from_json(value, where) if isinstance(value, str | bytes) else value
    if not isinstance(value, Mapping):
        raise ProblemError(f"{where}: must be a JSON object with tests, got {shown(value)}")
    return value


def from_json(value: object, where: str) -> object:
    if not isinstance(value, str | bytes):
        raise ProblemError(f"{where}: must be JSON text, got {shown(value)}")
    try:
        return read_json(value)
    except NotJsonError as error:
        raise ProblemError(
            f"{where}: is not JSON ({error}): {shown(value)}; drop the row or write it anew"
        ) from None


def _joined(value: object, where: str) -> str:
    """A text, or the lines of one as a list, as some rows have it."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value) + "\n"
    return checked_text(value, where)


def checked_text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ProblemError(f"{where}: must be a text, got {shown(value)}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ProblemError(
            f"{where}: has half a character (a lone surrogate), which no UTF-8 has; drop the test"
        ) from None
    if size > MAX_TEST_BYTES:
        raise ProblemError(
            f"{where}: has {size:,} bytes, at most {MAX_TEST_BYTES:,} are allowed; drop the test"
        )
    return value


def function_name(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.isidentifier():
        raise ProblemError(f"{where}: must be the name of a function, got {shown(value)}")
    return value


def shown(value: object) -> str:
    """What was found instead, in at most 60 characters."""
    if value is None:
        return "nothing"
    text = repr(value[:80] if isinstance(value, str | bytes | list) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
