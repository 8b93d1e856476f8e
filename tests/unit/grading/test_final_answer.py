r"""Extraction, labels, and verdicts on pairs of every kind; hostile text costs linear time."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import pytest

from pure_rlhf.grading.equality import LENIENT, RULES
from pure_rlhf.grading.final_answer import (
    Verdict,
    accepting_rule,
    extract_answer,
    grade,
    has_answer,
    label_fault,
    vote_classes,
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


def test_grade_says_which_rule_accepted() -> None:
    assert grade("no box", "5") == Verdict(extracted=None, rule=None)
    assert grade(r"\boxed{5.0}", "5") == Verdict(extracted="5.0", rule="number")
    assert grade(r"\boxed{\sqrt{8}}", r"2\sqrt{2}").rule == "expression"
    assert not grade("The answer is 5.", "5").correct
    assert grade("The answer is 5.", "5", mode="evaluation").correct
    assert grade(r"\boxed{0.333333}", r"\frac13").rule == "rounding"
    assert grade(r"\boxed{0.333333}", r"\frac13", strict=True) == Verdict(
        extracted="0.333333", rule=None
    )


def test_an_answer_that_is_a_box_again_is_taken_out_of_it() -> None:
    assert accepting_rule(r"\boxed{5}", "5") == "written"
    assert accepting_rule(r"\boxed{5} \boxed{6}", "5") is None


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


@pytest.mark.parametrize("label", [None, "", "null", "5", 5, 0.5, r"\text{A}", "(-1,1)", "?x"])
def test_labels_that_can_be_met(label: object) -> None:
    assert label_fault(label) is None


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (["1", "2"], "is a list"),
        ({"answer": 1}, "is a dict"),
        (True, "is a bool"),
        (float("nan"), "is nan"),
        (float("inf"), "is inf"),
        ("$$", "holds nothing but signs"),
        (r"\text{}", "holds nothing but signs"),
        (" . ", "holds nothing but signs"),
    ],
)
def test_labels_that_no_answer_can_meet(label: object, said: str) -> None:
    fault = label_fault(label)
    assert fault is not None and said in fault


def test_vote_classes_join_what_is_equal_without_a_lenient_rule() -> None:
    assert vote_classes(["1/2", "3", "0.5", r"\frac{2}{4}", "3.0"]) == [0, 1, 0, 0, 1]
    assert vote_classes([r"\frac13", "0.333333", r"5\text{ cm}", "5"]) == [0, 1, 2, 3]
    assert vote_classes([]) == []


@pytest.mark.parametrize(
    "unit", ["{", "}", r"\boxed{", r"\{", " ", r"\(", "**", "1,", r"\text{ and }", "~", r"\pm", "("]
)
def test_hostile_text_is_read_to_the_end(unit: str) -> None:
    text = unit * 20_000
    assert extract_answer(text + r" \boxed{5}") == "5"
    assert accepting_rule(text, "5") is None, "longer than any label"
    assert accepting_rule((unit * 900)[:900], "5") is None
    extract_answer(text, mode="evaluation")


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 20_000 + "5" + "}" * 20_000,
        "\\boxed{5}" * 20_000,
        "\\boxed{5} and " * 10_000 + "\\boxed{6}",
        "$1$, " * 30_000,
        "9" * 160_000,
        "\\boxed{" + "9" * 160_000 + "}",
        "answer is " * 15_000,
    ],
)
def test_long_texts_cost_linear_memory(text: str) -> None:
    """160 kB of nested boxes once held 1.6 GB: the content of every box, each in the one around it."""
    tracemalloc.start()
    try:
        for mode in ("training", "evaluation"):
            extract_answer(text, mode)
        grade(text, "5")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60 * len(text) + 4_000_000


def test_a_text_ten_times_as_long_takes_no_hundred_times_as_many_steps() -> None:
    """Counted in executed lines, not in seconds."""

    def lines(count: int) -> int:
        number = 0

        def trace(frame: object, event: str, argument: object) -> object:
            nonlocal number
            number += event == "line"
            return trace

        text = "\\boxed{" * count + "5" + "}" * count + " {}" * count
        sys.settrace(trace)  # pyright: ignore[reportArgumentType]
        try:
            extract_answer(text)
        finally:
            sys.settrace(None)
        return number

    assert lines(5000) < 15 * lines(500)


def test_parts_of_an_answer_are_joined_without_their_commas() -> None:
    text = r"The solutions are \(-1, 0,\) and \(1\)."
    assert extract_answer(text, "evaluation") == "-1, 0, 1"


def test_lenient_rules_are_rules() -> None:
    assert set(RULES) >= LENIENT


def test_module_loads_neither_torch_nor_sympy() -> None:
    code = (
        "import sys; from pure_rlhf.grading.final_answer import accepting_rule;"
        "assert accepting_rule('42.0', '42');"
        "print([name for name in ('torch', 'sympy', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
