r"""Every rule that can say yes, on both sides: pairs that it accepts, and near ones that nothing accepts."""

# ruff: noqa: RUF001 (typographic characters are among the cases)

from __future__ import annotations

from pathlib import Path

import pytest

from pure_rlhf.grading.equality import LENIENT, RULES
from pure_rlhf.grading.final_answer import accepting_rule

# rule -> (answer, label) pairs that it accepts
ACCEPTED: dict[str, list[tuple[str, str]]] = {
    "written": [
        ("42", "42"), ("42.", "42"), ("$5$", r"\(5\)"), (r"\15", "15"), ("−5", "-5"), (r"6\,700", "6700"), ("6,700", "6700"),
        (r"6{,}700", "6700"), (r"6,\!700", "6700"), (r"\approx 28.71", "28.71"), (r"\$20", "20"), ("+3", "3"),
        (r"\frac32", r"\frac{3}{2}"), (r"\left( 3, 4 \right)", "(3,4)"), (r"\text{yes}", "yes"), (r"4.5 \times 10^{33}", "4.5e33"),
        (r"\varnothing", r"\emptyset"), (r"\frac{1}{7}\triangle ABC", r"\frac17 \triangle ABC"), (r"\mathbf{2340}", "2340"),
    ],
    "number": [
        ("42.0", "42"), ("025", "25"), ("-7", "-7.0"), (r"\frac{3}{2}", "1.5"), (r"\frac32", "3/2"),
        (r"\dfrac{6}{4}", r"\tfrac{3}{2}"), (r"1\frac{1}{2}", r"\frac{3}{2}"), ("1 1/2", "1.5"), (r"\frac{-4}{5}", r"-\frac{4}{5}"),
        (r"4.5\cdot10^{33}", "4.5e33"), ("124E-10", r"1.24 \times 10^{-8}"), (r"10^{3}", "1000"), (r"6.0 \text{ units}", "6"),
    ],
    "infinity": [(r"+\infty", r"{\infty}"), ("∞", r"(\infty)")],
    "numeral": [("152A_11", r"\text{152A}_{11}"), ("110_2", "110_{2}")],
    "words": [(r"\text{Evelyn}", "evelyn"), ("No solution", r"\text{no solution}"), (r"\text{June 20}", "june 20.")],
    "choice": [(r"\textbf{(D)}", r"\text{D}"), ("(D)", r"\text{D}"), ("B.", r"(B)"), (r"(\text{E})", "E")],
    "time": [(r"\text{1:03 PM}", r"1:03\text{ p.m.}"), (r"05\!:\!00", "5:00")],
    "ratio": [("2:4", "1:2"), (r"\frac12", "1:2"), ("0.5", "1:2"), ("1 : 2 : 3.0", "1:2:3")],
    "collection": [
        ("4, 0", "0,4"), (r"\{0, 4\}", "0,4"), ("0 and 4", "4,0"), (r"0 \text{ or } 4", "4, 0"), (r"\pm 2", "2,-2"),
        (r"\pm 1, \pm 7", "1,-1,7,-7"), (r"(3, 0) \text{ and } (-3, 1)", "(-3,1),(3,0)"), ("A,D", r"\text{D, A}"),
        (r"[2,\infty) \cup (-\infty,-2]", r"(-\infty, -2] \cup [2, +\infty)"), (r"\sqrt{12}, 1", r"1, 2\sqrt3"),
        ("x=4, x=0", "x=0, x=4"),
    ],
    "brackets": [("(1.5, 2)", r"(\frac{3}{2}, 2)"), (r"(\sqrt{12}, 1)", r"(2\sqrt{3}, 1)"), ("[0.5,1)", r"[\frac12,1)")],
    "matrix": [(r"\begin{pmatrix} 1 \\ 0.5 \end{pmatrix}", r"\begin{bmatrix} 1 \\ \frac12 \end{bmatrix}")],
    "equation": [
        ("y = 2x + 3", "2x+3 = y"), (r"y = \frac{4x+6}{2}", "y = 2x+3"), ("2x + 4y = 6", "x + 2y - 3 = 0"), ("y = 2x+3", "2x - y + 3 = 0"),
        ("2x + 2y < 4", "x + y < 2"), ("x = 2.0", "x=2"), (r"x \in [0, 4.0]", r"0 \le x \le 4"), ("y > x", "x < y"),
    ],
    "expression": [
        (r"\sqrt{12}", r"2\sqrt{3}"), ("x(x+1)", "x^2+x"), (r"\frac{1}{3}\pi", r"\frac{\pi}{3}"), (r"-6 + 3x + x^3", "x^3+3x-6"),
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"), (r"2\sin x\cos x", r"\sin(2x)"), (r"\sqrt{-1}", "i"), ("(n-2) 2^{n}", "2^n n - 2^{n+1}"),
        (r"\sqrt{\frac{a}{b}}", r"\frac{\sqrt a}{\sqrt b}"), ("(n+1)!", "(n+1) n!"), ("f(x)+1", "1+f(x)"), (r"\ln 4", r"2\ln 2"),
        (r"\frac{\log 2}{\log 3}", r"\frac{\ln 2}{\ln 3}"), ("2^{2005}", r"2 \cdot 2^{2004}"),
    ],
    "arithmetic": [(r"e^{i\pi}", "-1"), ("2^3", "8"), (r"\sqrt{4}", "2"), ("5!", "120"), (r"\binom{5}{2}", "10"), ("2+2+2 = 6", "6"), (r"0.\overline{3}", r"\frac13")],
    "order": [("(1, 2)", "1, 2"), (r"\left(\frac{1}{3}, -2\right)", r"\frac{1}{3},-2")],
    "subject": [
        ("x = 5", "5"), ("5 = x", "5"), ("f(x) = 3", "3"), ("a + b = 5", "5"), ("5", "x = 5"), ("x > 2", r"(2, \infty)"),
        (r"0 \le x < 4", "[0,4)"), ("k < -5", r"(-\infty,-5)"), (r"x \in [0,4]", "[0,4]"), ("x=0, x=4", "0,4"), (r"\angle ABC = 30", "30"),
        (r"\cos \angle RPS = -\frac{24}{25}", r"-\frac{24}{25}"), (r"(x, y) = (1, 2)", "(1,2)"), (r"\text{Area} = 5", "5"),
    ],
    "rounding": [("0.333333", r"\frac{1}{3}"), ("1.41421356", r"\sqrt{2}"), ("28.7101", "28.71"), ("3.14159", r"\pi"), ("x = 0.333333", r"\frac13")],
    "percent": [(r"75\%", "75"), ("75", r"75\%"), ("0.75", r"75\%"), (r"\frac34", r"75\%")],
    "missing_unit": [
        (r"5 \text{ cm}", "5"), (r"5\,\mathrm{km}", "5"), (r"2 \times 10^{27}~\mathrm{erg}", "2e27"), (r"28.71 \text{ m/s}", "28.71"),
        (r"30^\circ", "30"), ("12 students", "12"), ("5", r"5\text{ cm}"), (r"8\sqrt{3}", r"8\sqrt{3}\text{ feet}"),
    ],
    "missing_base": [("152A", "152A_{11}"), ("110", "110_2"), ("110_2", "110")],
}  # fmt: skip

