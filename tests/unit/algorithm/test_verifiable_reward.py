r"""The verifier: extraction, equivalence by general rules, and hostile text."""

# ruff: noqa: RUF001 (a typographic minus is one of the cases)

from __future__ import annotations

import subprocess
import sys

import pytest

from pure_rlhf.algorithm.verifiable_reward import (
    Verdict,
    extract_answer,
    grade,
    has_answer,
    is_equivalent,
    quick_verdict,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\fbox{7}", "7"),
        (r"\boxed {7}", "7"),
        (r"\boxed{\frac{1}{2}} done", r"\frac{1}{2}"),
        (r"\boxed{1}, no, \boxed{2}", "2"),
        (r"\boxed{\boxed{3}}", r"\boxed{3}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        ("\\boxed{\n5\n}", "5"),
        (r"first \boxed{1}, then \boxed{2", "1"),
        (r"cut at \boxed{20", None),
        (r"\boxed{}", ""),
        ("The answer is 42.", None),
        (r"\boxed 5", None),
        ("", None),
        ("} } \\boxed{3} {", "3"),
    ],
)
def test_training_takes_the_last_closed_box(text: str, expected: str | None) -> None:
    assert extract_answer(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"x is \(\boxed{5}\) and \(\boxed{-2}\).", "5, -2"),
        (r"\boxed{6}. Checking: it holds. The final answer is $\boxed{6}$.", "6"),
        (r"\boxed{\text{yes}}", r"\text{yes}"),
        ("Final Answer: The final answer is $\\frac{1}{2}$. I hope it is correct.", r"\frac{1}{2}"),
        ("We add.\n\n**Answer:** 6", "6"),
        ("So the degree of \\(x^{15}+1\\) is 15.", "15"),
        ("The remainder when \\(n\\) is divided by 7 is **6**.", "6"),
        ("3 + 4 = 7 apples\n#### 7", "7"),
        ("There are 1,234 ways.", "1,234"),
        ("The answer is Evelyn.", "Evelyn"),
        (r"the values are \(x = 5\) and \(x = -2\).", "x = 5, x = -2"),
        (r"cut at \boxed{20", None),
        ("I do not know", None),
    ],
)
def test_evaluation_also_reads_texts_without_a_box(text: str, expected: str | None) -> None:
    assert extract_answer(text, mode="evaluation") == expected


# Written forms: decided without computer algebra.
SAME_BY_NOTATION = [
    ("42", "42"),
    ("42.0", "42"),
    ("025", "25"),
    ("-7", "-7.0"),
    ("+3", "3"),
    ("42.", "42"),
    (r"\frac{3}{2}", "1.5"),
    (r"\frac32", "3/2"),
    (r"\dfrac{6}{4}", r"\tfrac{3}{2}"),
    (r"1\frac{1}{2}", r"\frac{3}{2}"),
    ("1 1/2", "1.5"),
    ("0.333333", r"\frac{1}{3}"),
    (r"\frac{-4}{5}", r"-\frac{4}{5}"),
    (r"4.5 \times 10^{33}", "4.5e33"),
    (r"4.5\cdot10^{33}", "4.5e33"),
    ("1.24E-8", r"1.24 \times 10^{-8}"),
    (r"10^{3}", "1000"),
    (r"\approx 28.71", "28.71"),
    (r"6\,700", "6700"),
    ("6,700", "6700"),
    (r"6{,}700", "6700"),
    (r"6,\!700", "6700"),
    (r"5 \text{ cm}", "5"),
    (r"5\,\mathrm{km}", "5"),
    ("5 units", "5"),
    (r"2 \times 10^{27}~\mathrm{erg}", "2e27"),
    (r"28.71 \text{ m/s}", "28.71"),
    (r"30^\circ", "30"),
    (r"\$20", "20"),
    (r"75\%", "75"),
    (r"75\%", "0.75"),
    ("4, 0", "0,4"),
    (r"\{0, 4\}", "0,4"),
    ("0 and 4", "0,4"),
    (r"0 \text{ or } 4", "0,4"),
    ("x=0, x=4", "0,4"),
    (r"\pm 2", "2,-2"),
    (r"\pm 1, \pm 7", "1,-1,7,-7"),
    (r"(3, 0) \text{ and } (-3, 1)", "(-3,1),(3,0)"),
    (r"\left( 3, 4 \right)", "(3,4)"),
    ("(1.5, 2)", r"(\frac{3}{2}, 2)"),
    (r"x \in [0,4]", "[0,4]"),
    (r"[2,\infty) \cup (-\infty,-2]", r"(-\infty, -2] \cup [2, +\infty)"),
    (r"0 \le x < 4", "[0,4)"),
    ("x > 2", r"(2, \infty)"),
    ("k < -5", r"(-\infty,-5)"),
    ("x = 5", "5"),
    ("5 = x", "5"),
    ("2+2+2 = 6", "6"),
    ("f(x) = 3", "3"),
    ("y = 2x + 3", "2x+3 = y"),
    (r"\text{Evelyn}", "evelyn"),
    (r"\textbf{(D)}", r"\text{D}"),
    ("(D)", r"\text{D}"),
    ("A,D", r"\text{A, D}"),
    ("152A_11", "152A_{11}"),
    ("152A", "152A_{11}"),
    ("110_2", "6"),
    ("−5", "-5"),
    (r"\boxed{5}", "5"),
    ("$5$", r"\(5\)"),
    (r"\15", "15"),
]

