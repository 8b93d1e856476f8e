"""Every public form of step labels to one record, and every kind of bad row refused with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from prm_training.data import load_solutions
from prm_training.selection import label_balance, label_neutral_steps
from prm_training.sources import RatedSolution, parse_row, source_form
from tests.shared_data import shared_file

LABELS = {"prompt": "1+1+1?", "completions": ["1+1=2", "2+1=4"], "labels": [True, False]}
RATINGS = {"prompt": "1+1+1?", "completions": ["1+1=2", "2+1=4"], "ratings": [1, 0]}
SHEPHERD = {
    "input": "Ann has 2. How many? Step 1: She has 2. ки\nStep 2: So 3. The answer is: 3 ки",
    "label": "Ann has 2. How many? Step 1: She has 2. +\nStep 2: So 3. The answer is: 3 -",
    "task": "GSM8K",
}


def candidate(text: str, rating: int | None) -> dict[str, Any]:
    return {"text": text, "rating": rating, "flagged": False}


def raw_row(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"question": {"problem": "P?"}, "label": {"steps": list(steps)}}


def raw_step(
    candidates: list[dict[str, Any]] | None, chosen: int | None, human: str | None = None
) -> dict[str, Any]:
    return {
        "completions": candidates,
        "chosen_completion": chosen,
        "human_completion": None if human is None else {"text": human, "rating": None},
    }


def test_forms_are_known_by_their_columns() -> None:
    assert source_form(LABELS) == "labels"
    assert source_form(LABELS | RATINGS) == "ratings"  # the ratings say more
    assert source_form(raw_row()) == "prm800k"
    assert source_form(SHEPHERD) == "math_shepherd"
    with pytest.raises(ValueError, match="columns are prompt, completions, x; expected prompt"):
        source_form({"prompt": "", "completions": [], "x": 1})
    with pytest.raises(ValueError, match="got list"):
        source_form([1])


def test_labels_and_ratings() -> None:
    assert parse_row(LABELS, 3) == [RatedSolution("1+1+1?", ["1+1=2", "2+1=4"], [1, -1], 3)]
    assert parse_row(RATINGS)[0].ratings == [1, 0]
    human = LABELS | {"labels": [True, False], "ratings": [None, None]}
    assert parse_row(human)[0].ratings == [1, None]  # a human's step; a candidate nobody judged


def test_raw_prm800k_branches_at_every_candidate_that_was_not_chosen() -> None:
    row = raw_row(
        raw_step([candidate("a", 1)], 0),
        raw_step([candidate("b wrong", -1), candidate("b unrated", None)], None, human="b"),
        raw_step([candidate("c neutral", 0), candidate("c", 1)], 1),
        raw_step(None, None),
    )
    assert [(s.steps, s.ratings) for s in parse_row(row)] == [
        (["a", "b wrong"], [1, -1]),
        (["a", "b", "c neutral"], [1, 1, 0]),
        (["a", "b", "c"], [1, 1, 1]),
    ]


def test_raw_prm800k_that_ends_at_an_error() -> None:
    row = raw_row(raw_step([candidate("a", 1)], 0), raw_step([candidate("b", -1)], None))
    assert [s.steps for s in parse_row(row)] == [["a", "b"], ["a"]]
    with pytest.raises(ValueError, match="no step of it has a rated completion"):
        parse_row(raw_row(raw_step(None, None)))


def test_math_shepherd() -> None:
    (solution,) = parse_row(SHEPHERD)
    assert solution.prompt == "Ann has 2. How many?"
    assert solution.steps == ["Step 1: She has 2.", "Step 2: So 3. The answer is: 3"]
    assert solution.ratings == [1, -1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (LABELS | {"labels": [1]}, "2 steps and 1 labels"),
        (LABELS | {"labels": None}, "2 steps and None labels"),
        (LABELS | {"labels": [1, 2]}, "label of step 2 is 2"),
        (LABELS | {"labels": [1, -1]}, "label of step 2 is -1; allowed are true, false, 1, 0"),
        (LABELS | {"labels": [1, "0"]}, "label of step 2 is '0'"),
        (LABELS | {"labels": [1, 1.0]}, "label of step 2 is 1.0"),
        (LABELS | {"completions": [], "labels": []}, "non-empty list"),
        (LABELS | {"completions": "1+1=2"}, "non-empty list"),
        (LABELS | {"completions": ["1+1=2", "  "]}, "step 2 is empty"),
        (LABELS | {"completions": ["1+1=2", None]}, "step 2 is empty or no text"),
        (LABELS | {"prompt": ""}, "prompt must be a non-empty text"),
        (LABELS | {"prompt": 7}, "prompt must be a non-empty text"),
        (RATINGS | {"ratings": [1, 2]}, "rating of step 2 is 2; allowed are 1, 0, -1, null"),
        (RATINGS | {"ratings": [1, True]}, "rating of step 2 is True"),
        (RATINGS | {"ratings": [1]}, "2 steps and 1 ratings"),
        (RATINGS | {"labels": [True]}, "2 steps and 1 labels"),
        (raw_row(raw_step([candidate("a", 3)], 0)), "rating of step 1 is 3"),
        (raw_row(raw_step([candidate("", 1)], 0)), "step 1 is empty"),
        (raw_row(raw_step([candidate("a", 1)], 4)), "chosen_completion of step 1 is 4, of 1"),
        (raw_row(raw_step([{"text": "a"}], 0)), "completion of step 1 has no rating"),
        ({"question": {}, "label": {"steps": 1}}, "label.steps must be a list"),
        (SHEPHERD | {"label": SHEPHERD["label"].replace("-", "?")}, "label of step 2 is '?'"),
        (SHEPHERD | {"label": SHEPHERD["label"][:-1]}, "label of step 2 is ''"),
        (SHEPHERD | {"input": SHEPHERD["input"] + " on"}, "must end with the tag"),
        (SHEPHERD | {"label": SHEPHERD["label"] + " on"}, "goes on after 2 signs"),
        (
            {k: str(v).replace("Step 1:", "") for k, v in SHEPHERD.items()},
            "no 'Step 1:'",
        ),
    ],
)
def test_reason_of_a_bad_row(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_row(row)
    assert reason in str(caught.value)


def load(name: str) -> Any:
    return load_solutions(
        str(shared_file(name)), "train", separator="\n", separator_in_steps="keep"
    )


def test_real_raw_rows() -> None:
    loaded = load("prm800k/openr_samples_prm800k.raw.jsonl")
    assert loaded.bad_rows == [] and loaded.forms == {"prm800k": 6}
    # row 1: five rejected candidates of step 2 (a human wrote it), four of the last step, the whole solution
    steps_of_row_1 = [len(s.steps) for s in loaded.solutions if s.row == 1]
    assert steps_of_row_1 == [2] * 5 + [6] * 4 + [6]
    assert next(s.ratings for s in loaded.solutions if s.row == 1) == [1, -1]


def test_real_math_shepherd_rows() -> None:
    loaded = load("math_shepherd/openr_samples_math-shepherd.jsonl")
    assert loaded.bad_rows == [] and len(loaded.solutions) == 7
    assert loaded.solutions[0].ratings == [1, 1, 1, 1, -1]
    assert loaded.solutions[0].steps[0].startswith("Step 1: Janet spends 3 hours")
    assert loaded.solutions[0].prompt.endswith("clarinet lessons in a year?")


@pytest.mark.parametrize(
    ("name", "num_rows", "balance"),
    [
        # 822 and 110 candidates that nobody rated are not labelled; TRL's rule would call them wrong
        ("phase1_train", 37466, "37466 rows, 637121 labels, 95.3% right"),
        ("phase1_test", 3695, "3695 rows, 56166 labels, 94.9% right"),
    ],
)
def test_real_phase_1(name: str, num_rows: int, balance: str) -> None:
    loaded = load(f"prm800k/prm800k_{name}.trl.jsonl.gz")
    assert loaded.num_rows == num_rows and loaded.bad_rows == []
    assert label_balance(label_neutral_steps(loaded.solutions, "wrong")) == balance


def test_real_steps_contain_line_feeds() -> None:
    """A quarter of phase 2's rows, most of them in the closing "# Answer" block."""
    name = str(shared_file("prm800k/prm800k_train_2pct_decoded.jsonl.gz"))
    loaded = load_solutions(name, "train", separator="\n", separator_in_steps="refuse")
    assert len(loaded.bad_rows) == 450 and loaded.num_rows == 1818
    assert "step 5 contains the separator '\\n'" in loaded.bad_rows[0].reason
    spaced = load_solutions(name, "train", separator="\n", separator_in_steps="space")
    assert spaced.bad_rows == []
    assert spaced.solutions[0].steps[-1] == "Right. # Answer 0"
