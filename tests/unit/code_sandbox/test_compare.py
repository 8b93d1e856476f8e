"""When an output equals the expected one: what is said yes to and, above all, what is not."""

from __future__ import annotations

import pytest

from code_sandbox.compare import NotJsonError, equal_output, equal_value, read_json


@pytest.mark.parametrize(
    ("expected", "output", "rule"),
    [
        ("24\n", b"24\n", "written"),
        ("24\n", b"24", "written"),
        ("24", b"24 \r\n\n\n", "written"),
        ("a  b\n\nc", b"a  b\n\nc\n", "written"),
        ("1 2 3", b"1\n2\n3\n", "tokens"),
        ("a  b", b"a b", "tokens"),
        ("ü é", "ü\té".encode(), "tokens"),
        ("0.5", b"0.50000001", "numbers"),
        ("0.5", b".5", "numbers"),
        ("0.5", b"5e-1", "numbers"),
        ("1000000.0", b"1000000.9", "numbers"),
        ("2", b"2.0", "numbers"),
        ("2.0", b"2", "numbers"),
        ("007", b"7", "numbers"),
        ("x 1.0 y", b"x 1.0000001 y", "numbers"),
    ],
)
def test_equal_outputs(expected: str, output: bytes, rule: str) -> None:
    assert equal_output(expected, output) == rule


@pytest.mark.parametrize(
    ("expected", "output"),
    [
        ("24", b""),
        ("24", b"24 24"),
        ("24", b"2 4"),
        ("YES", b"yes"),
        ("0.5", b"0.50001"),
        ("0.0", b"0.00001"),
        ("1000000007", b"1000000008"),
        ("1000000007", b"1000000007.5"),
        ("1000000007", b"1.000000008e9"),
        ("9" * 5000, b"9" * 4999 + b"8"),
        ("0.5", b"nan"),
        ("nan", b"0.5"),
        ("1e400", b"1e401"),
        ("0.5", b"inf"),
        ("1000", b"1_000"),
        ("5", "\u0665".encode()),  # an Arabic digit
        ("24", b"24\0"),
        ("24\n", b"\xff24"),
        ("1 2", b"1 \0 2"),
        ("a b", b"b a"),
        ("0x10", b"16"),
    ],
)
def test_outputs_that_are_not_equal(expected: str, output: bytes) -> None:
    assert equal_output(expected, output) is None


def test_the_same_words_beyond_all_numbers_are_equal() -> None:
    assert equal_output("1e400 nan " + "9" * 5000, b"1e400\nnan\n" + b"9" * 5000) == "tokens"


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (3, 3),
        (3, 3.0),
        (0.5, 0.50000001),
        ([1, [2, "x"]], [1, [2, "x"]]),
        ({"a": [True, None]}, {"a": [True, None]}),
        (10**400, 10**400),
        ("", ""),
        ([], []),
    ],
)
def test_equal_values(expected: object, value: object) -> None:
    assert equal_value(expected, value)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (1, True),
        (True, 1),
        (False, 0),
        (0, None),
        (3, "3"),
        ("3", 3),
        (0.5, 0.5001),
        (10**9, 10**9 + 1),
        (10**400, 1.0),
        (1.0, 10**400),
        (float("nan"), float("nan")),
        (float("inf"), float("inf")),
        ([1], [1, 2]),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, ["a", 1]),
        ([], None),
        ("a", "A"),
    ],
)
def test_values_that_are_not_equal(expected: object, value: object) -> None:
    assert not equal_value(expected, value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1 2",
        b"48\n49",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"9" * 10_000,
        b"'x'",
        b'"\\ud800',
        b"\0",
        b"1]",
    ],
)
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(NotJsonError):
        read_json(data)


def test_deep_and_wide_values_are_compared_without_recursion() -> None:
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    assert equal_value(deep, deep)
    assert not equal_value(deep, [deep])
    assert equal_value(list(range(10**5)), list(range(10**5)))
