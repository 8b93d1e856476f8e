"""PRMBench's scores by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.prm_bench import GROUPS, Item, item_sources, load_items, score_items
from tests.shared_data import ROOT, shared_file


def item(kind: str, num_steps: int, *error_steps: int) -> Item:
    steps = tuple(map(str, range(num_steps)))
    return Item(kind=kind, question="?", steps=steps, error_steps=frozenset(error_steps))


def row(idx: str, kind: str, **changes: Any) -> dict[str, Any]:
    return {
        "idx": idx,
        "classification": kind,
        "original_question": "1+1?",
        "original_process": ["1. 1+1=2", "Step 2. So 2."],
        "modified_question": "1+1??",
        "modified_process": ["1. 1+1=2", "2. So 3."],
        "error_steps": [2],
        **changes,
    }


def test_scores_by_hand() -> None:
    items = [item("circular", 4, 1, 2), item("circular", 2, 0)]
    rewards = [[0.5, -0.5, 0.5, 0.5], [-0.1, 0.0]]  # a tie is judged wrong
    found = score_items(items, rewards)
    # right steps: 0, 3 found (TP 2), the last one of the second missed (FN 1); wrong: 2 found (TN), 1 missed (FP)
    f1, negative_f1 = 4 / (4 + 1 + 1), 4 / (4 + 1 + 1)
    scores = found["classes"]["circular"]
    assert scores["f1"] == pytest.approx(f1) and scores["negative_f1"] == pytest.approx(negative_f1)
    assert scores["prm_score"]["value"] == pytest.approx((f1 + negative_f1) / 2)
    assert scores["accuracy"] == pytest.approx(
        {"correct_step": 2 / 3, "wrong_step": 2 / 3, "total_step": 4 / 6, "first_error": 1}
    )
    assert found["overall"]["prm_score"] == scores["prm_score"] and found["groups"] == {}


def test_overall_counts_steps_and_leaves_the_originals_out() -> None:
    items = [item("redundency", 1, 0), item("multi_solutions", 3), item("correct", 3)]
    found = score_items(items, [[-1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
    overall = found["overall"]  # TP 2, FN 1, TN 1, FP 0
    assert overall["num_solutions"] == 2
    assert overall["f1"] == pytest.approx(4 / 5) and overall["negative_f1"] == pytest.approx(2 / 3)
    multi = found["classes"]["multi_solutions"]
    assert multi["prm_score"]["value"] == pytest.approx(4 / 5), "without wrong steps: F1 alone"
    assert multi["negative_f1"] is None and multi["accuracy"]["wrong_step"] is None
    assert found["classes"]["correct"]["accuracy"]["correct_step"] == 0


def test_groups_average_their_classes() -> None:
    kinds = [kind for kinds in GROUPS.values() for kind in kinds]
    items = [item(kind, 2, *([1] if kind != "multi_solutions" else [])) for kind in kinds]
    rewards = [[1.0, -1.0] if kind in ("redundency", "deception") else [1.0, 1.0] for kind in kinds]
    groups = score_items(items, rewards)["groups"]
    blind = (2 / 3 + 0) / 2  # everything right: F1 2/3, negative F1 0
    assert groups["simplicity"]["value"] == pytest.approx((1 + blind) / 2)
    assert groups["soundness"]["value"] == pytest.approx(blind)
    assert groups["sensitivity"]["value"] == pytest.approx((blind + 1 + 1) / 3)


def test_error_steps_past_the_end_count_nowhere() -> None:
    found = score_items([item("circular", 1, 3)], [[1.0]])["classes"]["circular"]
    assert found["f1"] == 1 and found["negative_f1"] == 0
    assert found["accuracy"]["first_error"] is None and found["accuracy"]["wrong_step"] is None


def test_loading(tmp_path: Path) -> None:
    for name, rows in {
        "a.jsonl": [row("x", "redundency"), row("x", "circular")],
        "b.jsonl": [row("x", "circular", modified_process=["other"]), row("y", "circular")],
    }.items():
        (tmp_path / name).write_text("".join(json.dumps(r) + "\n" for r in rows))
    bench = load_items(item_sources(str(tmp_path)))
    assert [i.kind for i in bench.items] == ["redundency", "circular", "circular", "correct"]
    assert bench.items[0].steps == ("1+1=2", "So 3."), "without their numbering"
    assert bench.items[0].error_steps == {1} and bench.items[0].question == "1+1??"
    assert bench.items[3].steps == ("1+1=2", "So 2.") and bench.items[3].error_steps == set()
    assert bench.notes[0] == "4 rows, of which 1 are repeated and left out"
    assert "3 solutions, where the benchmark has 6211" in bench.notes[1]
    assert len(load_items(item_sources(str(tmp_path)), 1).items) == 3


def test_bad_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    bad = [
        row("x", "spelling"),
        row("x", "circular", error_steps=[0]),
        row("x", "circular", modified_process=[]),
        row("", "circular"),
        {"idx": "x"},
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in bad))
    with pytest.raises(ValueError) as caught:
        load_items([str(path)])
    for words in (
        "classification 'spelling' is not one of redundency",
        "row 2: column 'error_steps' is [0]; expected step numbers from 1",
        "row 3: column 'modified_process' must be",
        "row 4: column 'idx'",
        "row 5: has no column 'classification' and",
    ):
        assert words in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no \.jsonl file"):
        item_sources(str(tmp_path / "empty"))


def test_the_real_files_are_the_whole_benchmark() -> None:
    shared_file("prmbench/prm_test_p12_multi_solutions.jsonl.gz")
    bench = load_items(item_sources(str(ROOT / "prmbench")))
    assert bench.notes == ("6216 rows, of which 5 are repeated and left out",)
    kinds = [i.kind for i in bench.items]
    assert (kinds.count("circular"), kinds.count("deception")) == (758, 750)
    assert (kinds.count("multi_solutions"), kinds.count("correct")) == (160, 758)
