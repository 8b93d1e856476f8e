"""PRMBench: which steps does a PRM judge wrong, by kind of error?

Song et al. 2025 (arXiv 2501.03124), scored as ssmisya/PRMBench does (mr_eval/tasks/prmtest_classified/task.py). The
benchmark is the 25 files of that folder, 6,216 rows, which the hub has as hitsmy/PRMBench_Preview. The official code
keeps the first of rows with the same classification and idx; five of multi_solutions go, and 6,211 remain. It adds the
original solution of every "redundency" row as class "correct", which no score but its own row counts. The numbering
that the steps begin with ("3. ", "Step 3. ") is not shown to the PRM.

A step is judged wrong where r <= 0 (validity threshold 0.5 of p, 0 of r). A right step is the positive class:

    F1 = 2 TP / (2 TP + FP + FN)    negative F1 = 2 TN / (2 TN + FN + FP)    PRMScore = (F1 + negative F1) / 2

over the steps of a class; over those of all classes together for the overall score; the mean of its classes' scores for
simplicity, soundness and sensitivity. Multi_solutions has no wrong steps, so its PRMScore is its F1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.rows import check_rows, is_text, is_texts, missing_columns, read_rows, spread
from evaluation.scoring import percentile_interval, resampled_sums
from pure_rlhf.prm.conventions import is_judged_wrong

HUB_NAME = "hitsmy/PRMBench_Preview"
NUM_ITEMS = 6211
"""Of the whole benchmark, without the five repeated ones."""
GROUPS = {
    "simplicity": ("redundency", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
CORRECT = "correct"
WITHOUT_ERRORS = (CORRECT, "multi_solutions")
CLASSES = (*(name for names in GROUPS.values() for name in names), CORRECT)
COLUMNS = (
    "idx",
    "classification",
    "original_question",
    "original_process",
    "modified_question",
    "modified_process",
    "error_steps",
)
_NUMBERING = re.compile(r"^(step\s*\d+\.\s*|\d+\.\s*)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One solution, e.g. `Item(kind="circular", question="1+1?", steps=("1+1=2",), error_steps=frozenset({0}))`."""

    kind: str
    question: str
    steps: tuple[str, ...]
    error_steps: frozenset[int]  # from 0


@dataclass(frozen=True, kw_only=True)
class PrmBench:
    """The items that are scored, and what must be known of them."""

    items: list[Item]
    notes: tuple[str, ...]


def item_sources(source: str) -> list[str]:
    """What one value of `--prm_bench` names: a folder its .jsonl files, else itself.

    Raises:
        ValueError: a folder without such files.
    """
    folder = Path(source)
    if not folder.is_dir():
        return [source]
    files = sorted(path for path in folder.iterdir() if ".jsonl" in path.suffixes)
    if not files:
        raise ValueError(f"--prm_bench {source}: the folder holds no .jsonl file")
    return [str(path) for path in files]


def load_items(sources: Sequence[str], max_per_class: int | None = None) -> PrmBench:
    """The items of files or of the hub data set (split train), repeated ones dropped; of each class at most so many.

    Raises:
        ValueError: no such file, or rows that cannot be used (the first ones are named).
    """
    items: dict[tuple[str, str], Item] = {}
    num_rows = 0
    for source in sources:
        rows = read_rows(source, "train")
        check_rows(source, [_problem(row) for row in rows])
        num_rows += len(rows)
        for row in rows:
            kind, idx = row["classification"], row["idx"]
            if kind == "redundency":
                original = _item(CORRECT, row["original_question"], row["original_process"], [])
                items.setdefault((CORRECT, idx), original)
            item = _item(
                kind, row["modified_question"], row["modified_process"], row["error_steps"]
            )
            items.setdefault((kind, idx), item)
    modified = [item for item in items.values() if item.kind != CORRECT]
    notes = [f"{num_rows} rows, of which {num_rows - len(modified)} are repeated and left out"]
    if len(modified) != NUM_ITEMS:
        notes.append(
            f"{len(modified)} solutions, where the benchmark has {NUM_ITEMS}: not comparable with published figures"
        )
    kept = [
        item
        for kind in CLASSES
        for item in spread([i for i in items.values() if i.kind == kind], max_per_class)
    ]
    return PrmBench(items=kept, notes=tuple(notes))


def _item(kind: str, question: str, steps: list[str], error_steps: list[int]) -> Item:
    return Item(
        kind=kind,
        question=question,
        steps=tuple(_NUMBERING.sub("", step.strip()) for step in steps),
        error_steps=frozenset(number - 1 for number in error_steps),
    )


