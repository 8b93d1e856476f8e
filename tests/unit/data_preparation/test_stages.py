"""What each stage keeps, drops and rewrites, by hand."""

from __future__ import annotations

import json

import pytest

from code_sandbox.problems import read_problem
from data_preparation.items import Item, read_item
from data_preparation.open_questions import make_open
from data_preparation.overlap import Duplicates, EvaluationTexts, words_of
from data_preparation.rules import reason_to_drop
from data_preparation.validate import Thresholds, Tries, count_tries

TESTS = {"inputs": ["1\n"], "outputs": ["2\n"]}


def item(question: str, answer: str | None = "4", ability: str = "math", number: int = 1) -> Item:
    return Item(id=f"x:{number}", source="x", ability=ability, question=question, answer=answer)


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        # NuminaMath-CoT, MATH
        ({"problem": "2+2?", "solution": r"It is $\boxed{4}$.", "source": "cn_k12"}, "2+2?", "4"),
        ({"problem": "2+2?", "answer": 4.0, "difficulty": 1}, "2+2?", "4"),  # DeepScaleR
        ({"question": "2+2?", "answer": "It is so.\n#### 1,234"}, "2+2?", "1234"),  # GSM8K
        ({"question": "2+2?", "answer": r"so \boxed{4}"}, "2+2?", "4"),
        ({"question": "2+2?", "answer": "", "solution": r"\boxed{4}"}, "2+2?", "4"),
        ({"problem": "2+2?", "solution": "It is 4."}, "2+2?", None),
    ],
)
def test_mathematics_in_its_forms(row: dict, question: str, answer: str | None) -> None:
    found = read_item(row, "set", 3)
    assert isinstance(found, Item)
    assert (found.id, found.ability) == ("set:3", "math")
    assert (found.question, found.answer) == (question, answer)


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Add 1.", "input_output": json.dumps(TESTS)},  # TACO, APPS
        {"description": "Add 1.", "public_tests": {"input": ["1\n"], "output": ["2\n"]}},
        {"question": "Add 1.", "answer": TESTS, "ability": "code"},
        {
            "question_content": "Add 1.",
            "public_test_cases": json.dumps(
                [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]
            ),
        },
    ],
)
def test_code_in_its_forms_to_one_schema(row: dict) -> None:
    found = read_item(row, "set", 1)
    assert isinstance(found, Item) and found.ability == "code"
    assert read_problem(found.answer or "") == read_problem(TESTS)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ([], "is a list"),
        ({"solution": "1"}, "has no question"),
        ({"problem": "  "}, "the question is empty"),
        ({"problem": "q"}, "has neither a solution nor an answer"),
        ({"question": "q", "input_output": "{"}, "is not JSON"),
        ({"question": "q", "input_output": {"inputs": ["1"], "outputs": []}}, "each input needs"),
        ({"question": "q", "input_output": {**TESTS, "checker": "any"}}, "several outputs"),
        ({"text": "q", "test_list": ["assert f(1) == 2"]}, "its tests are asserts"),
    ],
)
def test_a_row_that_is_no_problem_says_why(row: object, why: str) -> None:
    found = read_item(row, "set", 1)
    assert isinstance(found, str) and why in found


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Find x in the figure.", "4", "needs a figure"),
        ("Find x. [asy] draw(A--B); [/asy]", "4", "needs a figure"),
        ("Prove that 2+2=4.", "4", "asks for a proof"),
        ("Show that it is so.", "4", "asks for a proof"),
        (r"2+2=\underline{\hspace{1cm}}", "4", "has a blank to fill in"),
        ("2+2=____.", "4", "has a blank to fill in"),
        ("2+2?", None, "has no final answer"),
        ("2+2?", "null", "has no final answer"),
        ("Is it so?", "yes", "the final answer has no digit"),
        ("2+2?", "4" * 300, "the final answer is long"),
        ("2+2?", "4", None),
        ("It is a figurine of 3 kg.", "4", None),
        ("What is it? (A) 3 (B) 4 (C) 5", "B", None),  # its letter is replaced later
    ],
)
def test_what_no_verifier_can_grade(question: str, answer: str | None, reason: str | None) -> None:
    assert reason_to_drop(item(question, answer)) == reason


def test_code_has_no_final_answer_and_may_speak_of_proofs() -> None:
    label = json.dumps(TESTS)
    assert reason_to_drop(item("Print a proof with ____.", label, "code")) is None
    assert reason_to_drop(item("As in the figure.", label, "code")) == "needs a figure"


TAN = (
    "What is the largest value?\n$\\mathrm{(A)}\\ \\frac{\\sqrt{3}}{6}\\qquad\\mathrm{(B)}\\ \\frac{\\sqrt{3}}{3}"
    "\\qquad\\mathrm{(C)}\\ \\frac{\\sqrt{3}}{4\\sqrt{2}-3}\\qquad\\mathrm{(D)}\\ 1$"
)


