"""Make the small world from nothing: `python -m examples.small_world.make_world --output_dir DIR`.

Writes, in this order:
    train.jsonl, test.jsonl          question, answer (null for nine in ten training rows), ref_answer
    train_answered.jsonl             the training problems, all with their answer
    tokenizer/                       loads with AutoTokenizer
    careful/                         a language model that solves problems as they should be solved
    prm_backbone/                    that model and two layers more, which judge: what the PRM is made from
    policy/                          the base policy: the same model with habits; loads with its tokenizer
    prm_data/{train,test}.jsonl      prompt, completions, labels
    prm_data/by_defect/*.jsonl       the same, held out, one kind of defect a file
    prm_data/blind_to/*.jsonl        training rows of the PRMs with a blind spot
    prm_data/candidates.jsonl        eight answers of the base policy to held-out problems, for best-of-N
    world.json                       settings, versions, sizes, base accuracy, and "complete": true

That takes an hour on two cores, so the repository is to come with a finished world (`shipped_world.py`). A run that was
cut off goes on from its last checkpoint. A complete world made with the same settings is kept as it is; one made with
others is refused.
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

from examples.small_world.base_policy import pretrain_policy
from examples.small_world.checker import is_correct
from examples.small_world.prm_backbone import pretrain_backbone
from examples.small_world.prm_data import (
    BLIND_SPOTS,
    StepLabelledRow,
    draw_solution_row,
    label_answer,
    split_answer,
    write_jsonl,
)
from examples.small_world.problems import Problem, make_problems
from examples.small_world.prompts import render_prompt
from examples.small_world.sampling import sample_answers
from examples.small_world.solutions import PLANTED, draw_habit, write_answer
from examples.small_world.tokenizer import save_tokenizer, train_tokenizer
from examples.small_world.world_files import (
    read_complete_world,
    refuse_other_settings,
    versions,
    write_candidates,
    write_json_atomically,
    write_problems,
)
from pure_rlhf.algorithm.step_segmentation import find_separator_token_ids

WORLD_FORMAT = 2  # raise it when the same settings give another world
MAX_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """What a world is made from; two worlds with equal settings on one machine are equal."""

    seed: int = 0
    """Seed of problems, models, sampling and labels."""
    num_train: int = 4000
    """Training problems."""
    num_test: int = 500
    """Held-out problems; none of them is seen in pretraining or PRM training."""
    answered_frac: float = 0.103
    """Share of training problems whose answer is given (879 of 8,523 in PURE's file)."""
    pretraining_batches: int = 8_000
    """Batches that the base policy is pretrained on."""
    backbone_batches: int = 6_000
    """Batches that the PRM's backbone is pretrained on."""
    prm_sampled: int = 3000
    """Answers of the base policy in the PRM's training data."""
    prm_planted: int = 5000
    """Written answers, most with a defect, in the PRM's training data."""
    prm_blind: int = 6000
    """Written answers in the data of each PRM with a blind spot, a third of them with the defect that it lets pass."""
    prm_test: int = 600
    """Answers of the base policy, to problems of their own, that the PRM is tested on."""
    prm_test_by_defect: int = 300
    """Held-out written answers with each kind of defect, and as many without."""
    num_candidates: int = 100
    """Held-out problems with several answers each, for the best-of-N curve of the PRM."""


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
        return existing
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    _begin(output_dir, wanted)
    questions: set[str] = set()
    test = make_problems(settings.num_test, random.Random(f"test {settings.seed}"), questions)
    train = make_problems(settings.num_train, random.Random(f"train {settings.seed}"), questions)
    answered = make_problems(
        settings.prm_test + settings.prm_sampled, random.Random(f"prm {settings.seed}"), questions
    )
    write_problems(
        output_dir, train, test, answered_frac=settings.answered_frac, seed=settings.seed
    )
    tokenizer = _make_tokenizer(train, settings.seed)
    save_tokenizer(tokenizer, output_dir / "tokenizer")
    held_out = {problem.question for problem in (*test, *answered[: settings.prm_test])}
    planted, held_out_rows = _write_planted(output_dir, tokenizer, settings, questions)
    never_seen = held_out | held_out_rows
    pretrain_careful(output_dir, tokenizer, settings, never_seen)
    backbone, judged = pretrain_prm_backbone(output_dir, tokenizer, settings, never_seen)
    loss = pretrain_base(output_dir, tokenizer, settings, never_seen)
    model = Qwen2ForCausalLM.from_pretrained(
        output_dir / "policy", dtype=torch.float32, attn_implementation="eager"
    )
    write_candidates(output_dir, model, tokenizer, test[: settings.num_candidates], settings.seed)
    base = _measure_base(model, tokenizer, test, settings.seed)
    prm_rows = _write_sampled(output_dir, model, tokenizer, settings, answered, planted)
    record = {
        "complete": True,
        "settings": wanted,
        "versions": versions(),
        "policy_parameters": model.num_parameters(),
        "backbone_parameters": backbone.num_parameters(),
        "vocabulary": len(tokenizer),
        "pretraining_loss": loss,
        **judged,
        **base,
        **prm_rows,
        "wall_seconds": round(time.monotonic() - started, 1),
    }
    write_json_atomically(output_dir / "world.json", record)
    for name in ("policy", "prm_backbone"):
        (output_dir / f"{name}.checkpoint").unlink()
    return record


def _begin(output_dir: Path, wanted: dict[str, Any]) -> None:
    """Note the settings of a world that is begun; raises ValueError where another was begun there with others."""
    path = output_dir / "begun.json"
    if path.is_file():
        refuse_other_settings(output_dir, json.loads(path.read_text(encoding="utf-8")), wanted)
    write_json_atomically(path, wanted)


def _make_tokenizer(problems: Sequence[Problem], seed: int) -> PreTrainedTokenizerFast:
    generator = random.Random(f"tokenizer {seed}")
    return train_tokenizer(
        render_prompt(problem.question)
        + write_answer(problem, draw_habit(problem, generator), generator)
        for problem in problems
    )


def pretrain_careful(
    output_dir: Path,
    tokenizer: PreTrainedTokenizerFast,
    settings: WorldSettings,
    held_out: set[str],
) -> None:
    """Pretrain the base policy up to where it solves problems as they should be solved."""
    if (output_dir / "careful/config.json").is_file():
        return
    model, _ = pretrain_policy(
        tokenizer,
        num_batches=settings.pretraining_batches,
        seed=settings.seed,
        held_out=held_out,
        checkpoint=output_dir / "policy.checkpoint",
        careful_only=True,
    )
    model.save_pretrained(output_dir / "careful")


def pretrain_base(
    output_dir: Path,
    tokenizer: PreTrainedTokenizerFast,
    settings: WorldSettings,
    held_out: set[str],
) -> float:
    """Go on with the habits, and save the base policy in bfloat16, half of the space; returns its last loss."""
    model, loss = pretrain_policy(
        tokenizer,
        num_batches=settings.pretraining_batches,
        seed=settings.seed,
        held_out=held_out,
        checkpoint=output_dir / "policy.checkpoint",
    )
    model.bfloat16().save_pretrained(output_dir / "policy")
    save_tokenizer(tokenizer, output_dir / "policy")
    return loss


def pretrain_prm_backbone(
    output_dir: Path,
    tokenizer: PreTrainedTokenizerFast,
    settings: WorldSettings,
    held_out: set[str],
) -> tuple[Qwen2ForCausalLM, dict[str, float]]:
    """Make the PRM's backbone from the policy as it was before it had habits."""
    careful = Qwen2ForCausalLM.from_pretrained(output_dir / "careful", dtype=torch.float32)
    backbone, judged = pretrain_backbone(
        careful,
        tokenizer,
        num_batches=settings.backbone_batches,
        seed=settings.seed,
        held_out=held_out,
        checkpoint=output_dir / "prm_backbone.checkpoint",
    )
    backbone.save_pretrained(output_dir / "prm_backbone")
    save_tokenizer(tokenizer, output_dir / "prm_backbone")
    return backbone, judged


def _measure_base(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, test: list[Problem], seed: int
) -> dict[str, float]:
    """Accuracy on the held-out problems, greedy and sampled, and how often answers with steps are right."""
    measured: dict[str, float] = {}
    for name, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        answers = sample_answers(
            model,
            tokenizer,
            [problem.question for problem in test],
            temperature=temperature,
            seed=seed,
            stage=f"base policy: {name} answers",
        )
        texts = tokenizer.batch_decode(answers)
        right = [is_correct(problem, text) for problem, text in zip(test, texts, strict=True)]
        stepwise = [is_right for is_right, text in zip(right, texts, strict=True) if "\n\n" in text]
        measured |= {
            f"base_{name}_accuracy": sum(right) / len(right),
            f"base_{name}_stepwise_share": len(stepwise) / len(right),
            f"base_{name}_stepwise_accuracy": sum(stepwise) / max(1, len(stepwise)),
            f"base_{name}_tokens": sum(map(len, answers)) / len(answers),
        }
    return measured


def _write_planted(
    output_dir: Path,
    tokenizer: PreTrainedTokenizerFast,
    settings: WorldSettings,
    questions: set[str],
) -> tuple[list[StepLabelledRow], set[str]]:
    """Draw the written answers, each to a problem that no other set has, and write all but the PRM's own training rows.

    Returns the training rows, and the questions of the held-out ones.
    """
    folder = output_dir / "prm_data"
    separator_ids = set(find_separator_token_ids(tokenizer))
    generator = random.Random(f"prm data {settings.seed}")

    def draw(count: int, **wanted: str | None) -> list[StepLabelledRow]:
        rows = []
        for _ in range(count):
            row, question = draw_solution_row(
                generator, tokenizer, separator_ids, questions, **wanted
            )
            questions.add(question)
            rows.append(row)
        return rows

    before = set(questions)
    for defect in PLANTED:
        rows = draw(settings.prm_test_by_defect, defect=defect)
        write_jsonl(folder / "by_defect" / f"{defect.replace(' ', '_')}.jsonl", rows)
    held_out = questions - before
    planted = draw(settings.prm_planted)
    for name, defects in BLIND_SPOTS.items():
        third = settings.prm_blind // 3
        rows = draw(settings.prm_blind - third, blind_to=name)
        for defect in defects:
            rows += draw(third // len(defects), blind_to=name, defect=defect)
        generator.shuffle(rows)
        write_jsonl(folder / "blind_to" / f"{name}.jsonl", rows)
    return planted, held_out


def _write_sampled(
    output_dir: Path,
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    settings: WorldSettings,
    problems: Sequence[Problem],
    planted: list[StepLabelledRow],
) -> dict[str, int]:
    """Write what the base policy answers, labelled, for the PRM's test and, with the written answers, its training."""
    answers = sample_answers(
        model,
        tokenizer,
        [problem.question for problem in problems],
        temperature=1.0,
        seed=settings.seed,
        stage="PRM data: answers of the base policy",
    )
    separator_ids = set(find_separator_token_ids(tokenizer))
    labelled = [
        label_answer(problem, split_answer(answer, tokenizer, separator_ids))
        for problem, answer in zip(problems, answers, strict=True)
    ]
    test = [row for row in labelled[: settings.prm_test] if row is not None]
    train = [row for row in labelled[settings.prm_test :] if row is not None] + planted
    random.Random(f"order {settings.seed}").shuffle(train)
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
    values = asdict(arguments)
    output_dir = values.pop("output_dir")
    threads = values.pop("threads") or min(os.cpu_count() or 1, MAX_THREADS)
    torch.set_num_threads(threads)
    try:
        record = make_world(output_dir, WorldSettings(**values))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
