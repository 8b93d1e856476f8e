r"""Public step-labelled data, one form each, to one record. The form of a row is recognised from its columns:

| columns | who has it | ratings |
|---|---|---|
| prompt, completions, ratings | PRM800K with its ratings kept | 1, 0, -1; null: right where the label is |
| prompt, completions, labels | TRL's form, see below | true, false, 1, 0 |
| question, label | OpenAI's raw PRM800K (JSONL) | 1, 0, -1; null: not judged |
| input, label | `peiyi9979/Math-Shepherd` | "+" or "-" where the input says "ки" |

TRL's form is that of `trl-lib/prm800k`, `HuggingFaceH4/prm800k-trl-dedup` and `trl-lib/math_shepherd`.
A row of OpenAI's file is one labelled solution in which a step may have several rated candidates. It becomes what
TRL's converter makes of it: each candidate that was not chosen ends a row of its own, and the chosen ones, or the
human's, go on. Unlike there, a candidate that nobody rated is not called wrong but left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

SourceForm = Literal["ratings", "labels", "prm800k", "math_shepherd"]
FORMS: dict[SourceForm, tuple[str, ...]] = {
    "ratings": ("prompt", "completions", "ratings"),
    "labels": ("prompt", "completions", "labels"),
    "prm800k": ("question", "label"),
    "math_shepherd": ("input", "label"),
}
HAVE_NEUTRAL_STEPS: tuple[SourceForm, ...] = ("ratings", "prm800k")
STEP_TAG = "ки"
FIRST_STEP = "Step 1:"


@dataclass(frozen=True)
class RatedSolution:
    """A solution, or its beginning. Ratings: 1 right, 0 neutral, -1 wrong, None not rated."""

    prompt: str
    steps: list[str]
    ratings: list[int | None]
    row: int = 0  # of the source, from 1


def source_form(row: Any) -> SourceForm:
    """The form of a row; raises ValueError where no form has its columns."""
    if not isinstance(row, dict):
        raise ValueError(f"expected an object with columns, got {type(row).__name__}")
    for form, columns in FORMS.items():
        if row.keys() >= set(columns):
            return form
    known = "; or ".join(", ".join(columns) for columns in FORMS.values())
    raise ValueError(f"its columns are {', '.join(map(str, row))}; expected {known}")


def parse_row(row: Any, number: int = 0) -> list[RatedSolution]:
    """The solutions of a row; raises ValueError with the reason why it cannot be trained on.

    Example: `{"prompt": "1+1?", "completions": ["2", "3"], "labels": [true, false]}` gives one solution with the
    ratings `[1, -1]`.
    """
    form = source_form(row)
    if form == "prm800k":
        solutions = _parse_prm800k(row["question"], row["label"], number)
    elif form == "math_shepherd":
        solutions = [_parse_math_shepherd(row["input"], row["label"], number)]
    else:
        solutions = [RatedSolution(row["prompt"], row["completions"], _ratings(row, form), number)]
    for solution in solutions:
        _check_texts(solution)
    return solutions


def _check_texts(solution: RatedSolution) -> None:
    if not isinstance(solution.prompt, str) or not solution.prompt.strip():
        raise ValueError(f"the prompt must be a non-empty text, got {solution.prompt!r}")
    for number, step in enumerate(solution.steps, start=1):
        if not isinstance(step, str) or not step.strip():
            raise ValueError(f"step {number} is empty or no text: {step!r}")


def _check_lists(steps: Any, labels: Any, column: str) -> None:
    if not isinstance(steps, list | tuple) or not steps:
        raise ValueError(f"completions must be a non-empty list of steps, got {steps!r}")
    if not isinstance(labels, list | tuple) or len(labels) != len(steps):
        count = len(labels) if isinstance(labels, list | tuple) else repr(labels)
        raise ValueError(f"{len(steps)} steps and {count} {column}: each step needs one label")


def _ratings(row: dict[str, Any], form: SourceForm) -> list[int | None]:
    """The ratings of TRL's form, checked."""
    columns = [column for column in ("labels", "ratings") if column in row]
    for column in columns:
        _check_lists(row["completions"], row[column], column)
    labels = [_label(value, k) for k, value in enumerate(row.get("labels", ()), start=1)]
    if form == "labels":
        return [*labels]
    ratings = [_rating(value, k) for k, value in enumerate(row["ratings"], start=1)]
    # No rating and label true: a human wrote the step. Label false: a candidate that nobody judged.
    written = labels or [-1] * len(ratings)
    return [
        1 if rating is None and label == 1 else rating
        for rating, label in zip(ratings, written, strict=True)
    ]