# (answer, label) that no rule accepts, by the rule that is nearest to accepting them
REFUSED: dict[str, list[tuple[str, str]]] = {
    "written": [
        ("", "42"), (" ", "42"), ("", ""), ("!", "?"), (r"\text{!}", "5"), (r"\text{}", r"\text{}"), (r"\text{!}", r"\text{?}"), ("1" * 2000, "1"),
        (r"\frac{12}{3}", r"\frac{1}{23}"), ("2 5", "25"), (r"\text{}", r"\frac12"), (r"\text{No solution!}", r"2\sqrt 3"), (r"\text{a/b}", "x+y"),
        (r"\text{!}, \text{!}", r"\frac12, \frac13"), ("{}", r"\{\}"), (r"\frac{", "2x"), ("\u200b", "5"), ("5\u200b", "5"), ("٥", "5"), ("х", "x"),
        (r"x+y+z", r"\text{1:03 PM}"),
    ],
    "number": [
        ("41", "42"), ("4200", "42"), ("0.42", "42"), ("-42", "42"), ("10001", "10000"), ("42.001", "42"), (r"\frac{2}{3}", r"\frac{3}{2}"),
        ("5\\text{ or 6}", "5"), ("5 or 6", "5"), ("5, 6", "5"), (r"5 \pm 1", "6"), ("1-10", "10"), ("7 = 5", "5"), ("5 = 7", "5"), ("5 \\approx 7", "7"),
        ("2+2=5", "5"), ("42!", "42"), ("0/0", "0"), ("4.5e32", "4.5e33"), (r"5 \text{ million}", "5"), (r"5\text{ to }6", "5"),
    ],
    "infinity": [("5", r"\infty"), (r"\infty", "5"), (r"-\infty", r"\infty"), ("2^{2005}", r"\infty"), ("(2,7)", r"(2,\infty)"), ("(0,3)", r"(-\infty,3)"), ("7", "2^{2005}"), (r"\infty-\infty", r"\infty"), ("10^{1000}", "10^{999}")],
    "numeral": [("52_7", "52_8"), ("42", "52_8"), ("12_2", "4"), ("6", "110_2"), ("110_2", "6"), ("110_2", "7")],
    "words": [(r"\text{Ann}", r"\text{Bob}"), ("odd", "even"), (r"\text{no}", r"\text{yes}"), (r"\text{Evelyn or Dana}", r"\text{Evelyn}"), ("evelyns", "evelyn"), ("CDE", "CED")],
    "choice": [(r"\text{(A)}", r"\text{D}"), ("A, B, C, D", "B"), ("A or B", "B"), ("(A)(B)", "(B)"), ("b", "B"), ("(B) 25", "B")],
    "time": [(r"\text{1:03 AM}", r"\text{1:03 PM}"), (r"\text{1:04 PM}", r"\text{1:03 PM}"), ("1:03:00", "1:03")],
    "ratio": [("2:1", "1:2"), ("1:2:3", "1:3:2"), ("1:2:3", "1:2"), ("1:0", "1:2")],
    "collection": [("0,4,99", "0,4"), ("0", "0,4"), ("0,4", "0"), ("1,1,2", "1,2"), ("1,2", "1,1,2"), (r"\{1,2\}", r"\{1,3\}"), ("0,4,4", "0,0,4"), (r"[1,2] \cup [3,4]", "[1,2],[3,4]")],
    "brackets": [("(0,4)", "[0,4]"), ("[0,4)", "[0,4]"), ("(4,0)", "(0,4)"), (r"(-\infty,-2]", "[-2,2]"), (r"(\sqrt{12}, 1)", r"(1, 2\sqrt{3})"), ("(1,2,3)", "(1,2)"), (r"\{1,2\}", "(1,2)"), ("1, 2", "(1,2)")],
    "matrix": [(r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"), (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"), (r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"), ("(1,2)", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}")],
    "equation": [("y = 2x + 4", "y = 2x + 3"), ("x = 6", "x = 5"), ("y = 5", "x = 5"), ("0 = 0", "x = y"), ("x = x", "y = y"), ("-x - y < -2", "x + y < 2"), ("x + y > 2", "x + y < 2"), (r"0 \le x \le 4", r"0 \le y \le 4"), ("xy = 0", "x + y = 0"), ("y \\ne x", "y = x")],
    "expression": [(r"\sqrt{13}", r"2\sqrt{3}"), ("x^2", "x^2+x"), ("2 5", r"2\sqrt{5}"), ("|x|", "x"), (r"\sqrt{x^2}", "x"), (r"10^{-9}\sqrt{2}", r"10^{-9}\sqrt{3}"), ("a", "x"), ("x_1", "x_2"), ("x'", "x"), ("X+1", "x+1"), ("f(x+1)", "f(x)+f(1)"), (r"\lfloor x \rfloor", "x"), (r"\lfloor x \rfloor", "1"), (r"\sin x", "x"), (r"e^{\pi\sqrt{163}}", "262537412640768744"), ("3!!", "(3!)!"), ("x-x", "y"), ("2^{2005}+1", "2^{2005}"), (r"x^{2020}+1", "x^{2020}"), ("0x", "x")],
    "arithmetic": [("2^3", "9"), (r"9^{9^{9^{9}}}", "3"), ("6m", "6"), ("1/0", "1"), (r"\sqrt{5}", "2"), ("5-5", "5")],
    "order": [("(2, 1)", "1, 2"), ("[1, 2]", "1, 2"), ("(1, 2, 3)", "1, 2")],
    "subject": [("x = 6", "5"), ("x > 2", r"[2, \infty)"), (r"0 \le x \le 4", "[0,4)"), ("x < 2", r"(2,\infty)"), ("5", "x + y = 5"), ("x + 1 = x + 6", "5"), ("x = 5 = 6", "5"), ("x = 6 = 5", "5")],
    "rounding": [("0.33", r"\frac13"), ("1.8e-6", "1.5e-6"), ("4.6e-23", "4.6e-24"), ("1.5", r"\sqrt{2}"), ("27.0001", "27"), ("27.0001", "27.0"), ("3.14", r"\pi"), ("0.999999", "1")],
    "percent": [("200%", "20"), (r"75\%", "0.75"), ("7500", r"75\%"), (r"0.75\%", r"75\%"), (r"0.2\%", "20")],
    "missing_unit": [(r"5\text{ cm}", r"5\text{ m}"), (r"6\text{ min}", r"6\text{ h}"), (r"5\text{ apples}", r"5\text{ oranges}"), (r"6\text{ cm}", "5"), ("x cm", "5"), (r"5^\circ", r"5\text{ cm}"), (r"5\text{ cm}^2", r"5\text{ cm}"), (r"5\text{ cm}", "x=6"), ("cm", r"5\text{ cm}"), (r"\text{cm}", r"5\text{ cm}")],
    "missing_base": [("111", "110_2"), ("152", "152A_{11}")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "answer", "label"), [(rule, *pair) for rule in ACCEPTED for pair in ACCEPTED[rule]]
)
def test_accepted_by_its_rule(rule: str, answer: str, label: str) -> None:
    assert accepting_rule(answer, label) == rule
    assert accepting_rule(answer, label, strict=True) == (None if rule in LENIENT else rule)


