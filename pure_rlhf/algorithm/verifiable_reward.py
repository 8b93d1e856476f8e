r"""What a correct final answer is, for training and for evaluation: the one definition of the
project.

The verifiable reward of PURE (arXiv 2504.15275, section 3) is 1 when the final answer equals the
label and 0 otherwise. `extract_answer` finds the answer in a text, `is_equivalent` compares it with
the label: first by notation (exact numbers, lists, intervals, words), then with `math-verify`,
which is imported when it is first needed (`answer_forms.py`, `answer_equivalence.py`). Comparing
may take unbounded time on hostile input (`9^{9^{9^9}}`), so untrusted answers go through
`workers/verifier_pool.py`; `quick_verdict` never does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pure_rlhf.algorithm.answer_equivalence import compare
from pure_rlhf.algorithm.answer_forms import normalise

MAX_ANSWER_CHARS = 1000
"""A longer answer is wrong unless it is the label: no label of the benchmarks reaches it."""

ExtractionMode = Literal["training", "evaluation"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the verifier says about one text."""

    correct: bool
    extracted: str | None  # None: the text holds no final answer
    rule: str  # "no_answer", "notation" (no computer algebra was needed) or "math_verify"


def has_answer(label: str | None) -> bool:
    """Whether a prompt's label can be checked; None, "" and "null" mean unanswered."""
    return label is not None and str(label).strip() not in {"", "null"}


def extract_answer(text: str, mode: ExtractionMode = "training") -> str | None:
    r"""The final answer of a text, or None.

    Training takes the last closed `\boxed{...}` or `\fbox{...}` and nothing else, so that a policy
    earns nothing by naming candidates. Evaluation also reads boxes that are parts of one answer,
    and texts without a box.
    """
    boxes = _closed_boxes(text)
    if mode == "training":
        return boxes[-1][2] if boxes else None
    if boxes:
        return _joined_boxes(text, boxes)
    if _OPEN_BOX.search(text):  # cut inside its answer: what stands there may be half a number
        return None
    return _unboxed_answer(text)


def grade(text: str, gold: str, mode: ExtractionMode = "training") -> Verdict:
    """Extract the final answer of `text` and compare it with `gold`."""
    extracted = extract_answer(text, mode)
    if extracted is None:
        return Verdict(correct=False, extracted=None, rule="no_answer")
    quick = quick_verdict(extracted, gold)
    if quick is not None:
        return Verdict(correct=quick, extracted=extracted, rule="notation")
    return Verdict(correct=is_equivalent(extracted, gold), extracted=extracted, rule="math_verify")


def quick_verdict(prediction: str | None, gold: str) -> bool | None:
    """The verdict where notation decides, in well under a millisecond; None when it takes
    math-verify.
    """
    return _verdict(prediction, gold, deep=False)


def is_equivalent(prediction: str | None, gold: str) -> bool:
    r"""Whether two final answers mean the same.

    Example: `is_equivalent(r"\frac{3}{2}", "1.5")` and `is_equivalent("4, 0", "0,4")` are True,
    `is_equivalent("(0,4)", "[0,4]")` and `is_equivalent("52_7", "52_8")` are False.
    """
    return bool(_verdict(prediction, gold, deep=True))


def _verdict(prediction: str | None, gold: str, *, deep: bool) -> bool | None:
    if prediction is None or not prediction.strip():
        return False
    if len(prediction) > max(MAX_ANSWER_CHARS, 2 * len(gold)):
        return False
    return compare(normalise(_unbox(prediction)), normalise(_unbox(str(gold))), deep=deep)


# ---- extraction ------------------------------------------------------------------------------

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[{}]|[{}]")
_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_ANSWER_PHRASE = re.compile(r"\banswer\s*(?:is|:)(?:\s*\*\*)?\s*:?\s*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.\s|\.$|\n")
_VALUE = re.compile(
    r"\$\$(?P<a>.+?)\$\$|(?<!\\)\$(?P<b>(?:\\\$|[^$\n])+)\$|\\\[(?P<c>.+?)\\\]|\\\((?P<d>.+?)\\\)"
    r"|\*\*(?P<e>[^*\n]+)\*\*|(?P<f>(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?)",
    re.DOTALL,
)
_JOINT = re.compile(
    r"(?:[\s$.,;]|\\q?quad\b|\\[,; ]|and\b|or\b|\\[()\[\]]|\\text\{\s*,?\s*(?:and|or)\s*,?\s*\})*",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"[,;]|\band\b|\bor\b", re.IGNORECASE)
_TAIL_CHARS = 1000


def _closed_boxes(text: str) -> list[tuple[int, int, str]]:
    r"""(start, end, content) of every closed box, by end; one pass, so hostile text costs linear
    time.
    """
    boxes, open_groups = [], []
    for token in _BOX_TOKEN.finditer(text):
        symbol = token.group()
        if symbol == "{":
            open_groups.append(None)
        elif symbol == "}":
            opened = open_groups.pop() if open_groups else None
            if opened is not None:
                boxes.append(
                    (opened.start(), token.end(), text[opened.end() : token.start()].strip())
                )
        elif symbol not in ("\\{", "\\}"):
            open_groups.append(token)
    return boxes


def _unbox(answer: str) -> str:
    """An answer that is a box without its box."""
    boxes = _closed_boxes(answer)
    return boxes[-1][2] if boxes and boxes[-1][:2] == (0, len(answer)) else answer


def _joined_boxes(text: str, boxes: list[tuple[int, int, str]]) -> str:
    r"""The last box, together with those before it that only "and" or a comma separates from it."""
    return _join_backwards(text, boxes, max_gap_chars=60)


def _unboxed_answer(text: str) -> str | None:
    """Where there is no box: the last value after "answer is", else the last value of the last
    lines.

    A value is a formula, something in bold, or a number; a formula that is one letter names the
    question.
    """
    tail = text[-_TAIL_CHARS:]
    phrases = list(_ANSWER_PHRASE.finditer(tail))
    if phrases:
        rest = tail[phrases[-1].end() :]
        sentence = _SENTENCE_END.split(rest, maxsplit=1)[0].strip()
        value = _last_value(sentence)
        if value is not None:
            return value
        if sentence and len(sentence.split()) <= 4:
            return sentence.strip("*")
    for line in reversed(tail.strip().split("\n")):
        value = _last_value(line)
        if value is not None:
            return value
    return _last_value(tail)


def _last_value(text: str) -> str | None:
    values = [
        (match.start(), match.end(), match[match.lastgroup or 0].strip().removesuffix("."))
        for match in _VALUE.finditer(text)
    ]
    values = [value for value in values if re.search(r"\d|.{2}|[A-Z]", value[2])]
    return _join_backwards(text, values, max_gap_chars=12) if values else None


def _join_backwards(text: str, parts: list[tuple[int, int, str]], *, max_gap_chars: int) -> str:
    """The last part and those before it that only a joint ("and", a comma) separates from it."""
    start, _, answer = parts[-1]
    joined = [answer]
    for part_start, part_end, content in reversed(parts[:-1]):
        between = text[part_end:start]
        if part_end > start or len(between) > max_gap_chars or not _JOINT.fullmatch(between):
            break
        if _SEPARATOR.search(between) is None:  # said twice, or unrelated
            break
        joined.insert(0, content)
        start = part_start
    return ", ".join(joined)
