"""Problems of code in the small world: a number is read, some operations are carried out on it, and it is printed.

    Write a program: read a number, add 7, double it, take away 3 and print it.

Tests are by standard input. The operations are those of the world's recipes, but for divisions, which have remainders.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from examples.small_world.problems import WORDS, Operation, in_words

NUM_OPERATIONS = (1, 2, 3, 4)
NUM_OPERATIONS_WEIGHTS = (0.2, 0.35, 0.3, 0.15)
LARGEST_OPERAND = 49
FACTORS_SHARE = 0.3
INPUTS = (0, 1, 7, -4, 12, 30, -15, 58)
HABITS = ("careful", "other operand", "other operation", "omission", "no output")
HABIT_SHARES = (0.55, 0.15, 0.12, 0.12, 0.06)
"""Of the programs that the base learns; all but the first are wrong."""

_FACTORS = tuple(operation for operation in WORDS if operation.symbol == "*")


@dataclass(frozen=True)
class ProgramProblem:
    """The operations that the program has to carry out, in their order."""

    operations: tuple[Operation, ...]

    @property
    def question(self) -> str:
        told = ", ".join(in_words(operation) for operation in self.operations)
        return f"Write a program: read a number, {told} and print it."

    @property
    def label(self) -> str:
        """Its tests, as JSON."""
        outputs = [str(self.result(value)) for value in INPUTS]
        tests = [
            {"input": f"{value}\n", "output": f"{output}\n"}
            for value, output in zip(INPUTS, outputs, strict=True)
        ]
        return json.dumps({"kind": "stdin", "tests": tests})

    def result(self, value: int) -> int:
        """What a right program prints for an input."""
        for operation in self.operations:
            found = operation.apply(value)
            assert found is not None, "no divisions"
            value = found
        return value


def make_program_problem(generator: random.Random) -> ProgramProblem:
    """Draw one; no operation occurs twice."""
    count = generator.choices(NUM_OPERATIONS, NUM_OPERATIONS_WEIGHTS)[0]
    operations: list[Operation] = []
    while len(operations) < count:
        if generator.random() < FACTORS_SHARE:
            operation = generator.choice(_FACTORS)
        else:
            operation = Operation(generator.choice("+-"), generator.randint(2, LARGEST_OPERAND))
        if operation not in operations:
            operations.append(operation)
    return ProgramProblem(tuple(operations))


def make_program_problems(
    count: int, generator: random.Random, taken: set[str]
) -> list[ProgramProblem]:
    """Draw `count` whose questions are new; `taken` grows by theirs."""
    problems: list[ProgramProblem] = []
    while len(problems) < count:
        problem = make_program_problem(generator)
        if problem.question not in taken:
            taken.add(problem.question)
            problems.append(problem)
    return problems


def write_program(problem: ProgramProblem, habit: str, generator: random.Random) -> str:
    """A response with a program in one of `HABITS`: a line for each operation, in a Python block."""
    operations = list(problem.operations)
    at = generator.randrange(len(operations))
    asked = operations[at]
    if habit == "other operand" and asked not in _FACTORS:
        operations[at] = Operation(asked.symbol, asked.number + generator.choice((-10, -1, 1, 10)))
    elif habit in ("other operand", "other operation"):
        operations[at] = Operation({"+": "-", "-": "+", "*": "+"}[asked.symbol], asked.number)
    elif habit == "omission":
        del operations[at]
    lines = ["x = int(input())", *(f"x = x {op.symbol} {op.number}" for op in operations)]
    if habit != "no output":
        lines.append("print(x)")
    return "\n".join(["```python", *lines, "```"])
