r"""Mathematical expressions in LaTeX: read completely or refused, then compared by their values.

An expression is parsed by recursive descent; one token that has no meaning here refuses the whole (`Unreadable`), so
that nothing is ever compared in part. Two expressions are the same function when their values agree at fixed points
(exactly where they are rational, else to 40 digits), which takes milliseconds and needs no simplification. Every size
is bounded before it is computed: `9^{9^{9^9}}` is refused, not evaluated.

Why not a library's parser: `latex2sympy2_extended` 1.11 (of `math-verify` 0.9) reads `2 3` as 5, `x'` as `x`, `A` as
`a`, `3!!` as (3!)! and `2 \pmod 5` as letters, and stops silently where a string that it began is over.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import mpmath

MAX_TOKENS = 400
MAX_DEPTH = 40
MAX_BITS = 1 << 15
"""Size of an exact number, about 9,800 digits; a larger one is refused."""
MAX_FACTORIAL = 2500
DIGITS = 60
"""Precision of what is not rational."""
_RELATIVE_ERROR = mpmath.mpf(10) ** -40
_NUM_POSITIVE = 3
_NUM_POINTS = 6
"""Points of an expression with variables: at first all positive (two near 1, one farther out), then of both signs."""
_NEEDED = 2
"""Points at which an expression must have a value; farther out it may be too large, below 0 undefined."""

_mp = mpmath.MPContext()
_mp.dps = DIGITS

Value = Any
"""A `Fraction`, or an mpf or mpc of `_mp` (mpmath has no types); None where an expression has no value."""
Node = tuple[Any, ...]


class Unreadable(ValueError):
    """Not an expression that can be read to its end and evaluated."""


@dataclass(frozen=True)
class Expression:
    """What an expression is worth.

    Args:
        values: one value of a constant, `_NUM_POINTS` of a function, at points that hang on the names alone.
        names: its variables.
        has_decimal: whether a number in it has a decimal point.
    """

    values: tuple[Value, ...]
    names: frozenset[str]
    has_decimal: bool

    @property
    def is_constant(self) -> bool:
        return not self.names

    @cached_property
    def first(self) -> complex:
        """The first value in double precision, infinite where it does not fit: most comparisons end there."""
        try:
            return complex(self.values[0])
        except OverflowError:
            return complex(math.inf)


def read_expression(text: str) -> Expression:
    r"""Parse and evaluate, e.g. `read_expression(r"2\sqrt{3}").values[0]` is 3.4641...

    Raises:
        Unreadable: a token without meaning, an ambiguous form (`2 5`, `a^b^c`, `3!!`), a value that is undefined or
            too large, or more than `MAX_TOKENS` tokens.
    """
    parser = _Parser(_tokenise(text))
    tree = parser.parse()
    names = frozenset(parser.names)
    count = _NUM_POINTS if names else 1
    return Expression(
        tuple(_settle(tree, index) for index in range(count)), names, parser.has_decimal
    )


def same_value(a: Value, b: Value) -> bool:
    """Equal exactly where both are rational, else to 40 digits."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    a, b = _approximate(a), _approximate(b)
    return bool(abs(a - b) <= _RELATIVE_ERROR * max(abs(a), abs(b)))


