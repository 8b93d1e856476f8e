r"""The exact checker, on right solutions, on each kind of mistake, and on text that no habit writes."""

from __future__ import annotations

import random

import pytest

from examples.tiny_math.checker import (
    DEFECTS,
    check_steps,
    first_defect,
    is_correct,
    label_steps,
)
from examples.tiny_math.problems import make_problems, parse_problem
from examples.tiny_math.prompts import render_prompt
from examples.tiny_math.solutions import BLANK_LINE, write_answer, write_steps

QUESTION = "Compute 47 + 5 - 8."  # running values 47, 52, 44


@pytest.mark.parametrize(
    ("steps", "verdicts"),
    [
        (["47 + 5 = 52.", "52 - 8 = 44.", r"So the answer is \boxed{44}."], [True, True, True]),
        # punctuation may be gone with its separator token, and two operations may share a step
        (["47 + 5 - 8 = 44", r"The answer is \boxed{44}"], [True, True]),
        # a slip, and what is carried on from it, though 53 - 8 = 45 is true by itself
        (["47 + 5 = 53", "53 - 8 = 45", r"The answer is \boxed{45}."], [False, False, False]),
        # a right step after a wrong one builds on it all the same
        (["47 + 5 = 53", "52 - 8 = 44"], [False, False]),
        # skipped, repeated, reordered, superfluous operations; the wrong sign
        (["52 - 8 = 44"], [False]),
        (["47 + 5 = 52", "47 + 5 = 52"], [True, False]),
        (["47 - 8 = 39"], [False]),
        (["47 + 5 = 52", "52 - 8 = 44", "44 + 5 = 49"], [True, True, False]),
        (["47 - 5 = 42"], [False]),
        # true, but no step of this problem
        (["2 + 2 = 4"], [False]),
        # a guess is right when its number is
        ([r"The answer is \boxed{44}."], [True]),
        ([r"The answer is \boxed{45}."], [False]),
        # nothing may follow the answer, an empty step says nothing, a cut step is no step
        ([r"The answer is \boxed{44}.", r"The answer is \boxed{44}."], [True, False]),
        (["", "47 + 5 = 52"], [False, False]),
        (["47 + 5 = 52", "52 - 8 ="], [True, False]),
        (["47 + 5 = 52 = 60"], [False]),
        (["Let us go from left to right:", "47 + 5 = 52"], [True, True]),
        (["47 + 5 = 52", "Let us go from left to right:"], [True, False]),
        ([], []),
    ],
)
def test_steps_of_a_chain(steps: list[str], verdicts: list[bool]) -> None:
    assert check_steps(QUESTION, steps) == verdicts


def test_a_prompt_will_do_for_the_question() -> None:
    assert check_steps(render_prompt(QUESTION), ["47 + 5 = 52", "52 - 8 = 45"]) == [True, False]


def test_story_counts_its_events() -> None:
    question = "Tom has 20 coins, finds 4 and loses 7. How many coins does Tom have now?"
    assert check_steps(question, ["20 + 4 = 24", "24 - 7 = 17"]) == [True, True]
    assert check_steps(question, ["20 + 4 = 24", "24 + 7 = 31"]) == [True, False]


def test_last_box_decides() -> None:
    assert is_correct(QUESTION, r"\boxed{50}, no, \boxed{44}.")
    assert not is_correct(QUESTION, r"\boxed{44}, no, \boxed{50}.")
    assert not is_correct(QUESTION, "The answer is 44.")
    assert not is_correct(QUESTION, r"\boxed{44")


def test_questions_parse_back_and_careful_answers_are_right_at_every_step() -> None:
    generator = random.Random(3)
    for problem in make_problems(400, generator, set()):
        assert parse_problem(render_prompt(problem.question)) == problem
        answer = write_answer(problem, "careful", generator)
        assert all(check_steps(problem, answer.split(BLANK_LINE)))
        assert is_correct(problem, answer)


def test_a_planted_slip_is_found_where_it_was_planted() -> None:
    generator = random.Random(4)
    for problem in make_problems(200, generator, set()):
        careful = write_steps(problem, generator, slip_at=None)
        for slip_at in range(len(problem.operands) + 1):
            slipped = write_steps(problem, generator, slip_at)
            first_operation = len(careful) - len(problem.operands) - 1
            verdicts = check_steps(problem, slipped)
            assert verdicts.index(False) == first_operation + slip_at
            assert not any(verdicts[first_operation + slip_at :])


@pytest.mark.parametrize("text", ["What is love?", "Compute 4 * 5.", ""])
def test_foreign_question_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a question of the small world"):
        parse_problem(text)


@pytest.mark.parametrize(
    ("steps", "defect"),
    [
        (["47 + 5 = 52.", "52 - 8 = 44.", r"So the answer is \boxed{44}."], None),
        ([r"The answer is \boxed{44}."], None),
        ([r"The answer is \boxed{45}."], (0, "guess")),
        (["Let us go from left to right:", r"The answer is \boxed{45}."], (1, "guess")),
        (["47 + 5 = 53", "53 - 8 = 45"], (0, "wrong operation")),
        (["47 + 5 = 52", "52 - 8 = 54"], (1, "wrong operation")),
        (["47 + 5 - 8 = 45"], (0, "wrong operation")),
        (["47 + 5 = 52", r"The answer is \boxed{52}."], (1, "omission")),
        (["47 - 8 = 39", r"The answer is \boxed{39}."], (0, "omission")),
        (["52 - 8 = 44"], (0, "omission")),
        (["47 + 5 = 52", "47 + 5 = 52"], (1, "repetition")),
        (["47 + 5 = 52", "52 - 8 = 44", r"The answer is \boxed{43}."], (2, "wrong final answer")),
        ([r"The answer is \boxed{44}.", "44 + 1 = 45"], (1, "after the end")),
        (["47 + 5 = 52", "52 + 5 = 57"], (1, "other")),
        (["2 + 2 = 4"], (0, "other")),
        (["47 + 5 = 52", ""], (1, "other")),
        (["47 + 5 = 52", "52 - 8 ="], (1, "other")),
        (["47 + 5 = 52", "52 - 8 = 44", "44 + 3 = 47"], (2, "other")),
    ],
)
def test_the_first_defect_has_a_name(steps: list[str], defect: tuple[int, str] | None) -> None:
    assert first_defect(QUESTION, steps) == defect
    assert defect is None or defect[1] in DEFECTS


def test_labels_end_at_the_first_wrong_step() -> None:
    steps = ["47 + 5 = 52", "52 - 8 = 45", r"The answer is \boxed{45}."]
    assert label_steps(render_prompt(QUESTION), steps) == [True, "wrong operation", None]
    assert label_steps(QUESTION, steps[:1]) == [True]
