"""Problems of the small world: chains, recipes, stories and numbers thought of, each of two to seven operations.

A problem is a start value and the operations that its solution carries out, in their order. Every running value lies
from 10 to 99; operands have one or two digits; recipes and numbers thought of also double, triple, halve and third. No
operation occurs twice in a problem, so that a repeated step cannot be taken for the next one. The question
can be parsed back (`parse_problem`), so that the checker needs nothing but the question.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import NamedTuple

SMALLEST_VALUE = 10  # two digits everywhere: aligned numbers are learned in a third of the time
LARGEST_VALUE = 99
ONE_DIGIT_SHARE = 0.6  # of the sums and differences; the others have an operand of two digits
LARGEST_OPERAND = 49
NUM_OPERATIONS = (2, 3, 4, 5, 6, 7)
NUM_OPERATIONS_WEIGHTS = (0.15, 0.25, 0.25, 0.18, 0.11, 0.06)
KINDS = ("chain", "recipe", "story", "thought of")
KIND_WEIGHTS = (0.3, 0.25, 0.25, 0.2)

NAMES = ("Tom", "Mia", "Ben", "Ana", "Leo", "Zoe", "Sam", "Eva")
THINGS = ("coins", "cards", "apples", "books", "pens", "shells", "stamps", "balls")
GAINS = ("buys", "finds", "wins", "gets")
LOSSES = ("loses", "sells", "drops", "uses")
CHAIN_OPENINGS = ("Compute", "Work out", "What is")
RECIPE_OPENINGS = ("Start with", "Begin with", "Take")
THOUGHT_OPENINGS = ("I think of a number", "Mia thinks of a number")


class Operation(NamedTuple):
    """One operation on the running value, e.g. `Operation("-", 18)`."""

    symbol: str  # + - * /
    number: int

    def __str__(self) -> str:
        return f"{self.symbol}{self.number}"

    def apply(self, value: int) -> int | None:
        """The value after it; None where a division has a remainder."""
        if self.symbol == "/":
            return value // self.number if value % self.number == 0 else None
        return {
            "+": value + self.number,
            "-": value - self.number,
            "*": value * self.number,
        }[self.symbol]

    @property
    def inverse(self) -> Operation:
        """What undoes it."""
        return Operation({"+": "-", "-": "+", "*": "/", "/": "*"}[self.symbol], self.number)


WORDS = {
    Operation("*", 2): "double it",
    Operation("*", 3): "triple it",
    Operation("/", 2): "halve it",
    Operation("/", 3): "third it",
}
_OPERATIONS_OF_WORDS = {words: operation for operation, words in WORDS.items()}
FACTORS_SHARE = 0.25  # of the operations of recipes and numbers thought of, where one fits


@dataclass(frozen=True)
class Problem:
    """What is asked, the first value and the operations of its solution, e.g. 47, (+25, -18)."""

    question: str
    kind: str
    start: int
    operations: tuple[Operation, ...]

    @property
    def values(self) -> tuple[int, ...]:
        """Running values: the start, then the value after each operation, e.g. (47, 72, 54)."""
        values = [self.start]
        for operation in self.operations:
            value = operation.apply(values[-1])
            assert value is not None, self.question
            values.append(value)
        return tuple(values)

    @property
    def answer(self) -> int:
        """The final value."""
        return self.values[-1]


def is_in_range(value: int) -> bool:
    """Whether a problem may have this running value."""
    return SMALLEST_VALUE <= value <= LARGEST_VALUE


def draw_operation(value: int, generator: random.Random, *, with_factors: bool) -> Operation:
    """An operation whose result stays in range."""
    while True:
        if with_factors and generator.random() < FACTORS_SHARE:
            operation = generator.choice(tuple(WORDS))
        else:
            smallest, largest = (
                (2, 9) if generator.random() < ONE_DIGIT_SHARE else (10, LARGEST_OPERAND)
            )
            operation = Operation(generator.choice("+-"), generator.randint(smallest, largest))
        result = operation.apply(value)
        if result is not None and is_in_range(result):
            return operation


def make_problem(generator: random.Random, kind: str | None = None) -> Problem:
    """Draw one problem, of a drawn kind where none is given."""
    kind = kind or generator.choices(KINDS, KIND_WEIGHTS)[0]
    count = generator.choices(NUM_OPERATIONS, NUM_OPERATIONS_WEIGHTS)[0]
    start = value = generator.randint(SMALLEST_VALUE, LARGEST_VALUE)
    operations: list[Operation] = []
    while len(operations) < count:
        operation = draw_operation(value, generator, with_factors=kind in ("recipe", "thought of"))
        if operation not in operations:
            operations.append(operation)
            result = operation.apply(value)
            assert result is not None
            value = result
    asked = tuple(operations)
    if kind == "thought of":  # the question tells the way from the answer to the start
        told = [operation.inverse for operation in reversed(asked)]
        question = (
            f"{generator.choice(THOUGHT_OPENINGS)}, {_listed(told)} and get {start}. What is it?"
        )
    elif kind == "recipe":
        question = (
            f"{generator.choice(RECIPE_OPENINGS)} {start}, {_listed(asked)}. What is the result?"
        )
    elif kind == "story":
        question = _story(start, asked, generator)
    else:
        opening = generator.choice(CHAIN_OPENINGS)
        question = (
            f"{opening} {start}{''.join(map(str, asked))}{'?' if opening == 'What is' else '.'}"
        )
    return Problem(question, kind, start, asked)


def _listed(operations: list[Operation] | tuple[Operation, ...]) -> str:
    return ", ".join(in_words(operation) for operation in operations)


def in_words(operation: Operation) -> str:
    """As a question asks for it, such as "add 7" or "double it"."""
    if operation in WORDS:
        return WORDS[operation]
    return f"{'add' if operation.symbol == '+' else 'take away'} {operation.number}"


def _story(start: int, operations: tuple[Operation, ...], generator: random.Random) -> str:
    name, thing = generator.choice(NAMES), generator.choice(THINGS)
    events = [
        f"{generator.choice(GAINS if operation.symbol == '+' else LOSSES)} {operation.number}"
        for operation in operations
    ]
    return (
        f"{name} has {start} {thing}, {', '.join(events)}. How many {thing} does {name} have now?"
    )


def make_problems(count: int, generator: random.Random, taken: set[str]) -> list[Problem]:
    """Draw `count` problems whose questions are new; `taken` grows by theirs."""
    problems: list[Problem] = []
    while len(problems) < count:
        problem = make_problem(generator)
        if problem.question not in taken:
            taken.add(problem.question)
            problems.append(problem)
    return problems


_CHAIN = re.compile(r"(?:Compute|Work out|What is) (\d+)((?:[+-]\d+)+)[.?]")
_STEP_IN_WORDS = r"(?:, (?:add \d+|take away \d+|double it|triple it|halve it|third it))+"
_RECIPE = re.compile(
    rf"(?:Start with|Begin with|Take) (\d+)({_STEP_IN_WORDS})\. What is the result\?"
)
_THOUGHT = re.compile(
    rf"(?:I think|Mia thinks) of a number({_STEP_IN_WORDS}) and get (\d+)\. What is it\?"
)
_STORY = re.compile(
    r"([A-Z][a-z]+) has (\d+) ([a-z]+)((?:, [a-z]+ \d+)+)\. How many \3 does \1 have now\?"
)


def parse_problem(text: str) -> Problem:
    """Read a problem back from its question, or from a prompt that begins with the question.

    Raises ValueError when the text does not begin with a question of this world.
    """
    if found := _CHAIN.match(text):
        operations = [
            Operation(symbol, int(number))
            for symbol, number in re.findall(r"([+-])(\d+)", found[2])
        ]
        return _parsed(found[0], "chain", found[1], operations, text)
    if found := _RECIPE.match(text):
        return _parsed(found[0], "recipe", found[1], _from_words(found[2]), text)
    if found := _THOUGHT.match(text):
        told = _from_words(found[1])
        undone = [operation.inverse for operation in reversed(told)]
        return _parsed(found[0], "thought of", found[2], undone, text)
    if found := _STORY.match(text):
        events = re.findall(r"([a-z]+) (\d+)", found[4])
        if all(verb in GAINS or verb in LOSSES for verb, _ in events):
            operations = [
                Operation("+" if verb in GAINS else "-", int(number)) for verb, number in events
            ]
            return _parsed(found[0], "story", found[2], operations, text)
    raise ValueError(f"not a question of the small world: {text[:120]!r}")


def _from_words(text: str) -> list[Operation]:
    operations = []
    for words in text.removeprefix(", ").split(", "):
        if words in _OPERATIONS_OF_WORDS:
            operations.append(_OPERATIONS_OF_WORDS[words])
        else:
            verb, number = words.rsplit(" ", 1)
            operations.append(Operation("+" if verb == "add" else "-", int(number)))
    return operations


def _parsed(
    question: str, kind: str, start: str, operations: list[Operation], text: str
) -> Problem:
    value: int | None = int(start)
    for operation in operations:
        value = operation.apply(value) if value is not None else None
    if value is None:
        raise ValueError(
            f"not a question of the small world, a division has a remainder: {text[:120]!r}"
        )
    return Problem(question, kind, int(start), tuple(operations))
