"""The rewards that a PRM gave, on disk: one JSONL file a PRM, a line for each answer, so that a killed run goes on.

An answer is known by its question and steps, not by its file: one that two benchmarks share is scored once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from evaluation.line_file import LineFile
from pure_rlhf.prm.conventions import PrmSample

SAMPLES_AT_A_TIME = 128
"""What a kill can cost; enough for several batches of a GPU."""


class Scorer(Protocol):
    """What is needed of `pure_rlhf.prm.scorer.PrmScorer`."""

    def score(self, samples: Sequence[PrmSample], /) -> list[list[float]]: ...


class ScoreFile:
    """The rewards that are there, and appending to them.

    Raises:
        ValueError: the file was made by another PRM or convention, or is damaged.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self.identity = identity
        self.rewards: dict[str, list[float]] = {}
        self._lines = LineFile(path, {"identity": identity}, self._accept)

    def append(self, samples: Iterable[PrmSample], rewards: Iterable[list[float]]) -> None:
        """Write the rewards of some answers; on disk when this returns."""
        new = {sample_key(s): r for s, r in zip(samples, rewards, strict=True)}
        self._lines.append([{"sample": key, "rewards": r} for key, r in new.items()])
        self.rewards |= new

    def _accept(self, number: int, row: Any) -> None:
        if number > 1:
            self.rewards[row["sample"]] = row["rewards"]
        elif row["identity"] != self.identity:
            raise ValueError(
                f"{self.path} holds scores of another PRM ({row['identity']}, now {self.identity}); "
                "give another --output_dir"
            )


def sample_key(sample: PrmSample) -> str:
    """16 hexadecimal digits that stand for what the PRM reads."""
    text = json.dumps([sample.question, sample.prompt, sample.steps])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def score_missing(samples: Sequence[PrmSample], file: ScoreFile, scorer: Scorer) -> None:
    """Score what is not on disk yet, longest first, so that a lack of memory shows at once.

    Raises:
        ValueError: the PRM gave a number of rewards that is not the number of steps, or one that is not finite.
    """
    unique = {sample_key(sample): sample for sample in samples}
    missing = [sample for key, sample in unique.items() if key not in file.rewards]
    missing.sort(key=lambda sample: -len(sample.prompt) - sum(map(len, sample.steps)))
    with tqdm(total=len(unique), initial=len(unique) - len(missing), unit="answer") as bar:
        for start in range(0, len(missing), SAMPLES_AT_A_TIME):
            batch = missing[start : start + SAMPLES_AT_A_TIME]
            rewards = scorer.score(batch)
            for sample, steps in zip(batch, rewards, strict=True):
                _check_rewards(sample, steps)
            file.append(batch, rewards)
            bar.update(len(batch))


def _check_rewards(sample: PrmSample, rewards: Sequence[float]) -> None:
    if len(rewards) != len(sample.steps) or not all(map(math.isfinite, rewards)):
        raise ValueError(
            f"the PRM gave {list(rewards)!r:.120} for the {len(sample.steps)} steps of an answer to "
            f"{sample.question!r:.120}; expected a finite reward each: check the checkpoint and its number format"
        )
