r"""`python -m examples.small_world.warm_up OUTPUT_DIR`: what the warm-up learns from, and what RL trains on after it.

    rows.jsonl      for SFT: mathematics in PRIME's format of actions, and programs; not all of them right
    train.jsonl     problems of both abilities with their answers and tests; test.jsonl, held out

A careful solution of the world, in actions:

    [ASSESS]
    # 47+25-18.
    Next action: [ADVANCE]

    [ADVANCE]
    # 47+25=72.
    Next action: [ADVANCE]
    ...
    [OUTPUT]
    # The answer is \boxed{54}.
"""

from __future__ import annotations

import random
from pathlib import Path

import tyro

from examples.small_world.prm_data import write_jsonl
from examples.small_world.problems import Problem, make_problem
from examples.small_world.programs import (
    HABIT_SHARES,
    HABITS,
    make_program_problems,
    write_program,
)
from examples.small_world.prompts import render_prompt
from examples.small_world.solutions import BLANK_LINE, plant
from pure_rlhf.config import DEFAULT_PROGRAM_TEMPLATE
from pure_rlhf.data import CODE, MATH
from pure_rlhf.data import render_prompt as render_template

MOST_OPERATIONS = 3
"""Of mathematics: an action is some 30 tokens."""
DEFECTS = ("none", "wrong operation", "omission", "guess")
DEFECT_SHARES = (0.55, 0.2, 0.15, 0.1)


def in_actions(problem: Problem, steps: list[str]) -> str:
    """A solution of the world in PRIME's format; blocks end in blank lines, so that they are steps for PURE as well."""
    blocks = [("ASSESS", f"{problem.start}{''.join(map(str, problem.operations))}.")]
    blocks += [("ADVANCE", step) for step in steps[:-1]]
    blocks.append(("OUTPUT", steps[-1]))
    texts = []
    for (name, step), (next_name, _) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        next_action = f"\nNext action: [{next_name}]" if next_name else ""
        texts.append(f"[{name}]\n# {step}{next_action}")
    return BLANK_LINE.join(texts)


def draw_problems(count: int, generator: random.Random, taken: set[str]) -> list[Problem]:
    """Problems of few operations whose questions are new; `taken` grows by theirs."""
    problems: list[Problem] = []
    while len(problems) < count:
        problem = make_problem(generator)
        if len(problem.operations) <= MOST_OPERATIONS and problem.question not in taken:
            taken.add(problem.question)
            problems.append(problem)
    return problems


def main(
    output_dir: tyro.conf.Positional[Path],
    rows: int = 3000,
    train: int = 1000,
    test: int = 200,
    seed: int = 0,
) -> None:
    """Write the three files.

    Args:
        rows: for SFT, half of them programs.
        train: problems for RL, half of them of code; test: held out, likewise.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    generator = random.Random(f"warm-up {seed}")
    taken: set[str] = set()
    for name, count in (("test", test), ("train", train)):
        found = [
            {"question": p.question, "answer": str(p.answer), "ability": MATH}
            for p in draw_problems(count // 2, generator, taken)
        ]
        found += [
            {"question": p.question, "answer": p.label, "ability": CODE}
            for p in make_program_problems(count // 2, generator, taken)
        ]
        generator.shuffle(found)
        write_jsonl(output_dir / f"{name}.jsonl", found)
    learned = []
    for problem in draw_problems(rows // 2, generator, taken):
        defect = generator.choices(DEFECTS, DEFECT_SHARES)[0]
        response = in_actions(problem, plant(problem, defect, generator))
        learned.append({"question": render_prompt(problem.question), "response": response})
    for program in make_program_problems(rows // 2, generator, taken):
        habit = generator.choices(HABITS, HABIT_SHARES)[0]
        learned.append(
            {
                "question": render_template(DEFAULT_PROGRAM_TEMPLATE, program.question),
                "response": write_program(program, habit, generator),
            }
        )
    generator.shuffle(learned)
    write_jsonl(output_dir / "rows.jsonl", learned)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
