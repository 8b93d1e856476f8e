"""The base policy: a Qwen2 language model of about a million parameters, pretrained from nothing.

Three phases, one learning-rate schedule: plain equations (every result is a lesson in arithmetic), careful answers (how
to solve), then the mixture of habits of `solutions` (what a reader of the web would see). The loss is taken on answers
and results only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence, Set
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from examples.small_world.pretraining import (
    IGNORED,
    Example,
    build_model,
    next_token_loss,
    pad_rows,
    pretrain,
    sorted_batches,
)
from examples.small_world.problems import make_problem
from examples.small_world.progress import Progress
from examples.small_world.prompts import render_prompt
from examples.small_world.solutions import (
    BLANK_LINE,
    believed_result,
    careful_steps,
    draw_equation,
    draw_habit,
    write_answer,
)
from pure_rlhf.cpu_host import bfloat16_is_fast

LAYERS, WIDTH = 4, 128
LEARNING_RATE = 3e-3
ANSWER_BATCH_SIZE = 16
DRILL_BATCH_SIZE = 12
DRILL_EQUATIONS = 10
BLOCK = 8  # batches that are drawn together and sorted by length
DRILL_PHASE_END = 0.15
CAREFUL_PHASE_END = 0.5625
DRILL_SHARE = 0.15  # of the batches after the first phase, so that the arithmetic keeps growing
COPY_SHARE = 0.4  # of the drill: copying, the other thing that careful work is made of


def pretrain_policy(
    tokenizer: PreTrainedTokenizerFast,
    *,
    num_batches: int,
    seed: int,
    held_out: Set[str],
    checkpoint: Path,
    careful_only: bool = False,
) -> tuple[Qwen2ForCausalLM, float]:
    """Pretrain a base policy, on no question of `held_out`; with `careful_only` up to the end of the second phase.

    Returns it and the mean loss of the last fifty batches, in nats per token of a typical answer.
    """
    model = build_model(tokenizer, seed, layers=LAYERS, width=WIDTH)
    pad_token_id = tokenizer.pad_token_id
    assert isinstance(pad_token_id, int)

    @lru_cache(maxsize=1)
    def block_of(block: int) -> list[list[Example]]:
        generator = random.Random(f"pretraining {seed} {block}")
        done = block * BLOCK / num_batches
        if done < DRILL_PHASE_END or generator.random() < DRILL_SHARE:
            count = DRILL_BATCH_SIZE
            believes = done >= CAREFUL_PHASE_END
            rows = [
                drill_example(tokenizer, generator, believes=believes) for _ in range(BLOCK * count)
            ]
        else:
            count = ANSWER_BATCH_SIZE
            habit: Literal["careful"] | None = "careful" if done < CAREFUL_PHASE_END else None
            rows = [
                answer_example(tokenizer, generator, held_out, habit) for _ in range(BLOCK * count)
            ]
        return sorted_batches(rows, count, lambda row: len(row[0]), generator)

    def batch_loss(index: int) -> tuple[Tensor, str]:
        batch = block_of(index // BLOCK)[index % BLOCK]
        # no attention mask is needed: padding is on the right and attention is causal
        ids_BT = pad_rows([ids for ids, _ in batch], pad_token_id)
        labels_BT = pad_rows([labels for _, labels in batch], IGNORED)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16_is_fast()):
            logits_BTV = model(ids_BT, use_cache=False).logits
        loss = next_token_loss(logits_BTV, labels_BT)
        return loss, f"loss {loss.item():.3f}"

    loss = pretrain(
        model,
        batch_loss,
        num_batches=num_batches,
        learning_rate=LEARNING_RATE,
        checkpoint=checkpoint,
        progress=Progress("base policy: careful" if careful_only else "base policy: habits"),
        stop_after=int(CAREFUL_PHASE_END * num_batches) if careful_only else None,
    )
    return model, loss


def answer_example(
    tokenizer: PreTrainedTokenizerFast,
    generator: random.Random,
    held_out: Set[str],
    habit: Literal["careful"] | None,
) -> Example:
    """A problem's prompt (no loss) and an answer (loss), ended by EOS: the right solution, or in a drawn habit."""
    problem = make_problem(generator)
    while problem.question in held_out:
        problem = make_problem(generator)
    if habit == "careful":
        answer = BLANK_LINE.join(careful_steps(problem))
    else:
        answer = write_answer(problem, draw_habit(problem, generator), generator)
    prompt_ids = tokenizer.encode(render_prompt(problem.question))
    answer_ids = [*tokenizer.encode(answer), tokenizer.eos_token_id]
    return prompt_ids + answer_ids, [IGNORED] * len(prompt_ids) + answer_ids


def drill_example(
    tokenizer: PreTrainedTokenizerFast, generator: random.Random, *, believes: bool
) -> Example:
    """A list of equations with loss on the results, or a question said twice with loss on the second.

    `believes`: with the misconceptions of `solutions`.
    """
    if generator.random() < COPY_SHARE:
        question = make_problem(generator).question + BLANK_LINE
        pairs: Sequence[tuple[str, str]] = [(question, question)]
    else:
        pairs = []
        for _ in range(DRILL_EQUATIONS):
            value, operation = draw_equation(generator)
            result = operation.apply(value)
            if believes:
                result = believed_result(value, operation, generator)
            pairs.append((f"{value}{operation}=", f"{result}.{BLANK_LINE}"))
    ids: list[int] = []
    labels: list[int] = []
    for given, wanted in pairs:
        given_ids, wanted_ids = tokenizer.encode(given), tokenizer.encode(wanted)
        ids += given_ids + wanted_ids
        labels += [IGNORED] * len(given_ids) + wanted_ids
    return ids, labels
