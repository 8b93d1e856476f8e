"""Tests in every form in which data sets have them; one sentence for each that is malformed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from code_sandbox.data_set_forms import (
    read_codecontests,
    read_humaneval,
    read_livecodebench,
    read_mbpp,
)
from code_sandbox.problems import MAX_TEST_BYTES, Case, Problem, ProblemError, read_problem

STDIN = Problem(kind="stdin", tests=(Case("1 2\n", "3\n"), Case("", "0")))
CALL = Problem(kind="call", tests=(Case("[1, 2]", "3"), Case("[[]]", '["x"]')), function="add")


@pytest.mark.parametrize(
    "problem",
    [
        STDIN,
        CALL,
        replace(CALL, site_imports=True),
        Problem(kind="call", tests=(Case("[1]", "[1]"),), function="f", wrapped=True),
        Problem(kind="asserts", checks="assert f(1) == 1\n"),
        Problem(kind="stdin", tests=(Case("ü\u2028", "\\u0000"),), special_checker=True),
    ],
)
def test_a_label_comes_back(problem: Problem) -> None:
    assert read_problem(problem.to_json()) == problem
    assert read_problem(json.loads(problem.to_json())) == problem
    assert hash(problem) == hash(read_problem(problem.to_json()))


def test_the_schema_is_what_the_module_says() -> None:
    assert (
        read_problem(
            '{"kind": "stdin", "tests": [{"input": "1 2\\n", "output": "3\\n"}, {"input": "", "output": "0"}]}'
        )
        == STDIN
    )
    tests = [{"arguments": [1, 2], "value": 3}, {"arguments": [[]], "value": ["x"]}]
    assert read_problem({"kind": "call", "function": "add", "tests": tests}) == CALL


def test_lists_of_taco_apps_and_prime() -> None:
    assert read_problem('{"inputs": ["1 2\\n", ""], "outputs": ["3\\n", "0"]}') == STDIN
    assert read_problem(
        {"inputs": [["1 2", ""], [""]], "outputs": [["3"], ["0"]], "fn_name": None}
    ).tests[0] == Case("1 2\n\n", "3\n")
    call = read_problem({"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [[3], [7]]})
    assert call == Problem(
        kind="call",
        tests=(Case("[1, 2]", "[3]"), Case("[3, 4]", "[7]")),
        function="add",
        wrapped=True,
        site_imports=True,
    )
    longer = read_problem({"fn_name": "f", "inputs": [[1], [2]], "outputs": [[3], [7, 8]]})
    assert not longer.wrapped, "one list of two: lists are the values"
    assert read_problem(
        {"inputs": ["1"], "outputs": ["2"], "checker": "def check(): ..."}
    ).special_checker


def test_rows_of_codecontests() -> None:
    row = {
        "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
        "private_tests": {"input": [], "output": []},
        "generated_tests": {"input": [""], "output": ["0"]},
    }
    assert read_codecontests(row) == STDIN
    assert (
        read_codecontests({"public_tests": json.dumps(row["public_tests"])}).tests
        == STDIN.tests[:1]
    )


def test_rows_of_livecodebench() -> None:
    cases = [
        {"input": "1 2\n", "output": "3\n", "testtype": "stdin"},
        {"input": "", "output": "0", "testtype": "stdin"},
    ]
    assert read_livecodebench({"public_test_cases": json.dumps(cases)}) == STDIN
    calls = [
        {"input": "1\n2", "output": "3", "testtype": "functional"},
        {"input": "[]", "output": '["x"]', "testtype": "functional"},
    ]
    row = {"public_test_cases": json.dumps(calls), "metadata": '{"func_name": "add"}'}
    assert read_livecodebench(row) == replace(CALL, site_imports=True)


def test_rows_of_mbpp_and_humaneval() -> None:
    row = {
        "test_list": ["assert f(1) == 1", "assert f(2) == 2"],
        "test_setup_code": "",
        "test_imports": ["import math"],
    }
    assert read_mbpp(row).checks == "\nimport math\nassert f(1) == 1\nassert f(2) == 2\n"
    assert (
        read_humaneval({"test": "def check(c):\n    assert c(1)", "entry_point": "f"}).checks
        == "def check(c):\n    assert c(1)\ncheck(f)\n"
    )


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            "",
            "row 7: is not JSON (Expecting value: line 1 column 1 (char 0)): ''; drop the row or write it anew",
        ),
        ("42", "row 7: must be a JSON object with tests, got 42"),
        ("[1, 2]", "row 7: must be a JSON object with tests, got [1, 2]"),
        ("{'inputs': []}", "row 7: is not JSON (Expecting property name"),
        ("[" * 100_000, "row 7: is not JSON (nested too deep)"),
        ({}, "row 7: tests need 'kind' and 'tests', or 'inputs' and 'outputs'; this has nothing"),
        ({"answer": "5"}, "this has 'answer': convert it"),
        ({"kind": "guess"}, "row 7: 'kind' must be one of stdin, call, asserts, got 'guess'"),
        ({"kind": ["stdin"]}, "'kind' must be one of stdin, call, asserts, got ['stdin']"),
        ({"kind": "stdin"}, "row 7: 'tests' must be a list of tests, got nothing"),
        (
            {"kind": "stdin", "tests": []},
            "row 7: there is no test, so every program would pass; drop the row",
        ),
        (
            {"kind": "stdin", "tests": ["1"]},
            "row 7, test 0: must have 'input' and 'output', got '1'",
        ),
        (
            {"kind": "stdin", "tests": [{"input": "1"}]},
            "row 7, test 0: must have 'input' and 'output', got {'input': '1'}",
        ),
        (
            {"kind": "stdin", "tests": [{"input": 1, "output": "1"}]},
            "row 7, test 0, input: must be a text, got 1",
        ),
        (
            {"kind": "stdin", "tests": [{"input": "1", "output": None}]},
            "row 7, test 0, output: must be a text, got nothing",
        ),
        (
            {"kind": "stdin", "tests": [{"input": "1", "output": " \n"}]},
            "row 7, test 0: the expected output is empty",
        ),
        (
            {"kind": "stdin", "tests": [], "special_checker": "no"},
            "'special_checker' must be true or false, got 'no'",
        ),
        (
            {"kind": "call", "tests": [{"arguments": [1], "value": 1}]},
            "row 7, function: must be the name of a function, got nothing",
        ),
        (
            {"kind": "call", "function": "f(", "tests": [{"arguments": [1], "value": 1}]},
            "must be the name of a function, got 'f('",
        ),
        (
            {"kind": "call", "function": "f", "tests": [{"arguments": 1, "value": 1}]},
            "row 7, test 0: the arguments must be a list, got 1",
        ),
        (
            {"kind": "call", "function": "f", "tests": [{"arguments": [{1}], "value": 1}]},
            "row 7, test 0: arguments and value must be JSON",
        ),
        ({"kind": "asserts"}, "row 7, checks: must be a text, got nothing"),
        ({"inputs": ["1"]}, "row 7: 'outputs' must be a list, got nothing"),
        ({"outputs": ["1"]}, "row 7: 'inputs' must be a list, got nothing"),
        ({"inputs": "1", "outputs": ["1"]}, "row 7: 'inputs' must be a list, got '1'"),
        (
            {"inputs": ["1", "2"], "outputs": ["1"]},
            "row 7: each input needs its output, got 2 of 'inputs' and 1 of 'outputs'",
        ),
        ({"inputs": [], "outputs": []}, "row 7: there is no test"),
        (
            {"inputs": ["1"], "outputs": ["\ud800"]},
            "row 7, test 0, output: has half a character (a lone surrogate)",
        ),
        (
            {"inputs": [["1"]], "outputs": ["1"], "fn_name": 7},
            "row 7, fn_name: must be the name of a function, got 7",
        ),
    ],
)
def test_a_malformed_label_is_one_sentence(label: object, message: str) -> None:
    with pytest.raises(ProblemError) as caught:
        read_problem(label, "row 7")  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert (
        str(caught.value).startswith("row 7")
        and "\n" not in str(caught.value)
        and len(str(caught.value)) < 300
    )


def test_an_output_of_100_mb_is_refused() -> None:
    with pytest.raises(
        ProblemError,
        match=f"has 100,000,000 bytes, at most {MAX_TEST_BYTES:,} are allowed; drop the test",
    ):
        read_problem({"inputs": ["1"], "outputs": ["x" * 10**8]})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "public_test_cases: must be JSON text, got nothing"),
        ({"public_test_cases": "[]"}, "public_test_cases: must be a list of tests, got []"),
        (
            {"public_test_cases": '[{"input": "1", "output": "1"}]'},
            "'testtype' must be 'stdin' or 'functional' in all tests",
        ),
        (
            {"public_test_cases": '[{"input": "1", "output": "1", "testtype": "functional"}]'},
            "metadata: must be the name of a function",
        ),
    ],
)
def test_malformed_rows_of_livecodebench(row: dict[str, object], message: str) -> None:
    with pytest.raises(ProblemError, match="problem") as caught:
        read_livecodebench(row)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "row", [{}, {"test_list": []}, {"test_list": "assert True"}, {"test_list": [7]}]
)
def test_malformed_rows_of_mbpp(row: dict[str, object]) -> None:
    with pytest.raises(ProblemError, match="test_list"):
        read_mbpp(row)


@pytest.mark.parametrize(
    "row", [{}, {"test": "x"}, {"test": "x", "entry_point": "a b"}, {"entry_point": "f"}]
)
def test_malformed_rows_of_humaneval(row: dict[str, object]) -> None:
    with pytest.raises(ProblemError, match="must be"):
        read_humaneval(row)
