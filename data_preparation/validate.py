r"""Validation by a model: several tries at each problem say whether it can be solved, and whether its answer is right.

After PRIME's last stage: five tries at temperature 0.8, in which the model may also box "No solution". Kept are the
statistics of every problem and, by thresholds, the problems. PRIME writes the statistics; its thresholds are not known.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from data_preparation.items import Item
from evaluation.engine import (
    Completion,
    EngineSettings,
    EngineTime,
    Request,
    generate,
    visible_gpus,
)
from evaluation.line_file import LineFile
from evaluation.models import Model
from pure_rlhf.bounds import Bounds
from pure_rlhf.data import MATH, prompt_renderer
from pure_rlhf.grading.pool import VerifierPool

UNSOLVABLE = "no solution"
TEMPLATE = (
    "{}\n\nSolve the problem step by step and put your final answer within \\boxed{}. If it cannot be solved, because "
    "something is missing or contradicts itself, say why and write \\boxed{No solution}."
)


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The model that validates, served by vLLM; PRIME used QwQ-32B-Preview and Qwen2.5-Math-72B-Instruct."""

    name: str | None = None
    """Folder or hub name. None: no validation."""
    tries: Annotated[int, Bounds(low=1, high=64, remedy="PRIME tries 5 times")] = 5
    temperature: Annotated[float, Bounds(above=0, remedy="PRIME's is 0.8")] = 0.8
    top_p: Annotated[float, Bounds(above=0, high=1, remedy="PRIME's is 0.95")] = 0.95
    max_new_tokens: Annotated[int, Bounds(low=1, remedy="PRIME's is 16384")] = 16384
    template: str = TEMPLATE
    """The first {} is replaced by the problem."""
    apply_chat_template: bool = True
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    gpu_memory_utilization: Annotated[float, Bounds(above=0, high=1, remedy="a share")] = 0.9
    num_engines: Annotated[int, Bounds(low=0, remedy="0: one a GPU")] = 0
    """0: one a GPU, one on a CPU host."""


@dataclass(frozen=True, kw_only=True)
class Tries:
    """What the tries at a problem say.

    Args:
        tries: how many there were.
        correct: those whose final answer equals the label.
        unsolvable: those that say that there is no solution.
        unanswered: those without a final answer.
        agreement: share of the tries that give the commonest final answer.
        majority_correct: whether that one equals the label.
        truncated: those that were cut off.
    """

    tries: int
    correct: int
    unsolvable: int
    unanswered: int
    agreement: float
    majority_correct: bool
    truncated: int


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Which problems are kept, by their tries."""

    min_correct: int = 1
    """Fewest tries that meet the label: at 0 nothing says that it is right."""
    max_correct: int | None = None
    """Most tries that meet it, to leave out what is too easy. None: all may."""
    min_agreement: float = 0.0
    """Smallest share of the tries that agree with one another."""
    majority: bool = False
    """Only where the commonest final answer meets the label."""

    def reason_to_drop(self, tries: Tries) -> str | None:
        """The first threshold that the tries miss, or None."""
        if 2 * tries.unsolvable > tries.tries:
            return "most tries say that it cannot be solved"
        if tries.correct < self.min_correct:
            return f"fewer than {self.min_correct} tries meet the label"
        if self.max_correct is not None and tries.correct > self.max_correct:
            return f"more than {self.max_correct} tries meet the label"
        if tries.agreement < self.min_agreement:
            return f"less than {self.min_agreement:.0%} of the tries agree"
        if self.majority and not tries.majority_correct:
            return "the commonest answer is not the label"
        return None


def count_tries(
    answers: Sequence[tuple[str | None, bool]], votes: Sequence[int | None], truncated: int
) -> Tries:
    """From (final answer, whether it is correct) and the class (`VerifierPool.votes`) of each try.

    Example: answers 4, 4, 5, none with the label 4 are two correct, one unanswered, and agree by a half.
    """
    unsolvable = sum(_is_unsolvable(answer) for answer, _ in answers)
    classes = Counter(vote for vote in votes if vote is not None)
    commonest, count = classes.most_common(1)[0] if classes else (None, 0)
    return Tries(
        tries=len(answers),
        correct=sum(correct for _, correct in answers),
        unsolvable=unsolvable,
        unanswered=sum(answer is None for answer, _ in answers),
        agreement=count / len(answers),
        majority_correct=commonest == 0,
        truncated=truncated,
    )


def _is_unsolvable(answer: str | None) -> bool:
    return answer is not None and UNSOLVABLE in " ".join(
        answer.lower().replace("\\text{", "").split()
    )


class TriesFile:
    """The tries at each problem, by its id, on disk as they come; a run after a kill asks for the missing ones only."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.found: dict[str, Tries] = {}
        self._header = header
        self._file = LineFile(path, header, self._accept)

    def _accept(self, number: int, line: Any) -> None:
        if number == 1:
            if line != self._header:
                differing = [key for key in self._header if line.get(key) != self._header[key]]
                raise ValueError(
                    f"holds tries of another model or other settings ({', '.join(differing)}): give another "
                    f"--output_dir, or remove it"
                )
            return
        self.found[line["id"]] = Tries(**line["tries"])

    def append(self, found: dict[str, Tries]) -> None:
        self._file.append([{"id": id, "tries": asdict(tries)} for id, tries in found.items()])
        self.found |= found


