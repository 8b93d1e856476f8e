r"""What no verifier of final answers can grade, by the text alone: PRIME's rules for NuminaMath-CoT, and a few more.

A rule is a name and a test of a problem; the first that holds is the reason why it is dropped. They look at the text
only, in linear time, so that 860,000 rows take minutes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from data_preparation.items import Item
from data_preparation.open_questions import is_multiple_choice
from pure_rlhf.data import CODE
from pure_rlhf.grading.final_answer import has_answer, label_fault

MOST_ANSWER_CHARACTERS = 200
_FIGURE = re.compile(
    r"\bfigures?\b|\bdiagrams?\b|\[asy\]|!\[|\\includegraphics|\\begin\{tikzpicture\}|https?://",
    re.IGNORECASE,
)
_PROOF = re.compile(r"\b(?:prove|show) that\b|\bprove\b|\bproof\b", re.IGNORECASE)
_BLANK = re.compile(r"\\underline\s*\{|_{3,}|\\_\\_\\_|\\blank")
_DIGIT = re.compile(r"\d")


def _mathematics(test: Callable[[Item], bool]) -> Callable[[Item], bool]:
    return lambda item: item.ability != CODE and test(item)


def _has_no_answer(item: Item) -> bool:
    return item.answer is None or not has_answer(item.answer)


def _has_no_digit(item: Item) -> bool:
    # the letter of a choice is replaced later
    return not is_multiple_choice(item.question) and not _DIGIT.search(item.answer or "")


RULES: dict[str, Callable[[Item], bool]] = {
    "needs a figure": lambda item: _FIGURE.search(item.question) is not None,
    "asks for a proof": _mathematics(lambda item: _PROOF.search(item.question) is not None),
    "has a blank to fill in": _mathematics(lambda item: _BLANK.search(item.question) is not None),
    "has no final answer": _mathematics(_has_no_answer),
    "the final answer has no digit": _mathematics(_has_no_digit),
    "no answer can meet the label": _mathematics(lambda item: label_fault(item.answer) is not None),
    "the final answer is long": _mathematics(
        lambda item: len(item.answer or "") > MOST_ANSWER_CHARACTERS
    ),
}
"""In the order in which they are asked. PRIME: figures, proofs, blanks, no boxed answer with a digit."""


def reason_to_drop(item: Item) -> str | None:
    """The first rule that holds, or None."""
    return next((name for name, holds in RULES.items() if holds(item)), None)
