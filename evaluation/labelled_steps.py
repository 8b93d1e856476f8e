"""Labelled steps: how many of the wrong steps does a PRM see, by kind of defect?

Somebody's own held-out rows, one file a kind (`omission.jsonl`, `wrong_operation.jsonl`, `none.jsonl`), in TRL's form:
columns prompt, completions, labels. What a row may hold is what PRM training reads of that form
(`prm_training.sources.parse_row`); other columns, ratings too, are not looked at.

The prompt is what the PRM was trained on, so it is read as it stands and no template is put around it. A step is judged
wrong where r <= 0 (`prm.conventions.is_judged_wrong`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from evaluation.rows import check_rows, missing_columns, read_rows, short_name
from evaluation.scoring import share
from prm_training.sources import FORMS, parse_row
from pure_rlhf.data import LOCAL_SUFFIXES
from pure_rlhf.prm.conventions import PrmSample, is_judged_wrong
from pure_rlhf.prm.quality import step_metrics

COLUMNS = FORMS["labels"]


@dataclass(frozen=True, kw_only=True)
class LabelledSolution:
    """One solution and whether each of its steps is right."""

    sample: PrmSample
    labels: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class DefectKind:
    """The solutions of one file."""

    name: str
    source: str
    solutions: list[LabelledSolution]


def kind_sources(source: str) -> list[str]:
    """What one value of `--labelled_steps` names: a folder its files of rows, else itself.

    Raises:
        ValueError: there is no such file, or a folder without such files.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(
            file for file in path.iterdir() if file.name.endswith(LOCAL_SUFFIXES) and file.is_file()
        )
        if not files:
            raise ValueError(
                f"--labelled_steps {source}: the folder holds no file that ends in {', '.join(LOCAL_SUFFIXES)}"
            )
        return [str(file) for file in files]
    if not path.is_file():
        raise ValueError(f"--labelled_steps {source}: there is no such file or folder")
    return [source]


def kind_name(source: str) -> str:
    """The kind that a file is about. Example: `kind_name("held_out/wrong_copy.jsonl.gz")` is "wrong copy"."""
    return short_name(source).replace("_", " ")


def repeated_kinds(sources: Sequence[str]) -> list[str]:
    """What to say of files that are the same kind: their rows in the report could not be told apart."""
    files = defaultdict(list)
    for source in sources:
        files[kind_name(source)].append(source)
    return [
        f"--labelled_steps: {' and '.join(same)} are both the kind {name!r}; a kind is one file, named by it"
        for name, same in files.items()
        if len(same) > 1
    ]


def load_kind(source: str) -> DefectKind:
    """The solutions of a file (.json, .jsonl, .parquet, also .gz).

    Raises:
        ValueError: it holds no rows, or some that cannot be used (the first ones are named).
    """
    solutions: list[LabelledSolution] = []
    problems: list[str | None] = []
    for row in read_rows(source, "test"):
        problem = missing_columns(row, COLUMNS)
        if problem is None:
            try:
                solutions.append(_solution(row))
            except ValueError as error:
                problem = str(error)
        problems.append(problem)
    check_rows(source, problems)
    return DefectKind(name=kind_name(source), source=source, solutions=solutions)


def _solution(row: dict[str, Any]) -> LabelledSolution:
    (parsed,) = parse_row({column: row[column] for column in COLUMNS})
    return LabelledSolution(
        sample=PrmSample(parsed.prompt, parsed.prompt, tuple(parsed.steps)),
        labels=tuple(rating == 1 for rating in parsed.ratings),
    )


def score_steps(
    labels: Sequence[Sequence[bool]], rewards: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """How many wrong steps are judged wrong and how many right ones are let pass, for labels and rewards of solutions.

    `wrong_found` and `right_passed` are these shares in [0, 1] with their 95 % Wilson intervals, None where there is
    no such step. The intervals take the steps for independent, which those of one solution are not quite.

    Example: labels `[[True, False], [False]]` and rewards `[[0.5, -0.5], [0.5]]` give 1 of 2 wrong steps found, 0.5,
    and 1 of 1 right step let pass.
    """
    pairs = _pairs(labels, rewards)
    found = [is_judged_wrong(reward) for is_right, reward in pairs if not is_right]
    passed = [not is_judged_wrong(reward) for is_right, reward in pairs if is_right]
    return {
        "num_solutions": len(labels),
        "num_wrong": len(found),
        "num_wrong_found": sum(found),
        "wrong_found": share(found),
        "num_right": len(passed),
        "num_right_passed": sum(passed),
        "right_passed": share(passed),
    }


def score_together(
    labels: Sequence[Sequence[bool]], rewards: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """The same of all kinds together, and `auc`: how likely a right step is rewarded more than a wrong one, or None."""
    pairs = _pairs(labels, rewards)
    metrics = step_metrics(
        torch.tensor([reward for _, reward in pairs], dtype=torch.float64),
        torch.tensor([is_right for is_right, _ in pairs]),
    )
    return {**score_steps(labels, rewards), "auc": metrics["auc"]}


def _pairs(
    labels: Sequence[Sequence[bool]], rewards: Sequence[Sequence[float]]
) -> list[tuple[bool, float]]:
    """(is right, reward) of every step."""
    return list(
        chain.from_iterable(
            zip(right, given, strict=True) for right, given in zip(labels, rewards, strict=True)
        )
    )
