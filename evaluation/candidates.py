"""Candidate answers for best-of-N: several answers to each problem, split into steps, each with a verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.answers import AnswerFile
from evaluation.benchmarks import BENCHMARKS, ProblemSet, load_problems
from evaluation.rows import check_rows, is_text, missing_columns, read_rows, short_name
from pure_rlhf.grading import MAX_TIMEOUT_SECONDS
from pure_rlhf.grading.equality import VERSION
from pure_rlhf.grading.final_answer import extract_answer, has_answer
from pure_rlhf.grading.pool import VerifierPool

FORMS = (
    ("prompt", "answers", "label"),
    ("question", "code", "score"),
    ("question", "steps", "labels"),
    ("question", "answers", "answer"),
)
"""Columns of problem, answers, and verdicts (or the right answer) of the known forms."""
PAIRED = {"solution", "is_correct"}
VERIFIER_WORKERS = 2
_BLANK_LINES = re.compile(r"\n{2,}")


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The candidate answers to one problem."""

    question: str
    answers: tuple[tuple[str, ...], ...]  # the steps of each
    correct: tuple[bool, ...]
    # which final answers agree: 0 is the label's, None a text without one (`VerifierPool.votes`)
    votes: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class CandidateSet:
    """The problems of one file. `verdicts` says who judged the answers."""

    name: str
    source: str
    verdicts: str
    problems: list[Candidates]


def split_text(text: str) -> tuple[str, ...]:
    r"""The steps of an answer: the project's definition (`step_segmentation.py`) on text, split at blank lines.

    A run of blank lines separates once and none at either end does, so there are no empty steps, which in tokens there
    can be; an empty answer is one empty step.

    Example: `split_text("a\nb\n\nc\n\n")` is `("a\nb", "c")`.
    """
    return tuple(_BLANK_LINES.split(text.strip()))


def load_candidates(
    source: str, *, problem_files: Sequence[str] = (), data_dir: Path | None = None
) -> CandidateSet:
    """Candidate answers from a file or a hub data set (split test), in one of these forms:

    * answers of `evaluation.evaluate` (answers/MODEL/BENCHMARK.sampled.jsonl); their problems come from the benchmark
      itself (`data_dir` or the hub) or from the one of `problem_files` that was answered;
    * `prompt`, `answers`, `label` (RLHFlow/Deepseek-GSM8K-Test, RLHFlow/Deepseek-MATH500-Test: table 1 of the paper);
    * `question`, `code`, `score`: output of the Qwen2.5-Math evaluation harness;
    * `question`, `steps`, `labels`: answers that are split already, a verdict for each;
    * `question` and several columns of {`solution`, `is_correct`};
    * `question`, `answers`, `answer`: no verdicts; the answers are graded by the project's verifier.

    In all but the third an answer is a text or a list of steps.

    Raises:
        ValueError: no such file, an unknown form, rows that cannot be used, or fewer than two candidates a problem.
    """
    name = short_name(source)
    settings = _evaluation_settings(Path(source))
    if settings is not None:
        name = f"{Path(source).parent.name}/{name}"
        problems = _own_answers(Path(source), settings, problem_files, data_dir)
        verdicts = "the evaluation's"
    else:
        problems, verdicts = _foreign_answers(read_rows(source, "test"), source)
    fewest = min(len(problem.answers) for problem in problems)
    if fewest < 2:
        raise ValueError(
            f"{source} has a problem with {fewest} answer(s), and best-of-N needs at least 2; of this project's "
            "evaluations take the sampled answers (--num_samples)"
        )
    return CandidateSet(name=name, source=source, verdicts=verdicts, problems=problems)


def _evaluation_settings(path: Path) -> dict[str, Any] | None:
    """The settings that an answer file of this project begins with; its last line may be torn."""
    if not path.is_file() or path.suffix != ".jsonl":
        return None
    with path.open(encoding="utf-8") as file:
        line = file.readline()
    if not line.startswith('{"fingerprint": ') or not line.endswith("\n"):
        return None
    return json.loads(line).get("settings")


def _own_answers(
    path: Path, settings: dict[str, Any], problem_files: Sequence[str], data_dir: Path | None
) -> list[Candidates]:
    file = AnswerFile(path, settings | {"verifier": VERSION})
    if file.is_outdated:
        raise ValueError(
            f"{path} was graded with other rules (version {settings.get('verifier', 1)}, now {VERSION}); run the "
            "evaluation's command again: it grades the answers that are there again"
        )
    answers = file.answers
    problem_set = _answered_problems(path, settings, problem_files, data_dir)
    problems = [
        Candidates(
            question=problem.question,
            answers=tuple(split_text(answer.text) for answer in answers[problem.id]),
            correct=tuple(answer.correct for answer in answers[problem.id]),
            votes=tuple(answer.vote for answer in answers[problem.id]),
        )
        for problem in problem_set.problems
        if problem.id in answers
    ]
    if not problems:
        raise ValueError(f"{path} holds no answers yet")
    return problems


