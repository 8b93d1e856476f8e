"""ProcessBench: does a PRM find the first wrong step of a solution?

Zheng et al. 2024 (arXiv 2412.06559), by the official rule (QwenLM/ProcessBench, code/run_eval_prm_trl.py): the first
step that is judged wrong must be the labelled one, and in a correct solution none may be. The score of a subset is the
harmonic mean ("F1") of the accuracies on erroneous and on correct solutions, that of the benchmark the mean over its
four subsets.

A step is judged wrong where r <= 0 (`prm.conventions.is_judged_wrong`). Scalar PRMs were published with another
threshold: that of Skywork's was chosen for the best F1 on the GSM8K subset (QwenLM/ProcessBench, issue 3).

PURE's repository has an easier rule (CJReinforce/PURE, PRM/eval/process_bench.py), reported beside it as
`outcome_rule`: an erroneous solution is a hit wherever its wrong step is taken to be, as long as the softmin of its
rewards is at most 0. A user of it got 78.6 for PURE-PRM-7B (CJReinforce/PURE, issue 18), where the paper has 57.5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.best_of_n import aggregate
from evaluation.rows import check_rows, is_text, is_texts, missing_columns, read_rows, short_name
from evaluation.scoring import (
    harmonic_mean,
    percentile_interval,
    resampled_sums,
    share,
)
from pure_rlhf.prm.conventions import is_judged_wrong

HUB_NAME = "Qwen/ProcessBench"
SUBSETS = {"gsm8k": (207, 193), "math": (594, 406), "olympiadbench": (661, 339), "omnimath": (759, 241)}  # fmt: skip
"""Erroneous and correct solutions of each subset, from the official code."""
COLUMNS = ("problem", "steps", "label")


@dataclass(frozen=True, kw_only=True)
class Solution:
    """One solution, e.g. `Solution(question="1+1+1?", steps=("1+1=2", "2+1=4"), label=1)`."""

    question: str
    steps: tuple[str, ...]
    label: int  # index of the first wrong step, -1: none


@dataclass(frozen=True, kw_only=True)
class Subset:
    """The solutions of one subset and where they came from."""

    name: str
    source: str
    solutions: list[Solution]
    notes: tuple[str, ...] = ()


def subset_sources(source: str) -> list[str]:
    """What one value of `--process_bench` names: the hub name all four subsets, a folder its files, else itself."""
    if source == HUB_NAME:
        return list(SUBSETS)
    folder = Path(source)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if ".json" in path.suffixes)
        if not files:
            raise ValueError(f"--process_bench {source}: the folder holds no .json file")
        return [str(path) for path in files]
    return [source]


def load_subset(source: str) -> Subset:
    """A subset from a file (.json, .jsonl, .parquet, also .gz), or by its name from the hub.

    Raises:
        ValueError: no such file or subset, or rows that are not solutions (the first ones are named).
    """
    if source in SUBSETS and not Path(source).is_file():
        name, where = source, f"{HUB_NAME}, split {source}"
        rows = read_rows(HUB_NAME, source)
    elif Path(source).is_file():
        name, where = short_name(source), source
        rows = read_rows(source, "test")
    else:
        raise ValueError(
            f"--process_bench {source}: there is no such file, and {HUB_NAME} has the subsets {', '.join(SUBSETS)}"
        )
    check_rows(where, [_problem(row) for row in rows])
    solutions = [
        Solution(question=row["problem"], steps=tuple(row["steps"]), label=row["label"])
        for row in rows
    ]
    num_erroneous = sum(solution.label >= 0 for solution in solutions)
    counts = (num_erroneous, len(solutions) - num_erroneous)
    notes = ()
    if name in SUBSETS and counts != SUBSETS[name]:
        notes = (
            f"{counts[0]} erroneous and {counts[1]} correct solutions, where the published subset has "
            f"{SUBSETS[name][0]} and {SUBSETS[name][1]}: not comparable with published figures",
        )
    return Subset(name=name, source=where, solutions=solutions, notes=notes)


def _problem(row: Any) -> str | None:
    """What is wrong with a row, or None."""
    missing = missing_columns(row, COLUMNS)
    if missing:
        return missing
    steps, label = row["steps"], row["label"]
    if not is_text(row["problem"]):
        return "column 'problem' must be a non-empty text"
    if not is_texts(steps):
        return "column 'steps' must be a list of at least one text"
    if not isinstance(label, int) or isinstance(label, bool) or not -1 <= label < len(steps):
        return f"column 'label' is {label!r}; expected the first wrong of {len(steps)} steps (from 0), or -1"
    return None


def first_wrong_step(rewards: Sequence[float]) -> int:
    """Index of the first step that is judged wrong, -1: none. Example: `first_wrong_step([0.9, 0.0, -1])` is 1."""
    return next((index for index, reward in enumerate(rewards) if is_judged_wrong(reward)), -1)


def score_subset(labels: Sequence[int], rewards: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The scores of one subset; shares are in [0, 1], each with its 95 % interval, and None where nothing was asked.

    `first_wrong` is the official rule, `outcome_rule` the easier one of PURE's repository. Accuracies have Wilson
    intervals, F1 a bootstrap one over solutions drawn within the erroneous and within the correct ones. An F1 needs
    both kinds: in a subset without erroneous (or correct) solutions it is None, where the official code prints nan.

    Example: labels `[1, -1]` and rewards `[[0.5, -0.5], [0.5, 0.5]]` give accuracies and F1 of 1.
    """
    judged = [first_wrong_step(steps) for steps in rewards]
    hits = [found == label for found, label in zip(judged, labels, strict=True)]
    outcome_hits = [
        (aggregate(steps, "softmin") <= 0) == (label >= 0)
        for steps, label in zip(rewards, labels, strict=True)
    ]
    pairs = [(found, label) for found, label in zip(judged, labels, strict=True) if label >= 0]
    last = max([*labels, *judged])
    labelled, found = Counter(labels), Counter(judged)
    return {
        "num_erroneous": len(pairs),
        "num_correct": len(labels) - len(pairs),
        "first_wrong": _accuracies(labels, hits),
        "outcome_rule": _accuracies(labels, outcome_hits),
        "num_ties": sum(reward == 0 for steps in rewards for reward in steps),
        "where": {
            "earlier": sum(0 <= found < label for found, label in pairs),
            "exact": sum(found == label for found, label in pairs),
            "later": sum(found > label for found, label in pairs),
            "none": sum(found == -1 for found, label in pairs),
        },
        # counts from "none" (-1) on
        "positions": {
            "labelled": [labelled[index] for index in range(-1, last + 1)],
            "judged": [found[index] for index in range(-1, last + 1)],
        },
    }


