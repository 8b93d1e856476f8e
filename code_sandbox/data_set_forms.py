"""Readers of rows as public data sets have them: CodeContests, LiveCodeBench, MBPP, HumanEval.

The last two test by asserts, which a program in the same process can read: for evaluation only. Special checkers are
marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from code_sandbox.problems import (
    Case,
    Problem,
    ProblemError,
    at_least_one,
    call_test,
    checked_text,
    from_json,
    function_name,
    json_object,
    shown,
    stdin_tests,
    two_lists,
)


def read_codecontests(row: Mapping[str, object], where: str = "problem") -> Problem:
    """A row of CodeContests: `public_tests`, `private_tests`, `generated_tests`, lists `input` and `output`."""
    tests: list[Case] = []
    for name in ("public_tests", "private_tests", "generated_tests"):
        part = row.get(name)
        if part is not None:
            fields = json_object(part, f"{where}, {name}")
            inputs, outputs = two_lists(fields, ("input", "output"), f"{where}, {name}")
            tests += stdin_tests(inputs, outputs, f"{where}, {name}")
    return Problem(kind="stdin", tests=at_least_one(tests, where))


def read_livecodebench(row: Mapping[str, object], where: str = "problem") -> Problem:
    """A row of LiveCodeBench, its public tests: `public_test_cases` is JSON text of `{"input", "output", "testtype"}`.

    Functional tests have one JSON value a line as arguments; the name is `func_name` in the JSON of `metadata`.
    """
    cases = from_json(row.get("public_test_cases"), f"{where}, public_test_cases")
    if not isinstance(cases, list) or not cases:
        raise ProblemError(
            f"{where}, public_test_cases: must be a list of tests, got {shown(cases)}; drop the row"
        )
    kinds = set()
    pairs = []
    for number, case in enumerate(cases):
        fields = json_object(case, f"{where}, public test {number}")
        kinds.add(fields.get("testtype"))
        pairs.append((fields.get("input"), fields.get("output")))
    if kinds == {"stdin"}:
        return Problem(
            kind="stdin",
            tests=stdin_tests([one for one, _ in pairs], [two for _, two in pairs], where),
        )
    if kinds != {"functional"}:
        raise ProblemError(
            f"{where}: 'testtype' must be 'stdin' or 'functional' in all tests, got "
            f"{shown(sorted(map(str, kinds)))}; drop the row"
        )
    metadata = json_object(row.get("metadata") or {}, f"{where}, metadata")
    tests = []
    for number, (given, expected) in enumerate(pairs):
        place = f"{where}, public test {number}"
        arguments = [
            from_json(line, f"{place}, input")
            for line in checked_text(given, f"{place}, input").splitlines()
            if line.strip()
        ]
        tests.append(call_test(arguments, from_json(expected, f"{place}, output"), place))
    return Problem(
        kind="call",
        tests=tuple(tests),
        function=function_name(metadata.get("func_name"), f"{where}, metadata"),
        site_imports=True,
    )


def read_mbpp(row: Mapping[str, object], where: str = "problem") -> Problem:
    """A row of MBPP: `test_list`, asserts; before them `test_setup_code` or `test_imports`. For evaluation only."""
    asserts = row.get("test_list")
    if not isinstance(asserts, Sequence) or isinstance(asserts, str) or not asserts:
        raise ProblemError(
            f"{where}: 'test_list' must be a list of asserts, got {shown(asserts)}; drop the row"
        )
    before = row.get("test_imports") or []
    lines = (
        [before]
        if isinstance(before, str)
        else list(before)
        if isinstance(before, Sequence)
        else []
    )
    setup = row.get("test_setup_code") or ""
    checks = [checked_text(line, f"{where}, test_list") for line in [setup, *lines, *asserts]]
    return Problem(kind="asserts", checks="\n".join(checks) + "\n")


def read_humaneval(row: Mapping[str, object], where: str = "problem") -> Problem:
    """A row of HumanEval: `test` defines `check`, called with the function `entry_point`. For evaluation only."""
    test = checked_text(row.get("test"), f"{where}, test")
    name = function_name(row.get("entry_point"), f"{where}, entry_point")
    return Problem(kind="asserts", checks=f"{test}\ncheck({name})\n")
