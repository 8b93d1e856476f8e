"""What is on disk: one JSONL file per model, benchmark and mode, a line for each problem that is answered and graded.

The first line of a file says with which settings, which weights and which problems it was made. A file of others is
refused; one that a kill left with a torn last line is cut back to its last whole line and continued.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation.line_file import LineFile
from pure_rlhf.model_folder import WEIGHTS

_SAMPLED_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of a model, with its verdict."""

    text: str
    num_tokens: int
    truncated: bool  # cut by the length limit; also where the prompt alone fills the context
    correct: bool
    extracted: str | None  # None: the text holds no final answer
    rule: str | None = None  # which accepted it (pure_rlhf/grading/equality.py)
    vote: int | None = None  # which answers to the problem agree (`VerifierPool.votes`)
    timed_out: bool = False  # the comparison exceeded its time limit, or failed


class AnswerFile:
    """The answers of one model to one benchmark in one mode: those that are there, and appending to them.

    `is_outdated` says that they were graded by another version of the rules (`settings["verifier"]`).

    Raises:
        ValueError: the file was made with other settings, another model or other problems, or is damaged.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.fingerprint = fingerprint({k: v for k, v in settings.items() if k != "verifier"})
        self.answers: dict[str, list[Answer]] = {}
        self.is_outdated = False
        header = {"fingerprint": self.fingerprint, "settings": settings}
        self._lines = LineFile(path, header, self._accept)

    def append(self, problem_id: str, answers: list[Answer]) -> None:
        """Write one finished problem; on disk when this returns."""
        row = {
            "problem": problem_id,
            "fingerprint": self.fingerprint,
            "answers": [asdict(answer) for answer in answers],
        }
        self._lines.append([row])
        self.answers[problem_id] = answers

    def replace(self, answers: dict[str, list[Answer]]) -> None:
        """Write all answers anew, with the verdicts of today's rules."""
        unfinished = self.path.with_suffix(".regraded")
        unfinished.unlink(missing_ok=True)
        new = AnswerFile(unfinished, self.settings)
        for problem_id, group in answers.items():
            new.append(problem_id, group)
        unfinished.replace(self.path)
        new.path = new._lines.path = self.path
        self.answers, self._lines, self.is_outdated = new.answers, new._lines, False

    def _accept(self, number: int, row: Any) -> None:
        if number == 1:
            self._check(row["settings"])
        elif row["fingerprint"] != self.fingerprint:
            raise ValueError(f"{self.path}, line {number}: of a run with other settings")
        else:
            self.answers[row["problem"]] = [Answer(**answer) for answer in row["answers"]]

    def _check(self, found: dict[str, Any]) -> None:
        differing = [
            key
            for key in self.settings
            if key != "verifier" and found.get(key) != self.settings[key]
        ]
        self.is_outdated = found.get("verifier") != self.settings.get("verifier")
        if differing:
            shown = "; ".join(
                f"{key}: {found.get(key)!r:.80} there, {self.settings[key]!r:.80} now"
                for key in differing
            )
            raise ValueError(
                f"{self.path} holds results of other settings ({shown}); give another --output_dir"
            )


def fingerprint(settings: dict[str, Any]) -> str:
    """16 hexadecimal digits that stand for the settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def weights_digest(model: str) -> str:
    """What tells a model folder from another of the same path: sizes of the weight files and samples of their bytes.

    A hub name stands for itself. Reads at most 2 MiB of each file.
    """
    folder = Path(model)
    if not folder.is_dir():
        return f"hub:{model}"
    digest = hashlib.sha256()
    for pattern in ("config.json", "tokenizer.json", *WEIGHTS):
        for path in sorted(folder.glob(pattern)):
            size = path.stat().st_size
            digest.update(f"{path.name}:{size};".encode())
            with path.open("rb") as file:
                digest.update(file.read(_SAMPLED_BYTES))
                file.seek(max(0, size - _SAMPLED_BYTES))
                digest.update(file.read())
    return digest.hexdigest()[:16]


def folder_name(name: str) -> str:
    """A model's or benchmark's name as part of a path. Example: `folder_name("a/b:c")` is "a-b-c"."""
    return re.sub(r"[^\w.=-]+", "-", name).strip("-") or "-"
