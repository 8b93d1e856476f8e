"""Candidate answers in every form that the command takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.answers import Answer, AnswerFile
from evaluation.benchmarks import load_problems
from evaluation.candidates import load_candidates, split_text
from pure_rlhf.grading.equality import VERSION
from tests.shared_data import shared_file


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_split_text() -> None:
    assert split_text("a\nb\n\nc\n\n\n\nd\n\n") == ("a\nb", "c", "d")
    assert split_text("\n\n") == ("",)


def test_forms(tmp_path: Path) -> None:
    texts = ["Add.\n\nSo \\boxed{2}", "\\boxed{3}"]
    forms = {
        "harness": {"question": "1+1?", "code": texts, "score": [True, False], "gt": "2"},
        "rlhflow": {"prompt": "1+1?", "answers": texts, "label": [1, 0]},
        "split": {"question": "1+1?", "steps": [["Add.", "So \\boxed{2}"], ["\\boxed{3}"]],
                  "labels": [True, False]},
        "paired": {"question": "1+1?", "small": {"solution": texts[0], "is_correct": True},
                   "large": {"solution": texts[1], "is_correct": False}},
        "ungraded": {"question": "1+1?", "answers": texts, "answer": 2},
        "ungraded steps": {"question": "1+1?", "answer": 2,
                           "answers": [["Add.", "So \\boxed{2}"], ["\\boxed{3}"]]},
    }  # fmt: skip
    judges = {}
    for name, row in forms.items():
        found = load_candidates(write(tmp_path / f"{name}.v1.jsonl", row))
        judges[found.name] = found.verdicts
        (problem,) = found.problems
        assert problem.question == "1+1?" and problem.correct == (True, False)
        assert problem.answers == (("Add.", "So \\boxed{2}"), ("\\boxed{3}",))
        assert problem.votes == (0, 1)
    assert judges == {
        "harness.v1": "the file's (score)",
        "rlhflow.v1": "the file's (label)",
        "split.v1": "the file's (labels)",
        "paired.v1": "the file's (is_correct)",
        "ungraded.v1": "this project's verifier",
        "ungraded steps.v1": "this project's verifier",
    }


def test_bad_files(tmp_path: Path) -> None:
    def error(*rows: Any) -> str:
        with pytest.raises(ValueError) as caught:
            load_candidates(write(tmp_path / "x.jsonl", *rows))
        return str(caught.value)

    good = {"prompt": "?", "answers": ["a", "b"], "label": [1, 0]}
    assert "unknown form (columns question, text); known are" in error({"question": 1, "text": 2})
    assert "row 2: column 'label' must be a list of 2 verdicts" in error(
        good, good | {"label": [1]}
    )
    assert "verdicts are true, false, 1 or 0" in error(good | {"label": ["yes", 0]})
    assert "row 2: has no column 'answers'" in error(good, {"prompt": "?", "label": [1, 0]})
    assert "row 1: column 'answers' must be a list of texts" in error(good | {"answers": [1, "b"]})
    assert "best-of-N needs at least 2" in error(good | {"answers": ["a"], "label": [1]})
    paired = {"question": "?", "a": {"solution": "1", "is_correct": True}}
    assert "row 2: column 'a' must hold solution and is_correct" in error(
        paired, paired | {"a": {}}
    )


@pytest.fixture
def answered(tmp_path: Path) -> tuple[Path, Path]:
    """A problem file and the sampled answers of an evaluation to its first problem."""
    problems = tmp_path / "problems.jsonl"
    write(problems, {"question": "1+1?", "answer": "2"}, {"question": "2+2?", "answer": "4"})
    problem_set = load_problems(str(problems), None)
    settings = {
        "benchmark": problem_set.name,
        "problems": problem_set.digest(),
        "mode": "sampled",
        "verifier": VERSION,
    }
    path = tmp_path / "answers" / "model" / "problems.sampled.jsonl"
    answers = [
        Answer(
            text=f"Add.\n\n\\boxed{{{n}}}",
            num_tokens=3,
            truncated=False,
            correct=n == 2,
            extracted=str(n),
            vote=n - 2,
        )
        for n in (2, 3)
    ]
    AnswerFile(path, settings).append("0", answers)
    return problems, path


def test_answers_of_an_evaluation(answered: tuple[Path, Path]) -> None:
    problems, path = answered
    found = load_candidates(str(path), problem_files=[str(problems)])
    assert (found.name, found.verdicts) == ("model/problems.sampled", "the evaluation's")
    (problem,) = found.problems
    assert problem.question == "1+1?" and problem.correct == (True, False)
    assert problem.answers[0] == ("Add.", "\\boxed{2}") and problem.votes == (0, 1)


def test_answers_that_were_graded_by_other_rules_are_refused(answered: tuple[Path, Path]) -> None:
    problems, path = answered
    path.write_text(path.read_text().replace(f', "verifier": {VERSION}', ""))
    with pytest.raises(ValueError, match=rf"other rules \(version 1, now {VERSION}\); run the"):
        load_candidates(str(path), problem_files=[str(problems)])


def test_answers_of_a_killed_evaluation(answered: tuple[Path, Path]) -> None:
    problems, path = answered
    path.write_bytes(path.read_bytes() + b'{"problem": "1", "finger')
    assert len(load_candidates(str(path), problem_files=[str(problems)]).problems) == 1


def test_answers_to_other_problems_are_refused(answered: tuple[Path, Path]) -> None:
    problems, path = answered
    with pytest.raises(ValueError, match="name the problem file that was answered with --problems"):
        load_candidates(str(path))
    write(problems, {"question": "1+1+1?", "answer": "3"})
    with pytest.raises(ValueError, match="whose problems are not at hand"):
        load_candidates(str(path), problem_files=[str(problems)])


@pytest.mark.parametrize(
    ("file", "problems", "answers", "correct"),
    [
        ("qwen_math_cot_100.jsonl.gz", 100, 8, 728),
        ("rprm_qwen2.5-7b-instruct_olympiad200x8.json.gz", 200, 8, 608),
        ("gsm8k_example_model_solutions.jsonl.gz", 1319, 4, 2001),
    ],
)
def test_real_files(file: str, problems: int, answers: int, correct: int) -> None:
    found = load_candidates(str(shared_file(f"model_outputs/{file}"))).problems
    assert len(found) == problems and {len(p.answers) for p in found} == {answers}
    assert sum(sum(p.correct) for p in found) == correct
