"""The files of a world: its problems, its candidate answers, its record."""

from __future__ import annotations

import json
import platform
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from examples.small_world.prm_data import split_answer, write_jsonl
from examples.small_world.problems import Problem
from examples.small_world.prompts import render_prompt
from examples.small_world.sampling import sample_answers
from pure_rlhf.algorithm.step_segmentation import find_separator_token_ids

NUM_CANDIDATE_ANSWERS = 8


def read_complete_world(output_dir: Path) -> dict[str, Any] | None:
    """The record of a finished world, or None where there is none or it was cut off."""
    path = output_dir / "world.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    return record if record.get("complete") else None


def refuse_other_settings(
    output_dir: Path, existing: dict[str, Any], wanted: dict[str, Any]
) -> None:
    """Raises ValueError where a world was made with other settings."""
    differences = [
        f"{key}: {existing.get(key)} there, {value} asked for"
        for key, value in wanted.items()
        if existing.get(key) != value
    ]
    if differences:
        raise ValueError(
            f"{output_dir} holds a small world made with other settings ({'; '.join(differences)}): "
            "give another --output_dir, or delete that folder"
        )


def write_problems(
    output_dir: Path,
    train: Sequence[Problem],
    test: Sequence[Problem],
    *,
    answered_frac: float,
    seed: int,
) -> None:
    """Write the training problems, a share of them with their answer, and all with it; and the held-out ones."""
    generator = random.Random(f"answered {seed}")
    answered = set(generator.sample(range(len(train)), round(answered_frac * len(train))))
    write_jsonl(
        output_dir / "train.jsonl",
        (_row(problem, index in answered) for index, problem in enumerate(train)),
    )
    write_jsonl(output_dir / "test.jsonl", (_row(problem, True) for problem in test))
    write_jsonl(output_dir / "train_answered.jsonl", (_row(problem, True) for problem in train))


def _row(problem: Problem, is_answered: bool) -> dict[str, str | None]:
    answer = str(problem.answer)
    return {
        "question": problem.question,
        "answer": answer if is_answered else None,
        "ref_answer": answer,
    }


def write_candidates(
    output_dir: Path,
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[Problem],
    seed: int,
) -> None:
    """Rows of prompt, answers (in steps, as RL cuts them) and right answer: a form of `evaluation/candidates.py`."""
    answers = sample_answers(
        model,
        tokenizer,
        [problem.question for problem in problems for _ in range(NUM_CANDIDATE_ANSWERS)],
        temperature=1.0,
        seed=seed,
        stage="base policy: candidate answers",
    )
    separator_ids = set(find_separator_token_ids(tokenizer))
    steps = (split_answer(answer, tokenizer, separator_ids) for answer in answers)
    write_jsonl(
        output_dir / "prm_data" / "candidates.jsonl",
        (
            {
                "question": render_prompt(problem.question),  # what the PRM is to read
                "answers": [next(steps) for _ in range(NUM_CANDIDATE_ANSWERS)],
                "answer": str(problem.answer),
            }
            for problem in problems
        ),
    )


def versions() -> dict[str, str]:
    """Of what a world depends on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def write_json_atomically(path: Path, record: dict[str, Any]) -> None:
    """Written under another name and moved, so that a cut-off run leaves no marker."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
