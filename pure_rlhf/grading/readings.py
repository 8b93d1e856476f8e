r"""What a final answer is: a number, an interval, a list, words, an equation, ...; read completely or not at all.

`read` gives an answer one of the kinds below. What is empty, was not understood to its last character, or has no kind
keeps only its written form (`value` is None), and then equals nothing but the same written form (`equality.py`).
"""

# ruff: noqa: RUF001 (a right single quotation mark is part of words)

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from pure_rlhf.grading.expressions import Expression, Unreadable, difference, read_expression
from pure_rlhf.grading.notation import (
    bracketed,
    compact,
    normalise,
    split_top_level,
    split_with_separators,
)

MAX_CHARS = 1000
"""A longer answer is not read: no label of the benchmarks reaches it."""
MAX_ITEMS = 64
MAX_DEPTH = 6


@dataclass(frozen=True)
class Number:
    """A number that was written as one: an integer, a decimal, m x 10^n, a/b or a mixed number."""

    value: Fraction
    is_rounded: bool  # a decimal that is no integer, or m x 10^n: it may stand for a value near it
    is_percent: bool


@dataclass(frozen=True)
class Infinity:
    r"""`\infty` or `-\infty`."""

    sign: int


@dataclass(frozen=True)
class Numeral:
    """Digits and the base that they are to be read in: `52_7`."""

    digits: str
    base: int


@dataclass(frozen=True)
class Words:
    """Words in one spelling; never empty."""

    text: str


@dataclass(frozen=True)
class Choice:
    """A single capital letter: `(B)`, `B`."""

    letter: str


@dataclass(frozen=True)
class Time:
    """A time of day or a duration: numbers between colons, and a.m., p.m. or nothing."""

    parts: tuple[int, ...]
    half: str


@dataclass(frozen=True)
class Ratio:
    """`2:3`, which is 2/3 (`19:30` is a time of day); of more terms, or of expressions, term by term."""

    items: tuple[Reading, ...]

    @property
    def quotient(self) -> Number | None:
        """The fraction that two plain numbers make."""
        if len(self.items) != 2:
            return None
        first, second = self.items[0].value, self.items[1].value
        if not isinstance(first, Number) or not isinstance(second, Number):
            return None
        if second.value == 0 or first.is_percent or second.is_percent:
            return None
        return Number(first.value / second.value, False, False)


@dataclass(frozen=True)
class Quantity:
    """A number or a constant with its unit in one spelling."""

    magnitude: Number | Expression
    unit: str


@dataclass(frozen=True)
class Collection:
    r"""Several values without order: `2, 3` and `\{2, 3\}`; or the parts of a union."""

    kind: str  # "items" or "union"
    items: tuple[Reading, ...]


@dataclass(frozen=True)
class Brackets:
    """Ordered values between brackets: a tuple, a point, an interval."""

    brackets: str
    items: tuple[Reading, ...]


@dataclass(frozen=True)
class Matrix:
    """Rows of cells; `bars` for a determinant."""

    rows: tuple[tuple[Reading, ...], ...]
    bars: bool


@dataclass(frozen=True)
class Named:
    r"""`x = 5`, `x \in [0, 1]`, `x > 2` (as the interval), `a + b = 5`: the value of something.

    Args:
        name: a simple name in its written form; None where the subject is an expression (`a + b`).
        equation: left minus right of an equation between two expressions.
    """

    name: str | None
    value: Reading
    equation: Relation | None = None


@dataclass(frozen=True)
class Relation:
    """An equation or inequality: left minus right, against 0."""

    sign: str  # "=", "<", "<=" or "!="
    difference: Expression