@pytest.mark.parametrize(
    ("answer", "label"), [pair for pairs in REFUSED.values() for pair in pairs]
)
def test_refused_by_all(answer: str, label: str) -> None:
    assert accepting_rule(answer, label) is None


def test_every_rule_is_tested_on_both_sides() -> None:
    assert set(ACCEPTED) == set(REFUSED) == set(RULES)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"5\text{ centimeters}", r"5\text{ cm}"), (r"9\text{ square inches}", r"9\text{ in}^2"), (r"3\text{ hours}", "3 hours"),
        (r"12\text{ ft.}", r"12\text{ feet}"), (r"7\text{ dollars}", r"7\text{ dollar}"), (r"45\text{ mph}", r"45\text{ miles per hour}"),
        (r"5~\mathrm{m/s}", r"5\text{ m/s}"), (r"3\,\mathrm{km} \cdot \mathrm{s}^{-1}", r"3\text{ km}\cdot\text{s}^{-1}"),
    ],
)  # fmt: skip
def test_one_unit_in_two_spellings(a: str, b: str) -> None:
    assert accepting_rule(a, b) in {"number", "written"}
    assert accepting_rule(b, a) in {"number", "written"}


def test_asymmetric_cases_are_the_three_that_are_written_down() -> None:
    for answer, label in [("a + b = 5", "5"), ("(2, 1)", "2, 1"), ("0.2", r"20\%")]:
        assert accepting_rule(answer, label) is not None
        assert accepting_rule(label, answer) is None


def test_the_docs_have_every_rule_as_it_is() -> None:
    page = (Path(__file__).parents[3] / "docs" / "verifier.md").read_text(encoding="utf-8")
    for rule, compared in RULES.items():
        assert f"| `{rule}` | {compared} |" in page
