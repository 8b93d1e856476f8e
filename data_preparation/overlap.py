"""What is asked twice, and what the evaluation sets ask: duplicates and decontamination.

Texts are compared as words: lower case, without the marks of LaTeX and punctuation. A problem is contaminated where it
is the same as one of an evaluation set, or has n words in a row with one of them (13 by default, as in GPT-3's and
later reports). Problems shorter than that are compared whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from data_preparation.items import Item

DEFAULT_WORDS = 13
_LATEX = re.compile(
    r"\\(?:left|right|displaystyle|text|mathrm|mathbf|textbf|quad|qquad|[,;:! ])|[${}]"
)
_WORD = re.compile(r"\\?[a-z]+|\d+|[^\sa-z\d]")
_PUNCTUATION = frozenset(".,;:!?()[]\"'`~|&")


def words_of(text: str) -> tuple[str, ...]:
    """The words that are compared. Example: `words_of("Find $x^{2}$.")` is `("find", "x", "^", "2")`."""
    found = _WORD.findall(_LATEX.sub(" ", text).lower())
    return tuple(word.removeprefix("\\") for word in found if word not in _PUNCTUATION)


def windows(words: tuple[str, ...], count: int) -> Iterator[tuple[str, ...]]:
    """All runs of so many words."""
    return (words[start : start + count] for start in range(len(words) - count + 1))


@dataclass(frozen=True)
class Found:
    """Where a problem was found in an evaluation set.

    Args:
        where: the set and the number of its problem.
        exact: the whole problem; else the words in `words`.
    """

    where: str
    exact: bool
    words: str = ""

    @property
    def reason(self) -> str:
        return (
            "is a problem of an evaluation set"
            if self.exact
            else "shares words with an evaluation set"
        )


class EvaluationTexts:
    """The problems of evaluation sets, looked up by their words.

    Args:
        texts: (where, question) of each.
        num_words: length of a run of words that counts; >= 4.
    """

    def __init__(self, texts: Iterable[tuple[str, str]], num_words: int = DEFAULT_WORDS) -> None:
        if num_words < 4:
            raise ValueError(f"num_words {num_words}: must be >= 4, or everything is contaminated")
        self.num_words = num_words
        self._whole: dict[tuple[str, ...], str] = {}
        self._runs: dict[int, str] = {}
        digest = hashlib.sha256()
        for where, text in texts:
            words = words_of(text)
            digest.update(" ".join(words).encode() + b"\n")
            self._whole.setdefault(words, where)
            for run in windows(words, num_words):
                self._runs.setdefault(hash(run), where)
        self.digest = digest.hexdigest()

    def find(self, question: str) -> Found | None:
        """Where a question, or a run of its words, is; None: nowhere."""
        words = words_of(question)
        if words in self._whole:
            return Found(self._whole[words], exact=True)
        for run in windows(words, self.num_words):
            where = self._runs.get(hash(run))
            if where is not None:
                return Found(where, exact=False, words=" ".join(run))
        return None


class Duplicates:
    """Says of each problem whether one with the same words was there before."""

    def __init__(self) -> None:
        self._first: dict[int, str] = {}

    def first_of(self, item: Item) -> str | None:
        """The id of the earlier one, or None."""
        key = hash((item.ability, words_of(item.question)))
        first = self._first.setdefault(key, item.id)
        return None if first == item.id else first