DIFFERENT_BY_NOTATION = [
    ("41", "42"),
    ("4200", "42"),
    ("0.42", "42"),
    ("-42", "42"),
    ("10001", "10000"),
    ("42.001", "42"),
    ("", "42"),
    (" ", "42"),
    (r"\frac{12}{3}", r"\frac{1}{23}"),
    (r"\frac{2}{3}", r"\frac{3}{2}"),
    ("0.33", r"\frac13"),
    ("1.8e-6", "1.5e-6"),
    ("4.6e-23", "4.6e-24"),
    (r"4.5 \times 10^{32}", "4.5e33"),
    ("(0,4)", "[0,4]"),
    ("[0,4)", "[0,4]"),
    ("(4,0)", "(0,4)"),
    ("0,4,99", "0,4"),
    ("0", "0,4"),
    ("0,4", "0"),
    ("52_7", "52_8"),
    ("110_2", "7"),
    ("12_2", "4"),
    (r"\text{(A)}", r"\text{D}"),
    (r"\text{Ann}", r"\text{Bob}"),
    ("x = 6", "x = 5"),
    (r"(-\infty,-2]", "[-2,2]"),
    (r"0 \le x \le 4", "[0,4)"),
    ("x > 2", r"[2, \infty)"),
    ("200%", "20"),
    ("1" * 2000, "1"),
]

SAME_BY_ALGEBRA = [
    (r"\sqrt{12}", r"2\sqrt{3}"),
    ("x(x+1)", "x^2+x"),
    (r"\frac{1}{3}\pi", r"\frac{\pi}{3}"),
    (r"-6 + 3x + x^3", "x^3+3x-6"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"2\sin x\cos x", r"\sin(2x)"),
    (r"1.41421356", r"\sqrt{2}"),
    (r"(\sqrt{12}, 1)", r"(2\sqrt{3}, 1)"),
    (r"\sqrt{12}, 1", r"1, 2\sqrt3"),
    (r"y = \frac{4x+6}{2}", "y = 2x+3"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}"),
]

DIFFERENT_BY_ALGEBRA = [
    (r"\sqrt{13}", r"2\sqrt{3}"),
    ("x^2", "x^2+x"),
    ("2 5", "25"),
    ("2 5", r"2\sqrt{5}"),
    ("1.5", r"\sqrt{2}"),
    ("6", "6m"),
    (r"10^{-9}\sqrt{2}", r"10^{-9}\sqrt{3}"),
    (r"(\sqrt{12}, 1)", r"(1, 2\sqrt{3})"),
    ("y = 2x + 4", "y = 2x + 3"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
    (r"\frac{", "2x"),
]


@pytest.mark.parametrize(("prediction", "gold"), SAME_BY_NOTATION)
def test_same_by_notation(prediction: str, gold: str) -> None:
    assert quick_verdict(prediction, gold) is True
    assert is_equivalent(prediction, gold)


@pytest.mark.parametrize(("prediction", "gold"), DIFFERENT_BY_NOTATION)
def test_different_by_notation(prediction: str, gold: str) -> None:
    assert quick_verdict(prediction, gold) is False
    assert not is_equivalent(prediction, gold)


@pytest.mark.parametrize(("prediction", "gold"), SAME_BY_ALGEBRA)
def test_same_by_algebra(prediction: str, gold: str) -> None:
    assert quick_verdict(prediction, gold) is None
    assert is_equivalent(prediction, gold)


@pytest.mark.parametrize(("prediction", "gold"), DIFFERENT_BY_ALGEBRA)
def test_different_by_algebra(prediction: str, gold: str) -> None:
    assert quick_verdict(prediction, gold) is None
    assert not is_equivalent(prediction, gold)


def test_quick_verdict_never_answers_a_tower() -> None:
    assert quick_verdict(r"9^{9^{9^{9}}}", "3") is None


def test_grade_says_what_decided() -> None:
    assert grade("no box", "5") == Verdict(correct=False, extracted=None, rule="no_answer")
    assert grade(r"\boxed{5.0}", "5") == Verdict(correct=True, extracted="5.0", rule="notation")
    algebra = grade(r"\boxed{\sqrt{8}}", r"2\sqrt{2}")
    assert algebra == Verdict(correct=True, extracted=r"\sqrt{8}", rule="math_verify")
    assert not grade("The answer is 5.", "5").correct
    assert grade("The answer is 5.", "5", mode="evaluation").correct


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (None, False),
        ("", False),
        ("  ", False),
        ("null", False),
        ("0", True),
        ("none of them", True),
    ],
)
def test_has_answer(label: str | None, expected: bool) -> None:
    assert has_answer(label) is expected


@pytest.mark.parametrize(
    "unit", ["{", "}", r"\boxed{", r"\{", " ", r"\(", "**", "1,", r"\text{ and }", "~", r"\pm"]
)
def test_hostile_text_is_read_to_the_end(unit: str) -> None:
    text = unit * 20_000
    assert extract_answer(text + r" \boxed{5}") == "5"
    assert quick_verdict(text, "5") is False, "longer than any label"
    assert quick_verdict((unit * 900)[:900], "5") in (False, None)
    extract_answer(text, mode="evaluation")


def test_module_loads_neither_torch_nor_sympy() -> None:
    code = (
        "import sys; from pure_rlhf.algorithm.verifiable_reward import quick_verdict;"
        "assert quick_verdict('42.0', '42');"
        "print([name for name in ('torch', 'sympy', 'math_verify') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
