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


def find(candidate: str, labels: Sequence[str]) -> Finding | None:
    """The first two labels that a candidate is paid for and that are not equal to each other."""
    accepted = accepted_labels(candidate, labels)
    for label, rule in accepted[1:]:
        if not same(accepted[0][0], label):
            return Finding(candidate, (accepted[0][0], label), (accepted[0][1], rule))
    return None


def find_all(
    candidates: Sequence[str], labels: Sequence[str], num_processes: int = 1
) -> list[Finding]:
    """The findings of all candidates; in several processes for the long form."""
    if num_processes == 1:
        found = map(partial(find, labels=labels), candidates)
        return [finding for finding in found if finding]
    with ProcessPoolExecutor(num_processes, mp_context=get_context("fork")) as executor:
        found = executor.map(partial(find, labels=labels), candidates, chunksize=50)
        return [finding for finding in found if finding]


def best_constant_answers(candidates: Sequence[str]) -> list[tuple[str, str, float, str, float]]:
    """For each label set: its best candidate that is no label with the share of rows it earns, and the best label.

    Returns (set, candidate, share, label, share) by set.
    """
    rows = []
    for name, labels in label_sets().items():
        counts = Counter(labels)
        known = {read_label(label).written for label in labels}

        def share(answer: str, counts: Counter[str] = counts) -> float:
            paid = accepted_labels(answer, list(counts))
            return sum(counts[label] for label, _ in paid) / counts.total()

        frequent = [label for label, _ in counts.most_common(20)]
        best_label = max(frequent, key=share)
        others = [c for c in candidates if read_answer(c).written not in known]
        best_other = max(others, key=share)
        rows.append((name, best_other, share(best_other), best_label, share(best_label)))
    return rows
