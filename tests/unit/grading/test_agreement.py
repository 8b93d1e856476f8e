"""How often the verifier is right on real model outputs and on written variants of gold answers.

The pairs are public data that is not part of the project: PURE_SHARED_DATA names their folder, and
the test skips where they are missing.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter

import pytest

from pure_rlhf.grading.final_answer import grade
from tests.shared_data import ROOT

PAIRS = ROOT / "grader_pairs" / "pairs.jsonl.gz"


@pytest.mark.skipif(not PAIRS.exists(), reason="grader_pairs is not on this machine")
def test_rates_on_real_outputs_and_on_variants() -> None:
    """Evaluation mode; the verdict of a pair is a reader's or, where both reference graders agree,
    theirs.
    """
    seen: Counter[tuple[str, bool]] = Counter()
    wrong: Counter[tuple[str, bool]] = Counter()
    with gzip.open(PAIRS, "rt", encoding="utf-8") as file:
        for line in file:
            pair = json.loads(line)
            truth = pair["truth"]
            real = pair["variant"] is None
            if truth is None and real and pair["qwen_correct"] == pair["math_verify_correct"]:
                truth = pair["qwen_correct"]
            if truth is None:
                continue
            kind = ("real" if real else "variant", truth)
            seen[kind] += 1
            wrong[kind] += (
                grade(pair["prediction_text"], pair["gold"], "evaluation").correct != truth
            )
    assert seen["real", True] + seen["real", False] > 2500
    num_real = seen["real", True] + seen["real", False]
    assert (wrong["real", True] + wrong["real", False]) / num_real <= 0.0025
    assert wrong["variant", True] / seen["variant", True] <= 0.005
    assert wrong["variant", False] / seen["variant", False] <= 0.005
