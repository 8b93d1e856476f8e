"""Every number of the command line has bounds, and whatever lies outside them is refused with its flag."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from pure_rlhf.bounds import Bounds, find_bound_problems
from pure_rlhf.cli.train_pure import parse
from pure_rlhf.config import PureConfig
from tests.command_lines import as_flags

HOSTILE = (math.nan, math.inf, -math.inf, 0, -1, -2, 0.5, 1e30, 10**12)


def numbers(settings: Any, prefix: str = "") -> Iterator[tuple[str, type, Bounds | None]]:
    """Flag, int or float, and bounds of every numeric setting, of tuples and optional ones too."""
    hints = get_type_hints(type(settings), include_extras=True)
    for field in dataclasses.fields(settings):
        value, hint, bounds = getattr(settings, field.name), hints[field.name], None
        if dataclasses.is_dataclass(value):
            yield from numbers(value, f"{prefix}{field.name}.")
            continue
        if get_origin(hint) is Annotated:
            hint, *extras = get_args(hint)
            bounds = next((extra for extra in extras if isinstance(extra, Bounds)), None)
        kinds = {hint}
        if get_origin(hint) in (Union, types.UnionType, tuple):
            kinds = set(get_args(hint))
        if get_origin(hint) is not Literal and (kinds & {int, float}):
            yield f"{prefix}{field.name}", int if int in kinds else float, bounds


NUMBERS = list(numbers(PureConfig()))


def test_every_number_has_bounds_and_its_default_lies_in_them() -> None:
    assert len(NUMBERS) > 80
    assert [name for name, _, bounds in NUMBERS if bounds is None] == []
    assert list(find_bound_problems(PureConfig())) == []


def with_value(settings: Any, path: str, value: object) -> Any:
    name, _, rest = path.partition(".")
    inner = with_value(getattr(settings, name), rest, value) if rest else value
    return dataclasses.replace(settings, **{name: inner})


@pytest.mark.parametrize(("path", "kind", "bounds"), NUMBERS, ids=[name for name, *_ in NUMBERS])
def test_hostile_numbers(path: str, kind: type, bounds: Bounds) -> None:
    """What lies outside is named with its rule; what passes is finite, and not absurd for a count."""
    value: object
    for value in HOSTILE:
        if kind is int and not (isinstance(value, int) and not isinstance(value, bool)):
            continue
        default = PureConfig()
        for name in path.split("."):
            default = getattr(default, name)
        value = (value, value) if isinstance(default, tuple) else value
        problems = list(find_bound_problems(with_value(PureConfig(), path, value)))
        if bounds.hold(value):  # type: ignore[arg-type]
            assert problems == []
            assert kind is float or value in (0, -1), f"--{path} {value} is accepted"
            continue
        (problem,) = problems
        assert problem.startswith(f"--{path} ") and "must be" in problem
        assert bounds.remedy in problem


def test_no_number_is_a_word() -> None:
    some = NUMBERS[::8]  # each is a parse of its own
    _, problems = parse(as_flags(dict.fromkeys((name for name, *_ in some), "many")))
    for name, *_ in some:
        assert any(f"--{name} " in problem and "many" in problem for problem in problems), name


@pytest.mark.parametrize(
    ("bounds", "rule"),
    [
        (Bounds(remedy=""), "must be finite"),
        (Bounds(low=0, remedy=""), "must be >= 0"),
        (Bounds(above=0, remedy=""), "must be > 0"),
        (Bounds(high=1, remedy=""), "must be <= 1"),
        (Bounds(below=1, remedy=""), "must be < 1"),
        (Bounds(low=0, below=1, remedy=""), "must be in [0, 1)"),
        (Bounds(above=0, high=1, remedy=""), "must be in (0, 1]"),
        (Bounds(low=0, high=2**32 - 1, remedy=""), "must be in [0, 4294967295]"),
        (Bounds(low=1, never=-1, remedy=""), "must be >= 1, or -1"),
    ],
)
def test_rules_in_words(bounds: Bounds, rule: str) -> None:
    assert bounds.rule() == rule


def test_whole_numbers_end_somewhere() -> None:
    assert Bounds(low=1, remedy="").hold(10**9) and not Bounds(low=1, remedy="").hold(10**9 + 1)
    assert Bounds(low=0, high=2**32 - 1, remedy="").hold(2**32 - 1)
    assert Bounds(low=0.0, remedy="").hold(1e12)
