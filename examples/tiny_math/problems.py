"""Problems of the small world: chains of two to four additions and subtractions, plain or as a story.

A problem is a start value and a list of signed operands; every running value has two digits,
every operand one. The question
text can be parsed back (`parse_problem`), so that the checker needs nothing but the question.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

SMALLEST_VALUE = (
    10  # two digits everywhere: a model this small learns aligned numbers in a third of the time
)
LARGEST_VALUE = 99
LARGEST_OPERAND = 9
STORY_SHARE = (
    0.35  # of the problems; the base policy solves stories carefully and hurries with chains
)

NAMES = ("Tom", "Mia", "Ben", "Ana", "Leo", "Zoe", "Sam", "Eva")
THINGS = ("coins", "cards", "apples", "books", "pens", "shells", "stamps", "balls")
GAINS = ("buys", "finds", "wins", "gets")
LOSSES = ("loses", "sells", "drops", "uses")

_CHAIN_QUESTIONS = ("Compute {}.", "What is {}?", "Find the value of {}.")
_CHAIN_PATTERN = re.compile(r"(?:Compute |What is |Find the value of )(\d+)((?: [+-] \d+)+)[.?]")
_STORY_PATTERN = re.compile(
    r"([A-Z][a-z]+) has (\d+) ([a-z]+)((?:(?:,| and) [a-z]+ \d+)+)\. "
    r"How many [a-z]+ does [A-Z][a-z]+ have now\?"
)


@dataclass(frozen=True)
class Story:
    """Who owns what, and one verb per operation ("buys" adds, "loses" takes away)."""

    name: str
    thing: str
    verbs: tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """A start value and signed operands, e.g. start 47, operands (5, -8): 47 + 5 - 8."""

    question: str
    start: int
    operands: tuple[int, ...]
    story: Story | None = None

    @property
    def values(self) -> tuple[int, ...]:
        """Running values: the start, then the value after each operation, e.g. (47, 52, 44)."""
        values = [self.start]
        for operand in self.operands:
            values.append(values[-1] + operand)
        return tuple(values)

    @property
    def answer(self) -> int:
        """The final value."""
        return self.values[-1]


def signed(operand: int) -> str:
    """`5` -> "+ 5", `-8` -> "- 8"."""
    return f"{'+' if operand > 0 else '-'} {abs(operand)}"


def make_problem(generator: random.Random) -> Problem:
    """Draw one problem."""
    start = generator.randint(SMALLEST_VALUE, LARGEST_VALUE)
    value, operands = start, []
    for size in generator.sample(range(2, LARGEST_OPERAND + 1), generator.randint(2, 3)):
        goes_up = value + size <= LARGEST_VALUE
        goes_down = value - size >= SMALLEST_VALUE
        operand = size if goes_up and (not goes_down or generator.random() < 0.5) else -size
        operands.append(operand)
        value += operand
    if generator.random() < STORY_SHARE:
        return _story_problem(start, tuple(operands), generator)
    expression = " ".join([str(start), *(signed(operand) for operand in operands)])
    return Problem(generator.choice(_CHAIN_QUESTIONS).format(expression), start, tuple(operands))


def _story_problem(start: int, operands: tuple[int, ...], generator: random.Random) -> Problem:
    gains = iter(generator.sample(GAINS, len(GAINS)))
    losses = iter(generator.sample(LOSSES, len(LOSSES)))
    story = Story(
        name=generator.choice(NAMES),
        thing=generator.choice(THINGS),
        verbs=tuple(next(gains) if operand > 0 else next(losses) for operand in operands),
    )
    events = [f"{verb} {abs(op)}" for verb, op in zip(story.verbs, operands, strict=True)]
    listed = "".join(f", {event}" for event in events[:-1]) + f" and {events[-1]}"
    question = (
        f"{story.name} has {start} {story.thing}{listed}. "
        f"How many {story.thing} does {story.name} have now?"
    )
    return Problem(question, start, operands, story)


def make_problems(count: int, generator: random.Random, taken: set[str]) -> list[Problem]:
    """Draw `count` problems whose questions are new; `taken` grows by theirs."""
    problems: list[Problem] = []
    while len(problems) < count:
        problem = make_problem(generator)
        if problem.question not in taken:
            taken.add(problem.question)
            problems.append(problem)
    return problems


def parse_problem(text: str) -> Problem:
    """Read a problem back from its question, or from a prompt that begins with the question.

    Raises ValueError when the text does not begin with a question of this world.
    """
    chain = _CHAIN_PATTERN.match(text)
    if chain:
        parts = chain[2].split()
        signs, numbers = parts[::2], parts[1::2]
        operands = tuple(
            int(number) if sign == "+" else -int(number)
            for sign, number in zip(signs, numbers, strict=True)
        )
        return Problem(chain[0], int(chain[1]), operands)
    story = _STORY_PATTERN.match(text)
    if story:
        events = re.findall(r"([a-z]+) (\d+)", story[4])
        if all(verb in GAINS or verb in LOSSES for verb, _ in events):
            operands = tuple(int(n) if verb in GAINS else -int(n) for verb, n in events)
            told = Story(story[1], story[3], tuple(verb for verb, _ in events))
            return Problem(story[0], int(story[2]), operands, told)
    raise ValueError(f"not a question of the small world: {text[:120]!r}")
