"""Make the small world: `python -m examples.tiny_math.make_world --output_dir DIR`.

Writes, in this order:
    train.jsonl, test.jsonl          question, answer (null for nine in ten training rows), ref_answer
    train_answered.jsonl             the training problems, all with their answer
    tokenizer/                       loads with AutoTokenizer
    policy/                          the base policy, a Hugging Face folder with its tokenizer
    prm_data/{train,test}.jsonl      prompt, completions, labels
    prm_data/equations_{far,near}.jsonl   the same, single equations: wrong at a glance, and slips
    prm_data/candidates.jsonl        eight answers of the base policy to held-out problems, for best-of-N
    world.json                       settings, versions, sizes, base accuracy, and "complete": true

A complete world made with the same settings is kept as it is; one made with others is refused.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from examples.tiny_math.base_policy import build_model, pretrain
from examples.tiny_math.checker import is_correct
from examples.tiny_math.prm_data import (
    equation_rows,
    label_answer,
    planted_rows,
    split_answer,
    write_jsonl,
)
from examples.tiny_math.problems import Problem, make_problems
from examples.tiny_math.progress import Progress
from examples.tiny_math.prompts import render_prompt
from examples.tiny_math.sampling import sample_answers
from examples.tiny_math.solutions import draw_habit, write_answer
from examples.tiny_math.tokenizer import save_tokenizer, train_tokenizer
from examples.tiny_math.world_files import (
    read_complete_world,
    refuse_other_settings,
    versions,
    write_answered,
    write_candidates,
    write_json_atomically,
    write_problems,
)
from pure_rlhf.algorithm.step_segmentation import find_separator_token_ids

WORLD_FORMAT = 1  # raise it when the same settings give another world
MAX_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """What a world is made from; two worlds with equal settings on one machine are equal."""

    seed: int = 0
    """Seed of problems, model, sampling and labels."""
    num_train: int = 4000
    """Training problems."""
    num_test: int = 500
    """Held-out problems; none of them is seen in pretraining or PRM training."""
    answered_frac: float = 0.103
    """Share of training problems whose answer is given (879 of 8,523 in PURE's file)."""
    pretraining_batches: int = 1800
    """Batches that the base policy is pretrained on."""
    prm_sampled: int = 4000
    """Answers of the base policy in the PRM's training data."""
    prm_planted: int = 2000
    """Written answers, most with a defect, in the PRM's training data."""
    prm_equations_far: int = 14_400
    """Lists of equations, wrong ones far from the truth, that the PRM learns to compare on."""
    prm_equations_near: int = 3_000
    """Lists of equations with slips, in the PRM's last training beside the answers."""
    num_candidates: int = 100
    """Held-out problems with several answers each, for the best-of-N curve of the PRM."""
    prm_test: int = 600
    """Answers of the base policy, to problems of their own, that the PRM is tested on."""


@dataclass(frozen=True, kw_only=True)
class Arguments(WorldSettings):
    """The command line."""

    output_dir: Path
    """Where the world is written."""
    threads: int = 0
    """CPU threads; 0 takes all cores, at most 8."""


def make_world(output_dir: Path, settings: WorldSettings) -> dict[str, Any]:
    """Make the world, or return the record of the complete one that is there.

    Raises ValueError when the folder holds a complete world with other settings.
    """
    wanted = {"world_format": WORLD_FORMAT, **asdict(settings)}
    existing = read_complete_world(output_dir)
    if existing is not None:
        refuse_other_settings(output_dir, existing["settings"], wanted)
        write_answered(output_dir)  # a world of before there was this file
        return existing
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    questions: set[str] = set()
    test = make_problems(settings.num_test, random.Random(f"test {settings.seed}"), questions)
    train = make_problems(settings.num_train, random.Random(f"train {settings.seed}"), questions)
    write_problems(
        output_dir, train, test, answered_frac=settings.answered_frac, seed=settings.seed
    )
    tokenizer = _make_tokenizer(train, settings.seed)
    save_tokenizer(tokenizer, output_dir / "tokenizer")
    model = build_model(tokenizer, settings.seed)
    loss = pretrain(
        model,
        tokenizer,
        num_batches=settings.pretraining_batches,
        seed=settings.seed,
        held_out={problem.question for problem in test},
        progress=Progress("base policy: pretraining"),
    )
    model.save_pretrained(output_dir / "policy")
    save_tokenizer(tokenizer, output_dir / "policy")
    write_candidates(output_dir, model, tokenizer, test[: settings.num_candidates], settings.seed)
    greedy = _measure_base(model, tokenizer, test, settings.seed)
    prm_rows = _write_prm_data(output_dir, model, tokenizer, settings, questions)
    record = {
        "complete": True,
        "settings": wanted,
        "versions": versions(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": len(tokenizer),
        "pretraining_loss": loss,
        **greedy,
        **prm_rows,
        "wall_seconds": round(time.monotonic() - started, 1),
    }
    write_json_atomically(output_dir / "world.json", record)
    return record


def _make_tokenizer(problems: Sequence[Problem], seed: int) -> PreTrainedTokenizerFast:
    generator = random.Random(f"tokenizer {seed}")
    return train_tokenizer(
        render_prompt(problem.question)
        + write_answer(problem, draw_habit(problem, generator), generator)
        for problem in problems
    )


def _measure_base(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, test: list[Problem], seed: int
) -> dict[str, float]:
    """Greedy accuracy on the held-out problems, and how often answers with steps are right."""
    answers = sample_answers(
        model,
        tokenizer,
        [problem.question for problem in test],
        temperature=0.0,
        seed=seed,
        stage="base policy: greedy answers",
    )
    texts = tokenizer.batch_decode(answers)
    right = [is_correct(problem, text) for problem, text in zip(test, texts, strict=True)]
    stepwise = [is_right for is_right, text in zip(right, texts, strict=True) if "\n\n" in text]
    return {
        "base_greedy_accuracy": sum(right) / len(right),
        "base_stepwise_share": len(stepwise) / len(right),
        "base_stepwise_accuracy": sum(stepwise) / max(1, len(stepwise)),
        "base_answer_tokens": sum(map(len, answers)) / len(answers),
    }


def _write_prm_data(
    output_dir: Path,
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    settings: WorldSettings,
    questions: set[str],
) -> dict[str, int]:
    separator_ids = set(find_separator_token_ids(tokenizer))
    generator = random.Random(f"prm data {settings.seed}")
    problems = make_problems(settings.prm_test + settings.prm_sampled, generator, questions)
    answers = sample_answers(
        model,
        tokenizer,
        [problem.question for problem in problems],
        temperature=1.0,
        seed=settings.seed,
        stage="PRM data: answers of the base policy",
    )
    labelled = [
        label_answer(problem, split_answer(answer, tokenizer, separator_ids))
        for problem, answer in zip(problems, answers, strict=True)
    ]
    test = [row for row in labelled[: settings.prm_test] if row is not None]
    train = [row for row in labelled[settings.prm_test :] if row is not None]
    train += planted_rows(settings.prm_planted, generator, tokenizer, separator_ids)
    generator.shuffle(train)
    for name, count, slip_share in (
        ("far", settings.prm_equations_far, 0.0),
        ("near", settings.prm_equations_near, 0.8),
    ):
        equations = equation_rows(count, random.Random(f"{name} {settings.seed}"), slip_share)
        write_jsonl(output_dir / "prm_data" / f"equations_{name}.jsonl", equations)
    write_jsonl(output_dir / "prm_data" / "train.jsonl", train)
    write_jsonl(output_dir / "prm_data" / "test.jsonl", test)
    return {
        "prm_train_rows": len(train),
        "prm_test_rows": len(test),
        "prm_rows_with_empty_steps": sum(row is None for row in labelled),
    }


def main() -> None:
    """Parse the command line, make the world, print its record."""
    arguments = tyro.cli(Arguments, description=__doc__)
    torch.set_num_threads(arguments.threads or min(os.cpu_count() or 1, MAX_THREADS))
    values = asdict(arguments)
    output_dir = values.pop("output_dir")
    values.pop("threads")
    try:
        record = make_world(output_dir, WorldSettings(**values))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
