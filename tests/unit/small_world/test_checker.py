"""The checker against solutions with known defects, and the problems that it reads back from their questions."""

from __future__ import annotations

import random

import pytest

from examples.small_world.checker import (
    DEFECTS,
    check_steps,
    first_defect,
    is_correct,
    label_steps,
)
from examples.small_world.problems import KINDS, make_problem, make_problems, parse_problem
from examples.small_world.prompts import render_prompt
from examples.small_world.solutions import HABITS, PLANTED, careful_steps, plant, write_answer

QUESTION = "Compute 47+25-18."
RIGHT = ["47+25=72", "72-18=54", "The answer is \\boxed{54}."]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_back_from_its_prompt_and_solved(kind: str) -> None:
    generator = random.Random(kind)
    for _ in range(300):
        problem = make_problem(generator, kind)
        assert parse_problem(render_prompt(problem.question)) == problem
        assert 2 <= len(problem.operations) == len(set(problem.operations)) <= 7
        assert all(10 <= value <= 99 for value in problem.values)
        steps = careful_steps(problem)
        assert len(steps) == len(problem.operations) + 1
        assert first_defect(problem.question, steps) is None
        assert all(check_steps(problem.question, steps))
        assert is_correct(problem, steps[-1])


def test_a_number_thought_of_is_found_backwards() -> None:
    problem = parse_problem("I think of a number, double it, take away 22 and get 64. What is it?")
    assert careful_steps(problem) == ["64+22=86.", "86/2=43.", "The answer is \\boxed{43}."]


@pytest.mark.parametrize("defect", PLANTED)
def test_a_planted_defect_is_found_and_named(defect: str) -> None:
    generator = random.Random(defect)
    for _ in range(1000):
        problem = make_problem(generator)
        found = first_defect(problem, plant(problem, defect, generator))
        assert (found[1] if found else "none") == defect, problem


def test_the_planted_are_the_known_defects() -> None:
    assert set(PLANTED) - {"none"} == set(DEFECTS)
    problem = parse_problem(QUESTION)
    for habit in HABITS:
        assert write_answer(problem, habit, random.Random(1)).endswith(".")


@pytest.mark.parametrize(
    ("steps", "place", "name"),
    [
        (["47+25=73"], 0, "wrong operation"),
        (["47+52=99"], 0, "wrong copy"),
        (["74+25=99"], 0, "wrong copy"),
        (["47-25=22"], 0, "wrong copy"),
        (["47-18=29"], 0, "omission"),
        ([*RIGHT[:1], "The answer is \\boxed{72}."], 1, "omission"),
        (["The answer is \\boxed{54}."], 0, "guess"),  # right, and without any work
        ([*RIGHT[:1], "47+25=72"], 1, "repetition"),
        ([*RIGHT[:1], "72+25=97"], 1, "repetition"),
        ([*RIGHT[:2], "54-18=36"], 2, "repetition"),
        ([*RIGHT[:2], "The answer is \\boxed{45}."], 2, "wrong final answer"),
        ([*RIGHT, "54"], 3, "after the end"),
        ([*RIGHT[:2], "The answer is \\boxed{54", RIGHT[2]], 3, "after the end"),
        ([*RIGHT[:1], ""], 1, "other"),
        (["47+25=72=54"], 0, "other"),
        (["47+25-18=54"], 0, "other"),  # two operations at once
        (["So 47+25=72"], 0, "other"),
        (["47 + 25 = 72"], 0, "other"),
        ([*RIGHT[:2], "The answer is \\boxed{-54}."], 2, "other"),
    ],
)
def test_defects_by_hand(steps: list[str], place: int, name: str) -> None:
    assert first_defect(QUESTION, steps) == (place, name)
    labels = label_steps(QUESTION, [*steps, "more"])
    assert labels[: place + 1] == [*[True] * place, name]
    assert set(labels[place + 1 :]) == {None}
    assert check_steps(QUESTION, steps) == [index < place for index in range(len(steps))]


def test_a_right_solution_by_hand() -> None:
    assert label_steps(QUESTION, RIGHT) == [True] * 3
    # a separator token may have taken punctuation with it, or left it
    assert check_steps(QUESTION, [f"{step.rstrip('.')}." for step in RIGHT]) == [True] * 3
    assert check_steps(QUESTION, []) == []


def test_is_correct_takes_the_last_box() -> None:
    assert is_correct(QUESTION, "\\boxed{1} then \\boxed{54}")
    assert not is_correct(QUESTION, "\\boxed{54} then \\boxed{1}")
    assert not is_correct(QUESTION, "54")


def test_questions_are_new() -> None:
    taken: set[str] = set()
    first = make_problems(200, random.Random(1), taken)
    second = make_problems(200, random.Random(1), taken)
    assert len({problem.question for problem in (*first, *second)}) == len(taken) == 400


@pytest.mark.parametrize(
    "text",
    ["", "What is love?", "Compute 47.", "Tom has 47 coins, eats 5. How many coins does Tom have now?",
     "Take 47, halve it. What is the result?"],
)  # fmt: skip
def test_other_questions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a question of the small world"):
        parse_problem(text)
