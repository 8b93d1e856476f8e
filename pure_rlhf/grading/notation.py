r"""One notation for one answer, and the brackets, lists and units in it.

What two graders of the field get wrong is mostly notation, not mathematics: `4.5e33`, `6\,700`, `\approx 28.71`,
`3 \text{ cm}`. `normalise` turns notation into one form; nothing here decides what an answer means. Standard library
only. Answers reach it only up to `readings.MAX_CHARS` characters.
"""

# ruff: noqa: RUF001 (typographic characters are what is normalised)

from __future__ import annotations

import re

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
    (re.compile(pattern, re.ASCII), replacement)
    for pattern, replacement in [
        (r"\s+", " "),
        # Digit groups: 1{,}000, 1,\!000 and 6\,700 can be nothing else; a plain comma is decided later.
        (r"(?<=\d)(?:\{,\}|,\s*\\!|(?<!\\)\\[, ]|~)(?=\d{3}(?!\d))", ""),
        (r"\\!|(?<!\\)\\(?=\d)", ""),
        (r"(?<!\\)\\[$]|(?<!\\)[$]", ""),  # currency and math mode
        (r"(?<!\\)\\[()\[\]]", " "),
        (r"(?:\s|(?<!\\)\\[,;:> ]|~|\\q?quad(?![a-zA-Z]))+", " "),  # no run of spaces below
        (r"\\phantom ?(?:\{[^{}]*\}|\S)", ""),
        (r"\\(?:left|right)(?:\.|(?![a-zA-Z]))|\\[bB]igg?[lrm]?(?![a-zA-Z])", ""),
        (r"\\(?:displaystyle|textstyle|limits|nolimits)(?![a-zA-Z])", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (
            r"\\(?:text(?:bf|it|rm|sf|normal)|math(?:it|rm|sf)|mbox|operatorname)(?= ?\{)",
            r"\\text",
        ),
        (r"\\mathbf ?\{ ?(-?[\d.]+) ?\}", r"\1"),
        (r"\\mathbf(?= ?\{)", r"\\text"),
        (r"\\text ?\{", r"\\text{"),
        (r"\\[lr]vert(?![a-zA-Z])", "|"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\varnothing(?![a-zA-Z])", r"\\emptyset"),
        (r"\\(le|ge|ne)(?:q|qslant)(?![a-zA-Z])", r"\\\1"),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\frac ?(\d|[a-z]) ?(\d|[a-z])", r"\\frac{\1}{\2}"),
        (r"\\frac ?(\d|[a-z]) ?\{", r"\\frac{\1}{"),
        (r"\\frac ?(\{[^{}]*\}) ?(\d|[a-z])", r"\\frac\1{\2}"),
        (r"\\sqrt ?(\d|[a-z])", r"\\sqrt{\1}"),
        (r"\\text\{ ?(?:percent|pct) ?\}| ?\\%| ?\bpercent\b", "%"),
        (r"\^ ?\{? ?\\circ ?\}?|\\degree(?![a-zA-Z])|\\text\{ ?degrees? ?\}", r"^\\circ "),
        (
            r" ?,? ?(?:\\text\{ ?,? ?(?:and|or) ?,? ?\}|(?:(?<=\s)|(?<=,))(?:and|or)(?=\s)) ?",
            ", ",
        ),
        # x = k\pi \text{ for } k \in \mathbb{Z}: the range of a parameter is not part of the value.
        (r" ?\\text\{ ?,? ?(?:for|where|with)\b[^{}]*\}.*$", ""),
        (r", ?\(?[a-z] ?\\in ?\\mathbb ?\{?[A-Z]\}?\)?$", ""),
        # 4.5e33 is a number, not 4.5 * e * 33.
        (r"(?<![\w.}\\])(\d+\.?\d*|\.\d+)[eE]([+-]?\d+)(?!\w|\.\d)", r"\1\\times 10^{\2}"),
        (r"(^|[(\[,{=]) ?\+", r"\1"),  # unary plus: (2,+\infty)
        (r",(?: ?,)+", ","),
        (r"\s+", " "),
    ]
]
_LEADING = re.compile(r"^(?:\\(?:approx|sim|simeq)(?![a-zA-Z])|[=:])\s*")
_THOUSANDS = re.compile(r"(^|= ?)(-?[0-9]{1,3}(?:,[0-9]{3})+)(?![0-9,])")


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
        text = _LEADING.sub("", text).strip()
    return _THOUSANDS.sub(lambda match: match[1] + match[2].replace(",", ""), text)


def compact(text: str) -> str:
    """`text` without the spaces that carry no meaning (those between two digits do)."""
    return re.sub(r"(?<![0-9])\s+|\s+(?![0-9])", "", text)


def split_top_level(text: str, *separators: str) -> list[str]:
    """Split at separators that stand outside all brackets; [text] when the brackets do not balance."""
    return [part for part, _ in split_with_separators(text, *separators)]


def split_with_separators(text: str, *separators: str) -> list[tuple[str, str]]:
    r"""(part, separator after it) of a split outside all brackets; the last separator is "".

    A separator that is a command ends where its letters end: `\le` is not in `\left`.
    """
    parts: list[tuple[str, str]] = []
    depth = start = index = 0
    while index < len(text):
        character = text[index]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif depth == 0:
            found = next((s for s in separators if _stands_at(text, index, s)), None)
            if found is not None:
                parts.append((text[start:index].strip(), found))
                index += len(found)
                start = index
                continue
        if depth < 0:
            return [(text, "")]
        index += 1
    parts.append((text[start:].strip(), ""))
    return parts if depth == 0 else [(text, "")]


def _stands_at(text: str, index: int, separator: str) -> bool:
    if not text.startswith(separator, index):
        return False
    following = text[index + len(separator) : index + len(separator) + 1]
    return not (separator[-1].isalpha() and following.isalpha())


def bracketed(text: str) -> tuple[str, str, str] | None:
    r"""(opener, content, closer) when one pair of brackets holds the whole text; `\{` and `{` are told apart."""
    body = text.strip()
    if body.startswith("\\{") and body.endswith("\\}") and len(body) >= 4:
        opener, content, closer, inner = "\\{", body[2:-2], "\\}", body[1:-2] + "}"
    elif len(body) >= 2 and body[0] in "([{" and body[-1] in ")]}" and body[-2] != "\\":
        opener, content, closer, inner = body[0], body[1:-1], body[-1], body
    else:
        return None
    depth = 0
    for index, character in enumerate(inner):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and index < len(inner) - 1:
            return None
    return (opener, content.strip(), closer) if depth == 0 else None
