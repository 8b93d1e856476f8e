"""Equality of two expressions by computer algebra: `math-verify` behind our own reading of numbers.

`math-verify` compares floats after rounding to six decimals, so that 1.5e-6 equals 1.8e-6; values
without free symbols are compared here by relative difference instead. It is imported at the first
use (1 to 2 s).
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from pure_rlhf.algorithm.answer_forms import RELATIVE_TOLERANCE


def math_verify_equal(prediction: str, gold: str) -> bool:
    """Equality of two expressions by `math-verify`; no time limit of its own (its limits need
    signals).
    """
    import math_verify

    expression_p, expression_g = _parse(prediction), _parse(gold)
    if expression_p is None or expression_g is None:
        return False
    numeric = _numeric_equal(expression_p, expression_g, "." in prediction + gold)
    if numeric is not None:
        return numeric
    return math_verify.verify(expression_g, expression_p, timeout_seconds=None)


@functools.lru_cache(maxsize=4096)
def _parse(latex: str) -> Any | None:
    """A sympy object, or None where the parser fails; without `math-verify`'s unit stripping, which
    eats letters.
    """
    import math_verify
    from latex2sympy2_extended import NormalizationConfig

    # It logs once that it runs without a time limit: the pool has one.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    config = math_verify.LatexExtractionConfig(
        boxed_match_priority=-1,
        normalization_config=NormalizationConfig(
            basic_latex=True,
            units=False,
            malformed_operators=True,
            nits=True,
            boxed="none",
            equations=False,
        ),
    )
    parsed = math_verify.parse(
        f"${latex}$",
        extraction_config=[config],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,  # pyright: ignore[reportArgumentType]
    )
    return parsed[0] if parsed else None


def _numeric_equal(prediction: Any, gold: Any, is_decimal: bool) -> bool | None:
    """Compare two values without free symbols by relative difference; None when they are something
    else.
    """
    import sympy

    if not (isinstance(prediction, sympy.Expr) and isinstance(gold, sympy.Expr)):
        return None
    if prediction.free_symbols or gold.free_symbols:
        return None
    try:
        value_p, value_g = complex(sympy.N(prediction, 30)), complex(sympy.N(gold, 30))
    except (TypeError, ValueError, ArithmeticError):
        return None
    integer_gold = value_g.imag == 0 and value_g.real.is_integer()
    tolerance = float(RELATIVE_TOLERANCE) if is_decimal and not integer_gold else 1e-12
    return abs(value_p - value_g) <= tolerance * abs(value_g)
