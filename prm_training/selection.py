"""Which rows, and which of their labels, are trained on: neutral steps, repeated prefixes, evaluation problems.

The usual layout of PRM800K repeats prefixes: every rated candidate step ends a row of its own, after all the right
steps before it. In phase 1, 638 thousand labels (95 % right) are 45 thousand judged steps (42 % right).
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prm_training.sources import RatedSolution

IGNORED = -100
Neutral = Literal["wrong", "right", "drop"]
Prefixes = Literal["as_is", "whole_solutions", "last_step", "each_step_once"]


@dataclass(frozen=True)
class StepLabelledRow:
    """One solution, or a part of it, e.g. `StepLabelledRow("1+1+1?", ["1+1=2", "2+1=4"], [1, 0])`.

    Labels: 1 right, 0 wrong, IGNORED not trained on. `row` is that of the source, from 1.
    """

    prompt: str
    steps: list[str]
    labels: list[int]
    row: int = 0


def label_balance(rows: Iterable[StepLabelledRow]) -> str:
    """For a person, e.g. "2 rows, 3 labels, 33.3 % right"."""
    rows = list(rows)
    counts = Counter(label for row in rows for label in row.labels)
    labels = counts[0] + counts[1]
    share = f", {counts[1] / labels:.1%} right" if labels else ""
    return f"{len(rows)} rows, {labels} labels{share}"


def label_neutral_steps(
    solutions: Sequence[RatedSolution], neutral: Neutral
) -> list[StepLabelledRow]:
    """Ratings to labels: 1 is right, -1 wrong, None IGNORED, and 0 what `neutral` says ("drop": IGNORED)."""
    label_of = {1: 1, -1: 0, None: IGNORED, 0: {"wrong": 0, "right": 1, "drop": IGNORED}[neutral]}
    return [
        StepLabelledRow(s.prompt, s.steps, [label_of[rating] for rating in s.ratings], s.row)
        for s in solutions
    ]


def neutral_effect(solutions: Sequence[RatedSolution], neutral: Neutral) -> str:
    """What each treatment of neutral steps makes of the label counts, in one line."""
    counts = Counter(rating for solution in solutions for rating in solution.ratings)
    right, zero, wrong = counts[1], counts[0], counts[-1]
    return (
        f"{zero} neutral steps (rating 0), --neutral {neutral}; labels right / wrong would be: "
        f"wrong {right} / {wrong + zero}, right {right + zero} / {wrong}, drop {right} / {wrong}"
    )


def step_nodes(rows: Sequence[StepLabelledRow]) -> list[list[int]]:
    """A number for each step of each row; steps with the same prompt and the same steps before share theirs.

    Example: rows with the steps A B, A C and A B (one prompt) give `[[0, 1], [0, 2], [0, 1]]`.
    """
    numbers: dict[tuple[int | str, str], int] = {}
    paths = []
    for row in rows:
        parent: int | str = row.prompt
        path = []
        for step in row.steps:
            parent = numbers.setdefault((parent, step), len(numbers))
            path.append(parent)
        paths.append(path)
    return paths


def select_labels(rows: Sequence[StepLabelledRow], prefixes: Prefixes) -> list[StepLabelledRow]:
    """The rows with the labels that are trained on; rows without any label are left out.

    * as_is: everything, as published.
    * whole_solutions: each solution once, in its longest row. Of the rows `a b`, `a b c1`, `a b c2` and `a b c2 d`
      (letters are steps, c1 and c2 two candidates for the third) only `a b c2 d` is kept: the others end where it goes
      on. Of rows that differ in their last step alone, as `a b c1` and `a b c2`, the last is kept, which the labeller
      took. Of PRM800K's phase 1 no wrong step remains, of phase 2 most do.
    * last_step: all rows, the label of their last step.
    * each_step_once: all rows; a step that several rows share is labelled in the first of them.
    """
    if prefixes == "last_step":
        chosen = [
            replace(row, labels=[IGNORED] * (len(row.labels) - 1) + row.labels[-1:]) for row in rows
        ]
    elif prefixes == "each_step_once":
        chosen = _label_each_step_once(rows)
    elif prefixes == "whole_solutions":
        chosen = _whole_solutions(rows)
    else:
        chosen = list(rows)
    return [row for row in chosen if any(label != IGNORED for label in row.labels)]


def _label_each_step_once(rows: Sequence[StepLabelledRow]) -> list[StepLabelledRow]:
    seen: set[int] = set()
    chosen = []
    for row, path in zip(rows, step_nodes(rows), strict=True):
        labels = [
            IGNORED if node in seen else label for node, label in zip(path, row.labels, strict=True)
        ]
        seen.update(node for node, label in zip(path, labels, strict=True) if label != IGNORED)
        chosen.append(replace(row, labels=labels))
    return chosen


def _whole_solutions(rows: Sequence[StepLabelledRow]) -> list[StepLabelledRow]:
    paths = [(row.prompt, *path) for row, path in zip(rows, step_nodes(rows), strict=True)]
    stems_that_go_on = {node for path in paths for node in path[:-2]}
    last_row_of_stem = {
        path[-2]: number for number, path in enumerate(paths) if path[-2] not in stems_that_go_on
    }
    return [rows[number] for number in sorted(last_row_of_stem.values())]


def problem_key(problem: str) -> str:
    r"""A problem without what typesetting leaves open: white space, case, `\left`, `\,`, `\dfrac` for `\frac`, `$`.

    Example: `problem_key("What is $\\dfrac{1}{2} + 1$ ?")` equals that of "what is \\frac{1}{2}+1?".
    """
    text = unicodedata.normalize("NFKC", problem)
    text = re.sub(r"\\[dt]frac(?![a-zA-Z])", r"\\frac", text)
    text = re.sub(r"\\(?:left|right|displaystyle|q?quad)(?![a-zA-Z])", "", text)
    text = re.sub(r"(?<!\\)\\[,;:!> ]", "", text)
    return re.sub(r"[\s$~]", "", text).casefold().rstrip(".")


def split_off_problems(
    rows: Sequence[StepLabelledRow], fraction: float, seed: int
) -> tuple[list[StepLabelledRow], list[StepLabelledRow]]:
    """Training and held-out rows; a problem is wholly in one of them, `fraction` of the problems are held out."""
    problems = sorted({problem_key(row.prompt) for row in rows})
    num_held_out = max(1, round(fraction * len(problems)))
    held_out = set(random.Random(seed).sample(problems, num_held_out))
    is_held_out = [problem_key(row.prompt) in held_out for row in rows]
    return (
        [row for row, out in zip(rows, is_held_out, strict=True) if not out],
        [row for row, out in zip(rows, is_held_out, strict=True) if out],
    )
