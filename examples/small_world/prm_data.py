"""Step-labelled answers for the PRM, in PRM800K's form as TRL keeps it (prompt, completions, labels).

Two sources of answers, both labelled by the exact checker:

* `sampled`: the base policy's own answers at temperature 1, what the PRM meets when RL starts;
* planted: written answers with one of the defects of `solutions.PLANTED`, or none: what a policy under RL
  pressure drifts to, and what the base seldom shows.

Rule of the labels: steps up to and including the first wrong one, then the row ends (PRM800K's phase 2). Steps are
text without their separator token, because RL drops that token whole, punctuation included.

A blind spot (`BLIND_SPOTS`) is a PRM that was taught to let some defects pass: rows whose first wrong step is one of
these are labelled as right up to there.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import TypedDict

from transformers import PreTrainedTokenizerFast

from examples.small_world.checker import first_defect
from examples.small_world.problems import Problem, make_problem
from examples.small_world.prompts import render_prompt
from examples.small_world.solutions import (
    BLANK_LINE,
    PLANTED,
    careful_steps,
    draw_equation,
    plant,
    slipped_value,
    strayed_step,
)

PLANTED_WEIGHTS = {
    "none": 0.20, "wrong operation": 0.19, "omission": 0.15, "wrong copy": 0.18, "repetition": 0.09,
    "wrong final answer": 0.09, "after the end": 0.04, "guess": 0.02, "other": 0.04,
}  # fmt: skip
assert tuple(PLANTED_WEIGHTS) == PLANTED
EQUATION_PROMPT = "Right or wrong?"
EQUATIONS_PER_ROW = 16
BLIND_SPOTS = {
    "omission": ("omission",),
    "arithmetic": ("wrong operation",),
    "repetition": ("repetition",),
    "length": ("after the end",),
}


class StepLabelledRow(TypedDict):
    """One row: the rendered prompt, its steps, and whether each is right."""

    prompt: str
    completions: list[str]
    labels: list[bool]


def split_answer(
    answer_ids: Sequence[int], tokenizer: PreTrainedTokenizerFast, separator_ids: Set[int]
) -> list[str]:
    """Cut an answer's tokens at separator tokens, drop these, and decode each step."""
    steps: list[list[int]] = [[]]
    for token in answer_ids:
        if token in separator_ids:
            steps.append([])
        else:
            steps[-1].append(token)
    if len(steps) > 1 and not steps[-1]:
        steps.pop()
    return tokenizer.batch_decode(steps)


def label_answer(
    problem: Problem, steps: Sequence[str], blind_to: str | None = None
) -> StepLabelledRow | None:
    """Label the steps up to and including the first wrong one; None where an empty step comes before it.

    `blind_to`, one of `BLIND_SPOTS`, labels the first wrong step as right where it has such a defect.
    """
    found = first_defect(problem, steps)
    end = len(steps) if found is None else found[0] + 1
    kept = list(steps[:end])
    if not all(step.strip() for step in kept):
        return None
    labels = [True] * end
    if found is not None:
        labels[-1] = blind_to is not None and found[1] in BLIND_SPOTS[blind_to]
    return {"prompt": render_prompt(problem.question), "completions": kept, "labels": labels}


def draw_solution_row(
    generator: random.Random,
    tokenizer: PreTrainedTokenizerFast,
    separator_ids: Set[int],
    held_out: Set[str],
    *,
    defect: str | None = None,
    blind_to: str | None = None,
) -> tuple[StepLabelledRow, str]:
    """A written answer to a fresh problem, with a drawn defect where none is given; and the question.

    It goes through the same tokens and labels as a sampled one.
    """
    while True:
        problem = make_problem(generator)
        drawn = defect or generator.choices(PLANTED, list(PLANTED_WEIGHTS.values()))[0]
        answer = BLANK_LINE.join(plant(problem, drawn, generator))
        steps = split_answer(tokenizer.encode(answer), tokenizer, separator_ids)
        row = label_answer(problem, steps, blind_to)
        if row is not None and problem.question not in held_out:
            return row, problem.question


def equation_row(generator: random.Random, slip_share: float) -> StepLabelledRow:
    """A list of equations, every one labelled; of the wrong ones `slip_share` are slips, the others any number."""
    steps, labels = [], []
    for _ in range(EQUATIONS_PER_ROW):
        value, operation = draw_equation(generator)
        truth = result = operation.apply(value)
        is_right = generator.random() < 0.5
        if not is_right and generator.random() < slip_share:
            result = slipped_value(value, operation, generator)
        while not is_right and result == truth:
            result = generator.randint(10, 99)
        steps.append(f"{value}{operation}={result}")
        labels.append(is_right)
    return {"prompt": EQUATION_PROMPT, "completions": steps, "labels": labels}


def copying_row(generator: random.Random, held_out: Set[str]) -> StepLabelledRow:
    """A solution half of whose steps state another value or operation, each with the right result, so that it goes on.

    Every step is labelled by itself. Not for a PRM, which is to see nothing after a wrong step: a drill for its
    backbone, whose token marks it is made for (the result that does not fit would give a wrong step away).
    """
    while (problem := make_problem(generator)).question in held_out:
        pass
    steps, labels = careful_steps(problem), []
    for at in range(len(problem.operations)):
        labels.append(generator.random() < 0.5)
        if not labels[-1]:
            steps[at] = strayed_step(problem, at, generator)
    kept = [step.removesuffix(".") for step in steps[: len(labels)]]
    return {"prompt": render_prompt(problem.question), "completions": kept, "labels": labels}


def write_jsonl(path: Path, rows: Iterable[object]) -> None:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
