"""Bounds of settings, declared beside the setting and checked in one place.

    batch_size: Annotated[int, Bounds(above=0, remedy="a step needs prompts")] = 64

Every problem is one sentence that names the setting as its flag: `--rollout.batch_size 0: must be > 0; a step needs
prompts`. Loads nothing heavy, so that a command line is checked at once.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


LARGEST_WHOLE_NUMBER = 10**9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
    """Where a number may lie: `low <= value <= high`, `above < value < below`, or it is `never`.

    In any case it must be finite, and a whole number without an upper bound at most a billion. Of several numbers each.

    `remedy` says what to use instead, or what the number is for.
    """

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    never: int | None = None
    """Stands for "not at all", besides the range."""
    remedy: str

    def rule(self) -> str:
        """The rule in words, such as `must be in (0, 1]`."""
        strict, strict_end = self.above > self.low, self.below < self.high
        low, high = max(self.above, self.low), min(self.below, self.high)
        otherwise = "" if self.never is None else f", or {self.never}"
        if math.isinf(low) and math.isinf(high):
            return "must be finite"
        if math.isinf(low):
            return f"must be {'<' if strict_end else '<='} {high:.10g}{otherwise}"
        if math.isinf(high):
            return f"must be {'>' if strict else '>='} {low:.10g}{otherwise}"
        first, last = "(" if strict else "[", ")" if strict_end else "]"
        return f"must be in {first}{low:.10g}, {high:.10g}{last}{otherwise}"

    def hold(self, value: float | tuple[float, ...]) -> bool:
        if isinstance(value, tuple):
            return all(map(self.hold, value))
        if value == self.never:
            return True
        high = min(self.below, self.high)
        if isinstance(value, int) and math.isinf(high) and value > LARGEST_WHOLE_NUMBER:
            return False
        return (
            math.isfinite(value)
            and self.above < value < self.below
            and self.low <= value <= self.high
        )


def find_bound_problems(
    settings: DataclassInstance | type[DataclassInstance], prefix: str = "--"
) -> Iterator[str]:
    """One sentence for each setting of a dataclass, and of those inside it, that is none of its choices or out of
    its bounds."""
    for name, choices, bounds in _rules(type(settings)):
        value = getattr(settings, name)
        flag = f"{prefix}{name}"
        if dataclasses.is_dataclass(value):
            yield from find_bound_problems(value, f"{flag}.")
        elif choices and value not in choices:
            yield f"{flag} {value}: must be one of {', '.join(map(str, choices))}"
        elif bounds is not None and value is not None and not bounds.hold(value):
            yield f"{flag} {value}: {bounds.rule()}; {bounds.remedy}"


@functools.cache
def _rules(settings_class: type) -> list[tuple[str, tuple[object, ...], Bounds | None]]:
    """Name, choices and bounds of every field."""
    hints = get_type_hints(settings_class, include_extras=True)
    rules = []
    for field in dataclasses.fields(settings_class):
        hint = hints[field.name]
        bounds = None
        if get_origin(hint) is Annotated:
            hint, *extras = get_args(hint)
            bounds = next((extra for extra in extras if isinstance(extra, Bounds)), None)
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        rules.append((field.name, choices, bounds))
    return rules
