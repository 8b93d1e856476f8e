"""The warm-up's data: actions and programs, right and wrong as they are meant to be."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from code_sandbox.extraction import extract_program
from code_sandbox.jobs import Limits
from code_sandbox.problems import read_problem
from code_sandbox.runner import SandboxPool
from examples.small_world.checker import label_steps
from examples.small_world.problems import make_problem
from examples.small_world.programs import HABITS, make_program_problem, write_program
from examples.small_world.solutions import BLANK_LINE, careful_steps, plant
from examples.small_world.warm_up import in_actions, main


def test_the_files_and_that_they_do_not_overlap(tmp_path: Path) -> None:
    main(tmp_path, rows=60, train=40, test=20)
    found = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("rows", "train", "test")
    }
    assert {name: len(rows) for name, rows in found.items()} == {
        "rows": 60,
        "train": 40,
        "test": 20,
    }
    asked = [{row["question"].split("\n\n")[0] for row in rows} for rows in found.values()]
    assert sum(map(len, asked)) == 120, "no question twice, in one file or in two"
    for row in found["train"]:
        if row["ability"] == "code":
            assert len(read_problem(row["answer"]).tests) >= 5


def test_programs_are_right_or_wrong_by_their_tests() -> None:
    generator = random.Random(1)
    problems = [make_program_problem(generator) for _ in range(25)]
    answers = [
        (habit, problem, write_program(problem, habit, generator))
        for problem in problems
        for habit in HABITS
    ]
    with SandboxPool(2, Limits(wall_seconds=60.0, cpu_seconds=20)) as sandbox:
        verdicts = sandbox.grade_batch(
            [(extract_program(text), read_problem(problem.label)) for _, problem, text in answers]
        )
    for (habit, problem, _), verdict in zip(answers, verdicts, strict=True):
        if habit == "careful":
            assert verdict.passed, problem.question
        elif habit != "other operation":  # doubling and adding 2 are the same for 2
            assert not verdict.passed, (habit, problem.question)


@pytest.mark.parametrize("defect", ["none", "wrong operation", "omission"])
def test_the_checker_reads_actions_as_it_reads_steps(defect: str) -> None:
    generator = random.Random(2)
    for _ in range(50):
        problem = make_problem(generator)
        steps = plant(problem, defect, generator)
        blocks = in_actions(problem, steps).split(BLANK_LINE)
        prompt = f"{problem.question}\n\nPlease reason."
        assert label_steps(prompt, blocks) == [True, *label_steps(prompt, steps)]


def test_actions_by_hand() -> None:
    problem = make_problem(random.Random(3), kind="chain")
    text = in_actions(problem, careful_steps(problem))
    assert text.startswith(f"[ASSESS]\n# {problem.start}")
    assert text.count("Next action: [ADVANCE]") == len(problem.operations)
    assert text.endswith(f"[OUTPUT]\n# The answer is \\boxed{{{problem.answer}}}.")


def test_of_other_prompts_no_step_is_known() -> None:
    question = make_program_problem(random.Random(4)).question
    assert label_steps(question, ["```python", "print(1)"]) == [None, None]
