"""Neutral steps, repeated prefixes and evaluation problems on cases worked out by hand, and on the real rows."""

from __future__ import annotations

import pytest

from prm_training.data import exclude_problems, load_problem_keys, load_solutions
from prm_training.selection import (
    IGNORED,
    StepLabelledRow,
    label_balance,
    label_neutral_steps,
    neutral_effect,
    problem_key,
    select_labels,
    split_off_problems,
    step_nodes,
)
from prm_training.sources import RatedSolution
from tests.shared_data import shared_file


def row(steps: str, labels: list[int], prompt: str = "p") -> StepLabelledRow:
    return StepLabelledRow(prompt, steps.split(), labels)


# One solution A B C of which D and E are candidates that were not taken, as PRM800K is laid out; twice the same row.
LAYOUT = [
    row("A D", [1, 0]),
    row("A B E", [1, 1, 0]),
    row("A B C", [1, 1, 1]),
    row("A B C", [1, 1, 1]),
    row("A", [0], "q"),
]


def test_neutral_steps() -> None:
    solutions = [RatedSolution("p", ["A", "B", "C", "D"], [1, 0, -1, None])]
    assert label_neutral_steps(solutions, "wrong")[0].labels == [1, 0, 0, IGNORED]
    assert label_neutral_steps(solutions, "right")[0].labels == [1, 1, 0, IGNORED]
    assert label_neutral_steps(solutions, "drop")[0].labels == [1, IGNORED, 0, IGNORED]
    effect = neutral_effect(solutions, "drop")
    assert effect.startswith("1 neutral steps") and "--neutral drop" in effect
    assert "wrong 1 / 2, right 2 / 1, drop 1 / 1" in effect


def test_steps_with_the_same_beginning_share_their_number() -> None:
    assert step_nodes(LAYOUT) == [[0, 1], [0, 2, 3], [0, 2, 4], [0, 2, 4], [5]]


def test_as_is_and_last_step() -> None:
    assert select_labels(LAYOUT, "as_is") == LAYOUT
    last = select_labels(LAYOUT, "last_step")
    assert [r.labels for r in last[:3]] == [[IGNORED, 0], [IGNORED] * 2 + [0], [IGNORED] * 2 + [1]]
    assert label_balance(last) == "5 rows, 5 labels, 40.0% right"


def test_whole_solutions() -> None:
    assert select_labels(LAYOUT, "whole_solutions") == [LAYOUT[3], LAYOUT[4]]
    # nobody went on: the last candidate stands for the solution
    ended = [row("A B", [1, 0]), row("A C", [1, 0]), row("A", [1])]
    assert select_labels(ended, "whole_solutions") == [ended[1]]


def test_each_step_once() -> None:
    once = select_labels(LAYOUT, "each_step_once")
    assert [r.labels for r in once] == [
        [1, 0],
        [IGNORED, 1, 0],
        [IGNORED, IGNORED, 1],
        [0],
    ]
    unjudged_first = [row("A B", [IGNORED, 1]), row("A C", [1, 0])]
    assert [r.labels for r in select_labels(unjudged_first, "each_step_once")] == [
        [IGNORED, 1],
        [1, 0],
    ]


@pytest.mark.parametrize(
    ("prefixes", "balance"),
    [
        ("as_is", "3675 rows, 56166 labels, 94.9% right"),
        ("whole_solutions", "98 rows, 1714 labels, 100.0% right"),
        ("last_step", "3585 rows, 3585 labels, 20.9% right"),
        ("each_step_once", "3214 rows, 4828 labels, 47.9% right"),
    ],
)
def test_real_phase_1_repeats_its_prefixes(prefixes: str, balance: str) -> None:
    source = str(shared_file("prm800k/prm800k_phase1_test.trl.jsonl.gz"))
    loaded = load_solutions(source, "train", separator="\n", separator_in_steps="keep")
    rows = label_neutral_steps(loaded.solutions, "wrong")
    assert label_balance(select_labels(rows, prefixes)) == balance  # type: ignore[arg-type]


def test_problems_are_the_same_however_they_are_typeset() -> None:
    same = problem_key("what is \\frac{1}{2}+1?")
    assert problem_key("What is  $\\dfrac{1}{2}\\,+ 1$ ?\n") == same
    assert problem_key("What is \\left(2\\right)?") == problem_key("what is (2)?")
    assert problem_key("What is 2?") != problem_key("What is 3?")
    assert problem_key("\\leftarrow") != problem_key("arrow")
    assert problem_key("$\\begin{matrix} 1 \\\\ 2$") == problem_key("$\\begin{matrix}1\\\\2$")


def test_real_evaluation_problems_are_removed() -> None:
    """PRM800K's phase 1 test rows are all of MATH-500 problems, its training rows of none."""
    keys = load_problem_keys(str(shared_file("math500/test.jsonl.gz")), "test")
    assert len(keys) == 500
    for name, num_removed in (("test", 3695), ("train", 0)):
        source = str(shared_file(f"prm800k/prm800k_phase1_{name}.trl.jsonl.gz"))
        loaded = load_solutions(source, "train", separator="\n", separator_in_steps="keep")
        rows = label_neutral_steps(loaded.solutions, "wrong")
        kept, removed = exclude_problems(rows, keys)
        assert len(rows) - len(kept) == num_removed
        assert sum(len(entry["rows"]) for entry in removed) == num_removed
        assert len(removed) == (101 if num_removed else 0)


def test_what_was_removed_is_listed() -> None:
    rows = [StepLabelledRow("1 + 1?", ["2"], [1], n) for n in (4, 4, 7)] + [row("A", [1])]
    kept, removed = exclude_problems(rows, {problem_key("1+1?"): "test.jsonl, row 3"})
    assert kept == rows[3:]
    assert removed == [{"problem": "1 + 1?", "found_in": "test.jsonl, row 3", "rows": [4, 7]}]


def test_held_out_problems_are_whole() -> None:
    rows = [StepLabelledRow(f"{n // 3}?", ["2"], [1], n) for n in range(30)]
    train, held_out = split_off_problems(rows, 0.2, seed=0)
    assert len(train) == 24 and len(held_out) == 6
    assert not {r.prompt for r in train} & {r.prompt for r in held_out}
    assert split_off_problems(rows, 0.2, seed=0)[1] == held_out
    assert split_off_problems(rows, 0.2, seed=1)[1] != held_out