@pytest.mark.parametrize(
    ("question", "answer", "opened", "right"),
    [
        ("What is 2+2? (A) 3 (B) 4 (C) 5", "B", "What is 2+2?", "4"),
        ("What is 2+2?\nA. $3$\nB. $4$\nC. $12$\nD. $5$", r"\text{C}", "What is 2+2?", "12"),
        ("2+2? A) 3 B) 4 C) 5", "(A)", "2+2?", "3"),
        (
            "What is $x$?\n$\\textbf{(A)}\\ 3\\qquad\\textbf{(B)}\\ 4\\qquad\\textbf{(C)}\\ 1{,}000$",
            r"\textbf{(C)}",
            "What is $x$?",
            "1{,}000",
        ),
        (
            TAN,
            r"\frac{\sqrt{3}}{4\sqrt{2}-3}",
            "What is the largest value?",
            r"\frac{\sqrt{3}}{4\sqrt{2}-3}",
        ),
    ],
)
def test_choices_are_taken_out(question: str, answer: str, opened: str, right: str) -> None:
    found = make_open(item(question, answer))
    assert isinstance(found, Item)
    assert (found.question, found.answer, found.changed) == (opened, right, ("open",))


@pytest.mark.parametrize(
    ("question", "answer", "why"),
    [
        ("Which of the following is prime? (A) 4 (B) 5 (C) 6", "B", "needs its choices"),
        ("How many statements are true? (A) 0 (B) 1 (C) 2", "B", "needs its choices"),
        ("What is closest to 3? (A) 4 (B) 5 (C) 6", "A", "needs its choices"),
        ("(A) 4 (B) 5 (C) 6", "A", "nothing is asked"),
        ("2+2? (A) 3 (B) 4 (C) 5", "E", "is not clear"),
        ("2+2? (A) 4 (B) 4 (C) 5", "4", "is not clear"),
        ("2+2? (A) three (B) four (C) five", "B", "has no digit"),
    ],
)
def test_choices_that_cannot_be_taken_out(question: str, answer: str, why: str) -> None:
    found = make_open(item(question, answer))
    assert isinstance(found, str) and found.startswith("multiple choice") and why in found


@pytest.mark.parametrize(
    "question",
    [
        "Points A, B, C lie on a line. Find AB.",
        "Let f(A)=3, f(B)=4.",
        "Triangle ABC: find A.",
        "(A) or (B)?",
    ],
)
def test_letters_that_are_no_choices(question: str) -> None:
    given = item(question)
    assert make_open(given) is given


def test_words_are_compared_without_their_setting() -> None:
    assert (
        words_of("Find $x^{2}$, please.")
        == words_of(r"find \left x^2 \right please")
        == (
            "find",
            "x",
            "^",
            "2",
            "please",
        )
    )


def test_contamination_by_hand() -> None:
    asked = "How many ways are there to seat six people around a round table with care?"
    texts = EvaluationTexts([("set 0", asked), ("set 1", "What is 2+2?")], 8)
    exact = texts.find("what is $2+2$")
    assert exact is not None and exact.exact and exact.where == "set 1"
    shared = texts.find("Say how many ways are there to seat six people around my table.")
    assert shared is not None and not shared.exact and shared.where == "set 0"
    assert shared.words == "how many ways are there to seat six"
    assert texts.find("How many ways are there to seat seven people around a table?") is None
    assert texts.find("What is 2+3?") is None
    with pytest.raises(ValueError, match="must be >= 4"):
        EvaluationTexts([], 3)


def test_duplicates_name_the_first() -> None:
    duplicates = Duplicates()
    assert duplicates.first_of(item("What is $2+2$?", number=1)) is None
    assert duplicates.first_of(item("what is 2+2", number=2)) == "x:1"
    assert duplicates.first_of(item("what is 2+2", ability="code", number=3)) is None


def test_tries_by_hand() -> None:
    answers = [("4", True), ("4", True), ("5", False), (None, False)]
    assert count_tries(answers, [0, 0, 1, None], 1) == Tries(
        tries=4,
        correct=2,
        unsolvable=0,
        unanswered=1,
        agreement=0.5,
        majority_correct=True,
        truncated=1,
    )
    none = count_tries([(r"\text{No solution}", False)] * 3 + [("4", True)], [1, 1, 1, 0], 0)
    assert none.unsolvable == 3 and not none.majority_correct
    assert count_tries([(None, False)], [None], 1).agreement == 0


@pytest.mark.parametrize(
    ("thresholds", "changes", "reason"),
    [
        ({}, {}, None),
        ({}, {"correct": 0}, "fewer than 1 tries meet the label"),
        ({"min_correct": 0}, {"correct": 0}, None),
        ({"max_correct": 2}, {"correct": 3}, "more than 2 tries meet the label"),
        ({}, {"unsolvable": 3}, "most tries say that it cannot be solved"),
        ({"min_agreement": 0.7}, {}, "less than 70% of the tries agree"),
        ({"majority": True}, {"majority_correct": False}, "the commonest answer is not the label"),
    ],
)
def test_thresholds(thresholds: dict, changes: dict, reason: str | None) -> None:
    tries = {
        "tries": 5,
        "correct": 3,
        "unsolvable": 0,
        "unanswered": 0,
        "agreement": 0.6,
        "majority_correct": True,
        "truncated": 0,
    }
    assert Thresholds(**thresholds).reason_to_drop(Tries(**tries | changes)) == reason
