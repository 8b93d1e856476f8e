r"""The exact checker: the truth of every step of any text, and of the final answer.

A step is right when everything that it says is true of the problem and it takes the solution forward:

* an opening remark ("Let us go from left to right:", "Tom starts with 47 coins."), as the first step only;
* an operation, "[lead-in] 47 + 25 = 72": the left side is the running value followed by the next operations
  of the problem in their order, the right side is their value; a lead-in that names an event of the story
  must name the next one;
* the final answer, "[lead-in] the answer is \boxed{54}": the number is the problem's answer.

Everything else is wrong: false or repeated equations, skipped operations, empty or cut-off steps, other text,
and anything after the final answer. After a wrong step every later step is wrong, since it builds on it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from examples.tiny_math.problems import Problem, parse_problem, signed

_CONNECTIVES = r"(?:(?:First|Second|Third|Fourth|Next|Then|Now|After that|Finally), )?"
_FINAL = re.compile(
    r"(?:(?:So|Thus|Therefore|Hence),? )?[Tt]he (?:final )?answer is \\boxed\{(-?\d+)\}"
)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_OPENINGS = ("Let us go from left to right", "Let us follow the story")
_EQUATION = re.compile(r"(\d+)((?: [+-] \d+)+) = (-?\d+)")


def check_steps(problem: Problem | str, steps: Sequence[str]) -> list[bool]:
    """Return for each step whether it and all steps before it are right.

    `problem` may be the question text (or a prompt that begins with it). Steps come without their blank
    line; the punctuation that a separator token may have taken with it is optional.

    Example: for "Compute 47 + 25 - 18." the steps "47 + 25 = 72", "72 - 18 = 44", "The answer is
    \\boxed{44}." give [True, False, False].
    """
    if isinstance(problem, str):
        problem = parse_problem(problem)
    verdicts: list[bool] = []
    operations_done, finished, right_so_far = 0, False, True
    for index, step in enumerate(steps):
        text = _bare(step)
        advance = None
        if right_so_far and not finished:
            advance = _operations_stated(problem, text, operations_done, is_first=index == 0)
        right_so_far = advance is not None
        verdicts.append(right_so_far)
        if advance is not None:
            finished = _FINAL.fullmatch(text) is not None
            operations_done += advance
    return verdicts


def label_steps(prompt: str, steps: Sequence[str]) -> list[bool | str | None]:
    """For `--step_labeller`: as PRM training has them, up to the first wrong step, whose defect is named, then None."""
    found = first_defect(prompt, steps)
    if found is None:
        return [True] * len(steps)
    wrong, name = found
    return [*[True] * wrong, name, *[None] * (len(steps) - wrong - 1)]


DEFECTS = (
    "guess", "wrong operation", "omission", "repetition", "wrong final answer", "after the end", "other"
)  # fmt: skip
"""What the first wrong step of a solution may be; `first_defect` says which."""


def first_defect(problem: Problem | str, steps: Sequence[str]) -> tuple[int, str] | None:
    """Return the index of the first wrong step and what is wrong with it, one of `DEFECTS`; None where all are right.

    * guess: a wrong final answer without an operation before it;
    * wrong operation: the next operation, with a wrong result;
    * omission: an operation that is left out, or a final answer before all operations are done;
    * repetition: an equation that was there before;
    * wrong final answer: of operations that are all done, and right;
    * after the end: whatever follows a right final answer;
    * other: text, empty or cut-off steps, equations that are no step of this problem.

    Example: for "Compute 47 + 5 - 8." the steps "47 + 5 = 52", "The answer is \\boxed{52}." give (1, "omission").
    """
    if isinstance(problem, str):
        problem = parse_problem(problem)
    verdicts = check_steps(problem, steps)
    if all(verdicts):
        return None
    wrong = verdicts.index(False)
    *before, text = map(_bare, steps[: wrong + 1])
    if any(_FINAL.fullmatch(step) for step in before):
        return wrong, "after the end"
    equations = [
        found for step in before for found in [re.search(_EQUATION.pattern, step)] if found
    ]
    done = sum(len(found[2].split()) // 2 for found in equations)
    if _FINAL.fullmatch(text):
        if not done:
            return wrong, "guess"
        return wrong, "omission" if done < len(problem.operands) else "wrong final answer"
    equation = re.search(f"{_EQUATION.pattern}$", text)
    if equation is None:
        return wrong, "other"
    if equation[0] in [found[0] for found in equations]:
        return wrong, "repetition"
    terms = f" {equation[1]}{equation[2]} "
    rest = problem.operands[done:]
    if rest and terms.startswith(f" {problem.values[done]} {signed(rest[0])} "):
        return wrong, "wrong operation"
    # a later operation of the problem, from whatever value
    later = any(f" {signed(operand)} " in terms for operand in rest[1:])
    return wrong, "omission" if later else "other"


def _bare(step: str) -> str:
    """Without the punctuation that a separator token may have taken with it."""
    return step.strip().rstrip(".:").rstrip()


def _operations_stated(
    problem: Problem, text: str, operations_done: int, *, is_first: bool
) -> int | None:
    """How many operations a right step carries out (0 for remarks and answers); None when it is wrong."""
    if is_first and text in _openings(problem):
        return 0
    final = _FINAL.fullmatch(text)
    if final:
        return 0 if int(final[1]) == problem.answer else None
    if operations_done >= len(problem.operands):
        return None
    match = re.fullmatch(f"{_lead_in(problem, operations_done)}{_EQUATION.pattern}", text)
    if not match:
        return None
    parts = match[2].split()
    stated = [
        int(number) if sign == "+" else -int(number)
        for sign, number in zip(parts[::2], parts[1::2], strict=True)
    ]
    expected = list(problem.operands[operations_done : operations_done + len(stated)])
    if int(match[1]) != problem.values[operations_done] or stated != expected:
        return None
    result = problem.values[operations_done + len(stated)]
    return len(stated) if int(match[3]) == result else None


def _openings(problem: Problem) -> tuple[str, ...]:
    if problem.story is None:
        return _OPENINGS
    story = problem.story
    return (*_OPENINGS, f"{story.name} starts with {problem.start} {story.thing}")


def _lead_in(problem: Problem, operation: int) -> str:
    """Pattern of what may stand before an equation: a connective, or the event that it belongs to."""
    if problem.story is None:
        return _CONNECTIVES
    event = f"{problem.story.verbs[operation]} {abs(problem.operands[operation])}"
    return f"(?:{_CONNECTIVES}|{_CONNECTIVES}{problem.story.name} {event}, so )"


def is_correct(problem: Problem | str, text: str) -> bool:
    r"""Whether the last `\boxed{...}` of the text holds the problem's answer."""
    if isinstance(problem, str):
        problem = parse_problem(problem)
    boxed = _BOXED.findall(text)
    return bool(boxed) and boxed[-1].strip() == str(problem.answer)
