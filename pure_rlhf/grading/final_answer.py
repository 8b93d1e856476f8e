r"""From the text of a response to a verdict: extraction of the final answer, and its comparison with the label.

The verifiable reward of PURE (arXiv 2504.15275, section 3) is 1 when the final answer equals the label and 0 otherwise.
Every step costs time linear in the length of the text. Untrusted texts are compared in `pool.py`, in processes with a
time limit.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import Literal

from pure_rlhf.grading.equality import equal
from pure_rlhf.grading.readings import MAX_CHARS, Reading, read

ExtractionMode = Literal["training", "evaluation"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the verifier says about one response.

    Args:
        extracted: the final answer; None: the text holds none.
        rule: the rule that accepted it (`equality.RULES`); None where it is not correct.
    """

    extracted: str | None
    rule: str | None

    @property
    def correct(self) -> bool:
        return self.rule is not None


def has_answer(label: object) -> bool:
    """Whether a prompt's label can be checked; None, "" and "null" mean unanswered."""
    return label is not None and str(label).strip() not in {"", "null"}


def label_fault(label: object) -> str | None:
    """Why no answer can meet a label, or None; an unanswered one has no fault.

    Example: `label_fault(["1", "2"])` is "is a list; a label is one text or number, such as '1, 2'".
    """
    if label is None:
        return None
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        return f"is a {type(label).__name__}; a label is one text or number, such as '1, 2' or 0.5"
    if isinstance(label, float) and not math.isfinite(label):
        return f"is {label}; a label is one text or number, and an unknown one is null"
    if has_answer(label) and not read_label(str(label)).written:
        return f"{label!r} holds nothing but signs and spaces; an unknown answer is null"
    return None


def grade(
    response: str, label: str, mode: ExtractionMode = "training", *, strict: bool = False
) -> Verdict:
    """Extract the final answer of a response and compare it with the label."""
    extracted = extract_answer(response, mode)
    rule = None if extracted is None else accepting_rule(extracted, label, strict=strict)
    return Verdict(extracted=extracted, rule=rule)


def accepting_rule(answer: str, label: str, *, strict: bool = False) -> str | None:
    r"""The rule by which a final answer equals the label, or None.

    Example: `accepting_rule(r"\\frac{3}{2}", "1.5")` is "number", `accepting_rule("(0,4)", "[0,4]")` is None.
    """
    if len(answer) > max(MAX_CHARS, 2 * len(label)):
        return None
    return equal(read_answer(answer), read_label(label), strict=strict)


def read_answer(answer: str) -> Reading:
    """A final answer as it is compared; one that is a box again is taken out of it."""
    return read(_unbox(answer))


@functools.lru_cache(maxsize=4096)
def read_label(label: str) -> Reading:
    """As `read_answer`; a label is compared with many answers."""
    return read_answer(str(label))


def vote_classes(answers: list[str]) -> list[int]:
    """Which final answers of a problem agree: the number of its class for each, from 0 in order of appearance.

    An answer joins the first class whose first answer it equals without a lenient rule. Compared are what a model
    wrote: call it in `pool.py`.

    Example: `vote_classes(["1/2", "3", "0.5"])` is `[0, 1, 0]`.
    """
    numbers: dict[str, int] = {}
    firsts: list[Reading] = []
    for answer in answers:
        if answer in numbers:
            continue
        reading = read_answer(answer)
        same = (i for i, first in enumerate(firsts) if equal(reading, first, strict=True))
        numbers[answer] = next(same, len(firsts))
        if numbers[answer] == len(firsts):
            firsts.append(reading)
    return [numbers[answer] for answer in answers]


# ---- extraction ------------------------------------------------------------------------------

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[{}]|[{}]")
_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_ANSWER_PHRASE = re.compile(r"\banswer\s*(?:is|:)(?:\s*\*\*)?\s*:?\s*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.\s|\.$|\n")
_VALUE = re.compile(
    r"\$\$(?P<a>.+?)\$\$|(?<!\\)\$(?P<b>(?:\\\$|[^$\n])+)\$|\\\[(?P<c>.+?)\\\]|\\\((?P<d>.+?)\\\)"
    r"|\*\*(?P<e>[^*\n]+)\*\*|(?P<f>(?<![\w.])-?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?:/[0-9]+)?)",
    re.DOTALL,
)
_JOINT = re.compile(
    r"(?:[\s$.,;]|\\q?quad\b|\\[,; ]|and\b|or\b|\\[()\[\]]|\\text\{\s*,?\s*(?:and|or)\s*,?\s*\})*",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"[,;]|\band\b|\bor\b", re.IGNORECASE)
_TAIL_CHARS = 1000
Span = tuple[int, int, str]  # start and end of a part of the text, and what it holds


def extract_answer(text: str, mode: ExtractionMode = "training") -> str | None:
    r"""The final answer of a text, or None.

    Training takes the last closed `\boxed{...}` or `\fbox{...}` and nothing else, so that a policy earns nothing by
    naming candidates. Evaluation also reads boxes that are parts of one answer, and texts without a box.
    """
    boxes = _closed_boxes(text)
    if mode == "training":
        return boxes[-1][2] if boxes else None
    if boxes:
        return _join_backwards(text, boxes, max_gap_chars=60)
    if _OPEN_BOX.search(text):  # cut inside its answer: what stands there may be half a number
        return None
    return _unboxed_answer(text)


def _closed_boxes(text: str) -> list[Span]:
    r"""The closed boxes that are in no other closed box, in order; one pass, and the contents do not overlap."""
    spans: list[tuple[int, int, int]] = []  # start, start of the content, end
    open_groups: list[tuple[int, int] | None] = []
    for token in _BOX_TOKEN.finditer(text):
        symbol = token.group()
        if symbol == "{":
            open_groups.append(None)
        elif symbol == "}":
            opened = open_groups.pop() if open_groups else None
            if opened is not None:
                while spans and spans[-1][0] > opened[0]:  # in the one that ends here
                    spans.pop()
                spans.append((*opened, token.end()))
        elif symbol not in ("\\{", "\\}"):
            open_groups.append((token.start(), token.end()))
    return [(start, end, text[content : end - 1].strip()) for start, content, end in spans]


def _unbox(answer: str) -> str:
    """An answer that is a box without its box."""
    boxes = _closed_boxes(answer)
    return boxes[-1][2] if boxes and boxes[-1][:2] == (0, len(answer)) else answer


def _unboxed_answer(text: str) -> str | None:
    """Where there is no box: the last value after "answer is", else the last value of the last lines.

    A value is a formula, something in bold, or a number; a formula that is one letter names the question.
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
    values = [value for value in values if re.search(r"[0-9]|.{2}|[A-Z]", value[2])]
    return _join_backwards(text, values, max_gap_chars=12) if values else None


def _join_backwards(text: str, parts: list[Span], *, max_gap_chars: int) -> str:
    """The last part and those before it that only a joint ("and", a comma) separates from it."""
    start, _, answer = parts[-1]
    joined = [answer]
    for part_start, part_end, content in reversed(parts[:-1]):
        between = text[part_end:start]
        if part_end > start or len(between) > max_gap_chars or not _JOINT.fullmatch(between):
            break
        ends_open = content.rstrip().endswith((",", ";"))
        if not ends_open and _SEPARATOR.search(between) is None:  # said twice, or unrelated
            break
        joined.append(content.rstrip().rstrip(",;"))
        start = part_start
    return ", ".join(reversed(joined))
