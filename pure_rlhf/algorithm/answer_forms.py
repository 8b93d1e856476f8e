r"""The written forms of a final answer: normalisation, numbers, lists, units, number bases.

What two graders of the field get wrong is mostly notation, not mathematics: `4.5e33`, `6\,700`,
`\approx 28.71`, `3 \text{ cm}`, `52_7` against `52_8`. This module turns notation into one form and
reads the forms that need no computer algebra, so that `verifiable_reward.py` asks it only about
true expressions. Standard library only; every function is linear in the length of the answer.
"""

# ruff: noqa: RUF001 (typographic characters are what is normalised)

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

RELATIVE_TOLERANCE = Fraction(1, 100_000)
"""How far a decimal may be from a value that is not an integer, relative to that value."""

_UNICODE = {
    "−": "-",
    "–": "-",
    "—": "-",
    "×": r"\times ",
    "·": r"\cdot ",
    "÷": "/",
    "π": r"\pi ",
    "∞": r"\infty ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "∪": r"\cup ",
    "∈": r"\in ",
    "±": r"\pm ",
    "°": r"^\circ ",
    "′": "'",
    "（": "(",
    "）": ")",
    "，": ",",
    "\u00a0": " ",
    "％": "%",
}

_REWRITES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\s+", " "),
        # Digit groups: 1{,}000, 1,\!000 and 6\,700 can be nothing else; a plain comma is decided
        # later.
        (r"(?<=\d)(?:\{,\}|,\s*\\!|(?<!\\)\\[, ]|~)(?=\d{3}(?!\d))", ""),
        (r"\\!|(?<!\\)\\(?=\d)", ""),
        (r"(?<!\\)\\[$]|(?<!\\)[$]", ""),  # currency and math mode
        (r"(?<!\\)\\[()\[\]]", " "),
        (r"(?:\s|(?<!\\)\\[,;:> ]|~|\\q?quad(?![a-zA-Z]))+", " "),  # no run of spaces below
        (r"\\(?:left|right)(?:\.|(?![a-zA-Z]))|\\[bB]igg?[lrm]?(?![a-zA-Z])", ""),
        (r"\\(?:displaystyle|textstyle|limits|nolimits)(?![a-zA-Z])", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (
            r"\\(?:text(?:bf|it|rm|sf|normal)|math(?:bf|it|rm|sf)|mbox|operatorname)(?= ?\{)",
            r"\\text",
        ),
        (r"\\[lr]vert(?![a-zA-Z])", "|"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\(le|ge|ne)(?:q|qslant)(?![a-zA-Z])", r"\\\1"),
        (r"\\frac ?([0-9a-z]) ?([0-9a-z])", r"\\frac{\1}{\2}"),
        (r"\\frac ?([0-9a-z]) ?\{", r"\\frac{\1}{"),
        (r"\\frac ?(\{[^{}]*\}) ?([0-9a-z])", r"\\frac\1{\2}"),
        (r"\\sqrt ?([0-9a-z])", r"\\sqrt{\1}"),
        (r"\\text ?\{ ?(?:percent|pct) ?\}| ?\\%| ?\bpercent\b", "%"),
        (r"\^ ?\{? ?\\circ ?\}?|\\degree(?![a-zA-Z])|\\text ?\{ ?degrees? ?\}", r"^\\circ "),
        (r" ?,? ?(?:\\text ?\{ ?,? ?(?:and|or) ?\}|(?<=\s)(?:and|or)(?=\s)) ?", ", "),
        # x = k\pi \text{ for } k \in \mathbb{Z}: the range of a parameter is not part of the value.
        (r" ?\\text ?\{ ?,? ?(?:for|where|with)\b[^{}]*\}.*$", ""),
        (r", ?\(?[a-z] ?\\in ?\\mathbb ?\{?[A-Z]\}?\)?$", ""),
        # 4.5e33 is a number, not 4.5 * e * 33.
        (r"(?<![\w.}\\])(\d+\.?\d*|\.\d+)[eE]([+-]?\d+)(?![\w.])", r"\1\\times 10^{\2}"),
        (r"(^|[(\[,{=]) ?\+", r"\1"),  # unary plus: (2,+\infty)
        (r"\s+", " "),
    ]
]
_LEADING = re.compile(r"^(?:\\(?:approx|sim|simeq)(?![a-zA-Z])|[=:])\s*")
_MEMBERSHIP = re.compile(r"^[a-zA-Z]\s*\\in(?![a-zA-Z])\s*")
_THOUSANDS = re.compile(r"^-?\d{1,3}(?:,\d{3})+(?![\d,])")
_DECIMAL = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_PLAIN = re.compile(rf"^([+-]?)({_DECIMAL})$")
_SCIENTIFIC = re.compile(
    rf"^([+-]?)(?:({_DECIMAL})(?:\\times|\\cdot|\*|x))?10(?:\^|\*\*)(?:\{{([+-]?[0-9]+)\}}|([+-]?[0-9]+))$"
)
_FRACTION = re.compile(
    rf"^([+-]?)(?:([0-9]+)(?= ?\\frac|(?: [0-9]+/)) ?)?"
    rf"(?:\\frac\{{([+-]?{_DECIMAL})\}}\{{([+-]?{_DECIMAL})\}}|({_DECIMAL})/({_DECIMAL}))$"
)
_BASE = re.compile(r"^([0-9A-Z]+)_(?:\{([0-9]{1,2})\}|([0-9]{1,2}))$")
_TEXT_UNIT = re.compile(
    r"(?<=[\d})\]%.])\s*(?:\\text\s*\{[^{}]*\}|\^\\circ)"
    r"(?:\s|\\text\s*\{[^{}]*\}|\^\s*\{?-?\d+\}?|/|\\cdot|\^\\circ)*$"
)
_WORD_UNIT = re.compile(r"^(.*[\d}%])(?:\s+(?:[a-zA-Z]{3,}|cm|km|mm|kg|ft|lb)\b[\^\d]*)+$")
_MAX_NUMBER_CHARS = 300


