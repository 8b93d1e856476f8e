"""Step-labelled answers for the PRM, in PRM800K's form as TRL keeps it (prompt, completions, labels).

Two sources of answers, both labelled by the exact checker:

* `sampled`: the base policy's own answers at temperature 1, what the PRM meets when RL starts;
* `planted` (training split only): written answers with a slip, a skipped or repeated operation, a wrong final
  answer or none: what a policy under RL pressure drifts to, and what the base seldom shows.

Before either, a PRM this small has to learn to compare a result with the operation: from answers alone it never does
(LOG.md). So there are lists of single equations, half of them wrong (`equation_rows`): first with results that are
wrong at a glance, then with the slips of `solutions`.

Rule of the labels: steps up to and including the first wrong one, then the row ends (PRM800K's phase 2). Steps are
text without their separator token, because RL drops that token whole, punctuation included.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import TypedDict

from transformers import PreTrainedTokenizerFast

from examples.tiny_math.checker import check_steps
from examples.tiny_math.problems import (
    LARGEST_OPERAND,
    LARGEST_VALUE,
    SMALLEST_VALUE,
    Problem,
    make_problem,
    signed,
)
from examples.tiny_math.prompts import render_prompt
from examples.tiny_math.solutions import (
    BLANK_LINE,
    HABITS,
    slipped_value,
    write_answer,
    write_steps,
)

DEFECTS = ("none", "slip", "skip", "repeat", "no final", "wrong final", "shortcut")
DEFECT_WEIGHTS = (0.25, 0.40, 0.07, 0.07, 0.03, 0.08, 0.10)
EQUATION_PROMPT = "Right or wrong?"
EQUATIONS_PER_ROW = 16


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


def label_answer(problem: Problem, steps: Sequence[str]) -> StepLabelledRow | None:
    """Label the steps up to and including the first wrong one; None where an empty step comes before it."""
    verdicts = check_steps(problem, steps)
    end = verdicts.index(False) + 1 if False in verdicts else len(verdicts)
    kept = list(steps[:end])
    if not all(step.strip() for step in kept):
        return None
    return {
        "prompt": render_prompt(problem.question),
        "completions": kept,
        "labels": verdicts[:end],
    }


def planted_answer(problem: Problem, generator: random.Random) -> str:
    """Write an answer with a drawn defect (or none)."""
    defect = generator.choices(DEFECTS, weights=DEFECT_WEIGHTS)[0]
    if defect == "shortcut":
        return write_answer(problem, HABITS[1], generator)
    count = len(problem.operands)
    slip_at = {"slip": generator.randrange(count), "wrong final": count}.get(defect)
    steps = write_steps(problem, generator, slip_at)
    if defect in ("skip", "repeat"):
        at = generator.randrange(len(steps) - 1)
        steps[at : at + 1] = [] if defect == "skip" else [steps[at], steps[at]]
    if defect == "no final":
        steps[-1] = generator.choice(steps[:-1])
    return BLANK_LINE.join(steps)


def planted_rows(
    count: int,
    generator: random.Random,
    tokenizer: PreTrainedTokenizerFast,
    separator_ids: set[int],
) -> list[StepLabelledRow]:
    """Written answers to fresh problems, through the same tokens and the same labels as sampled ones."""
    rows: list[StepLabelledRow] = []
    while len(rows) < count:
        problem = make_problem(generator)
        answer_ids = tokenizer.encode(planted_answer(problem, generator))
        row = label_answer(problem, split_answer(answer_ids, tokenizer, separator_ids))
        if row is not None:
            rows.append(row)
    return rows


def equation_rows(count: int, generator: random.Random, slip_share: float) -> list[StepLabelledRow]:
    """Lists of equations, every one labelled; of the wrong ones `slip_share` are slips, the others any number."""
    rows: list[StepLabelledRow] = []
    for _ in range(count):
        equations = [_equation(generator, slip_share) for _ in range(EQUATIONS_PER_ROW)]
        steps, labels = map(list, zip(*equations, strict=True))
        rows.append({"prompt": EQUATION_PROMPT, "completions": steps, "labels": labels})
    return rows


def _equation(generator: random.Random, slip_share: float) -> tuple[str, bool]:
    operand = generator.randint(2, LARGEST_OPERAND)
    low = generator.randint(SMALLEST_VALUE, LARGEST_VALUE - operand)
    before, operand = (low, operand) if generator.random() < 0.5 else (low + operand, -operand)
    truth = result = before + operand
    is_right = generator.random() < 0.5
    if not is_right and generator.random() < slip_share:
        result = slipped_value(before, operand, generator)
    while not is_right and result == truth:
        result = generator.randint(SMALLEST_VALUE, LARGEST_VALUE)
    return f"{before} {signed(operand)} = {result}", is_right


def write_jsonl(path: Path, rows: Iterable[object]) -> None:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