def _answered_problems(
    path: Path, settings: dict[str, Any], problem_files: Sequence[str], data_dir: Path | None
) -> ProblemSet:
    """The problem set whose digest stands in the answers' settings: they hold no problems themselves."""
    benchmark = settings["benchmark"]
    declared = benchmark in BENCHMARKS
    for name in [benchmark] if declared else problem_files:
        problem_set = load_problems(name, data_dir)
        if problem_set.digest() == settings["problems"]:
            return problem_set
    remedy = (
        "give or drop --data_dir, so that the copy is read that was answered"
        if declared
        else "name the problem file that was answered with --problems"
    )
    raise ValueError(f"{path} answers {benchmark}, whose problems are not at hand: {remedy}")


def _foreign_answers(rows: list[Any], source: str) -> tuple[list[Candidates], str]:
    first = rows[0] if isinstance(rows[0], dict) else {}
    paired = [k for k, value in first.items() if isinstance(value, dict) and set(value) >= PAIRED]
    if paired:
        check_rows(source, [_paired_problem(row, paired) for row in rows])
        solutions = [[row[key] for key in paired] for row in rows]
        rows = [
            {
                "prompt": row["question"],
                "answers": [solution["solution"] for solution in answers],
                "label": [solution["is_correct"] for solution in answers],
            }
            for row, answers in zip(rows, solutions, strict=True)
        ]
    columns = next((form for form in FORMS if set(form) <= set(rows[0])), None) if first else None
    if columns is None:
        known = ", ".join("/".join(form) for form in FORMS)
        raise ValueError(
            f"{source}: unknown form (columns {', '.join(first)}); known are the answers of evaluation.evaluate, "
            f"{known}, and question with columns of solution and is_correct"
        )
    check_rows(source, [_row_problem(row, columns) for row in rows])
    question, answers, verdict = columns
    if verdict == "answer":
        correct, judge = _grade(rows), "this project's verifier"
    else:
        correct = [[bool(value) for value in row[verdict]] for row in rows]
        judge = f"the file's ({'is_correct' if paired else verdict})"
    extracted = [
        [extract_answer(_text(answer), "evaluation") for answer in row[answers]] for row in rows
    ]
    with VerifierPool(VERIFIER_WORKERS, batch_timeout_seconds=MAX_TIMEOUT_SECONDS) as verifier:
        votes = verifier.votes(
            [list(zip(*pair, strict=True)) for pair in zip(extracted, correct, strict=True)]
        )
    problems = [
        _candidates(row[question], row[answers], verdicts, votes_of_row)
        for row, verdicts, votes_of_row in zip(rows, correct, votes, strict=True)
    ]
    return problems, judge


def _paired_problem(row: Any, columns: Sequence[str]) -> str | None:
    """What is wrong with a row of {solution, is_correct} columns, or None."""
    missing = missing_columns(row, ("question", *columns))
    if missing:
        return missing
    bad = [c for c in columns if not (isinstance(row[c], dict) and set(row[c]) >= PAIRED)]
    return f"column {bad[0]!r} must hold solution and is_correct" if bad else None


def _row_problem(row: Any, columns: Sequence[str]) -> str | None:
    """What is wrong with a row of one of the `FORMS`, or None."""
    missing = missing_columns(row, columns)
    if missing:
        return missing
    question, answers, verdicts = (row[column] for column in columns)
    kinds = (list,) if columns[1] == "steps" else (str, list)
    if not is_text(question):
        return f"column {columns[0]!r} must be a non-empty text"
    if not isinstance(answers, list) or not all(
        isinstance(answer, kinds) and answer != [] for answer in answers
    ):
        what = "lists of steps" if columns[1] == "steps" else "texts or lists of steps"
        return f"column {columns[1]!r} must be a list of {what}"
    if columns[2] == "answer":
        return None if has_answer(verdicts) else "column 'answer' is empty"
    if not isinstance(verdicts, list) or len(verdicts) != len(answers):
        return f"column {columns[2]!r} must be a list of {len(answers)} verdicts, one an answer"
    if any(value not in (0, 1) for value in verdicts):
        return f"column {columns[2]!r} holds {verdicts!r:.80}; verdicts are true, false, 1 or 0"
    return None


def _candidates(
    question: str,
    answers: Sequence[str | list[str]],
    correct: Sequence[bool],
    votes: Sequence[int | None],
) -> Candidates:
    return Candidates(
        question=question,
        answers=tuple(split_text(a) if isinstance(a, str) else tuple(a) for a in answers),
        correct=tuple(correct),
        votes=tuple(votes),
    )


def _text(answer: str | list[str]) -> str:
    return answer if isinstance(answer, str) else "\n\n".join(answer)


def _grade(rows: list[dict[str, Any]]) -> list[list[bool]]:
    texts = [_text(answer) for row in rows for answer in row["answers"]]
    golds = [str(row["answer"]) for row in rows for _ in row["answers"]]
    with VerifierPool(VERIFIER_WORKERS, batch_timeout_seconds=MAX_TIMEOUT_SECONDS) as verifier:
        results = iter(verifier.grade_batch(texts, golds, "evaluation"))
    correct = (result is not None and result.correct for result in results)
    return [[next(correct) for _ in row["answers"]] for row in rows]
