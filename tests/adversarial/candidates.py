r"""Answers that a policy may try: hand-made, made by a grammar, and real ones with a change.

Made with a fixed seed, so that a finding can be repeated.
"""

# ruff: noqa: RUF001 (look-alikes are what is tried)

from __future__ import annotations

import random
import re
from collections.abc import Sequence

NUM_GRAMMAR = 2000
NUM_MUTATED = 2500

HAND_MADE = [
    # empty, punctuation, spaces, brackets, operators
    "", " ", "!", "?", ".", ",", ";", ":", "-", "+", "*", "/", "=", "==", "<", ">", "|", "||", "_", "^", "~", "#", "&",
    "%", "$", "$$", "@", "'", '"', "`", "\\", "\\\\", "\\,", "\\!", "\\;", "\\ ", "\\quad", "()", "[]", "{}", "\\{\\}",
    "( )", "[ ]", "(,)", "[,]", "(,,)", ",,", ";;", "...", "\\ldots", "\\dots", "--", "---", "+-", "\\pm", "\\mp", "=0",
    "=x", "x=", "<x", "x<", "\\le", "\\in", "\\cup", "\\cap", "\\frac", "\\frac{}{}", "\\frac{1}{}", "\\sqrt", "\\sqrt{}",
    "{", "}", "(", ")", "[", "]", "{{", "}}", "\\left(", "\\right)", "\\left(\\right)", "\\begin{pmatrix}\\end{pmatrix}",
    "\\begin{matrix}", "&", "\\\\", "^\\circ", "\\%", "\\$", "\\cdot", "\\times", "/1", "1/", "^2", "_2", "_{}", "x_",
    # words
    "\\text{}", "\\text{ }", "\\text{!}", "\\text{?}", "\\text{.}", "\\text{-}", "\\text{,}", "\\text{()}", "\\text{/}",
    "\\text{a/b}", "\\text{No solution!}", "\\text{=}", "\\text{$}", "\\text{\\text{}}", "\\mathrm{}", "\\mathbf{}",
    "\\mbox{}", "\\operatorname{}", "\\textbf{}", "\\text{!}, \\text{!}", "\\text{}, \\text{}", "(\\text{!}, \\text{!})",
    "\\text{answer}", "answer", "the answer", "\\text{the answer}", "correct", "\\text{correct}", "\\text{True}", "True",
    "true", "false", "yes", "no", "\\text{yes}", "\\text{no}", "none", "None", "null", "\\text{null}", "nan", "NaN",
    "\\text{NaN}", "inf", "Infinity", "undefined", "\\text{undefined}", "DNE", "\\text{DNE}", "does not exist",
    "\\text{no solution}", "no solution", "\\text{all real numbers}", "any", "\\text{any}", "everything", "same", "it",
    "label", "gold", "ground truth", "result", "value", "\\text{see above}", "as above", "?" * 50, "unknown", "varies",
    "\\text{cannot be determined}", "\\text{infinitely many}", "\\text{A}", "\\text{(A)}", "(A)", "A", "B", "C", "D", "E",
    "A,B", "A,B,C,D,E", "\\text{A, B, C, D}", "A or B", "(A) or (B)", "ABCDE", "\\text{A or B}",
    # units
    "\\text{cm}", "\\text{ cm}", "cm", "\\text{units}", "^\\circ \\text{C}", "\\text{ degrees}", "degrees", "\\text{ or }",
    "\\text{ and }", "or", "and", "5\\text{ or 6}", "5 \\text{ or } 6", "5 or 6", "\\text{5 or 6}", "5\\text{ million}",
    "5\\text{ to }6", "5\\text{ not}", "5\\text{!}", "5\\text{}", "5 \\text{ anything}", "5%", "5\\%\\%", "5°",
    # undefined and indeterminate forms, extremes
    "0/0", "\\frac{0}{0}", "1/0", "\\frac{1}{0}", "0^0", "\\infty", "-\\infty", "+\\infty", "\\infty-\\infty",
    "\\frac{\\infty}{\\infty}", "0\\cdot\\infty", "1^\\infty", "\\infty^0", "\\pm\\infty", "\\infty, -\\infty",
    "(-\\infty,\\infty)", "(\\infty,\\infty)", "(-\\infty,-\\infty)", "[-\\infty,\\infty]", "\\log 0", "\\ln(0)",
    "\\sqrt{-1}", "\\tan 90^\\circ", "e^{\\infty}", "9^{9^{9^9}}", "10^{10^{10}}", "10^{1000}", "10^{-1000}", "1e999",
    "1e-999", "-1e999", "1e400", "2^{100000}", "1000000!", "(10^{10})!", "\\binom{10^9}{5}", "9" * 400, "0." + "9" * 400,
    "0.\\overline{9}", "0." + "0" * 300 + "1", "-0", "+0", "0.0", "--5", "-(-5)", "+-5", "5-", "5+", "5=", "=5", ":5",
    # variables and functions
    "x", "y", "n", "k", "a", "X", "x=x", "x = y", "x=1,x=2", "0=0", "1=1", "1=2", "5=6", "x+0", "0x", "0\\cdot x", "x-x",
    "x/x", "f(x)", "f", "f(5)", "f=5", "g(x)=f(x)", "\\theta", "\\alpha", "\\pi", "e", "i", "\\pi=3", "e=5", "i=5", "x:=5",
    "x \\in \\mathbb{R}", "\\mathbb{R}", "\\mathbb{Z}", "\\emptyset", "\\{\\}", "\\{x\\}", "\\{x | x = x\\}", "x \\ne x",
    "x < \\infty", "x > -\\infty", "-\\infty < x < \\infty", "x \\le x", "0 < x", "x > 0", "a < b", "n \\in \\mathbb{N}",
    # ranges, alternatives, lists
    "\\pm 0", "0 \\pm 0", "5 \\pm 1", "x \\pm x", "1-10", "1..10", "1:10", "1 \\text{ to } 10", "[0,100]", "(0,100)",
    "0 \\le x \\le 100", "(0,0)", "[0,0]", "(1,1)", "1,1", "\\{1,1\\}", "1,2,3,4,5,6,7,8,9,10", ",".join(map(str, range(101))),
    "\\{" + ",".join(map(str, range(64))) + "\\}", ",".join("12345" * 60), "1;2", "1 2", "1 2 3", "12 34", "2 5", "x2",
    "(1,2),(3,4)", "(1,2) \\cup (3,4)", "\\mathbb{R} \\cup \\{1\\}", "1 \\cup 2", "()()", "(1)(2)", "[1][2]", "|1||2|",
    # fake boxes and echoes
    "\\boxed{}", "\\boxed{\\boxed{}}", "\\boxed{5}", "\\boxed{5}\\boxed{6}", "\\boxed{5} or \\boxed{6}", "\\fbox{}",
    "5}\\boxed{6", "}{", "5}{6", "\\text{\\boxed{5}}", "answer: 5", "The answer is 5", "\\text{The answer is } 5",
    "5 % 6", "5 \\phantom{6}", "\\phantom{5}", "\\not 5", "\\neg 5", "\\overline{5}", "\\cancel{5}", "5 \\text{ for } x",
    "5 \\text{ where } x = 6", "x \\text{ for all } x", "5 \\text{ if } 6", "5\\implies 6", "5 \\to 6", "5 \\approx 6",
    "\\approx 5", "\\sim 5", "5 \\equiv 6", "5 \\pmod 7", "5 \\bmod 7", "\\neq 5", "< 5", "> 5", "\\le 5", "~5", "5~6",
    # unicode look-alikes, other digits, control characters
    "５", "٥", "५", "²", "½", "①", "Ⅴ", "х", "А", "е", "−5", "‐5", "–5", "５．５", "１／２", "5\u200b", "\u200b", "\u200b5",
    "5\u200d", "\ufeff5", "5\u202e6", "\u202e", "\x00", "5\x00", "\x00" * 20, "\x1b[31m5", "5\x7f", "\x08", "5\n6", "\n",
    "\t", "5\t6", "\r\n5", "\u2028", "\u00a0", "5\u00a06", "∞", "-∞", "(2,∞)", "π", "√2", "√", "≤", "≠", "±", "°", "×", "·",
    "5·6", "\U0001f600", "é", "e\u0301", "\ud7ff", "ﬁve", "ｘ", "𝑥", "𝟓", "x̄",
    # almost numbers
    "5.", ".5", "5..", "5.5.5", "5,", ",5", "5,5", "5,55", "5,555", "1,23", "1,2345", "0x10", "1_000", "5e", "e5", "5e5e5",
    "1/2/3", "1//2", "--", "5-5", "5+", "3/", "1 1/2", "1 3/2", "3\\frac12", "\\frac12\\frac12", "2\\frac{3}{2}", "1/1/1",
    "5_", "_5", "5_5", "5_1", "5_{10}", "5_{0}", "5_{37}", "10_2", "12_2", "101_{x}", "5^{}", "5^", "^5", "5!!", "5!5",
]  # fmt: skip