Value = (
    Number | Infinity | Numeral | Words | Choice | Time | Ratio | Quantity | Collection | Brackets
    | Matrix | Named | Relation | Expression
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """An answer as it was read.

    Args:
        written: its normalised form without spaces that mean nothing; never equal to another where it is "".
        value: None where it has no kind.
        sides: the sides of `2 + 3 = 5`, which must all be the answer.
    """

    written: str
    value: Value | None
    sides: tuple[Reading, ...] = ()


def read(answer: str) -> Reading:
    r"""Read a final answer, e.g. `read(r"\frac12").value` is Number(1/2)."""
    if len(answer) > MAX_CHARS:
        return Reading(re.sub(r"\s+", "", answer), None)
    return _read(normalise(answer), 0)


def _read(text: str, depth: int) -> Reading:
    text = text.strip()
    written = compact(text)
    if depth > MAX_DEPTH or not written:
        return Reading(written, None)
    whole_text = re.fullmatch(r"\\text\{([^{}\\]*)\}", text)
    if whole_text:
        inner = normalise(whole_text[1])
        value = _read_words(inner, depth) if re.search(r"[A-Za-z0-9]", inner) else None
        # \text{even} is written like even: the wrapper says nothing
        return Reading(compact(inner), value)
    sides = _equal_sides(text, depth)
    if sides:
        return Reading(written, sides[0].value, sides)
    return Reading(written, _value(text, depth))


def _value(text: str, depth: int) -> Value | None:
    for reader in _READERS:
        try:
            found = reader(text, depth)
        except Unreadable:
            return None
        if found is not None:
            return None if found is _NOTHING else found
    return None


class _Nothing:
    """A form that was recognised and cannot be read: no other reader may try."""


_NOTHING: Value = _Nothing()  # pyright: ignore[reportAssignmentType]


def _items(parts: list[str], depth: int) -> tuple[Reading, ...] | None:
    """All parts read; None where one of them is empty or has no kind, or there are too many."""
    if len(parts) > MAX_ITEMS or not all(parts):
        return None
    items = tuple(_read(part, depth + 1) for part in parts)
    return items if all(item.value is not None for item in items) else None


# ---- several values ----------------------------------------------------------------------------


def _read_matrix(text: str, depth: int) -> Value | None:
    if "\\begin" not in text:
        return None
    match = re.fullmatch(
        r"\\begin ?\{([pbv]?matrix|array)\}(?: ?\{[clr|]*\})?(.*?)\\end ?\{\1\}", text
    )
    opener = bracketed(text)
    if match is None and opener and opener[0] in "([":
        return _read_matrix(opener[1], depth)
    if match is None and not text.startswith("\\begin"):
        return None  # part of something else: a value with a name
    if match is None or "\\begin" in match[2]:
        return _NOTHING
    rows = [row.strip() for row in match[2].split("\\\\")]
    if rows and not rows[-1]:
        rows.pop()
    cells = [_items([cell.strip() for cell in row.split("&")], depth) for row in rows]
    if not cells or any(row is None or len(row) != len(cells[0] or ()) for row in cells):
        return _NOTHING
    return Matrix(tuple(row for row in cells if row), match[1] == "vmatrix")


def _read_list(text: str, depth: int) -> Value | None:
    for separator in (",", ";"):
        parts = split_top_level(text, separator)
        if len(parts) > 1:
            items = _items([signed for part in parts for signed in _both_signs(part)], depth)
            return Collection("items", items) if items else _NOTHING
    return None


def _both_signs(text: str) -> list[str]:
    r"""`a \pm b` as a + b and a - b."""
    if text.count("\\pm") != 1 or re.search(r"=.*\\pm.*=|\\pm.*[=<>]", text):
        return [text]
    return [text.replace("\\pm", sign).removeprefix("+").strip() for sign in "+-"]


def _read_plus_minus(text: str, depth: int) -> Value | None:
    if "\\pm" not in text or bracketed(text) or len(split_top_level(text, "\\cup")) > 1:
        return None
    parts = _both_signs(text)
    items = _items(parts, depth) if len(parts) == 2 else None
    return Collection("items", items) if items else _NOTHING


def _read_union(text: str, depth: int) -> Value | None:
    parts = split_top_level(text, "\\cup")
    if len(parts) == 1:
        return None
    items = _items(parts, depth)
    good = items and all(
        isinstance(i.value, Brackets) or (isinstance(i.value, Collection) and i.value.kind == "set")
        for i in items
    )
    return Collection("union", items) if items and good else _NOTHING


def _read_brackets(text: str, depth: int) -> Value | None:
    pair = bracketed(text)
    if pair is None:
        return None
    opener, content, closer = pair
    if opener == "{":
        inner = _read(content, depth + 1)
        return inner.value if inner.value is not None and not inner.sides else _NOTHING
    parts = split_top_level(content, ",")
    if opener == "\\{":
        parts = [signed for part in parts for signed in _both_signs(part)]
        items = _items(parts, depth)
        return Collection("set", items) if items else _NOTHING
    if len(parts) == 1:
        if (opener, closer) == ("(", ")") and content[:1] + content[-1:] != "()":
            inner = _read(content, depth + 1)
            simple = isinstance(
                inner.value, Number | Expression | Choice | Words | Infinity | Numeral
            )
            return inner.value if simple and not inner.sides else _NOTHING
        return None
    items = _items(parts, depth)
    return Brackets(opener + closer, items) if items else _NOTHING


# ---- relations ---------------------------------------------------------------------------------

_ARGUMENT = r"(?:-?[0-9]+|[a-zA-Z])"
_LETTER_NAME = r"(?:[a-zA-Z]|\\[a-zA-Z]+)'*(?:_(?:\{[\w\\{} ]+\}|\w))?'*"
_NAME = re.compile(
    rf"(?:[a-zA-Z]|\\text\{{[^{{}}0-9]*\}})? ?"
    rf"(?:{_LETTER_NAME}(?:\({_ARGUMENT}(?:, ?{_ARGUMENT})*\))?|\\text\{{[^{{}}0-9]*\}}"
    r"|\|?[A-Z]{1,4}\|?|\[[A-Z]{3,6}\]|\\(?:angle|triangle) ?[A-Z]{1,3}"
    r"|\\(?:overline|vec|overrightarrow|bar|hat) ?\{[a-zA-Z]{1,3}\})",
    re.ASCII,
)
_TUPLE_NAME = re.compile(r"\([a-zA-Z](?:, ?[a-zA-Z])+\)", re.ASCII)
_NOT_NAMES = re.compile(r"\\(?:pi|infty|frac|sqrt)(?![a-zA-Z])|[ei]")
_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_ORDER = ("<", ">", "\\le", "\\ge")


def _is_name(text: str) -> bool:
    return bool(
        (_NAME.fullmatch(text) or _TUPLE_NAME.fullmatch(text)) and not _NOT_NAMES.fullmatch(text)
    )


def _equal_sides(text: str, depth: int) -> tuple[Reading, ...]:
    r"""The sides of `2 + 3 = 5`, and of `\frac13 \approx 0.33` the first; () where a side is no constant."""
    parts = split_with_separators(text, "=", "\\approx")
    if len(parts) < 2 or len(parts) > MAX_ITEMS or len(split_top_level(text, ",")) > 1:
        return ()
    exact = next((i for i, (_, sign) in enumerate(parts) if sign == "\\approx"), len(parts))
    shown = [part for part, _ in parts[: exact + 1]]
    items = _items([part for part, _ in parts], depth)
    constant = items and all(
        isinstance(item.value, Number | Quantity | Infinity | Numeral)
        or (isinstance(item.value, Expression) and item.value.is_constant)
        for item in items
    )
    return items[: len(shown)] if items and constant else ()


def _read_relation(text: str, depth: int) -> Value | None:
    parts = split_with_separators(text, "=", "\\approx", "\\in", "\\ne", *_ORDER)
    signs = [sign for _, sign in parts[:-1]]
    if not signs:
        return None
    sides = [part for part, _ in parts]
    if not all(sides) or len(sides) > MAX_ITEMS or len(split_top_level(text, ",", ";")) > 1:
        return _NOTHING
    if set(signs) <= {"=", "\\approx"}:
        return _read_equation(sides, signs, depth)
    if signs == ["\\in"]:
        return _named(sides[0], sides[1], depth) if _is_name(sides[0]) else _NOTHING
    if set(signs) <= set(_ORDER):
        return _read_inequality(sides, signs, depth) or _NOTHING
    if signs == ["\\ne"]:
        return _relation("!=", sides[0], sides[1])
    return _NOTHING


def _named(name: str, value: str, depth: int, equation: Relation | None = None) -> Value:
    read_value = _read(value, depth + 1)
    return _NOTHING if read_value.value is None else Named(compact(name), read_value, equation)


def _equation(left: str, right: str) -> Relation | None:
    """Left minus right, None where one side is no expression."""
    try:
        found = _relation("=", left, right)
    except Unreadable:
        return None
    return found if isinstance(found, Relation) else None


def _read_equation(sides: list[str], signs: list[str], depth: int) -> Value:
    """`x = 5`, `5 = x`, `x = 2 + 3 = 5`, `a + b = 5`, `y = 2x + 3`, `x^2 + y^2 = 1`."""
    if _is_name(sides[-1]) and not _is_name(sides[0]):
        sides, signs = sides[::-1], signs[::-1]
    if _is_name(sides[0]):
        equation = _equation(sides[0], sides[1]) if len(sides) == 2 else None
        return _named(sides[0], _joined(sides[1:], signs[1:]), depth, equation)
    if len(sides) == 2 and read_expression(sides[0]).is_constant:
        sides = sides[::-1]
    if read_expression(sides[0]).is_constant:
        return _NOTHING
    value = _read(_joined(sides[1:], signs[1:]), depth + 1)
    if (
        value.sides
        or (isinstance(value.value, Number | Quantity))
        or (isinstance(value.value, Expression) and value.value.is_constant)
    ):
        equation = _equation(sides[0], sides[1]) if len(sides) == 2 else None
        return Named(None, value, equation)
    return _relation("=", sides[0], sides[1]) if signs == ["="] else _NOTHING


def _joined(sides: list[str], signs: list[str]) -> str:
    return sides[0] + "".join(
        f" {sign} {side}" for sign, side in zip(signs, sides[1:], strict=True)
    )


def _relation(sign: str, left: str, right: str) -> Value:
    found = difference(read_expression(left), read_expression(right))
    if found.is_constant or all(value == 0 for value in found.values):
        return _NOTHING  # says nothing: 1 = 2, x = x
    return Relation(sign, found)


def _read_inequality(sides: list[str], signs: list[str], depth: int) -> Value | None:
    """Bounds of a letter as the interval that they say; other inequalities as left minus right."""
    if any(sign in {">", "\\ge"} for sign in signs):
        if not all(sign in {">", "\\ge"} for sign in signs):
            return None
        sides, signs = sides[::-1], [_FLIPPED[sign] for sign in signs[::-1]]
    closed = [sign == "\\le" for sign in signs]
    if len(sides) == 3 and _is_name(sides[1]):
        low, high = sides[0], sides[2]
        brackets = f"{'[' if closed[0] else '('}{']' if closed[1] else ')'}"
    elif len(sides) == 2 and _is_name(sides[0]) and not _is_name(sides[1]):
        low, high, brackets = "-\\infty", sides[1], f"({']' if closed[0] else ')'}"
    elif len(sides) == 2 and _is_name(sides[1]) and not _is_name(sides[0]):
        low, high, brackets = sides[0], "\\infty", f"{'[' if closed[0] else '('})"
    elif len(sides) == 2:
        return _relation("<=" if closed[0] else "<", sides[0], sides[1])
    else:
        return None
    name = sides[0] if low == "-\\infty" and len(sides) == 2 else sides[1]
    bounds = _items([low, high], depth)
    if bounds is None:
        return None
    written = compact(f"{brackets[0]}{low}, {high}{brackets[1]}")
    return Named(compact(name), Reading(written, Brackets(brackets, bounds)))


# ---- one value ---------------------------------------------------------------------------------

_DECIMAL = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_PLAIN = re.compile(rf"([+-]?)({_DECIMAL})")
_SCIENTIFIC = re.compile(
    rf"([+-]?)(?:({_DECIMAL})(?:\\times|\\cdot|\*|x))?10(?:\^|\*\*)(?:\{{([+-]?[0-9]+)\}}|([+-]?[0-9]+))"
)
_FRACTION = re.compile(
    rf"([+-]?)(?:([0-9]+)(?= ?\\frac|(?: [0-9]+/)) ?)?"
    rf"(?:\\frac\{{([+-]?{_DECIMAL})\}}\{{([+-]?{_DECIMAL})\}}|({_DECIMAL})/({_DECIMAL}))"
)
_MAX_NUMBER_CHARS = 300


def read_number(text: str) -> Number | None:
    """Read a plainly written number exactly; None for everything else (and for absurd lengths)."""
    body = compact(text)
    if len(body) > _MAX_NUMBER_CHARS:
        return None
    is_percent = body.endswith("%")
    body = body.removesuffix("%")
    while (pair := bracketed(body)) and (pair[0], pair[2]) in {("(", ")"), ("{", "}")}:
        body = pair[1]
    if match := _PLAIN.fullmatch(body):
        value = _signed(match[1], Fraction(match[2]))
        return Number(value, value.denominator != 1, is_percent)
    if match := _SCIENTIFIC.fullmatch(body):
        sign, mantissa, braced, bare = match.groups()
        exponent = int(braced or bare)
        if abs(exponent) > 1000:
            return None
        value = _signed(sign, Fraction(mantissa or "1") * Fraction(10) ** exponent)
        return Number(value, mantissa is not None, is_percent)
    if match := _FRACTION.fullmatch(body):
        sign, whole, *parts = match.groups()
        numerator, denominator = (Fraction(part) for part in parts if part is not None)
        if denominator == 0 or (whole and not 0 < numerator < denominator):
            return None
        value = _signed(sign, Fraction(whole or "0") + numerator / denominator)
        has_decimal = any("." in part for part in parts if part is not None)
        return Number(value, has_decimal and value.denominator != 1, is_percent)
    return None


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value


def _read_plain_number(text: str, depth: int) -> Value | None:
    del depth
    return read_number(text)


def _read_infinity(text: str, depth: int) -> Value | None:
    del depth
    match = re.fullmatch(r"([+-]?) ?\\infty", text)
    return Infinity(-1 if match[1] == "-" else 1) if match else None


_BASE = re.compile(
    r"(-?(?:[0-9A-Z]*\.)?[0-9A-Z]+|\\text\{[0-9A-Z]+\})_(?:\{([0-9]{1,2})\}|([0-9]{1,2}))"
)


def _read_numeral(text: str, depth: int) -> Value | None:
    del depth
    match = _BASE.fullmatch(compact(text))
    if match is None:
        return None
    digits, base = match[1].removeprefix("\\text{").removesuffix("}"), int(match[2] or match[3])
    if not 2 <= base <= 36 or not re.search("[0-9]", digits):
        return None
    try:
        int(digits.replace(".", ""), base)
    except ValueError:  # a digit that the base does not have
        return _NOTHING
    return Numeral(digits, base)


_TIME = re.compile(
    r"([0-9]{1,2})(?: ?: ?([0-9]{2}))?(?: ?: ?([0-9]{2}))? ?(?:\\text\{ ?)?([ap])\.? ?m\.? ?\}?",
    re.I,
)
_CLOCK = re.compile(r"([01]?[0-9]|2[0-4]) ?: ?([0-5][0-9])(?: ?: ?([0-5][0-9]))?")


def _read_time(text: str, depth: int) -> Value | None:
    match = _TIME.fullmatch(text)
    if match:
        return Time(tuple(int(part) for part in match.groups()[:3] if part), match[4].lower())
    if ":" not in text:
        return None
    match = _CLOCK.fullmatch(text)
    if match:
        return Time(tuple(int(part) for part in match.groups() if part), "")
    items = _items(split_top_level(text, ":"), depth)
    simple = items and all(isinstance(i.value, Number | Expression) for i in items)
    return Ratio(items) if items and simple and len(items) > 1 else _NOTHING


# ---- units -------------------------------------------------------------------------------------

_UNIT_PART = r"\\text\{[^{}]*\}|\^ ?\\circ|\^ ?\{? ?-?[0-9] ?\}?|/|\\cdot(?![a-zA-Z])|\\(?:Omega|mu)(?![a-zA-Z])"
_TEXT_UNIT = re.compile(
    rf"(.*[0-9)}}\]!%a-zA-Z]) ?((?:\\text\{{[^{{}}]*\}}|\^ ?\\circ)(?: |{_UNIT_PART})*)"
)
_WORD_UNIT = re.compile(
    r"(.*[0-9}%)]) ?((?:[a-zA-Z]{3,}|cm|km|mm|kg|ft|lb|in)\.?(?:[ /][a-zA-Z]+\.?)*(?: ?\^ ?\{?[0-9]\}?)?)"
)
_NO_UNITS = frozenset(
    re.findall(
        r"\w+",
        "or and not to than if when except minus plus times over mod modulo half halves third thirds "
        "quarter quarters dozen hundred thousand million billion trillion squared cubed factorial "
        "percent root pi infinity between about is are more less most least greater at any all none no "
        "either both negative ",
    )
)
"""Words that say something about the value."""
_SPELLINGS = {
    "centimeter": "cm", "centimetre": "cm", "meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km",
    "millimeter": "mm", "millimetre": "mm", "inch": "in", "inche": "in", "foot": "ft", "feet": "ft", "yard": "yd",
    "mile": "mi", "second": "s", "sec": "s", "minute": "min", "hour": "h", "hr": "h", "gram": "g", "gm": "g",
    "kilogram": "kg", "pound": "lb", "ounce": "oz", "liter": "l", "litre": "l", "dollar": "$", "usd": "$",
    "square": "sq", "cubic": "cu", "mph": "mi/h", "degree": "°", "joule": "J", "newton": "N", "watt": "W",
    "volt": "V", "ampere": "A", "amp": "A", "kelvin": "K", "hertz": "Hz", "pascal": "Pa", "coulomb": "C",
    "mole": "mol", "unit": "", "people": "person", "children": "child",
}  # fmt: skip
"""One spelling for a unit; without the plural's s. "units" alone is none."""


def _unit(text: str) -> str | None:
    r"""A unit in one spelling, e.g. "cm^2" for `\text{ square centimeters}`; None where it is no unit."""
    text = text.replace("^\\circ", " ° ").replace("\\cdot", " ").replace("\\Omega", "Ω")
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).replace("\\mu", "µ")
    text = re.sub(r"\^ ?\{? ?(-?[0-9]) ?\}?", r"^\1", text)
    text = re.sub(r" (?=\^)", "", text)
    text = re.sub(r"\bper\b", "/", text)
    text = re.sub(r" ?/ ?", " / ", text).replace("~", " ")
    words = []
    for word in text.split():
        core, _, power = word.partition("^")
        core = core.strip(".,;()")
        if not re.fullmatch(r"[A-Za-z°$µΩÅ'-]+|/|", core) or core.casefold() in _NO_UNITS:
            return None
        words.append(_spelling(core) + (f"^{power}" if power else ""))
    kept = [word for word in words if word]
    for adjective, power in (("sq", "^2"), ("cu", "^3")):
        if kept[:1] == [adjective]:
            kept = [kept[1] + power, *kept[2:]] if len(kept) > 1 else []
        elif adjective in kept:
            return None
    return " ".join(kept).replace(" / ", "/")


