"""`python -m evaluation.grader_agreement PAIRS_FILE`: how often the verifier agrees with readers, and how quick it is.

A pair is a text, a gold answer and a verdict (`truth`: true, false or null). Real model outputs without one count where
both reference graders of the file agree; null on a written variant is a matter of policy and is left out.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from typing import Annotated, Any

import tyro

from pure_rlhf.data import load_rows
from pure_rlhf.grading.pool import MAX_TIMEOUT_SECONDS, VerifierPool

COLUMNS = ("prediction_text", "gold", "truth", "variant", "qwen_correct", "math_verify_correct")


def known_truth(pair: dict[str, Any]) -> bool | None:
    """The verdict that a pair is held against, or None where there is none."""
    graders_agree = pair["qwen_correct"] == pair["math_verify_correct"]
    if pair["truth"] is None and pair["variant"] is None and graders_agree:
        return pair["qwen_correct"]
    return pair["truth"]


def agreement(pairs: list[dict[str, Any]], verdicts: list[bool]) -> dict[str, tuple[int, int]]:
    """(accepted or right, all) by kind of pair: real outputs that are graded right, and accepted variants."""
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for pair, correct in zip(pairs, verdicts, strict=True):
        truth = known_truth(pair)
        if truth is None:
            continue
        if pair["variant"] is None:
            kind, counted = "real outputs, verdict right", correct == truth
        else:
            kind, counted = f"variants that must {'pass' if truth else 'fail'}, accepted", correct
        totals[kind] += 1
        counts[kind] += counted
    return {kind: (counts[kind], totals[kind]) for kind in sorted(totals)}


def measure(
    pairs_file: str, *, num_answers: int, workers: int, timeout: float, strict: bool
) -> None:
    """Grade all pairs, print the figures; then time `num_answers` of their texts.

    Raises:
        ValueError: the file cannot be read, or a column is missing.
    """
    pairs = load_rows(pairs_file, "train")
    missing = [key for key in COLUMNS if any(key not in pair for pair in pairs)]
    if missing:
        raise ValueError(f"{pairs_file} has rows without {', '.join(missing)}")
    with VerifierPool(
        workers, timeout, batch_timeout_seconds=MAX_TIMEOUT_SECONDS, strict=strict
    ) as pool:
        texts = [pair["prediction_text"] for pair in pairs]
        golds = [str(pair["gold"]) for pair in pairs]
        results = pool.grade_batch(texts, golds, "evaluation")
        verdicts = [result is not None and result.correct for result in results]
        for kind, (count, total) in agreement(pairs, verdicts).items():
            print(f"{kind}: {count} of {total} ({count / total:.2%})")
        print(
            f"gave up: {pool.num_timeouts} at the time limit, {pool.num_failures} for other reasons"
        )
        if num_answers:
            start = time.perf_counter()
            for done in range(
                0, num_answers, len(pairs)
            ):  # one pass a batch: a batch asks no comparison twice
                count = min(len(pairs), num_answers - done)
                pool.grade_batch(texts[:count], golds[:count], "evaluation")
            seconds = time.perf_counter() - start
            print(f"{num_answers:,} answers graded in {seconds:.1f} s by {workers} processes")


def main(
    pairs_file: Annotated[str, tyro.conf.Positional],
    num_answers: int = 10_000,
    workers: int = min(os.cpu_count() or 1, 16),
    timeout: float = 10.0,
    strict: bool = False,
) -> None:
    """Print the agreement with the verdicts of a pairs file, and the time that grading takes.

    Args:
        pairs_file: JSONL(.gz) with prediction_text, gold, truth, variant, qwen_correct and math_verify_correct.
        num_answers: Answers that are timed; 0: none.
        workers: Grading processes.
        timeout: Seconds that one comparison may take.
        strict: Without the rules that accept what is not exactly the label.
    """
    try:
        measure(
            pairs_file,
            num_answers=num_answers,
            workers=workers,
            timeout=timeout,
            strict=strict,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    tyro.cli(main, use_underscores=True)
