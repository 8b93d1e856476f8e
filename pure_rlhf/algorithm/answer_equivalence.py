r"""Whether two normalised answers are equal: first by their written forms, then by computer
algebra.

The rules run in one order (structure, atom, equation, algebra) and call each other on the items of
lists, so that `(\frac12, 3)` against `(0.5, 3)` is decided exactly like `\frac12` against `0.5`.
Each rule answers (decided, verdict); a verdict of None says that only `math-verify` can tell. Why
not `math-verify` alone: it rounds floats to six absolute decimals (1.5e-6 equals 1.8e-6), ignores
number bases, reads lists as sets and (1,2) as {1,2}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

from pure_rlhf.algorithm.answer_algebra import math_verify_equal
from pure_rlhf.algorithm.answer_forms import (
    RELATIVE_TOLERANCE,
    PlainNumber,
    bracketed,
    compact,
    parse_based,
    parse_number,
    split_top_level,
    strip_units,
    text_content,
)


def compare(prediction: str, gold: str, *, deep: bool) -> bool | None:
    """Three-valued: None = undecided by notation (only when `deep` is False)."""
    if compact(prediction) == compact(gold) and gold:
        return True
    if "\\text" in prediction + gold and _fold(prediction) == _fold(gold) != "":
        return True
    prediction, gold = _as_interval(prediction, gold), _as_interval(gold, prediction)
    for rule in (_compare_structures, _compare_atoms, _compare_equations):
        decided, verdict = rule(prediction, gold, deep)
        if decided:
            return verdict
    return math_verify_equal(strip_units(prediction), strip_units(gold)) if deep else None


def _compare_structures(prediction: str, gold: str, deep: bool) -> tuple[bool, bool | None]:
    """Lists, sets, tuples, intervals and unions, item by item; (decided, verdict)."""
    kind_p, items_p = _structure(prediction)
    kind_g, items_g = _structure(gold)
    kinds = {kind_p, kind_g}
    if kinds == {"atom"} or "\\begin" in prediction + gold:
        shorter = items_p != [prediction] or items_g != [gold]
        return shorter and compact(items_p[0]) == compact(items_g[0]), True
    if any(
        kind == "atom" and len(_sides(text)) > 1
        for kind, text in ((kind_p, prediction), (kind_g, gold))
    ):
        return False, None
    if "union" in kinds and kind_p != kind_g:
        return False, None
    if "atom" in kinds:
        # One value is not several; but sets may be written as one expression, \mathbb{R} or x > 2.
        atom = prediction if kind_p == "atom" else gold
        return re.search(r"[<>\\]", strip_units(atom)) is None or "list" in kinds, False
    if len(items_p) != len(items_g):
        return True, False
    if kinds <= {"list", "set", "union"}:
        return True, _match_unordered(items_p, items_g, deep)
    if kind_p == kind_g or kinds == {"list", "()"}:
        return True, _all(compare(p, g, deep=deep) for p, g in zip(items_p, items_g, strict=True))
    return True, False


def _structure(text: str) -> tuple[str, list[str]]:
    r"""(kind, items); kind is "atom", "list" (bare commas), "set", "union", or its brackets: "()",
    "[)", ...
    """
    body = strip_units(text)
    if len(parts := split_top_level(body, "\\cup")) > 1:
        return "union", parts
    if len(parts := split_top_level(body, ",")) > 1 or len(parts := split_top_level(body, ";")) > 1:
        return "list", [signed for part in parts for signed in _both_signs(part)]
    if len(parts := _both_signs(body)) > 1:
        return "list", parts
    pair = bracketed(body)
    if pair is None:
        return "atom", [body]
    opener, content, closer = pair
    if opener == "(" and closer == ")" and len(split_top_level(content, ",")) == 1:
        return "atom", [content]
    items = split_top_level(content, ",")
    if opener == "{" and (len(items) > 1 or text.startswith("\\{")):
        return "set", [signed for item in items for signed in _both_signs(item)]
    return (opener + closer, items) if len(items) > 1 else ("atom", [body])


def _both_signs(text: str) -> list[str]:
    r"""`a \pm b` as a + b and a - b."""
    if text.count("\\pm") != 1 or "=" in text.split("\\pm")[1]:
        return [text]
    return [text.replace("\\pm", sign).removeprefix("+").strip() for sign in "+-"]


_BOUNDED = re.compile(r"(.+?)(<|\\le(?![a-z]))\s*[a-zA-Z]\s*(<|\\le(?![a-z]))(.+)")
_HALF_BOUNDED = re.compile(r"[a-zA-Z]\s*(<|>|\\[lg]e(?![a-z]))(.+)")


def _as_interval(text: str, other: str) -> str:
    """An inequality as the interval that it says, where the other answer is an interval."""
    if _structure(other)[0] not in {"()", "(]", "[)", "[]"}:
        return text
    if (match := _BOUNDED.fullmatch(text)) and "," not in text:
        low, left, right, high = match.groups()
        return f"{'(' if left == '<' else '['}{low}, {high}{')' if right == '<' else ']'}"
    if (match := _HALF_BOUNDED.fullmatch(text)) and "," not in text:
        relation, bound = match.groups()
        if relation in ("<", "\\le"):
            return f"(-\\infty, {bound}{')' if relation == '<' else ']'}"
        return f"{'(' if relation == '>' else '['}{bound}, \\infty)"
    return text


def _match_unordered(predictions: list[str], golds: list[str], deep: bool) -> bool | None:
    """Whether the items can be paired off (greedily: equivalence is transitive)."""
    remaining = list(predictions)
    undecided = False
    for gold in golds:
        verdicts = [compare(prediction, gold, deep=deep) for prediction in remaining]
        if True in verdicts:
            remaining.pop(verdicts.index(True))
        elif None in verdicts:
            undecided = True
        else:
            return False
    return None if undecided else True


def _compare_atoms(prediction: str, gold: str, deep: bool) -> tuple[bool, bool | None]:
    """Numbers, numerals of a base, words and choices; (decided, verdict)."""
    del deep
    bare_p, bare_g = strip_units(prediction), strip_units(gold)
    number_p, number_g = parse_number(bare_p), parse_number(bare_g)
    if number_p and number_g:
        return True, _numbers_equal(number_p, number_g)
    based_p, based_g = parse_based(bare_p), parse_based(bare_g)
    if based_p and based_g:
        return True, based_p == based_g
    if based_g and re.fullmatch(r"[0-9A-Z]+", compact(bare_p)):
        return True, compact(bare_p) == based_g[0]  # "in base 7" stands in the problem
    if based_p and number_g and number_g.value.denominator == 1:
        try:
            return True, int(*based_p) == number_g.value
        except ValueError:  # a digit that the base does not have
            return True, False
    word_p, word_g = text_content(prediction), text_content(gold)
    if word_p is None and word_g is None:
        choice = re.fullmatch(r"\(?([A-H])\)?", prediction), re.fullmatch(r"\(?([A-H])\)?", gold)
        return (True, choice[0][1] == choice[1][1]) if choice[0] and choice[1] else (False, None)
    plain_p, plain_g = word_p or prediction, word_g or gold
    if _fold(plain_p) == _fold(plain_g):
        return True, True
    both_words = re.search(r"[^\w\s.'()-]", plain_p + plain_g) is None
    return (word_p is not None and word_g is not None) or both_words, False


def _fold(answer: str) -> str:
    """The words of an answer that is words, in one spelling; "" for other answers."""
    words = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", answer)
    if re.search(r"[^\w\s.,'()-]", words):
        return ""
    return re.sub(r"[\s()'.,-]+", " ", words).strip().casefold()


def _numbers_equal(prediction: PlainNumber, gold: PlainNumber) -> bool:
    """Exact, but up to rounding where a decimal meets a value that is not an integer.

    A percent sign on one side only may be read either way: 20 % is 20 (the unit stood in the
    question) or 0.2.
    """
    values = {prediction.value}
    if prediction.is_percent != gold.is_percent:
        values.add(prediction.value / 100 if prediction.is_percent else prediction.value * 100)
    if gold.value in values:
        return True
    inexact = (prediction.is_decimal or gold.is_decimal) and (
        gold.is_decimal or gold.value.denominator != 1
    )
    return inexact and any(_close(value, gold.value) for value in values)


def _close(value: Fraction, reference: Fraction) -> bool:
    return abs(value - reference) <= RELATIVE_TOLERANCE * abs(reference)


_EQUALS = re.compile(r"(?<![<>!:])=")
_NAME = re.compile(
    r"\\?[a-zA-Z]+'*(?:_(?:\{\w+\}|\w))?(?:\([^()=]*\))?|\\text\{[^{}]*\}|\|?[A-Z]{1,3}\|?"
)


def _compare_equations(prediction: str, gold: str, deep: bool) -> tuple[bool, bool | None]:
    """`y = 2x` against `y = 2x`, `2x = y` and `2x`; a chain `a = b = c` is its two ends; (decided,
    verdict).
    """
    sides_p, sides_g = _sides(prediction), _sides(gold)
    if len(sides_p) == len(sides_g) == 1:
        return False, None
    if len(sides_g) == 1:
        value = sides_p[0] if _is_name(sides_p[1]) and not _is_name(sides_p[0]) else sides_p[1]
        return True, compare(value, gold, deep=deep)
    if len(sides_p) == 1:
        named = [b for a, b in (sides_g, sides_g[::-1]) if _is_name(a)]
        return True, compare(prediction, named[0], deep=deep) if named else False
    if sides_p[0] == sides_g[0] and _is_name(sides_g[0]):
        return True, compare(sides_p[1], sides_g[1], deep=deep)
    for a, b in (sides_p, sides_p[::-1]):
        if _all([compare(a, sides_g[0], deep=deep), compare(b, sides_g[1], deep=deep)]):
            return True, True
    return False, None


def _sides(text: str) -> list[str]:
    if re.search(r"[<>]|\\[lgn]e(?![a-z])", text) or len(split_top_level(text, ",")) > 1:
        return [text]
    parts = [part.strip() for part in _EQUALS.split(text)]
    return [parts[0], parts[-1]] if len(parts) > 1 and all(parts) else [text]


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(compact(text)) is not None


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    verdicts = list(verdicts)
    if False in verdicts:
        return False
    return None if None in verdicts else True
