r"""Solutions in the habits that the base policy is pretrained on, and with the defects that the PRM learns to see.

A pretrained language model knows how to solve and seldom does it; so does this mixture (`draw_habit`): careful work, a
guessed `\boxed{}` without steps (right about one time in eight), and work with one defect: a slip of arithmetic, a
wrong copy, an omitted operation, a repeated step. The guess is the likeliest opening of hasty questions, careful work
that of the others, which fixes the greedy accuracy of the base.

Beside these habits it has misconceptions: of some facts (83-27, say) it believes a wrong result, always the same, and
writes that more often than not. A habit is seen in any problem and soon unlearned in all; a misconception has to be
unlearned fact by fact, so that something is left to learn when the work is careful.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from examples.small_world.problems import (
    LARGEST_VALUE,
    SMALLEST_VALUE,
    Operation,
    Problem,
    draw_operation,
    is_in_range,
)

HABITS = ("careful", "guess", "slip", "wrong copy", "omission", "repetition")
WILLING_SHARES = (0.52, 0.20, 0.09, 0.03, 0.09, 0.07)
HASTY_SHARES = (0.24, 0.58, 0.06, 0.02, 0.06, 0.04)
WILLING_OPENINGS = ("Compute", "Start", "Begin", "Tom", "Mia has", "Ben", "Ana", "I think")
PLANTED = (
    "none", "wrong operation", "omission", "wrong copy", "repetition", "wrong final answer", "after the end", "guess",
    "other",
)  # fmt: skip
"""What `plant` can write: a solution without a defect, or with one of `checker.DEFECTS` at a step that is drawn."""

GUESS_RIGHT_SHARE = 0.12
NO_FINAL_YET_SHARE = (
    0.4  # of the omissions: a final answer too early; of the others an operation is left out
)

MISCONCEIVED_SHARE = 0.08  # of the facts
BELIEF_SHARE = 0.65  # how often a misconception is written

BLANK_LINE = "\n\n"


def draw_habit(problem: Problem, generator: random.Random) -> str:
    """Draw the habit in which the base answers a problem."""
    willing = problem.question.startswith(WILLING_OPENINGS)
    return generator.choices(HABITS, weights=WILLING_SHARES if willing else HASTY_SHARES)[0]


def write_answer(problem: Problem, habit: str, generator: random.Random) -> str:
    """Write one answer of the base policy; steps are separated by a blank line."""
    defect = {"careful": "none", "slip": "wrong operation"}.get(habit, habit)

    def believed(before: int, operation: Operation) -> int:
        return believed_result(before, operation, generator)

    return BLANK_LINE.join(plant(problem, defect, generator, believed))


def careful_steps(problem: Problem) -> list[str]:
    """The right solution: one operation a step, then the answer."""
    return plant(problem, "none", random.Random())  # nothing is drawn


def true_result(before: int, operation: Operation) -> int:
    """The result; of a division the remainder is dropped, as somebody who slipped before would, and none is below 0."""
    result = operation.apply(before)
    return max(0, before // operation.number if result is None else result)


def believed_result(before: int, operation: Operation, generator: random.Random) -> int:
    """What the base writes: the result or, of a misconceived fact and then mostly, always the same other number."""
    truth = operation.apply(before)
    fact = random.Random(f"misconception {before}{operation}")
    is_misconceived = fact.random() < MISCONCEIVED_SHARE
    if truth is None or not is_in_range(truth) or not is_misconceived:
        return true_result(before, operation)
    return slipped_value(before, operation, fact) if generator.random() < BELIEF_SHARE else truth


class _Solution:
    """Steps while they are written: operations are carried out on the value that was reached."""

    def __init__(self, start: int, result_of: Callable[[int, Operation], int]) -> None:
        self.value = start
        self.result_of = result_of
        self.steps: list[str] = []

    def do(self, *operations: Operation) -> None:
        for operation in operations:
            self.write(self.value, operation, self.result_of(self.value, operation))

    def write(self, before: int, operation: Operation, result: int) -> None:
        self.steps.append(f"{before}{operation}={result}.")
        self.value = result

    def finish(self) -> list[str]:
        return [*self.steps, final_step(self.value)]


def plant(
    problem: Problem,
    defect: str,
    generator: random.Random,
    result_of: Callable[[int, Operation], int] = true_result,
) -> list[str]:
    """Write the steps of a solution whose first wrong step has the defect (one of `PLANTED`), carried on to the end.

    `result_of` says what the results of its other operations are.
    """
    operations = problem.operations
    solution = _Solution(problem.start, result_of)
    if defect == "guess":
        guess = problem.answer
        if generator.random() >= GUESS_RIGHT_SHARE:
            guess = wrong_value(problem.answer, generator)
        return [final_step(guess)]
    if defect in ("none", "wrong final answer", "after the end", "other"):
        solution.do(*operations)
        steps = solution.finish()
        if defect == "wrong final answer":
            steps[-1] = final_step(_wrong_final(problem, solution.value, generator))
        elif defect == "after the end":
            steps += _after_the_end(solution.value, steps, generator)
        elif defect == "other":
            at = generator.randrange(len(steps))
            steps[at] = _garbled(steps[at], problem, generator)
        return steps
    if defect == "omission" and generator.random() < NO_FINAL_YET_SHARE:
        solution.do(*operations[: generator.randrange(1, len(operations))])
        return solution.finish()
    at = generator.randrange(len(operations) - (defect == "omission"))
    solution.do(*operations[:at])
    operation = operations[at]
    if defect == "repetition":
        solution.do(operation)
        again = operation.apply(solution.value)
        if generator.random() < 0.5 and again is not None and again >= 0:
            solution.write(solution.value, operation, again)  # what is done is done again
        else:
            solution.steps.append(solution.steps[-1])  # said again, word for word
    elif defect == "wrong operation":
        slipped = slipped_value(solution.value, operation, generator)
        solution.write(solution.value, operation, slipped)
    elif defect == "wrong copy":
        before, other = _miscopied(problem, at, solution.value, generator)
        solution.write(before, other, true_result(before, other))
    else:
        assert defect == "omission", defect
    solution.do(*operations[at + 1 :])
    return solution.finish()


def final_step(value: int) -> str:
    """The last step of a solution."""
    return f"The answer is \\boxed{{{value}}}."


def slipped_value(before: int, operation: Operation, generator: random.Random) -> int:
    """A typical wrong result: off by one or two, a carry (off by ten), the opposite operation, a changed digit."""
    truth = true_result(before, operation)
    opposite = operation.inverse.apply(before)
    while True:
        candidates = [truth + 1, truth - 1, truth + 2, truth - 2, truth + 10, truth - 10]
        candidates.append(truth // 10 * 10 + generator.randrange(10))
        candidates.append(generator.randrange(1, 10) * 10 + truth % 10)
        candidates += [opposite] if opposite is not None else []
        slipped = [value for value in candidates if 0 < value <= 110 and value != truth]
        if slipped:
            return generator.choice(slipped)


def wrong_value(truth: int, generator: random.Random) -> int:
    """A number within 12 of the truth that is not the truth."""
    nearby = [value for value in range(max(1, truth - 12), truth + 13) if value != truth]
    in_range = [value for value in nearby if is_in_range(value)]
    return generator.choice(in_range or nearby)


def _wrong_final(problem: Problem, reached: int, generator: random.Random) -> int:
    """Another number than the value reached: an earlier one, a swap of digits, or a number nearby."""
    candidates = [*problem.values[:-1], int(str(reached)[::-1])]
    candidates += [wrong_value(problem.answer, generator) for _ in range(2)]
    wrong = [value for value in candidates if value not in (reached, problem.answer)]
    return generator.choice(wrong or [problem.answer + 1])


def _miscopied(
    problem: Problem, at: int, before: int, generator: random.Random
) -> tuple[int, Operation]:
    """A wrong running value, or a wrong operation in place of the next one, that is none of the problem's others."""
    operation = problem.operations[at]
    while True:
        value, stated = before, operation
        form = generator.randrange(3)
        if form == 0:  # another value: nearby, digits swapped, an earlier one
            earlier = problem.values[:at] or (problem.answer,)
            nearby, swapped = wrong_value(before, generator), int(str(before)[::-1])
            anywhere = generator.randint(SMALLEST_VALUE, LARGEST_VALUE)
            value = generator.choice((nearby, swapped, generator.choice(earlier), anywhere))
        elif form == 1:  # the opposite operation
            stated = operation.inverse
        elif operation.symbol in "+-":  # another operand
            near = operation.number + generator.choice((-10, -2, -1, 1, 2, 10))
            swapped = int(str(operation.number)[::-1])
            stated = Operation(operation.symbol, generator.choice((near, swapped)))
        result = stated.apply(value)
        is_other = (value, stated) != (before, operation)
        # a repeated or omitted operation would be another defect
        is_new = stated == operation or stated not in problem.operations
        if (
            is_other
            and is_new
            and stated.number > 1
            and value > 0
            and result is not None
            and 0 < result <= 150
        ):
            return value, stated


