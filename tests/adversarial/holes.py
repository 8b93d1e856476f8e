r"""Two holes that the verifier once had, to be put back for a test of the attacks: each must be found.

`empty_words`: whatever is not words folded to "", and "" equalled "", where one side is `\text{...}`. `infinity`: the
difference to an infinite label was compared with an infinite tolerance, so that every number was within it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from pure_rlhf.grading import equality
from pure_rlhf.grading.expressions import Expression
from pure_rlhf.grading.readings import Infinity, Number, Reading

Equal = Callable[[Reading, Reading], str | None]


def _is_constant(value: object) -> bool:
    return isinstance(value, Number | Infinity) or (
        isinstance(value, Expression) and value.is_constant
    )


def _fold(written: str) -> str:
    if re.search(r"[^\w\s.,'()-]", written):
        return ""
    return re.sub(r"[\s()'.,-]+", " ", written).strip().casefold()


def _with_infinity(original: Equal) -> Equal:
    def equal(p: Reading, g: Reading) -> str | None:
        if isinstance(g.value, Infinity) and _is_constant(p.value):
            return "infinity"
        return original(p, g)

    return equal


def _with_empty_words(original: Equal) -> Equal:
    def equal(p: Reading, g: Reading) -> str | None:
        # a reading no longer knows that \text stood around it; its content that has no kind counted as words
        is_text = p.value is None and "\\" not in p.written
        if is_text and _fold(p.written) == _fold(g.written):
            return "words"
        return original(p, g)

    return equal


HOLES: dict[str, Callable[[Equal], Equal]] = {
    "empty_words": _with_empty_words,
    "infinity": _with_infinity,
}


@contextmanager
def hole(name: str) -> Iterator[None]:
    """The verifier with one of the old holes, in this process."""
    with patch.object(equality, "_equal", HOLES[name](equality._equal)):
        yield