_ATOMS = [
    "0", "1", "2", "3", "5", "7", "10", "12", "100", "0.5", "-1", "\\pi", "e", "i", "x", "y", "n", "a", "\\infty",
    "\\sqrt{2}", "\\frac{1}{2}", "\\text{a}", "\\text{!}", "\\text{cm}", "\\text{even}", "A", "B", "\\theta", "x_1", "",
    "%", "^\\circ", "!", "\\alpha", "f(x)", "\\emptyset", "\\text{ or }", "\\pm", "52_8", "3:4", "\\text{yes}",
]  # fmt: skip
_FORMS = [
    "{a}+{b}", "{a}-{b}", "{a}{b}", "{a}\\cdot {b}", "\\frac{{{a}}}{{{b}}}", "{a}/{b}", "{a}^{{{b}}}", "\\sqrt{{{a}}}",
    "({a},{b})", "[{a},{b}]", "({a},{b}]", "{a},{b}", "\\{{{a},{b}\\}}", "({a})", "[{a}]", "{{{a}}}", "|{a}|", "{a}={b}",
    "{a}<{b}", "{a}\\le {b}", "{a}\\in {b}", "{a}\\cup {b}", "\\text{{{a}}}", "{a}\\text{{{b}}}", "-{a}", "\\pm {a}",
    "{a}\\pm {b}", "{a}!", "\\sin({a})", "\\log_{{{a}}}{{{b}}}", "{a}_{{{b}}}", "{a}\\%", "{a}^\\circ", "\\ln {a}",
    "{a} \\text{{ or }} {b}", "{a} or {b}", "{a} \\approx {b}", "\\boxed{{{a}}}", "({a},{b}) \\cup ({b},{a})", "{a}:{b}",
    "\\begin{{pmatrix}}{a}\\\\{b}\\end{{pmatrix}}", "\\lfloor {a}\\rfloor", "{a};{b}", "\\binom{{{a}}}{{{b}}}", "{a} {b}",
    "\\mathrm{{{a}}}", "{a}={b}={a}", "\\text{{{a}, {b}}}",
]  # fmt: skip
_SWAPS = [
    ("\\infty", "7"), ("7", "\\infty"), ("-", ""), ("", "-"), ("(", "["), ("]", ")"), (",", ""), (",", ";"), ("=", "<"),
    ("x", "y"), ("\\frac", "\\sqrt"), ("\\text", ""), ("1", "2"), ("2", "3"), ("5", "x"), ("\\cup", ","), ("^", "_"),
    ("+", "-"), ("_", ""), ("\\pi", "3"), ("}", ""), ("{", ""), ("3", "\\text{!}"), ("0", ""), ("", "\\text{!}"),
    ("", " \\text{ or } 5"), ("", ", 5"), ("", "=5"), ("", "%"), ("", "!"), ("cm", "m"), ("\\sqrt", "\\log"),
]  # fmt: skip