def close_value(a: Value, b: Value, relative_error: Fraction) -> bool:
    """Equal up to a relative difference."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return abs(a - b) <= relative_error * max(abs(a), abs(b))
    bound = _approximate(relative_error)
    a, b = _approximate(a), _approximate(b)
    return bool(abs(a - b) <= bound * max(abs(a), abs(b)))


def is_integer(value: Value) -> bool:
    """Whether a value is an integer, as far as 40 digits tell."""
    if isinstance(value, Fraction):
        return value.denominator == 1
    return _is_real(value) and same_value(value, _mp.nint(_mp.re(value)))


def same_function(a: Expression, b: Expression) -> bool:
    """Equal at all points where both have a value; of both signs, only where both are real: else it is no domain."""
    if abs(a.first - b.first) > 1e-9 * abs(a.first):  # False where one is not finite
        return False
    if a.is_constant and b.is_constant:
        return same_value(a.values[0], b.values[0])
    for index in range(_NUM_POINTS):
        value_a, value_b = (e.values[0 if e.is_constant else index] for e in (a, b))
        if value_a is None or value_b is None:
            continue
        if index >= _NUM_POSITIVE and not (_is_real(value_a) and _is_real(value_b)):
            continue
        if not same_value(value_a, value_b):
            return False
    return True


def constant_ratio(a: Expression, b: Expression) -> Value | None:
    """The number k with a = k b at all points, or None; both must hang on a variable and be 0 nowhere there."""
    if a.is_constant or b.is_constant:
        return None
    ratios: list[Value] = []
    for x, y in zip(a.values, b.values, strict=True):
        if x is None or y is None:
            continue
        if x == 0 or y == 0:
            return None
        ratios.append(_divide(x, y))
    same = all(same_value(ratio, ratios[0]) for ratio in ratios)
    return ratios[0] if same and _is_real(ratios[0]) else None


def difference(a: Expression, b: Expression) -> Expression:
    """a - b.

    Raises:
        Unreadable: one value is too large to subtract.
    """
    names = a.names | b.names
    count = _NUM_POINTS if names else 1
    pairs = ((e.values * count)[:count] if e.is_constant else e.values for e in (a, b))
    values = tuple(
        None if x is None or y is None else _snap(_add(x, -y), x)
        for x, y in zip(*pairs, strict=True)
    )
    return Expression(values, names, a.has_decimal or b.has_decimal)


# ---- tokens ------------------------------------------------------------------------------------

_GREEK = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "varrho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Sigma",
    "Upsilon",
    "Phi",
    "Psi",
    "Omega",
    "hbar",
    "ell",
]
_FUNCTIONS = [
    "arcsin",
    "arccos",
    "arctan",
    "arccot",
    "sinh",
    "cosh",
    "tanh",
    "sin",
    "cos",
    "tan",
    "cot",
    "sec",
    "csc",
    "ln",
    "log",
    "lg",
    "exp",
    "sqrt",
]
_PLAIN_WORDS = "|".join([*_FUNCTIONS, "pi"])
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)|\\(?:text|operatorname) ?\{{ ?(?P<upright>[a-z]+) ?\}}"
    rf"|\\(?P<command>[a-zA-Z]+)|(?P<word>(?:{_PLAIN_WORDS})(?![a-zA-Z]))|(?P<letter>[a-zA-Z])|(?P<symbol>[-+*/^_!()\[\]{{}}|']))",
    re.ASCII,
)
_SUBSCRIPT = re.compile(
    r"\s*(?:\{(?:[\w ,+\\'-]|\{[\w ]*\})*\}|[0-9]+|[a-zA-Z]|\\[a-zA-Z]+)", re.ASCII
)
_DECORATED = frozenset(
    [
        "bar",
        "hat",
        "vec",
        "tilde",
        "dot",
        "ddot",
        "overline",
        "mathbf",
        "boldsymbol",
        "mathcal",
        "mathbb",
    ]
)
_UNKNOWN_FUNCTIONS = frozenset("fgh")

Token = tuple[str, str, int]  # kind, text, end in the source


def _tokenise(text: str) -> tuple[str, list[Token]]:
    tokens: list[Token] = []
    text = text.strip()
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"{text[position : position + 10]!r} has no meaning in an expression")
        kind = match.lastgroup or ""
        value = match[kind]
        position = match.end()
        if kind == "word" or (kind == "upright" and value in {*_FUNCTIONS, "pi"}):
            kind = "command"
        elif kind == "upright":
            if value not in {"e", "i"}:
                raise Unreadable(f"the text {value!r} has no meaning in an expression")
            kind = "letter"
        if kind == "symbol" and value == "_":  # a subscript belongs to the name before it
            subscript = _SUBSCRIPT.match(text, position)
            if subscript is None:
                raise Unreadable("a subscript that cannot be read")
            value = re.sub(r"[\s{}]|\\text", "", subscript[0])
            position = subscript.end()
            kind = "subscript"
        tokens.append((kind, value, position))
        if len(tokens) > MAX_TOKENS:
            raise Unreadable(f"more than {MAX_TOKENS} tokens")
    return text, tokens


# ---- parsing -----------------------------------------------------------------------------------

_CLOSERS = {"(": ")", "[": "]", "{": "}"}
_END: Token = ("end", "", 0)


class _Parser:
    """Recursive descent; every method consumes what it has understood."""

    def __init__(self, source: tuple[str, list[Token]]) -> None:
        self.text, self.tokens = source
        self.index = 0
        self.depth = 0
        self.in_bars = False
        self.names: set[str] = set()
        self.has_decimal = False

    def parse(self) -> Node:
        tree = self._sum()
        if self._peek() != _END:
            raise Unreadable(f"nothing is known of {self._peek()[1]!r} at its place")
        return tree

    def _peek(self) -> Token:
        return self.tokens[self.index] if self.index < len(self.tokens) else _END

    def _is(self, *symbols: str) -> bool:
        kind, value, _ = self._peek()
        return kind == "symbol" and value in symbols

    def _is_command(self, *names: str) -> bool:
        kind, value, _ = self._peek()
        return kind == "command" and value in names

    def _next(self) -> Token:
        token = self._peek()
        self.index += 1
        return token

    def _expect(self, symbol: str) -> None:
        if not self._is(symbol):
            raise Unreadable(f"{symbol!r} is missing")
        self.index += 1

    def _sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH}")
        negative = self._is("-")
        if self._is("-", "+"):
            self.index += 1
        tree = self._product()
        if negative:
            tree = ("neg", tree)
        while self._is("+", "-"):
            sign = self._next()[1]
            term = self._product()
            tree = ("add", tree, term if sign == "+" else ("neg", term))
        self.depth -= 1
        return tree

    def _product(self) -> Node:
        tree = self._power()
        while True:
            if self._is("*", "/") or self._is_command("cdot", "times", "div"):
                operator = self._next()[1]
                factor = self._signed_power()
                tree = ("div" if operator in {"/", "div"} else "mul", tree, factor)
            elif self._starts_factor():
                tree = ("mul", tree, self._power())
            else:
                return tree

    def _starts_factor(self) -> bool:
        """Whether what follows multiplies without a sign; a number does only after a bracket (`2 5` says nothing)."""
        kind, value, _ = self._peek()
        if kind == "number":
            if self.tokens[self.index - 1][1] in (")", "]"):
                return True
            raise Unreadable("a number after a factor, without an operator")
        if kind == "command":
            return value not in {"cdot", "times", "div", "rfloor", "rceil"}
        return kind == "letter" or (
            kind == "symbol" and (value in "([{" or (value == "|" and not self.in_bars))
        )

    def _signed_power(self) -> Node:
        if self._is("-", "+"):
            sign = self._next()[1]
            return ("neg", self._power()) if sign == "-" else self._power()
        return self._power()

    def _power(self) -> Node:
        base = self._postfix()
        if not self._is("^"):
            return base
        self.index += 1
        if self._is_command("circ"):
            self.index += 1
            return ("mul", base, ("degree",))
        tree = ("pow", base, self._exponent())
        if self._is("^", "!"):
            raise Unreadable("a power of a power without brackets")
        return tree

    def _exponent(self) -> Node:
        if self._is("{"):
            return self._bracketed()
        if self._is("-", "+"):
            sign = self._next()[1]
            return ("neg", self._primary()) if sign == "-" else self._primary()
        return self._primary()

    def _postfix(self) -> Node:
        tree = self._primary()
        if self._is("!"):
            self.index += 1
            tree = ("factorial", tree)
            if self._is("!"):
                raise Unreadable("a double factorial")
        return tree

    def _bracketed(self) -> Node:
        opener = self._next()[1]
        in_bars, self.in_bars = self.in_bars, False
        tree = self._sum()
        self.in_bars = in_bars
        self._expect(_CLOSERS[opener])
        return tree

    def _group(self) -> Node:
        r"""An argument of `\frac`: in braces, or one letter or command; `normalise` has put braces around a digit."""
        if self._is("{"):
            return self._bracketed()
        kind, value, _ = self._peek()
        if kind not in {"letter", "command"} and not (kind == "number" and len(value) == 1):
            raise Unreadable("an argument without braces")
        return self._primary()

    def _primary(self) -> Node:
        kind, value, end = self._next()
        if kind == "number":
            return self._number(value)
        if kind == "letter":
            return self._name(value)
        if kind == "command":
            return self._command(value, end)
        if kind == "symbol" and value in "([{":
            self.index -= 1
            return self._bracketed()
        if kind == "symbol" and value == "|" and not self.in_bars:
            self.in_bars = True
            tree = self._sum()
            self.in_bars = False
            self._expect("|")
            return ("abs", tree)
        raise Unreadable(f"{value!r} where a value should stand" if value else "it ends too early")

    def _number(self, digits: str) -> Node:
        self.has_decimal |= "." in digits
        value = Fraction(digits)
        if self._is_command("overline") and "." in digits:  # 0.1\overline{6}
            self.index += 1
            self._expect("{")
            kind, period, _ = self._next()
            self._expect("}")
            if kind != "number" or not period.isdigit():
                raise Unreadable("a period that is no digits")
            places = len(digits) - digits.index(".") - 1
            value += Fraction(int(period), (10 ** len(period) - 1) * 10**places)
            self.has_decimal = False
        return ("number", value)

    def _name(self, name: str) -> Node:
        bare = name
        if self._peek()[0] == "subscript":
            name += "_" + self._next()[1]
        while self._is("'"):
            self.index += 1
            name += "'"
        if self._is("^") and self.tokens[self.index + 1 : self.index + 3]:
            following = [token[1] for token in self.tokens[self.index + 1 : self.index + 4]]
            if following[:1] == ["prime"] or following == ["{", "prime", "}"]:
                self.index += 2 if following[:1] == ["prime"] else 4
                name += "'"
        if name == "e":
            return ("e",)
        if name == "i":
            return ("i",)
        if self._is("(") and (bare in _UNKNOWN_FUNCTIONS or self._is_value_of(bare)):
            self.names.add(name)
            return ("call", name, self._bracketed())
        self.names.add(name)
        return ("name", name)

    def _is_value_of(self, name: str) -> bool:
        """Whether `I(0)`, `V(t)` stands here: a capital before one number or letter in brackets is a function."""
        inner = self.tokens[self.index + 1 : self.index + 3]
        return (
            name.isupper()
            and len(inner) == 2
            and inner[0][0] in {"number", "letter"}
            and inner[1][1] == ")"
        )

    def _command(self, name: str, end: int) -> Node:
        if name == "pi":
            return ("pi",)
        if name in _GREEK:
            return self._name("\\" + name)
        if name in {"frac", "dfrac", "tfrac"}:
            return ("div", self._group(), self._group())
        if name in {"binom", "dbinom", "tbinom"}:
            return ("binomial", self._group(), self._group())
        if name == "sqrt":
            return self._root()
        if name in _FUNCTIONS:
            return self._function(name)
        if name in {"lfloor", "lceil"}:
            tree = self._sum()
            if not self._is_command("r" + name[1:]):
                raise Unreadable(f"\\{name} is not closed")
            self.index += 1
            return ("floor" if name == "lfloor" else "ceil", tree)
        if name in {"angle", "triangle"}:  # \angle ABC
            letters = ""
            while self._peek()[0] == "letter" and self._peek()[1].isupper() and len(letters) < 3:
                letters += self._next()[1]
            if letters:
                return self._name(f"\\{name} {letters}")
        if name in _DECORATED:
            content = re.match(r"\s*(?:\{\s*(\\?[a-zA-Z]+)\s*\}|([a-zA-Z]))", self.text[end:])
            if content is None:
                raise Unreadable(f"\\{name} of something that is no name")
            while self._peek() != _END and self._peek()[2] <= end + content.end():
                self.index += 1
            return self._name(f"\\{name} {content[1] or content[2]}")
        raise Unreadable(f"\\{name} has no meaning in an expression")

    def _root(self) -> Node:
        degree: Node = ("number", Fraction(2))
        if self._is("["):
            degree = self._bracketed()
        if not self._is("{", "("):
            raise Unreadable("a root without braces")
        return ("pow", self._bracketed(), ("div", ("number", Fraction(1)), degree))

    def _function(self, name: str) -> Node:
        base: Node | None = None
        exponent: Node | None = None
        if self._peek()[0] == "subscript":
            if name != "log":
                raise Unreadable(f"\\{name} with a subscript")
            inner = _Parser(_tokenise(self._next()[1]))
            base = inner.parse()
            self.names |= inner.names
        if self._is("^"):
            self.index += 1
            exponent = self._exponent()
        if exponent == ("neg", ("number", Fraction(1))) and "arc" + name in _FUNCTIONS:
            name, exponent = "arc" + name, None
        tree: Node = ("function", name, self._argument())
        if base is not None:
            tree = ("div", tree, ("function", "ln", base))
        return tree if exponent is None else ("pow", tree, exponent)

    def _argument(self) -> Node:
        r"""What a function stands before: one bracket, or the factors up to a sign: `\sin 2x`."""
        if self._is("(", "[", "{"):
            tree = self._bracketed()
            if self._is("^", "!"):
                raise Unreadable("a power after the brackets of a function")
            return tree
        tree = self._signed_power()
        while self._starts_factor() and not (
            self._is_command(*_FUNCTIONS) and not self._is_command("sqrt")
        ):
            tree = ("mul", tree, self._power())
        if self._is("/") or self._is_command("cdot", "times", "div"):
            raise Unreadable("where the argument of a function ends is not said")
        return tree


# ---- values ------------------------------------------------------------------------------------


def _settle(tree: Node, index: int) -> Value:
    """The value at a point, None where it may be missing and is; what is 0 but for rounding is 0."""
    try:
        value = _evaluate(tree, index)
        if not isinstance(value, Fraction) and not _mp.isfinite(value):
            raise Unreadable("a value that is not finite")
    except (ArithmeticError, ValueError, TypeError, mpmath.libmp.NoConvergence) as error:
        if index >= _NEEDED:
            return None
        raise Unreadable(str(error)) from error
    if isinstance(value, Fraction):
        return value
    if abs(value) < _mp.mpf(10) ** -25 and _vanishes(value, tree, index):
        return Fraction(0)
    return value


def _vanishes(value: Value, tree: Node, index: int) -> bool:
    """Whether a tiny value shrinks with the precision, as rounding errors do and numbers do not."""
    _mp.dps = 4 * DIGITS
    try:
        finer = _evaluate(tree, index)
    finally:
        _mp.dps = DIGITS
    return bool(abs(finer) <= _RELATIVE_ERROR * abs(value))


def _evaluate(node: Node, index: int) -> Value:
    operation, *arguments = node
    if operation == "number":
        return arguments[0]
    if operation == "name":
        return _point(arguments[0], index)
    if operation in _CONSTANTS:
        return _CONSTANTS[operation]()
    if operation == "function":
        return _call(arguments[0], _evaluate(arguments[1], index))
    if operation == "call":
        return _unknown_function(arguments[0], _evaluate(arguments[1], index))
    return _OPERATIONS[operation](*(_evaluate(argument, index) for argument in arguments))


def _point(name: str, index: int) -> Fraction:
    """The value of a variable at a point: a fraction that hangs on its name alone."""
    bits = zlib.crc32(f"{name}/{index}".encode())
    value = Fraction(300 + bits % 1700, 997)
    if index == _NUM_POSITIVE - 1:
        return 30 * value
    negative = index >= _NUM_POSITIVE and (zlib.crc32(name.encode()) >> 3 & 1) == index % 2
    return -value if negative else value


def _unknown_function(name: str, value: Value) -> Fraction:
    """A function of which nothing is known: equal at equal arguments, and at no others."""
    if isinstance(value, Fraction):
        value = _approximate(value)
    return _point(f"{name}({_mp.nstr(value, 30)})", 0)


def _approximate(value: Value) -> Value:
    if isinstance(value, Fraction):
        return _mp.mpf(value.numerator) / value.denominator
    return value


def _is_real(value: Value) -> bool:
    if value is None or isinstance(value, Fraction):
        return value is not None
    return bool(abs(_mp.im(value)) <= _RELATIVE_ERROR * abs(_mp.re(value)))


def _bounded(value: Value) -> Value:
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise Unreadable("a number of too many digits")
    elif value != 0 and abs(_mp.mag(value)) > MAX_BITS:
        raise Unreadable("a value beyond all bounds")
    return value


def _snap(value: Value, scale: Value) -> Value:
    """0 where a difference is nothing but rounding."""
    if not isinstance(value, Fraction) and abs(value) <= _RELATIVE_ERROR * abs(_approximate(scale)):
        return Fraction(0)
    return value


def _add(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _bounded(a + b)
    return _bounded(_approximate(a) + _approximate(b))


def _multiply(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _bounded(a * b)
    return _bounded(_approximate(a) * _approximate(b))


def _divide(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _bounded(a / b)
    b = _approximate(b)
    if abs(b) < _mp.mpf(10) ** -50:
        raise Unreadable("a division by what may be 0")
    return _bounded(_approximate(a) / b)


def _power(base: Value, exponent: Value) -> Value:
    if base == 0:
        if not _is_real(exponent) or _mp.re(_approximate(exponent)) <= 0:
            raise Unreadable("a power of 0")
        return Fraction(0)
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        size = (
            max(base.numerator.bit_length(), base.denominator.bit_length())
            if isinstance(base, Fraction)
            else abs(_mp.mag(base)) + 1
        )
        if size * abs(exponent) > MAX_BITS and base not in (1, -1):
            raise Unreadable("a power of too many digits")
        return _bounded(base ** int(exponent))
    logarithm = _mp.log(_approximate(base)) * _approximate(exponent)
    if abs(logarithm) > MAX_BITS:
        raise Unreadable("a power beyond all bounds")
    return _bounded(_mp.power(_approximate(base), _approximate(exponent)))


def _factorial(value: Value) -> Value:
    if isinstance(value, Fraction) and value.denominator == 1:
        if not 0 <= value <= MAX_FACTORIAL:
            raise Unreadable("a factorial of a number that is negative or too large")
        return Fraction(math.factorial(int(value)))
    return _mp.gamma(_small(value) + 1)


def _binomial(n: Value, k: Value) -> Value:
    if isinstance(n, Fraction) and isinstance(k, Fraction) and n.denominator == k.denominator == 1:
        if not 0 <= k <= n <= 4 * MAX_FACTORIAL:
            raise Unreadable("a binomial coefficient outside 0 <= k <= n or too large")
        return Fraction(math.comb(int(n), int(k)))
    return _mp.binomial(_small(n), _small(k))


def _small(value: Value) -> Value:
    value = _approximate(value)
    if abs(value) > MAX_FACTORIAL:
        raise Unreadable("an argument beyond all bounds")
    return value


def _round(function: Callable[[Value], Value]) -> Callable[[Value], Value]:
    def rounded(value: Value) -> Fraction:
        if not _is_real(value):
            raise Unreadable("a floor of a complex number")
        if is_integer(value):
            return Fraction(int(_mp.nint(_mp.re(_approximate(value)))))
        return Fraction(int(function(_mp.re(_approximate(value)))))

    return rounded


def _call(name: str, value: Value) -> Value:
    if name in {"ln", "log", "lg"}:
        if value == 0:
            raise Unreadable("a logarithm of 0")
        if value == 1:
            return Fraction(0)
        logarithm = _mp.log(_approximate(value))
        return logarithm / _mp.log(10) if name == "lg" else logarithm
    if abs(_approximate(value)) > 10**9:
        raise Unreadable("an argument beyond all bounds")
    if name == "exp":
        return _power(_mp.e(), value)
    result = _REAL_FUNCTIONS[name](_approximate(value))
    if abs(result) > _mp.mpf(10) ** 50:
        raise Unreadable("a pole")
    return _bounded(result)


_CONSTANTS: dict[str, Callable[[], Value]] = {
    "pi": lambda: +_mp.pi,
    "e": lambda: +_mp.e,
    "i": lambda: _mp.mpc(0, 1),
    "degree": lambda: _mp.pi / 180,
}
_OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": _add,
    "neg": lambda a: -a,
    "mul": _multiply,
    "div": _divide,
    "pow": _power,
    "abs": abs,
    "factorial": _factorial,
    "binomial": _binomial,
    "floor": _round(_mp.floor),
    "ceil": _round(_mp.ceil),
}
_REAL_FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    "sin": _mp.sin, "cos": _mp.cos, "tan": _mp.tan, "cot": _mp.cot, "sec": _mp.sec, "csc": _mp.csc,
    "arcsin": _mp.asin, "arccos": _mp.acos, "arctan": _mp.atan, "arccot": _mp.acot,
    "sinh": _mp.sinh, "cosh": _mp.cosh, "tanh": _mp.tanh,
}  # fmt: skip