def _spelling(word: str) -> str:
    if word in _SPELLINGS.values():
        return word
    folded = word.casefold().rstrip(".")
    for form in (folded, folded.removesuffix("s"), folded.removesuffix("es")):
        if form in _SPELLINGS:
            return _SPELLINGS[form]
    return folded.removesuffix("s") if len(folded) > 3 else folded


def _read_quantity(text: str, depth: int) -> Value | None:
    match = _TEXT_UNIT.fullmatch(text)
    if match is None:
        match = _WORD_UNIT.fullmatch(text)
        if match is None or read_number(match[1]) is None:
            return None
    unit = _unit(match[2])
    if unit is None:
        return _NOTHING
    magnitude = _read(match[1], depth + 1).value
    constant = isinstance(magnitude, Number) or (
        isinstance(magnitude, Expression) and magnitude.is_constant
    )
    if not constant or magnitude is None:
        return _NOTHING
    return Quantity(magnitude, unit) if unit else magnitude  # pyright: ignore[reportArgumentType]


# ---- words -------------------------------------------------------------------------------------

_WORDS = re.compile(r"\(?[^\W\d_][\w '’.,()-]*")
_BARE_WORDS = re.compile(r"[^\W\d_]+(?:[ '’]+\w+)*")
_CHOICE = re.compile(r"\(?([A-Z])\)?\.?")