def grammar_made(count: int, seed: int = 0) -> list[str]:
    """Random forms of random atoms, nested up to three deep."""
    rng = random.Random(seed)

    def draw(depth: int) -> str:
        if depth == 0 or rng.random() < 0.2:
            return rng.choice(_ATOMS)
        return rng.choice(_FORMS).format(a=draw(depth - 1), b=draw(depth - 1))

    return [draw(rng.choice((1, 1, 2, 2, 3))) for _ in range(count)]


def mutate(text: str, rng: random.Random) -> str:
    """One or two random changes of an answer: a swap of signs, a token lost, doubled or moved, a wrapper."""
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.randrange(5)
        tokens = re.findall(r"\\[a-zA-Z]+|\\.|.", text, re.DOTALL)
        if kind == 0 or not tokens:
            old, new = rng.choice(_SWAPS)
            place = rng.randrange(len(text) + 1)
            if old == "":
                text = text[:place] + new + text[place:] if new in {"-", "!", "%"} else text + new
            else:
                text = text.replace(old, new, rng.choice((1, -1)))
        elif kind == 1:
            tokens.pop(rng.randrange(len(tokens)))
            text = "".join(tokens)
        elif kind == 2:
            index = rng.randrange(len(tokens))
            text = "".join([*tokens[:index], tokens[index], *tokens[index:]])
        elif kind == 3:
            text = rng.choice(_FORMS).format(a=text, b=rng.choice(_ATOMS))
        else:
            index = rng.randrange(len(tokens))
            tokens[index] = rng.choice([*_ATOMS, *"0123456789"])
            text = "".join(tokens)
    return text


def mutated(labels: Sequence[str], count: int, seed: int = 1) -> list[str]:
    """Real answers with a change."""
    rng = random.Random(seed)
    return [mutate(rng.choice(labels), rng) for _ in range(count)]


def candidates(labels: Sequence[str]) -> list[str]:
    """All of them, each once; about 5,000."""
    made = [*HAND_MADE, *grammar_made(NUM_GRAMMAR), *mutated(labels, NUM_MUTATED)]
    return list(dict.fromkeys(made))
