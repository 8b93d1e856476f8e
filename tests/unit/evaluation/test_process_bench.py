"""ProcessBench by the official rule, on hand-made solutions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation.process_bench import (
    SUBSETS,
    average_f1,
    first_wrong_step,
    load_subset,
    score_subset,
    subset_sources,
)
from tests.shared_data import shared_file

GOOD = {"problem": "1+1+1?", "steps": ["1+1=2", "2+1=4"], "label": 1, "id": "x-0"}


def test_first_wrong_step_and_ties() -> None:
    assert first_wrong_step([0.9, -0.1, -0.9]) == 1
    assert first_wrong_step([0.9, 1e-6]) == -1
    assert first_wrong_step([0.9, 0.0]) == 1, "argmax over equal logits takes label 0, wrong"


def test_official_rule_by_hand() -> None:
    labels = [1, 1, 0, 2, -1, -1]
    rewards = [
        [0.5, -0.5, 0.5],  # exact
        [-0.5, -0.5],  # too early
        [0.5, -0.5],  # too late
        [0.5, 0.5, 0.5],  # missed
        [0.5, 0.5],  # right: nothing judged wrong
        [0.5, -0.1],  # wrong
    ]
    scores = score_subset(labels, rewards)
    assert (scores["num_erroneous"], scores["num_correct"]) == (4, 2)
    rule = scores["first_wrong"]
    assert rule["erroneous_accuracy"]["value"] == 0.25 and rule["correct_accuracy"]["value"] == 0.5
    assert rule["f1"]["value"] == pytest.approx(2 * 0.25 * 0.5 / 0.75)
    assert rule["f1"]["interval"][0] == 0 and rule["f1"]["interval"][1] > 0.5
    assert scores["where"] == {"earlier": 1, "exact": 1, "later": 1, "none": 1}
    assert scores["positions"] == {"labelled": [2, 1, 2, 1], "judged": [2, 1, 3, 0]}
    # the easier rule: three of the four erroneous ones have a negative softmin, wherever it is
    easier = scores["outcome_rule"]
    assert easier["erroneous_accuracy"]["value"] == 0.75
    assert easier["f1"]["value"] == pytest.approx(2 * 0.75 * 0.5 / 1.25)


def test_the_outcome_rule_is_softmin_not_min() -> None:
    """At [0.01, -0.001] the min is negative, while softmin is (0.01 e^-0.1 - 0.001 e^0.01) / sum > 0."""
    scores = score_subset([1, -1], [[0.01, -0.001], [0.01, -0.001]])
    assert scores["first_wrong"]["erroneous_accuracy"]["value"] == 1
    assert scores["outcome_rule"]["erroneous_accuracy"]["value"] == 0
    assert scores["outcome_rule"]["correct_accuracy"]["value"] == 1


def test_subsets_of_one_kind_have_no_f1() -> None:
    all_correct = score_subset([-1, -1], [[0.5], [0.5, -0.5]])
    assert all_correct["first_wrong"]["erroneous_accuracy"] is None
    assert all_correct["first_wrong"]["correct_accuracy"]["value"] == 0.5
    assert all_correct["first_wrong"]["f1"] is None and all_correct["outcome_rule"]["f1"] is None
    assert score_subset([0], [[-1.0]])["first_wrong"]["f1"] is None
    assert average_f1([([0, -1], [[-1.0], [1.0]]), ([-1], [[1.0]])]) is None


def test_a_prm_that_calls_everything_right_scores_0() -> None:
    scores = score_subset([0, -1], [[0.9], [0.9]])
    assert scores["first_wrong"]["f1"] == {"value": 0.0, "interval": (0.0, 0.0)}
    assert scores["positions"] == {"labelled": [1, 1], "judged": [2, 0]}


def test_the_average_weighs_subsets_equally() -> None:
    perfect = ([0, -1], [[-1.0], [1.0]])
    useless = ([0, -1] * 50, [[1.0], [1.0]] * 50)
    average = average_f1([perfect, useless])
    assert average == {"value": 0.5, "interval": (0.5, 0.5)}


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "math.json"
    path.write_text(json.dumps([GOOD]))
    subset = load_subset(str(path))
    assert subset.name == "math" and subset.solutions[0].steps == ("1+1=2", "2+1=4")
    assert "1 erroneous and 0 correct solutions" in subset.notes[0]
    assert subset_sources(str(tmp_path)) == [str(path)]
    assert subset_sources("Qwen/ProcessBench") == list(SUBSETS)
    path.rename(tmp_path / "own.json")
    assert load_subset(str(tmp_path / "own.json")).notes == (), "nothing is published on it"


def test_bad_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    bad = [
        GOOD,
        GOOD | {"label": 2},
        GOOD | {"label": True},
        GOOD | {"steps": []},
        GOOD | {"problem": " "},
        {"problem": "?"},
        7,
        GOOD | {"label": -2},
    ]
    path.write_text(json.dumps(bad))
    with pytest.raises(ValueError, match="7 of 8 rows cannot be used") as caught:
        load_subset(str(path))
    for words in (
        "row 2: column 'label' is 2; expected the first wrong of 2 steps (from 0), or -1",
        "row 3: column 'label' is True",
        "row 4: column 'steps' must be",
        "row 5: column 'problem'",
        "row 6: has no column 'steps' and 'label'; its columns are problem",
        "and 2 more reasons",
    ):
        assert words in str(caught.value)
    path.write_text(json.dumps([GOOD, GOOD | {"steps": []}, GOOD | {"steps": []}]))
    with pytest.raises(ValueError, match="2 of 3 rows cannot be used\n  row 2 and 1 more: column"):
        load_subset(str(path))
    with pytest.raises(
        ValueError, match="no such file, and Qwen/ProcessBench has the subsets gsm8k"
    ):
        load_subset("gsm9k")
    path.with_suffix(".json.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match=r"bad\.json\.gz cannot be read: Not a gzipped file"):
        load_subset(str(path.with_suffix(".json.gz")))


@pytest.mark.parametrize("name", ["gsm8k", "math"])
def test_real_subsets_have_the_published_counts(name: str) -> None:
    subset = load_subset(str(shared_file(f"processbench/{name}.json.gz")))
    assert subset.name == name and subset.notes == ()
    labels = [solution.label for solution in subset.solutions]
    # a PRM that knows everything
    rewards = [
        [-1.0 if i == s.label else 1.0 for i in range(len(s.steps))] for s in subset.solutions
    ]
    scores = score_subset(labels, rewards)
    assert (scores["num_erroneous"], scores["num_correct"]) == SUBSETS[name]
    assert scores["first_wrong"]["f1"]["value"] == 1
