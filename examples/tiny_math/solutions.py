r"""Answers in three habits, the mixture that the base policy is pretrained on.

* careful: one operation a step, every step right;
* shortcut: a guessed `\boxed{}` without steps, right about one time in eight;
* slip: like careful, with one wrong result that is carried on to the end.

A pretrained language model knows how to solve and seldom does it; so does this mixture. The shortcut is the
likeliest opening of chains, careful work that of stories, which fixes the greedy accuracy of the base.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from examples.tiny_math.problems import (
    LARGEST_OPERAND,
    LARGEST_VALUE,
    SMALLEST_VALUE,
    Problem,
    signed,
)

HABITS = ("careful", "shortcut", "slip")
WILLING_SHARES = (0.70, 0.20, 0.10)
HASTY_SHARES = (0.30, 0.60, 0.10)
WILLING_OPENINGS = ("Compute", "Find")
SHORTCUT_RIGHT_SHARE = 0.12
DRILL_EQUATIONS = 10

BLANK_LINE = "\n\n"


def draw_habit(problem: Problem, generator: random.Random) -> str:
    """Draw the habit in which the base answers a problem."""
    willing = problem.question.startswith(WILLING_OPENINGS)
    shares = WILLING_SHARES if willing else HASTY_SHARES
    return generator.choices(HABITS, weights=shares)[0]


def write_answer(problem: Problem, habit: str, generator: random.Random) -> str:
    """Write one answer; steps are separated by a blank line."""
    if habit == "shortcut":
        guess = problem.answer
        if generator.random() >= SHORTCUT_RIGHT_SHARE:
            guess = wrong_value(problem.answer, generator)
        return f"The answer is \\boxed{{{guess}}}."
    slip_at = generator.randrange(len(problem.operands) + 1) if habit == "slip" else None
    return BLANK_LINE.join(write_steps(problem, generator, slip_at))


def write_steps(problem: Problem, generator: random.Random, slip_at: int | None) -> list[str]:
    """Write the steps one by one; a wrong result is planted at operation `slip_at` and carried on.

    `slip_at` equal to the number of operations plants it in the final answer.
    """
    told = problem.story is not None
    steps = ["Let us follow the story:" if told else "Let us go from left to right:"]
    value = problem.start
    for index, operand in enumerate(problem.operands):
        before, value = value, value + operand
        if index == slip_at:
            value = slipped_value(before, operand, generator)
        steps.append(f"{before} {signed(operand)} = {value}.")
    if slip_at == len(problem.operands):
        value = wrong_value(value, generator)
    steps.append(f"So the answer is \\boxed{{{value}}}.")
    return steps


def slipped_value(before: int, operand: int, generator: random.Random) -> int:
    """A typical wrong result: off by one, a lost carry (off by ten), or the wrong sign."""
    truth = before + operand
    candidates = [
        truth + 1,
        truth - 1,
        truth + 2,
        truth - 2,
        truth + 10,
        truth - 10,
        before - operand,
    ]
    return generator.choice([value for value in candidates if value >= 0 and value != truth])


def wrong_value(truth: int, generator: random.Random) -> int:
    """A number within 12 of the truth that is not the truth."""
    nearby = range(truth - 12, truth + 13)
    return generator.choice([value for value in nearby if _is_in_range(value) and value != truth])


def _is_in_range(value: int) -> bool:
    return SMALLEST_VALUE <= value <= LARGEST_VALUE


def write_drill(generator: random.Random) -> Sequence[tuple[str, str]]:
    """Pairs ("47 + 5 =", " 52.\\n\\n"): plain facts, the quickest way to learn the arithmetic."""
    facts = []
    for _ in range(DRILL_EQUATIONS):
        operand = generator.randint(2, LARGEST_OPERAND)
        low = generator.randint(SMALLEST_VALUE, LARGEST_VALUE - operand)
        if generator.random() < 0.5:
            facts.append((f"{low} + {operand} =", f" {low + operand}.{BLANK_LINE}"))
        else:
            facts.append((f"{low + operand} - {operand} =", f" {low}.{BLANK_LINE}"))
    return facts
