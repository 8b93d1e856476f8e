r"""Multiple choice to open questions: what is asked for is what the right choice says, not its letter.

A letter is right one time in four by chance, and RL finds that. Where the choices are listed plainly and the question
makes sense without them, they are taken out and the answer is the text of the right one; every other one is dropped.
PRIME has a language model rewrite such questions; a rule changes nothing but the list, so there is nothing to check.
"""

from __future__ import annotations

import re
from dataclasses import replace

from data_preparation.items import Item
from pure_rlhf.data import MATH
from pure_rlhf.grading.final_answer import accepting_rule, label_fault

STAGE = "open"
_MARK = re.compile(
    r"(?:\\(?:text|textbf|mathrm|mathbf|textrm|bf|rm)\s*\{\s*\(?|\{\\(?:bf|rm)\s*\(?|\(|(?<![A-Za-z0-9\\]))"
    r"(?P<letter>[A-F])(?:\)|[.:])(?:[\s~]*\}\)?)?"
)
_LEFT_OVER = re.compile(r"(?:[\s$,;:&~]|\\qquad|\\quad|\\ |\\\\|\\hspace\{[^}]*\}|\\item)+")
_NEEDS_CHOICES = re.compile(
    r"\bfollowing\b|\bstatements?\b|\bwhich (?:one )?of (?:these|the)\b|\boptions?\b|\bchoices?\b"
    r"|\bclosest\b|\bnearest\b",
    re.IGNORECASE,
)
_LETTER = re.compile(r"\(?\\?(?:text(?:bf)?\{)?\(?([A-F])\)?\}?\)?\.?")
_DIGIT = re.compile(r"\d")


def is_multiple_choice(question: str) -> bool:
    """Whether choices A, B and C are listed, in this order."""
    return _choices(question) is not None


def make_open(item: Item) -> Item | str:
    """The problem as an open question, the problem as it is where it has no choices, or why it is dropped.

    Example: "What is 2+2? (A) 3 (B) 4 (C) 5" with the answer "B" becomes "What is 2+2?" with "4".
    """
    if item.ability != MATH:
        return item
    found = _choices(item.question)
    if found is None:
        return item
    question, choices = found
    if not question:
        return "multiple choice: nothing is asked before the choices"
    if _NEEDS_CHOICES.search(question):
        return "multiple choice: the question needs its choices"
    answer = _right_choice(item.answer or "", choices)
    if answer is None:
        return "multiple choice: the right choice is not clear"
    if not _DIGIT.search(answer) or label_fault(answer) is not None:
        return "multiple choice: the right choice has no digit"
    return replace(item, question=question, answer=answer, changed=(*item.changed, STAGE))


def _choices(question: str) -> tuple[str, dict[str, str]] | None:
    """The question before the choices, and these by letter; None where A, B, C do not follow one another."""
    marks = list(_MARK.finditer(question))
    for first, mark in enumerate(marks):
        if mark["letter"] != "A":
            continue
        run = [mark]
        for after in marks[first + 1 :]:
            if ord(after["letter"]) == ord(run[-1]["letter"]) + 1:
                run.append(after)
        if len(run) >= 3:
            ends = [after.start() for after in run[1:]] + [len(question)]
            texts = {
                each["letter"]: _bare(question[each.end() : end])
                for each, end in zip(run, ends, strict=True)
            }
            return _bare_end(question[: mark.start()]), texts
    return None


def _right_choice(answer: str, choices: dict[str, str]) -> str | None:
    """The text of the right choice: by its letter, else the one that equals the answer, if one alone does."""
    letter = _LETTER.fullmatch(answer.strip().strip("$").strip())
    if letter is not None:
        return choices.get(letter[1]) or None
    equal = [text for text in choices.values() if text and accepting_rule(text, answer)]
    return equal[0] if len(equal) == 1 else None


def _bare(text: str) -> str:
    """A choice without what stands around it in a list."""
    text = _LEFT_OVER.sub(" ", text).strip() if "$" not in text else _dollars(text)
    return text.strip().removesuffix(".").strip()


def _dollars(text: str) -> str:
    """The formula of a choice, where it is one: `$4\\qquad$` is `4`."""
    inside = text.replace("$", " ")
    start = re.match(_LEFT_OVER, inside)
    inside = inside[start.end() :] if start else inside
    while end := re.search(rf"{_LEFT_OVER.pattern}$", inside):
        inside = inside[: end.start()]
    return inside


def _bare_end(text: str) -> str:
    """The question without an opened formula or a line break at its end."""
    text = text.rstrip()
    while text != (
        shorter := re.sub(
            r"(?:\\\\|\\qquad|\\quad|\\newline|\\begin\{[a-z]+\}|\\item)$", "", text
        ).rstrip()
    ):
        text = shorter
    if text.endswith("$") and text.count("$") % 2:  # opened for the list of choices
        text = text[:-1].rstrip()
    return text
