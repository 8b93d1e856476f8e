r"""The expression reader: what it refuses, and that every size is bounded before it is computed."""

from __future__ import annotations

import sys
import threading

import pytest

from pure_rlhf.grading.expressions import Unreadable, read_expression, same_function

REFUSED = [
    "", "2 5", "x2", "x 2", "5)", "(5", "((((((", "a^b^c", "3!!", "5!5", r"\frac{", r"\frac{1}", "1/0", "0/0", "x/0", "0^0", "0^{-1}",
    r"\ln 0", r"\log_1 5", r"\text{and}x", r"\infty", r"5\%", "5 @ 3", r"\foo", "x=5", "5,6", "|x", "[x)", r"\sin", r"\sin(x)^2", r"\cos \pi/3",
    r"\sqrt", r"\int x dx", r"2 \pmod 5", r"x \to 3", "5_", "5_2", "--5", "+-5", "5-", "5+", "\u0665", "\u200b5", "é", "5;6", r"\{5\}", "x\x00",
    r"\lfloor x", r"\binom{2}{5}", "(-1)!", r"\tan 90^\circ", r"\begin{matrix}1\end{matrix}", "np.arcsin(1)",
]  # fmt: skip
BOMBS = [
    r"9^{9^{9^{9}}}", r"10^{10^{10}}", "(10^{10})!", "1000000!", "((9!)!)!", r"\binom{10^9}{5}", r"\binom{872}{p}", "2^{100000}", "9" * 900,
    r"\exp(\exp(\exp(10)))", r"\sin(10^{400})", "(((((((" * 60, r"\sqrt{" * 100 + "2" + "}" * 100, "+".join(["x"] * 400), "x^" * 300, "1/" * 300 + "3",
    r"(1+x)^{1000}(1+y)^{1000}", r"e^{10^{9}}", r"(\sqrt{2})^{10^{9}}", "0." + "1" * 800, r"\lfloor 10^{300}\pi\rfloor", r"(i)_{659}", r"2000!^{2000!}",
    r"\frac{" * 120 + "1" + "}{2}" * 120, "-" * 500 + "1", r"(x+1)^{2^{15}}",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_expression(text)


@pytest.mark.parametrize("text", BOMBS)
def test_no_size_explodes(text: str) -> None:
    """Counted in executed lines of Python: what is refused is refused before it is computed."""
    lines = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal lines
        lines += event == "line"
        return trace

    sys.settrace(trace)  # pyright: ignore[reportArgumentType]
    try:
        read_expression(text)
    except Unreadable:
        pass
    finally:
        sys.settrace(None)
    assert lines < 2_000_000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1+2\\cdot 3", 7), ("2/3/4", 1 / 6), ("-2^2", -4), ("2^{-1}", 0.5), ("2^10", 1024), (r"\frac12", 0.5), (r"\frac\pi 2", 1.5707963267948966),
        (r"\sqrt[3]{8}", 2), (r"|{-5}|", 5), (r"\lfloor 2.7\rfloor+\lceil 2.1\rceil", 5), (r"\log_2 8", 3), (r"\lg 100", 2), (r"\sin 30^\circ", 0.5),
        (r"\sin^2(1)+\cos^2(1)", 1), (r"\sin^{-1}(1)", 1.5707963267948966), ("3(4)", 12), (r"0.1\overline{6}", 1 / 6), ("sqrt(4)", 2), ("2pi", 6.283185307179586),
        (r"\binom{5}{2}", 10), ("4!", 24), (r"\operatorname{arcsin}(1)", 1.5707963267948966), (r"\log_{10} 1000", 3), ("(2)3", 6), (r"8 \div 2", 4),
        (r"\lfloor\log_2 8\rfloor", 3), (r"\exp(0)", 1),
    ],
)  # fmt: skip
def test_values(text: str, value: float) -> None:
    read = read_expression(text.replace(r"\frac12", r"\frac{1}{2}"))
    assert read.is_constant
    assert complex(read.values[0]) == pytest.approx(complex(value), rel=1e-12)


def test_a_variable_has_the_same_value_in_every_expression_and_in_every_process() -> None:
    first = read_expression("x").values
    assert first == read_expression("x").values
    assert first != read_expression("y").values
    assert min(first) < 0 < max(first)
    assert str(first[0]) == "575/997" or first[0].denominator == 997


def test_what_is_zero_but_for_rounding_is_zero_and_a_small_number_is_not() -> None:
    assert read_expression(r"\sqrt{2}\sqrt{3}-\sqrt{6}").values == (0,)
    assert read_expression(r"10^{-200}\sqrt{2}").values[0] != 0
    assert not same_function(
        read_expression(r"10^{-50}\pi"), read_expression(r"10^{-50} \cdot 2\pi")
    )


def test_works_in_a_thread() -> None:
    found: list[bool] = []
    thread = threading.Thread(
        target=lambda: found.append(
            same_function(read_expression(r"\sqrt{8}"), read_expression(r"2\sqrt{2}"))
        )
    )
    thread.start()
    thread.join()
    assert found == [True]