def _words(text: str) -> Words | None:
    if _WORDS.fullmatch(text) is None:
        return None
    folded = re.sub(r"[\s()'’.,-]+", " ", text).strip().casefold()
    return Words(folded) if folded else None


def _read_choice(text: str, depth: int) -> Value | None:
    del depth
    match = _CHOICE.fullmatch(text)
    return Choice(match[1]) if match else None


def _read_bare_words(text: str, depth: int) -> Value | None:
    """Letters without `\\text`: three or more in a row are a word, two capitals a name, `xy` is a product."""
    del depth
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text)
    if _BARE_WORDS.fullmatch(text) is None or _PLAIN_FUNCTION.match(text):
        return None
    is_word = re.search(r"[^\W\d_]{3}", text) or re.fullmatch(r"[A-Z]{2}|no|No|NO", text)
    return _words(text) if is_word else None


_PLAIN_FUNCTION = re.compile(
    r"(?:(?:arc)?(?:sin|cos|tan|cot|sec|csc)|ln|log|exp|sqrt|pi)(?![a-zA-Z]{2})"
)


def _read_words(text: str, depth: int) -> Value | None:
    r"""The content of an answer that is one `\text{...}`."""
    for reader in (_read_choice, _read_time, _read_plain_number, _read_numeral):
        found = reader(text, depth)
        if found is not None:
            return None if found is _NOTHING else found
    parts = split_top_level(text, ",")
    if len(parts) > 1 and not re.match(r"[A-Z][a-z]+ [0-9]+,", text):
        items = _items([f"\\text{{{part}}}" for part in parts], depth)
        return Collection("items", items) if items else None
    found = _read_quantity(text, depth)
    return (None if found is _NOTHING else found) or _words(text)


def _read_formula(text: str, depth: int) -> Value | None:
    del depth
    return read_expression(text)


_READERS = (
    _read_matrix,
    _read_list,
    _read_relation,
    _read_union,
    _read_plus_minus,
    _read_choice,
    _read_plain_number,
    _read_infinity,
    _read_numeral,
    _read_time,
    _read_brackets,
    _read_quantity,
    _read_bare_words,
    _read_formula,
)
"""The first that recognises a form decides it."""