@dataclass(frozen=True)
class PlainNumber:
    """A number that was written as one: an integer, a decimal, m x 10^n, a/b or a mixed number."""

    value: Fraction
    is_decimal: bool  # written with a decimal point or a power of ten: equality is up to rounding
    is_percent: bool


def normalise(answer: str) -> str:
    r"""One notation for one answer; idempotent, keeps braces and brackets.

    Example: `normalise(r"$\approx 6\,700 \text{ cm}$.") == r"6700 \text{ cm}"`.
    """
    text = answer.strip().strip("*").replace("\n", " ")
    for symbol, latex in _UNICODE.items():
        text = text.replace(symbol, latex)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = text.strip().rstrip(".,;: ")
    previous = None
    while previous != text:
        previous = text
        text = _MEMBERSHIP.sub("", _LEADING.sub("", text)).strip()
    grouped = _THOUSANDS.match(text)
    if grouped:
        text = grouped.group().replace(",", "") + text[grouped.end() :]
    return text


def compact(text: str) -> str:
    """`text` without the spaces that carry no meaning (those between two digits do)."""
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def strip_units(text: str) -> str:
    r"""Drop a trailing unit: `\text{...}` after a number or a bracket, degrees, and words after a
    plain number.

    A lone letter is not taken for a unit: `6m` is a product.
    """
    stripped = _TEXT_UNIT.sub("", text).strip()
    words = _WORD_UNIT.match(stripped)
    if words and parse_number(words.group(1)) is not None:
        stripped = words.group(1)
    return stripped or text


def parse_number(text: str) -> PlainNumber | None:
    """Read a plainly written number exactly; None for everything else (and for absurd lengths)."""
    if len(text) > _MAX_NUMBER_CHARS:
        return None
    body = compact(text)
    is_percent = body.endswith("%")
    body = _unwrap(body.removesuffix("%"))
    if match := _PLAIN.match(body):
        sign, digits = match.groups()
        return PlainNumber(_signed(sign, Fraction(digits)), "." in digits, is_percent)
    if match := _SCIENTIFIC.match(body):
        sign, mantissa, braced, bare = match.groups()
        exponent = int(braced or bare)
        if abs(exponent) > 1000:
            return None
        value = Fraction(mantissa or "1") * Fraction(10) ** exponent
        return PlainNumber(_signed(sign, value), mantissa is not None, is_percent)
    if match := _FRACTION.match(body):
        sign, whole, *parts = match.groups()
        numerator, denominator = (Fraction(part) for part in parts if part is not None)
        if denominator == 0 or (whole and not 0 < numerator < denominator):
            return None
        value = Fraction(whole or "0") + numerator / denominator
        return PlainNumber(_signed(sign, value), False, is_percent)
    return None


def parse_based(text: str) -> tuple[str, int] | None:
    """`52_{7}` or `52_7` as ("52", 7); None when it is not a numeral of a base between 2 and 36."""
    match = _BASE.match(compact(text))
    if match is None:
        return None
    digits, base = match.group(1), int(match.group(2) or match.group(3))
    return (digits, base) if 2 <= base <= 36 else None


def text_content(text: str) -> str | None:
    r"""The words of an answer that is one `\text{...}`; None for other answers."""
    match = re.fullmatch(r"\\text\s*\{([^{}]*)\}", text.strip())
    return match.group(1).strip().strip(".") if match else None


def split_top_level(text: str, separator: str) -> list[str]:
    """Split at a separator that stands outside all brackets; [text] when the brackets do not
    balance.
    """
    parts, depth, start, index = [], 0, 0, 0
    while index < len(text):
        if text[index] in "([{":
            depth += 1
        elif text[index] in ")]}":
            depth -= 1
        elif depth == 0 and text.startswith(separator, index):
            parts.append(text[start:index].strip())
            index += len(separator)
            start = index
            continue
        if depth < 0:
            return [text]
        index += 1
    parts.append(text[start:].strip())
    return [text] if depth != 0 else parts


def bracketed(text: str) -> tuple[str, str, str] | None:
    r"""(opener, content, closer) when one pair of brackets holds the whole text; `\{` and `{` open
    a set.
    """
    body = text.strip()
    if len(body) < 2 or body[0] not in "([{\\" or body[-1] not in ")]}":
        return None
    if body.startswith("\\"):
        if not (body.startswith("\\{") and body.endswith("\\}")):
            return None
        opener, content, closer, inner = "{", body[2:-2], "}", body[1:-2] + "}"
    else:
        opener, content, closer, inner = body[0], body[1:-1].removesuffix("\\"), body[-1], body
    depth = 0
    for index, character in enumerate(inner):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and index < len(inner) - 1:
            return None
    return (opener, content.strip(), closer) if depth == 0 else None


def _unwrap(text: str) -> str:
    while (pair := bracketed(text)) and (pair[0], pair[2]) in {("(", ")"), ("{", "}")}:
        text = pair[1]
    return text


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value