def _label(value: Any, step: int) -> int:
    if not isinstance(value, bool | int) or value not in (0, 1):
        raise ValueError(f"the label of step {step} is {value!r}; allowed are true, false, 1, 0")
    return 1 if value else -1


def _rating(value: Any, step: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value not in (-1, 0, 1):
        raise ValueError(f"the rating of step {step} is {value!r}; allowed are 1, 0, -1, null")
    return value


def _parse_prm800k(question: Any, label: Any, number: int) -> list[RatedSolution]:
    problem: Any = question.get("problem") if isinstance(question, dict) else None
    steps = label.get("steps") if isinstance(label, dict) else None
    if not isinstance(steps, list):
        raise ValueError(f"label.steps must be a list, got {steps!r}")
    texts: list[str] = []
    ratings: list[int | None] = []
    solutions: list[RatedSolution] = []

    def add(new_text: list[str], new_rating: list[int | None]) -> None:
        solutions.append(RatedSolution(problem, texts + new_text, ratings + new_rating, number))

    for position, step in enumerate(steps, start=1):
        candidates, chosen = _prm800k_candidates(step, position)
        for index, (text, rating) in enumerate(candidates):
            if index != chosen and rating is not None:
                add([text], [rating])
        if chosen is None:
            break
        texts.append(candidates[chosen][0])
        ratings.append(candidates[chosen][1])
    if texts:
        add([], [])
    if not solutions:
        raise ValueError("no step of it has a rated completion")
    return solutions


def _prm800k_candidates(
    step: Any, position: int
) -> tuple[list[tuple[Any, int | None]], int | None]:
    """Text and rating of all candidates of a step, the human's last, and which of them was gone on from."""
    if not isinstance(step, dict) or "completions" not in step:
        raise ValueError(f"step {position} of label.steps has no completions: {step!r}")
    candidates: list[tuple[Any, int | None]] = []
    for completion in step["completions"] or ():
        if not isinstance(completion, dict) or "rating" not in completion:
            raise ValueError(f"a completion of step {position} has no rating: {completion!r}")
        candidates.append((completion.get("text"), _rating(completion["rating"], position)))
    chosen = step.get("chosen_completion")
    if chosen is not None and chosen not in range(len(candidates)):
        raise ValueError(
            f"chosen_completion of step {position} is {chosen!r}, of {len(candidates)} completions"
        )
    human = step.get("human_completion")
    if chosen is None and human is not None:
        candidates.append((human.get("text") if isinstance(human, dict) else human, 1))
        chosen = len(candidates) - 1
    return candidates, chosen


def _parse_math_shepherd(text: Any, labelled: Any, number: int) -> RatedSolution:
    """`labelled` is `text` with a sign in place of each step tag."""
    if not isinstance(text, str) or not isinstance(labelled, str):
        raise ValueError("input and label must be texts")
    *parts, rest = text.split(STEP_TAG)
    if not parts or rest.strip():
        raise ValueError(f"the input must end with the tag {STEP_TAG!r} of its last step")
    ratings: list[int | None] = []
    position = 0
    for part in parts:
        position += len(part)
        sign = labelled[position : position + 1]
        if sign not in ("+", "-") or labelled[position - len(part) : position] != part:
            raise ValueError(
                f"the label of step {len(ratings) + 1} is {sign!r}; expected the input's text with + or - "
                f"where it says {STEP_TAG!r}"
            )
        ratings.append(1 if sign == "+" else -1)
        position += 1
    if labelled[position:].strip():
        raise ValueError(f"{len(parts)} steps, but the label goes on after {len(ratings)} signs")
    prompt, mark, first = parts[0].partition(FIRST_STEP)
    if not mark:
        raise ValueError(f"the problem and its first step cannot be told apart: no {FIRST_STEP!r}")
    steps = [(mark + first).strip(), *(part.strip() for part in parts[1:])]
    return RatedSolution(prompt.strip(), steps, ratings, number)