def strayed_step(problem: Problem, at: int, generator: random.Random) -> str:
    """A statement in place of step `at` (from 0), with that step's result: another value or operation; for drills.

    Of the operations half are other ones of the problem, as where one is omitted or repeated.
    """
    before, operation = problem.values[at], problem.operations[at]
    others = [other for other in problem.operations if other != operation]
    if others and generator.random() < 0.5:
        value, stated = before, generator.choice(others)
    else:
        value, stated = _miscopied(problem, at, before, generator)
    return f"{value}{stated}={problem.values[at + 1]}."


def _after_the_end(answer: int, steps: list[str], generator: random.Random) -> list[str]:
    """What somebody adds who does not stop: the answer again, an old step, a new operation, several of these."""
    added = []
    for _ in range(generator.choice((1, 1, 2, 3))):
        operation = Operation(generator.choice("+-"), generator.randint(2, 9))
        result = true_result(answer, operation)
        choices = [steps[-1], generator.choice(steps)]
        if is_in_range(result):
            choices.append(f"{answer}{operation}={result}.")
        added.append(generator.choice(choices))
    return added


def _garbled(step: str, problem: Problem, generator: random.Random) -> str:
    """What is no step: one that is cut off, one that says something twice, a piece of the question, words."""
    cut = step[: generator.randrange(1, len(step) - 3)]
    words = problem.question.split()
    piece = " ".join(words[: generator.randrange(1, len(words))])
    return generator.choice(
        (cut, f"{step[:-1]}={problem.answer}", piece, "The answer is", "Let us see")
    )


def draw_equation(generator: random.Random) -> tuple[int, Operation]:
    """A value and an operation of this world, for drills: plain facts are the quickest way to learn the arithmetic."""
    value = generator.randint(SMALLEST_VALUE, LARGEST_VALUE)
    return value, draw_operation(value, generator, with_factors=True)