def _problem(row: Any) -> str | None:
    """What is wrong with a row, or None. Some error steps of the benchmark lie past the end; they count nowhere."""
    missing = missing_columns(row, COLUMNS)
    if missing:
        return missing
    for column in ("original_question", "modified_question", "idx"):
        if not is_text(row[column]):
            return f"column {column!r} must be a non-empty text"
    for column in ("original_process", "modified_process"):
        if not is_texts(row[column]):
            return f"column {column!r} must be a list of at least one text"
    if row["classification"] not in CLASSES:
        return f"classification {row['classification']!r} is not one of {', '.join(CLASSES[:-1])}"
    numbers = row["error_steps"]
    if not isinstance(numbers, list) or not all(type(n) is int and n >= 1 for n in numbers):
        return f"column 'error_steps' is {numbers!r:.80}; expected step numbers from 1"
    return None


def score_items(items: Sequence[Item], rewards: Sequence[Sequence[float]]) -> dict[str, Any]:
    """PRMScores with 95 % intervals, F1s and accuracies; shares in [0, 1], None where nothing was asked.

    The intervals are from solutions drawn within each class. `accuracy` holds, as the official code names them,
    correct_step, wrong_step and total_step (shares of those steps that are judged rightly) and first_error (of the
    solutions' first wrong steps).
    """
    rng = np.random.default_rng(0)
    counts = {
        kind: np.asarray(
            [_confusion(i, r) for i, r in zip(items, rewards, strict=True) if i.kind == kind]
        )
        for kind in CLASSES
    }
    present = {kind: rows for kind, rows in counts.items() if len(rows)}
    sums = {kind: rows.sum(axis=0) for kind, rows in present.items()}
    resampled = {kind: resampled_sums(rows, rng) for kind, rows in present.items()}
    classes = {
        kind: {
            "num_solutions": len(rows),
            **_scores(kind, sums[kind], resampled[kind]),
            "accuracy": _accuracies([(i, r) for i, r in zip(items, rewards, strict=True) if i.kind == kind]),
        }
        for kind, rows in present.items()
    }  # fmt: skip
    scored = [kind for kind in present if kind != CORRECT]
    overall: dict[str, Any] = {"num_solutions": sum(len(present[kind]) for kind in scored)}
    if scored:
        total = sum((sums[kind] for kind in scored), np.zeros(4))
        spread = sum((resampled[kind] for kind in scored), np.zeros(4))
        overall |= _scores("overall", total, spread)
        overall["accuracy"] = _accuracies(
            [(i, r) for i, r in zip(items, rewards, strict=True) if i.kind != CORRECT]
        )
    groups = {
        group: {
            "value": float(np.mean([classes[kind]["prm_score"]["value"] for kind in kinds])),
            "interval": percentile_interval(
                np.mean([prm_score(kind, resampled[kind]) for kind in kinds], axis=0)
            ),
        }
        for group, kinds in GROUPS.items()
        if all(kind in present for kind in kinds)
    }
    return {"overall": overall, "groups": groups, "classes": classes}


def _confusion(item: Item, rewards: Sequence[float]) -> tuple[int, int, int, int]:
    """TP, FP, TN, FN over the steps of a solution; positive: right."""
    pairs = [(is_judged_wrong(r), index in item.error_steps) for index, r in enumerate(rewards)]
    return (
        pairs.count((False, False)),
        pairs.count((False, True)),
        pairs.count((True, True)),
        pairs.count((True, False)),
    )


def f1_scores(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F1 of right and of wrong steps from (..., 4) counts TP, FP, TN, FN; 0 where nothing was or should be found."""
    tp, fp, tn, fn = np.moveaxis(np.asarray(confusion, dtype=float), -1, 0)
    return tuple(
        np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0)
        for hits, total in ((tp, 2 * tp + fp + fn), (tn, 2 * tn + fn + fp))
    )


def prm_score(kind: str, confusion: np.ndarray) -> np.ndarray:
    """PRMScore of a class, from (..., 4) counts TP, FP, TN, FN; 0.5 and 0.5 are the official weights of the two F1."""
    f1, negative_f1 = f1_scores(confusion)
    return f1 if kind in WITHOUT_ERRORS else (f1 + negative_f1) / 2


def _scores(kind: str, confusion: np.ndarray, resampled: np.ndarray) -> dict[str, Any]:
    f1, negative_f1 = (float(value) for value in f1_scores(confusion))
    return {
        "prm_score": {
            "value": float(prm_score(kind, confusion)),
            "interval": percentile_interval(prm_score(kind, resampled)),
        },
        "f1": f1,
        "negative_f1": None if kind in WITHOUT_ERRORS else negative_f1,
    }


def _accuracies(pairs: Sequence[tuple[Item, Sequence[float]]]) -> dict[str, float | None]:
    tp, fp, tn, fn = (
        sum(column) for column in zip(*(_confusion(*pair) for pair in pairs), strict=True)
    )
    first = [
        is_judged_wrong(rewards[min(item.error_steps)])
        for item, rewards in pairs
        if item.error_steps and min(item.error_steps) < len(rewards)
    ]
    ratios = {
        "correct_step": (tp, tp + fn),
        "wrong_step": (tn, tn + fp),
        "total_step": (tp + tn, tp + tn + fp + fn),
        "first_error": (sum(first), len(first)),
    }
    return {name: hits / total if total else None for name, (hits, total) in ratios.items()}