def _accuracies(labels: Sequence[int], hits: Sequence[bool]) -> dict[str, Any]:
    groups = _split(labels, hits)
    erroneous, correct = (share(group) for group in groups)
    return {
        "erroneous_accuracy": erroneous,
        "correct_accuracy": correct,
        "f1": _mean_f1([groups]),
    }


def _split(labels: Sequence[int], hits: Sequence[bool]) -> tuple[list[bool], list[bool]]:
    pairs = list(zip(labels, hits, strict=True))
    return [hit for label, hit in pairs if label >= 0], [hit for label, hit in pairs if label < 0]


def _mean_f1(subsets: Sequence[tuple[list[bool], list[bool]]]) -> dict[str, Any] | None:
    """Mean over subsets of the harmonic mean of the two accuracies."""
    if not all(erroneous and correct for erroneous, correct in subsets):
        return None
    rng = np.random.default_rng(0)
    values, resampled = [], []
    for groups in subsets:
        values.append(harmonic_mean(*(sum(hits) / len(hits) for hits in groups)))
        sums = [resampled_sums([[hit] for hit in hits], rng)[:, 0] / len(hits) for hits in groups]
        resampled.append(harmonic_mean(*sums))
    interval = percentile_interval(np.mean(resampled, axis=0))
    return {"value": float(np.mean(values)), "interval": interval}


def average_f1(
    subsets: Sequence[tuple[Sequence[int], Sequence[Sequence[float]]]],
) -> dict[str, Any] | None:
    """The benchmark's score by the official rule, from (labels, rewards) of its subsets; None where one has no F1."""
    return _mean_f1(
        [
            _split(labels, [first_wrong_step(r) == label for r, label in zip(rewards, labels, strict=True)])
            for labels, rewards in subsets
        ]
    )  # fmt: skip
