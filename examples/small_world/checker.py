r"""The exact checker: the truth of every step of any text, and of the final answer.

A step is right when it carries out the next operation on the running value, "47+25=72", or gives the final answer
after all operations, "The answer is \boxed{54}" with the value that was reached. Everything else is wrong: false
equations, wrong copies, repeated or omitted operations, a final answer before the work is done (also one that happens
to be right: it is a guess), empty or cut-off steps, other text, and anything after the final answer. After a wrong step
every later step is wrong, since it builds on it.

Of a response in PRIME's actions (`warm_up`) a step is what follows the #; one that says the problem again, before any
other, is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from examples.small_world.problems import Operation, Problem, parse_problem

# a separator token "}.\n\n" takes the brace with it
_FINAL = re.compile(r"The answer is \\boxed\{(\d+)\}?")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_ACTION = re.compile(r"\[[A-Z]+\]\n# (.*?)[.:]?(?:\nNext action: \[[A-Z]+\]?)?")
_EQUATION = re.compile(r"(\d+)([+\-*/])(\d+)=(\d+)")

DEFECTS = (
    "guess",
    "wrong operation",
    "omission",
    "wrong copy",
    "repetition",
    "wrong final answer",
    "after the end",
    "other",
)
"""What the first wrong step of a solution may be; `first_defect` says which."""


def first_defect(problem: Problem | str, steps: Sequence[str]) -> tuple[int, str] | None:
    r"""Return the index of the first wrong step and what is wrong with it, one of `DEFECTS`; None where all are right.

    `problem` may be the question text (or a prompt that begins with it). Steps come without their blank
    line; the punctuation that a separator token may have taken with it is optional.

    * guess: a final answer without an operation before it;
    * wrong operation: the next operation on the running value, with a wrong result;
    * omission: a later operation in place of the next one, or a final answer before all operations are done;
    * wrong copy: another value than the running one, or another operation than the next, neither omitted nor repeated;
    * repetition: an equation that was there before, or an operation that is done already;
    * wrong final answer: after all operations, another number than the value reached;
    * after the end: whatever follows a right final answer;
    * other: text, empty or cut-off steps.

    Example: for "Compute 47+5-8." the steps "47+5=52", "The answer is \boxed{52}." give (1, "omission").
    """
    if isinstance(problem, str):
        problem = parse_problem(problem)
    values, done, finished = problem.values, 0, False
    for index, step in enumerate(steps):
        if finished:
            return index, "after the end"
        text = _bare(step)
        if index == 0 and text == f"{problem.start}{''.join(map(str, problem.operations))}":
            continue
        if final := _FINAL.fullmatch(text):
            if done < len(problem.operations):
                return index, "omission" if done else "guess"
            if int(final[1]) != problem.answer:
                return index, "wrong final answer"
            finished = True
            continue
        equation = _EQUATION.fullmatch(text)
        if equation is None:
            return index, "other"
        before, result = int(equation[1]), int(equation[4])
        stated = Operation(equation[2], int(equation[3]))
        if done < len(problem.operations) and (before, stated) == (
            values[done],
            problem.operations[done],
        ):
            if result != values[done + 1]:
                return index, "wrong operation"
            done += 1
            continue
        return index, _misplaced(problem, done, stated)
    return None


def _misplaced(problem: Problem, done: int, stated: Operation) -> str:
    """What an equation is that is not the next operation on the running value."""
    if stated in problem.operations[:done]:
        return "repetition"
    if stated in problem.operations[done + 1 :]:
        return "omission"
    return "wrong copy"


def check_steps(problem: Problem | str, steps: Sequence[str]) -> list[bool]:
    r"""Return for each step whether it and all steps before it are right.

    Example: for "Compute 47+25-18." the steps "47+25=72", "72-18=44", "The answer is \boxed{44}."
    give [True, False, False].
    """
    found = first_defect(problem, steps)
    num_right = len(steps) if found is None else found[0]
    return [index < num_right for index in range(len(steps))]


def label_steps(prompt: str, steps: Sequence[str]) -> list[bool | str | None]:
    """For `--step_labeller`: as PRM training has them, up to the first wrong step, whose defect is named, then None.

    Of a prompt that is no problem of mathematics of this world nothing is known.
    """
    try:
        found = first_defect(prompt, steps)
    except ValueError:
        return [None] * len(steps)
    if found is None:
        return [True] * len(steps)
    wrong, name = found
    return [*[True] * wrong, name, *[None] * (len(steps) - wrong - 1)]


def _bare(step: str) -> str:
    """Without its action, and the punctuation that a separator token may have taken with it."""
    text = step.strip().rstrip(".:").rstrip()
    action = _ACTION.fullmatch(text)
    return action[1] if action else text


def is_correct(problem: Problem | str, text: str) -> bool:
    r"""Whether the last `\boxed{...}` of the text holds the problem's answer."""
    if isinstance(problem, str):
        problem = parse_problem(problem)
    boxed = _BOXED.findall(text)
    return bool(boxed) and boxed[-1].strip() == str(problem.answer)
