"""Whether one fixed answer is paid for labels that are not equal to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import get_context

from pure_rlhf.grading import equality
from pure_rlhf.grading.final_answer import read_answer
from pure_rlhf.grading.readings import MAX_CHARS, Named, Number, Numeral, Quantity, Reading
from tests.adversarial.labels import label_sets

read_label = cache(read_answer)
"""All labels stay read: there are more than the verifier keeps."""


@dataclass(frozen=True)
class Finding:
    """A candidate and two labels that it is accepted for and that are not the same."""

    candidate: str
    labels: tuple[str, str]
    rules: tuple[str, str]


def accepted_labels(candidate: str, labels: Sequence[str]) -> list[tuple[str, str]]:
    """(label, rule) of those that the candidate is accepted for."""
    if len(candidate) > MAX_CHARS:
        return []
    reading = read_answer(candidate)
    pairs = ((label, equality.equal(reading, read_label(label))) for label in labels)
    return [(label, rule) for label, rule in pairs if rule is not None]


def core(reading: Reading) -> Reading:
    """What a label says without the unit, the name, the percent sign or the base that an answer may leave out."""
    value = reading.value
    if isinstance(value, Named):
        return core(value.value)
    if isinstance(value, Quantity):
        return core(Reading(f"{reading.written} without its unit", value.magnitude))
    if isinstance(value, Number) and value.is_percent:
        return Reading("a percentage", replace(value, is_percent=False))
    if isinstance(value, Numeral):
        return core(read_answer(value.digits))
    return reading


ONE_WAY = frozenset({"subject", "order", "percent"})
"""Rules by which an answer may equal a label that does not equal it (`equality.equal`)."""


def same(a: str, b: str) -> bool:
    """Whether two labels are equal, or what is left of them without units, names, percent signs and bases."""
    readings = [read_label(label) for label in (a, b)]
    return any(
        (there is not None and back is not None) or there in ONE_WAY or back in ONE_WAY
        for x, y in (readings, map(core, readings))
        for there, back in [(equality.equal(x, y), equality.equal(y, x))]
    )


def find(candidate: str, accepted: Sequence[tuple[str, str]]) -> Finding | None:
    """The first two labels that a candidate is paid for and that are not equal to each other."""
    for label, rule in accepted[1:]:
        if not same(accepted[0][0], label):
            return Finding(candidate, (accepted[0][0], label), (accepted[0][1], rule))
    return None


def paid(
    candidates: Sequence[str], labels: Sequence[str], num_processes: int = 1
) -> dict[str, list[tuple[str, str]]]:
    """Candidate -> (label, rule) of those that it is paid for; in several processes for the long form."""
    judge = partial(accepted_labels, labels=labels)
    if num_processes == 1:
        return {candidate: judge(candidate) for candidate in candidates}
    with ProcessPoolExecutor(num_processes, mp_context=get_context("fork")) as executor:
        return dict(zip(candidates, executor.map(judge, candidates, chunksize=50), strict=True))


def find_all(candidates: Sequence[str], labels: Sequence[str]) -> list[Finding]:
    """The findings of all candidates."""
    found = (find(*entry) for entry in paid(candidates, labels).items())
    return [finding for finding in found if finding]


def best_constant_answers(
    accepted: dict[str, list[tuple[str, str]]],
) -> list[tuple[str, str, float, str, float]]:
    """For each label set: its best candidate that is no label with the share of rows it earns, and the best label.

    Returns (set, candidate, share, label, share) by set.
    """
    rows = []
    for name, labels in label_sets().items():
        counts = Counter(labels)
        known = {read_label(label).written for label in counts}

        def share(paid_for: list[tuple[str, str]], counts: Counter[str] = counts) -> float:
            return sum(counts[label] for label, _ in paid_for) / counts.total()

        frequent = {
            label: share(accepted_labels(label, list(counts)))
            for label, _ in counts.most_common(10)
        }
        others = {
            candidate: share(paid_for)
            for candidate, paid_for in accepted.items()
            if paid_for and read_answer(candidate).written not in known
        }
        best_label = max(frequent, key=frequent.__getitem__)
        best_other = max(others, key=others.__getitem__, default="")
        rows.append(
            (name, best_other, others.get(best_other, 0.0), best_label, frequent[best_label])
        )
    return rows
