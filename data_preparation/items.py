"""One problem on its way through the stages, and how rows of public collections become one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from code_sandbox import data_set_forms
from code_sandbox.problems import Problem, ProblemError, read_problem
from evaluation.benchmarks import find_answer
from pure_rlhf.data import CODE, MATH
from pure_rlhf.grading.final_answer import extract_answer

QUESTIONS = ("problem", "question", "description", "prompt", "text")
SOLUTIONS = ("solution", "answer")


@dataclass(frozen=True, kw_only=True)
class Item:
    """A problem. Texts are as the source has them, but for what a stage has changed.

    Args:
        id: the source and the number of its row, from 1.
        answer: of mathematics the final answer, of code the tests as JSON; None: none was found.
        solution: of mathematics, as the source has it; "" where there is none.
        changed: names of the stages that rewrote it.
    """

    id: str
    source: str
    ability: str
    question: str
    answer: str | None
    solution: str = ""
    changed: tuple[str, ...] = ()

    def to_row(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> Item:
        return replace(Item(**row), changed=tuple(row["changed"]))


def read_item(row: object, source: str, number: int) -> Item | str:
    """The problem of a row, or why it is none.

    Known forms: NuminaMath-CoT, MATH, DeepScaleR, GSM8K (a question with a solution, an answer or both); TACO, APPS,
    CodeContests, LiveCodeBench (public tests), and our own (docs/programs.md).
    """
    where = f"{source}, row {number}"
    if not isinstance(row, Mapping):
        return f"is a {type(row).__name__}, not an object with columns"
    column = next((name for name in QUESTIONS if isinstance(row.get(name), str)), None)
    if column is None:
        column = "question_content" if isinstance(row.get("question_content"), str) else None
    if column is None:
        return f"has no question (a column {', '.join(QUESTIONS)} with a text)"
    question = row[column].strip()
    if not question:
        return "the question is empty"
    id = f"{source}:{number}"
    reader = _code_reader(row)
    if reader is not None:
        try:
            problem = reader(row, where)
        except ProblemError as error:
            return str(error).removeprefix(where).lstrip(",: ")
        if problem.special_checker:
            return "several outputs are right, and only a checker of the problem's own knows which"
        if problem.kind == "asserts":
            return "its tests are asserts, which a program can read"
        return Item(id=id, source=source, ability=CODE, question=question, answer=problem.to_json())
    texts = [row[name] for name in SOLUTIONS if isinstance(row.get(name), str | int | float)]
    solution = row["solution"] if isinstance(row.get("solution"), str) else ""
    if not texts:
        return "has neither a solution nor an answer"
    answer = _answer(row, solution)
    return Item(
        id=id, source=source, ability=MATH, question=question, answer=answer, solution=solution
    )


def _answer(row: Mapping[str, Any], solution: str) -> str | None:
    """Of the column of answers, where that is short or ends in one; else what the solution's last box holds."""
    text = find_answer(row.get("answer"), "as_is")
    if text is None:
        return extract_answer(solution, "training")
    text = text.strip()
    after_hashes = find_answer(text, "after_hashes")  # GSM8K
    if after_hashes is not None:
        return after_hashes
    boxed = extract_answer(text, "training")
    return boxed if boxed is not None else text or extract_answer(solution, "training")


def _code_reader(row: Mapping[str, Any]) -> Callable[[Any, str], Problem] | None:
    """What reads the tests of a row of code; None for mathematics."""
    if "public_tests" in row or "private_tests" in row:
        return data_set_forms.read_codecontests
    if "public_test_cases" in row:
        return data_set_forms.read_livecodebench
    if row.get("ability") == CODE:
        return lambda row, where: read_problem(row["answer"], where)
    if "input_output" in row:  # TACO, APPS
        return lambda row, where: read_problem(row["input_output"], where)
    if isinstance(row.get("test_list"), list) or "canonical_solution" in row:
        return lambda row, where: Problem(kind="asserts", checks="pass")
    return None


def to_jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
