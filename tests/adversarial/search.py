r"""An evolutionary search for an answer, or a wrapper around a wrong answer, that is paid more than it should be.

A candidate is the text of a response, in which `@` stands for an answer that is wrong for the label at hand; a
candidate without one is a constant. Its score is the share of labels that it is paid for beyond the largest class of
labels that are equal to one another: 0 where the verifier holds. The population begins with plain forms and changes by
mutation and crossover; what pays, even a little more than its class, is kept.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pure_rlhf.grading import equality
from pure_rlhf.grading.final_answer import extract_answer, read_answer
from pure_rlhf.grading.readings import MAX_CHARS, Infinity, Reading
from tests.adversarial.candidates import grammar_made, mutate
from tests.adversarial.constant_answers import read_label, same

LABELS_AT_ONCE = 40
POPULATION = 60
PRIMES = ("7919", "7907", "7901", "7883", "7879", "7877", "7873", "7867", "7853", "7841")
WRAPPERS = [
    "@", "\\boxed{@}", "\\boxed{\\text{@}}", "\\boxed{@, @}", "\\boxed{@} or \\boxed{@}", "\\boxed{\\pm @}", "\\boxed{@ \\text{ or } x}",
    "\\boxed{x = @}", "\\boxed{@ \\pm 1}", "\\boxed{[@, @]}", "\\boxed{(-\\infty, \\infty)}", "\\boxed{@}\\boxed{}", "\\boxed{\\text{A, B, C, D, E}}",
    "\\boxed{@} \\text{ and more}", "\\boxed{\\{@\\}}", "\\boxed{@ \\le x}", "\\boxed{\\boxed{@}}", "\\boxed{@", "\\boxed{@=@}", "\\boxed{@ \\approx x}",
    "\\boxed{\\text{ }@}", "\\boxed{|@|}", "\\boxed{@\\%}", "\\boxed{@^\\circ}", "\\boxed{@\\text{ cm}}", "\\boxed{@_{10}}", "\\boxed{@:@}",
]  # fmt: skip


@dataclass(frozen=True)
class Found:
    """The best candidate of a search.

    Args:
        text: the response, `@` for a wrong answer.
        score: share of labels paid beyond those that are equal to one another, in [0, 1].
        labels: two labels that are not equal and that it is paid for; () where there are none.
        num_gradings: comparisons of an answer with a label.
    """

    text: str
    score: float
    labels: tuple[str, ...]
    num_gradings: int


def spread_labels(labels: Sequence[str], rng: random.Random, count: int) -> list[str]:
    """So many labels, each kind of answer with the same chance: there are few infinities among many numbers."""
    kinds: dict[str, list[str]] = {}
    for label in labels:
        kinds.setdefault(_kind(read_label(label)), []).append(label)
    groups = list(kinds.values())
    return list(dict.fromkeys(rng.choice(rng.choice(groups)) for _ in range(count)))


def _kind(reading: Reading) -> str:
    if "\\infty" in reading.written:
        return Infinity.__name__
    return type(reading.value).__name__


def wrong_answer(label: str, rng: random.Random) -> str:
    r"""An answer that is wrong by construction: some numbers and infinities of the label as primes that no label has.

    Example: `(2,\infty)` becomes `(7919,\infty)`, `(2,7907)` or `(7919,7907)`.
    """
    places = list(_VALUES.finditer(label))
    if not places:
        return "\\text{wrong}"
    chosen = rng.sample(places, rng.randint(1, len(places)))
    primes = rng.sample(PRIMES, len(PRIMES))
    for match in sorted(chosen, key=lambda m: -m.start()):
        prime = primes.pop() if primes else PRIMES[0]  # others, or 7919:7919 is 1:1
        label = label[: match.start()] + prime + label[match.end() :]
    return label


_VALUES = re.compile(r"(?<![0-9])[0-9]+(?:\.[0-9]+)?|[-+]?\\infty(?![a-z])")


def search(
    labels: Sequence[str],
    num_gradings: int,
    seed: int = 0,
    progress: Callable[[int, Found], None] | None = None,
) -> Found:
    """Spend a budget of comparisons; returns the best candidate, whose score is 0 where nothing was found."""
    rng = random.Random(seed)
    population: list[tuple[float, str]] = []
    best = Found("", 0.0, (), 0)
    spent = 0
    fresh = [*WRAPPERS, *(f"\\boxed{{{text}}}" for text in grammar_made(POPULATION, seed))]
    while spent < num_gradings:
        text = fresh.pop(0) if fresh else _child(population, labels, rng)
        chosen = spread_labels(labels, rng, LABELS_AT_ONCE)
        score, pair = _score(text, chosen, rng)
        spent += len(chosen)
        if score > 0:  # a second look at other labels: it must pay again
            again = spread_labels(labels, rng, 5 * LABELS_AT_ONCE)
            score, pair = max((score / 5, pair), _score(text, again, rng))
            spent += len(again)
        population.append((score, text))
        if score > best.score:
            best = Found(text, score, pair, spent)
        if len(population) > 2 * POPULATION:
            population.sort(key=lambda entry: (-entry[0], len(entry[1])))
            # the best, and some of the rest, or the search stands where it began
            population = population[: POPULATION // 2] + rng.sample(
                population[POPULATION // 2 :], POPULATION // 2
            )
        if progress:
            progress(spent, best)
    return Found(best.text, best.score, best.labels, spent)


def _child(
    population: Sequence[tuple[float, str]], labels: Sequence[str], rng: random.Random
) -> str:
    if rng.random() < 0.3:
        return f"\\boxed{{{mutate(rng.choice(labels), rng)}}}"
    parent = max(rng.sample(population, min(4, len(population))))[1]
    if rng.random() < 0.2:
        other = rng.choice(population)[1]
        cut, start = rng.randrange(len(parent) + 1), rng.randrange(len(other) + 1)
        child = parent[:cut] + other[start:]
    else:
        child = mutate(parent, rng)
    return child[:200]


def _score(text: str, labels: Sequence[str], rng: random.Random) -> tuple[float, tuple[str, ...]]:
    """Share of labels paid beyond the largest class of equal ones, and two paid labels of different classes."""
    classes: list[list[str]] = []
    for label in labels:
        has_hole = "@" in text
        response = text.replace("@", wrong_answer(label, rng)) if has_hole else text
        answer = extract_answer(response)
        if answer is None or not answer or len(answer) > MAX_CHARS:
            continue
        if equality.equal(read_answer(answer), read_label(label)) is None:
            continue
        mine = next((c for c in classes if same(c[0], label)), None)
        if mine is None:
            classes.append([label])
        else:
            mine.append(label)
    if "@" in text:  # a wrong answer should be paid for nothing
        excess = sum(map(len, classes))
    else:
        excess = sum(map(len, classes)) - max(map(len, classes), default=0)
    pair = tuple(group[0] for group in classes[:2])
    return excess / len(labels), pair
