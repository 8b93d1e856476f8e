r"""Whether two answers are equal, and the rule that says so.

Equality is decided between two values of the same kind, each of which was read completely (`readings.py`). Every way
to a "yes" has a name and says what it has compared (`RULES`); there is no other. A yes that took several rules (a list
with a rounded item) carries the weakest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from pure_rlhf.grading.expressions import (
    Expression,
    close_value,
    constant_ratio,
    is_integer,
    same_function,
)
from pure_rlhf.grading.readings import (
    Brackets,
    Choice,
    Collection,
    Infinity,
    Matrix,
    Named,
    Number,
    Numeral,
    Quantity,
    Ratio,
    Reading,
    Relation,
    Time,
    Words,
)

VERSION = 2
"""Of the rules; evaluations that were graded by another version are graded again."""
RELATIVE_TOLERANCE = Fraction(1, 100_000)
"""How far a decimal may be from a value that is not an integer, relative to the larger."""

RULES: dict[str, str] = {
    "written": "the same written form after normalisation; neither is empty",
    "number": "two plainly written numbers of the same rational value",
    "infinity": "two infinities of the same sign",
    "numeral": "the same digits in the same base",
    "words": "the same words up to case and punctuation",
    "choice": "the same capital letter",
    "time": "the same numbers between colons and the same half of the day",
    "ratio": "the quotients of two ratios of numbers, or of one and a number; other ratios term by term",
    "collection": "the items of two lists, sets or unions, paired off in any order, none left over",
    "brackets": "the items of two tuples or intervals in order, between the same brackets",
    "matrix": "the cells of two matrices of the same shape one by one",
    "equation": "left minus right of two equations (or two inequalities of the same sign) up to a constant factor",
    "expression": "two expressions at six fixed points, exactly where rational, else to 40 digits",
    "arithmetic": "a plain number and an unevaluated constant expression, exactly or to 40 digits",
    "order": "a list without brackets as label, and a tuple of the same items in the same order",
    "subject": "a value, and the value of something that is named on one side only (`x = 5`, `x > 2` as an interval)",
    "rounding": f"a decimal and a value that is no integer, to {float(RELATIVE_TOLERANCE):g} of the larger",
    "percent": "a percentage and its number without the sign; for a label with the sign also its hundredth",
    "missing_unit": "the values of a quantity with a unit and of a number without one",
    "missing_base": "the digits of a numeral with a base and of one without",
}
"""Rule -> what it has compared. From the strongest to the weakest."""

LENIENT = frozenset({"rounding", "percent", "missing_unit", "missing_base"})
"""Rules that accept what is not exactly the label; `strict` does without them. They are not transitive: 0.33333 and
0.33334 are each equal to 1/3 up to rounding, 5 cm and 5 m each to 5."""

_NAMES = tuple(RULES)
_STRENGTH = {rule: index for index, rule in enumerate(_NAMES)}


def equal(answer: Reading, label: Reading, *, strict: bool = False) -> str | None:
    r"""The rule by which two answers are equal, or None.

    Symmetric but for three cases. An answer may say more than the label and not less: what it is the value of
    (`a + b = 5` for `5`; the label `x + y = 5` is a line), and an order (`(2, 1)` for the label `2, 1`). And `0.2` is
    right for the label `20 %`, `20 %` not for `0.2`.

    Args:
        strict: refuse what only a rule of `LENIENT` accepts.
    """
    rule = _equal(answer, label)
    return None if strict and rule in LENIENT else rule


def _weakest(rules: Iterable[str | None], own: str) -> str | None:
    """The weakest of the rules for the items; `own` where all of them are stronger; None where one item differs."""
    found = [own]
    for rule in rules:
        if rule is None:
            return None
        found.append(rule)
    weak = [rule for rule in found if _STRENGTH[rule] >= _STRENGTH["arithmetic"]]
    return max(weak, key=_STRENGTH.__getitem__) if weak else own


def _equal(p: Reading, g: Reading) -> str | None:
    if p.written and p.written == g.written:
        return "written"
    if g.sides:  # all sides of a chain must be the answer
        return _weakest((_equal(p, side) for side in g.sides), "number")
    if p.sides:
        return _weakest((_equal(side, g) for side in p.sides), "number")
    compare = _COMPARE.get((type(p.value), type(g.value)))
    return compare(p, g) if compare else None


def _same(rule: str) -> Compare:
    """Values of one kind that are equal as they stand."""

    def compare(p: Reading, g: Reading) -> str | None:
        return rule if p.value == g.value else None

    return compare


# ---- several values ----------------------------------------------------------------------------


def _in_order(a: Sequence[Reading], b: Sequence[Reading], rule: str) -> str | None:
    if len(a) != len(b):
        return None
    return _weakest((_equal(x, y) for x, y in zip(a, b, strict=True)), rule)


def _equal_collections(p: Reading, g: Reading) -> str | None:
    """Pair the items off, each with the strongest rule that one of those left offers."""
    a, b = p.value, g.value
    assert isinstance(a, Collection) and isinstance(b, Collection)
    is_union = (a.kind == "union", b.kind == "union")
    if is_union[0] != is_union[1] or len(a.items) != len(b.items):
        return None
    left = list(a.items)
    rules: list[str] = []
    for item in b.items:
        offers = [(_STRENGTH[rule], i) for i, x in enumerate(left) if (rule := _equal(x, item))]
        if not offers:
            return None
        strength, index = min(offers)
        left.pop(index)
        rules.append(_NAMES[strength])
    return _weakest(rules, "collection")


def _equal_brackets(p: Reading, g: Reading) -> str | None:
    a, b = p.value, g.value
    assert isinstance(a, Brackets) and isinstance(b, Brackets)
    return _in_order(a.items, b.items, "brackets") if a.brackets == b.brackets else None


def _equal_to_list(p: Reading, g: Reading) -> str | None:
    a, b = p.value, g.value
    assert isinstance(a, Brackets) and isinstance(b, Collection)
    if (a.brackets, b.kind) != ("()", "items"):
        return None
    return _weakest([_in_order(a.items, b.items, "brackets")], "order")


def _equal_matrices(p: Reading, g: Reading) -> str | None:
    a, b = p.value, g.value
    assert isinstance(a, Matrix) and isinstance(b, Matrix)
    if (len(a.rows), len(a.rows[0]), a.bars) != (len(b.rows), len(b.rows[0]), b.bars):
        return None
    cells_a, cells_b = ([cell for row in matrix.rows for cell in row] for matrix in (a, b))
    return _in_order(cells_a, cells_b, "matrix")


# ---- numbers and expressions -------------------------------------------------------------------


def _equal_numbers(p: Reading, g: Reading) -> str | None:
    """Exact, or up to rounding; a percent sign as the label has it, or dropped.

    `20` and `0.2` are accepted for the label 20 %; `20 %` for the label 20 (the question asked for a percentage) and
    not for 0.2, or it would be paid for both.
    """
    a, b = p.value, g.value
    assert isinstance(a, Number) and isinstance(b, Number)
    if a.is_percent != b.is_percent:
        hundredth = b.is_percent and a.value * 100 == b.value
        return "percent" if a.value == b.value or hundredth else None
    if a.value == b.value:
        return "number"
    return "rounding" if _is_near(a, b) else None


def _equal_values(p: Reading, g: Reading) -> str | None:
    """Two expressions, or a number and an expression."""
    a, b = p.value, g.value
    assert isinstance(a, Number | Expression) and isinstance(b, Number | Expression)
    if any(isinstance(value, Number) and value.is_percent for value in (a, b)):
        return None
    x, y = _as_expression(a), _as_expression(b)
    if same_function(x, y):
        is_number = isinstance(a, Number) or isinstance(b, Number)
        return "arithmetic" if is_number else "expression"
    return "rounding" if x.is_constant and y.is_constant and _is_near(a, b) else None


def _as_expression(value: Number | Expression) -> Expression:
    if isinstance(value, Expression):
        return value
    return Expression((value.value,), frozenset(), value.is_rounded)


def _is_near(a: Number | Expression, b: Number | Expression) -> bool:
    """Whether two constants agree up to rounding: one of them has a decimal point, and neither is an exact integer."""
    rounded = [v.is_rounded if isinstance(v, Number) else v.has_decimal for v in (a, b)]
    if not any(rounded):
        return False
    x, y = (v.value if isinstance(v, Number) else v.values[0] for v in (a, b))
    if not close_value(x, y, RELATIVE_TOLERANCE):
        return False
    return not any(is_integer(v) and not r for v, r in zip((x, y), rounded, strict=True))


def _equal_quantities(p: Reading, g: Reading) -> str | None:
    """Units that contradict are wrong, a missing one is right: the question has often said it."""
    units = [r.value.unit if isinstance(r.value, Quantity) else "" for r in (p, g)]
    if all(units) and units[0] != units[1]:
        return None
    rule = _equal(*(_without_unit(reading) for reading in (p, g)))
    return rule if units[0] == units[1] else _weakest([rule], "missing_unit")


def _without_unit(reading: Reading) -> Reading:
    value = reading.value
    return Reading("", value.magnitude) if isinstance(value, Quantity) else reading


def _equal_ratios(p: Reading, g: Reading) -> str | None:
    a, b = p.value, g.value
    quotients = [v.quotient if isinstance(v, Ratio) else v for v in (a, b)]
    if isinstance(quotients[0], Number) and isinstance(quotients[1], Number):
        rule = _equal_numbers(*(Reading("", quotient) for quotient in quotients))
        return _weakest([rule], "ratio")
    if isinstance(a, Ratio) and isinstance(b, Ratio):
        return _in_order(a.items, b.items, "ratio")
    return None


def _equal_digits(p: Reading, g: Reading) -> str | None:
    """A numeral of a base, and the same digits without one ("in base 7" stood in the question)."""
    numeral, other = (p, g) if isinstance(p.value, Numeral) else (g, p)
    assert isinstance(numeral.value, Numeral)
    return "missing_base" if other.written == numeral.value.digits else None


# ---- named values, equations -------------------------------------------------------------------


def _equal_named(p: Reading, g: Reading) -> str | None:
    """The value of something against a value, or against the value of the same thing; equations among themselves."""
    a, b = p.value, g.value
    if isinstance(a, Named) and isinstance(b, Named) and a.name and a.name == b.name:
        return _weakest([_equal(a.value, b.value)], "equation")
    if isinstance(a, Named | Relation) and isinstance(b, Named | Relation):
        equations = [v.equation if isinstance(v, Named) else v for v in (a, b)]
        if equations[0] is None or equations[1] is None:
            return None
        return _equal_equations(equations[0], equations[1])
    if isinstance(a, Named):
        return _weakest([_equal(a.value, g)], "subject")
    assert isinstance(b, Named)
    return _weakest([_equal(p, b.value)], "subject") if b.name else None


def _equal_relations(p: Reading, g: Reading) -> str | None:
    assert isinstance(p.value, Relation) and isinstance(g.value, Relation)
    return _equal_equations(p.value, g.value)


def _equal_equations(a: Relation, b: Relation) -> str | None:
    if a.sign != b.sign:
        return None
    ratio = constant_ratio(a.difference, b.difference)
    if ratio is None:
        return None
    is_directed = a.sign in {"<", "<="}
    return "equation" if not is_directed or ratio > 0 else None


# ---- which kinds are compared at all -------------------------------------------------------------

Compare = Callable[[Reading, Reading], str | None]
_PLAIN_KINDS = (
    Number,
    Infinity,
    Words,
    Choice,
    Time,
    Ratio,
    Collection,
    Brackets,
    Matrix,
    Expression,
)
_COMPARE: dict[tuple[type, type], Compare] = {
    (Number, Number): _equal_numbers,
    (Number, Expression): _equal_values,
    (Expression, Number): _equal_values,
    (Expression, Expression): _equal_values,
    (Infinity, Infinity): _same("infinity"),
    (Numeral, Numeral): _same("numeral"),
    (Words, Words): _same("words"),
    (Choice, Choice): _same("choice"),
    (Time, Time): _same("time"),
    (Ratio, Ratio): _equal_ratios,
    (Ratio, Number): _equal_ratios,
    (Number, Ratio): _equal_ratios,
    (Quantity, Quantity): _equal_quantities,
    (Collection, Collection): _equal_collections,
    (Brackets, Brackets): _equal_brackets,
    (Brackets, Collection): _equal_to_list,
    (Matrix, Matrix): _equal_matrices,
    (Relation, Relation): _equal_relations,
    (Named, Named): _equal_named,
    **{pair: _equal_quantities for kind in (Number, Expression) for pair in ((kind, Quantity), (Quantity, kind))},
    **{pair: _equal_digits for kind in (Number, Expression, type(None)) for pair in ((kind, Numeral), (Numeral, kind))},
    **{pair: _equal_named for kind in (*_PLAIN_KINDS, Numeral, Quantity, Relation)
       for pair in ((kind, Named), (Named, kind))},
}  # fmt: skip
"""(kind of the answer, kind of the label) -> how they are compared; all other pairs are different."""