def try_problems(
    items: Sequence[Item],
    model: Model,
    settings: ModelSettings,
    seed: int,
    file: TriesFile,
    verifier: VerifierPool,
    log_dir: Path,
) -> Iterator[int]:
    """Ask for what the file lacks, grade and write it; yields how many problems were finished each time.

    Raises:
        EngineDied: what was finished before is in the file.
    """
    missing = [item for item in items if item.ability == MATH and item.id not in file.found]
    if not missing:
        return
    render = prompt_renderer(settings.template, settings.apply_chat_template, model.tokenizer)
    token_ids = model.tokenizer(
        [render(item.question) for item in missing], add_special_tokens=False
    )["input_ids"]
    longest = max(map(len, token_ids)) + settings.max_new_tokens
    max_model_len = min(longest, model.max_positions or longest)
    requests, too_long = [], []
    for index, (item, ids) in enumerate(zip(missing, token_ids, strict=True)):
        room = min(settings.max_new_tokens, max_model_len - len(ids))
        request = Request(
            id=index,
            prompt_token_ids=ids,
            num_answers=settings.tries,
            max_new_tokens=room,
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=zlib.crc32(f"{seed}/{item.id}".encode()),  # not of the order
        )
        (requests if room >= 1 else too_long).append(request)
    nothing = Completion(text="", num_tokens=0, truncated=True)
    if too_long:
        batch = [(request.id, [nothing] * request.num_answers) for request in too_long]
        yield _grade(batch, missing, file, verifier)
    engine = EngineSettings(
        model=model.source,
        max_model_len=max_model_len,
        dtype=settings.dtype,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        enforce_eager=False,
        seed=seed,
    )
    num_engines = settings.num_engines or max(1, len(visible_gpus()))
    for batch in generate(requests, engine, num_engines=num_engines, log_dir=log_dir):
        if not isinstance(batch, EngineTime):
            yield _grade(batch, missing, file, verifier)


def _grade(
    batch: Sequence[tuple[int, list[Completion]]],
    missing: Sequence[Item],
    file: TriesFile,
    verifier: VerifierPool,
) -> int:
    texts = [completion.text for _, group in batch for completion in group]
    labels = [missing[index].answer for index, group in batch for _ in group]
    grades = iter(verifier.grade_batch(texts, labels, "evaluation"))
    answers = []
    for _, group in batch:
        found = [next(grades) for _ in group]
        answers.append(
            [
                (None, False) if grade is None else (grade.extracted, grade.correct)
                for grade in found
            ]
        )
    votes = verifier.votes(answers)
    file.append(
        {
            missing[index].id: count_tries(one, vote, sum(c.truncated for c in group))
            for (index, group), one, vote in zip(batch, answers, votes, strict=True)
        }
    )
    return len(batch)
