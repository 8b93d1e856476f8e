r"""Changes of a right answer that must make it wrong, and rewritings that must leave it right.

A change is told from a rewriting by construction, not by a grader. Where a changed answer is right all the same, it is
for one of the reasons of `excuse`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

from pure_rlhf.grading.final_answer import read_answer
from pure_rlhf.grading.notation import bracketed, split_top_level
from pure_rlhf.grading.readings import (
    Brackets,
    Choice,
    Collection,
    Expression,
    Matrix,
    Named,
    Number,
    Numeral,
    Quantity,
    Reading,
    Relation,
)

Change = Callable[[str, random.Random], str | None]


def _digit(text: str, rng: random.Random) -> str | None:
    places = [match.start() for match in re.finditer(r"[0-9]", text)]
    if not places:
        return None
    place = rng.choice(places)
    other = rng.choice([d for d in "0123456789" if d != text[place]])
    return text[:place] + other + text[place + 1 :]


def _sign(text: str, rng: random.Random) -> str | None:
    signs = [match.start() for match in re.finditer(r"(?<![a-z])[-+](?=[0-9a-zA-Z\\( ])", text)]
    if not signs:
        return f"-{text}" if re.match(r"[1-9a-zA-Z\\]", text) and "," not in text else None
    place = rng.choice(signs)
    return text[:place] + ("+" if text[place] == "-" else "-") + text[place + 1 :]


def _bound(text: str, rng: random.Random) -> str | None:
    """A finite number in the place of an infinity."""
    if "\\infty" not in text:
        return None
    return re.sub(r"[-+]?\s*\\infty", str(rng.randrange(50, 99)), text, count=1)


def _bracket(text: str, rng: random.Random) -> str | None:
    """An interval or point with another bracket on one side."""
    del rng
    if not isinstance(read_answer(text).value, Brackets):
        return None
    pair = bracketed(text.strip())
    if pair is None or pair[0] not in "([":
        return None
    return ("[" if pair[0] == "(" else "(") + pair[1] + pair[2]


def _parts(text: str) -> tuple[str, list[str], str] | None:
    pair = bracketed(text.strip())
    opener, content, closer = pair if pair else ("", text.strip(), "")
    parts = split_top_level(content, ",")
    return (opener, parts, closer) if len(parts) > 1 else None


def _dropped(text: str, rng: random.Random) -> str | None:
    found = _parts(text)
    if found is None:
        return None
    opener, parts, closer = found
    parts.pop(rng.randrange(len(parts)))
    return opener + ", ".join(parts) + closer


def _doubled(text: str, rng: random.Random) -> str | None:
    found = _parts(text)
    if found is None:
        return None
    opener, parts, closer = found
    parts.append(rng.choice(parts))
    return opener + ", ".join(parts) + closer


def _swapped(text: str, rng: random.Random) -> str | None:
    """Coordinates in another order."""
    del rng
    found = _parts(text)
    if found is None or not isinstance(read_answer(text).value, Brackets):
        return None
    opener, parts, closer = found
    return opener + ", ".join([parts[-1], *parts[1:-1], parts[0]]) + closer


def _variable(text: str, rng: random.Random) -> str | None:
    """One variable of an expression or equation as another that it has not."""
    value = read_answer(text).value
    is_formula = isinstance(value, Expression) and not value.is_constant
    if not (is_formula or isinstance(value, Relation | Named)) or "\\text" in text:
        return None
    letters = re.findall(r"(?<![a-zA-Z\\])[a-zA-Z](?![a-zA-Z])", text)
    letters = [letter for letter in letters if letter not in "eidfgh"]
    if not letters:
        return None
    other = next(letter for letter in "wvuqzt" if letter not in text)
    return re.sub(rf"(?<![a-zA-Z\\]){rng.choice(letters)}(?![a-zA-Z])", other, text)


def _base(text: str, rng: random.Random) -> str | None:
    del rng
    value = read_answer(text).value
    return (
        f"{value.digits}_{{{value.base % 35 + 2}}}"
        if isinstance(value, Numeral) and value.base > 12
        else f"{value.digits}_{{{value.base + 1}}}"
        if isinstance(value, Numeral)
        else None
    )


def _unit(text: str, rng: random.Random) -> str | None:
    del rng
    value = read_answer(text).value
    if not isinstance(value, Quantity):
        return None
    return re.sub(
        r"\\(?:text|mbox|textnormal|mathrm) ?\{[^{}]*\}", r"\\text{ furlongs}", text, count=1
    )


def _choice(text: str, rng: random.Random) -> str | None:
    value = read_answer(text).value
    if not isinstance(value, Choice):
        return None
    return rng.choice([letter for letter in "ABCDE" if letter != value.letter])


CHANGES: dict[str, Change] = {
    "digit": _digit,
    "sign": _sign,
    "bound": _bound,
    "bracket": _bracket,
    "dropped item": _dropped,
    "doubled item": _doubled,
    "swapped coordinates": _swapped,
    "variable": _variable,
    "base": _base,
    "unit": _unit,
    "choice": _choice,
}


def changed(text: str, seed: int = 0) -> Iterator[tuple[str, str]]:
    """(kind of change, changed answer), one of each kind that the answer allows."""
    for name, change in CHANGES.items():
        made = change(text, random.Random(f"{seed}/{name}/{text}"))
        if made is not None and made != text:
            yield name, made


def excuse(kind: str, answer: str, made: str, rule: str) -> str | None:
    """Why a changed answer may be right all the same, or None: then it is a hole."""
    before, after = read_answer(answer), read_answer(made)
    if rule == "rounding":
        return "within the tolerance of a decimal"
    if before.written == after.written:
        return "the notation says the same"
    if kind == "sign" and re.search(r"[-+] ?0(?![0-9.])", answer + made):
        return "0 has no sign"
    if kind == "sign" and (_is_even(before, after) or "\\pm" in answer):
        return "the expression does not hang on that sign"
    parts = _parts(answer)
    if kind == "swapped coordinates" and parts and _reads_same(parts[1][0], parts[1][-1]):
        return "equal coordinates"
    if kind in {"digit", "variable"} and isinstance(before.value, Named | Quantity):
        if kind == "variable" and rule == "subject":
            return "the label does not say what it is the value of"
        if _core(before) == _core(after):
            return "the change is in the name or in the unit, which the label does not have"
    if kind in {"unit", "base"} and rule in {"missing_unit", "missing_base"}:
        return "the label has no unit (or base) to contradict"
    if kind == "sign" and isinstance(before.value, Relation | Named) and _is_scaled(answer):
        return "an equation times -1"
    if kind == "digit" and re.search(r"(?<![0-9])0+[0-9]|\.[0-9]*0+(?![0-9])", answer + made):
        return "a zero that means nothing"
    return None


def _reads_same(a: str, b: str) -> bool:
    return read_answer(a).written == read_answer(b).written


def _core(reading: Reading) -> object:
    value = reading.value
    if isinstance(value, Named):
        return value.value.value
    return value.magnitude if isinstance(value, Quantity) else value


def _is_even(before: Reading, after: Reading) -> bool:
    """Two expressions whose values are the same at every point, by their own numbers."""
    a, b = _core(before), _core(after)
    if isinstance(a, Number) and isinstance(b, Number):
        return a.value == b.value
    if isinstance(a, Expression) and isinstance(b, Expression):
        return [str(v)[:25] for v in a.values] == [str(v)[:25] for v in b.values]
    return False


def _is_scaled(answer: str) -> bool:
    return "= 0" in answer or "=0" in answer


# ---- harmless rewriting ------------------------------------------------------------------------


def rewritten(text: str) -> Iterator[tuple[str, str]]:
    """(kind of rewriting, answer that says the same)."""
    text = text.strip().rstrip(".,;")
    yield "spaces", f"  {text} "
    yield "mathematics mode", f"${text}$" if "$" not in text else text
    yield "full stop", f"{text}."
    yield "box", f"\\boxed{{{text}}}"
    if "\\frac" in text and "\\dfrac" not in text:
        yield "display fraction", text.replace("\\frac", "\\dfrac")
    if bracketed(text.strip()) and "\\left" not in text and text.strip()[0] in "([":
        body = text.strip()
        yield "sized brackets", f"\\left{body[:-1]}\\right{body[-1]}"
    value = read_answer(text).value
    if isinstance(value, Number) and value.value.denominator == 1 and text.strip().isdigit():
        yield "decimal point", f"{text.strip()}.0"
        yield "leading zero", f"0{text.strip()}"
        yield "plus", f"+{text.strip()}"
    if isinstance(value, Expression) and text.strip().count("=") == 0:
        yield "times one", f"1 \\cdot ({text.strip()})"
        yield "brackets", f"({text.strip()})"
        yield "plus zero", f"{text.strip()} + 0"
    parts = _parts(text) if isinstance(value, Collection) and "\\text" not in text else None
    if parts and parts[0] in {"", "\\{"}:
        yield "other order", parts[0] + ", ".join(reversed(parts[1])) + parts[2]
    if isinstance(value, Number | Expression | Brackets | Matrix):
        yield "name", f"x = {text.strip()}" if "x" not in text else f"w = {text.strip()}"
