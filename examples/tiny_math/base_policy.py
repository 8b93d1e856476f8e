"""The base policy: a Qwen2 language model of 0.8 million parameters, pretrained from nothing.

Three phases, one learning-rate schedule: plain equations (`write_drill`: every result is a lesson in
arithmetic), careful answers (how to solve), then the mixture of habits of `solutions` (what a reader of the web
would see). The loss is taken on answers and results only. Deterministic under a seed for one number of threads.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence, Set

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from examples.tiny_math.problems import make_problem
from examples.tiny_math.progress import Progress
from examples.tiny_math.prompts import render_prompt
from examples.tiny_math.solutions import BLANK_LINE, draw_habit, write_answer, write_drill
from pure_rlhf.cpu_host import bfloat16_is_fast

ANSWER_BATCH_SIZE = 32
DRILL_BATCH_SIZE = 16
DRILL_PHASE_END = 0.15
CAREFUL_PHASE_END = 0.65
DRILL_SHARE = 0.15  # of the batches after the first phase, so that the arithmetic keeps growing
COPY_SHARE = 0.4  # of the drill: copying, the other thing that careful work is made of
WARMUP_FRAC = 0.05
LEARNING_RATE = 3e-3
IGNORED = -100
WIDTH_MULTIPLE = 32
TYPICAL_TOKENS = 30  # of an answer; scales the loss

Example = tuple[list[int], list[int]]  # token ids, labels (IGNORED where no loss is taken)


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen2ForCausalLM:
    """A Qwen2 model with fresh weights: 3 layers, width 128, 4 heads of 32, 2 key-value heads."""
    torch.manual_seed(seed)
    end = tokenizer.eos_token_id
    assert isinstance(end, int)
    config = Qwen2Config(
        vocab_size=math.ceil(len(tokenizer) / 64) * 64,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        initializer_range=0.1,  # Qwen's 0.02 suits wide models; at this width it learns far slower
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    # eager: at these lengths PyTorch's fused attention has a backward pass that is half slower on CPU
    return Qwen2ForCausalLM._from_config(config, attn_implementation="eager")


def answer_example(
    tokenizer: PreTrainedTokenizerFast,
    generator: random.Random,
    held_out: Set[str],
    habit: str | None,
) -> Example:
    """A problem's prompt (no loss) and an answer (loss), ended by EOS; `habit` None draws one."""
    problem = make_problem(generator)
    while problem.question in held_out:
        problem = make_problem(generator)
    answer = write_answer(problem, habit or draw_habit(problem, generator), generator)
    prompt_ids = tokenizer.encode(render_prompt(problem.question))
    answer_ids = [*tokenizer.encode(answer), tokenizer.eos_token_id]
    return prompt_ids + answer_ids, [IGNORED] * len(prompt_ids) + answer_ids


def drill_example(tokenizer: PreTrainedTokenizerFast, generator: random.Random) -> Example:
    """A list of equations with loss on the results, or a question said twice with loss on the second."""
    if generator.random() < COPY_SHARE:
        question = make_problem(generator).question
        pairs: Sequence[tuple[str, str]] = [(question + BLANK_LINE, question + BLANK_LINE)]
    else:
        pairs = write_drill(generator)
    ids: list[int] = []
    labels: list[int] = []
    for given, wanted in pairs:
        given_ids, wanted_ids = tokenizer.encode(given), tokenizer.encode(wanted)
        ids += given_ids + wanted_ids
        labels += [IGNORED] * len(given_ids) + wanted_ids
    return ids, labels


def training_batches(
    tokenizer: PreTrainedTokenizerFast,
    generator: random.Random,
    num_batches: int,
    held_out: Set[str],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `num_batches` padded (ids, labels); eight batches are drawn at once and sorted by length."""
    pad_token_id = tokenizer.pad_token_id
    assert isinstance(pad_token_id, int)
    pool: list[list[Example]] = []
    careful_until = CAREFUL_PHASE_END * num_batches
    for index in range(num_batches):
        if index < DRILL_PHASE_END * num_batches or generator.random() < DRILL_SHARE:
            batch = [drill_example(tokenizer, generator) for _ in range(DRILL_BATCH_SIZE)]
        else:
            if not pool:
                habit = "careful" if index < careful_until else None
                rows = [
                    answer_example(tokenizer, generator, held_out, habit)
                    for _ in range(8 * ANSWER_BATCH_SIZE)
                ]
                rows.sort(key=lambda row: len(row[0]))
                starts = range(0, len(rows), ANSWER_BATCH_SIZE)
                pool = [rows[at : at + ANSWER_BATCH_SIZE] for at in starts]
                generator.shuffle(pool)
            batch = pool.pop()
        yield pad_examples(batch, pad_token_id)


def pad_examples(batch: Sequence[Example], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Right-pad to a multiple of 32 (few shapes: the CPU kernels are compiled per shape)."""
    width = math.ceil(max(len(ids) for ids, _ in batch) / WIDTH_MULTIPLE) * WIDTH_MULTIPLE
    ids_BT = torch.tensor([ids + [pad_token_id] * (width - len(ids)) for ids, _ in batch])
    labels_BT = torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in batch])
    return ids_BT, labels_BT


def learning_rate_at(batch_index: int, num_batches: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    done = (batch_index + 1) / num_batches
    if done < WARMUP_FRAC:
        return peak * done / WARMUP_FRAC
    cosine = 0.5 * (1 + math.cos(math.pi * (done - WARMUP_FRAC) / (1 - WARMUP_FRAC)))
    return peak * (0.01 + 0.99 * cosine)


def pretrain(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    num_batches: int,
    seed: int,
    held_out: Set[str],
    progress: Progress,
) -> float:
    """Train the model in place, on no question of `held_out`.

    Returns the mean loss of the last fifty batches, in nats per token.
    """
    generator = random.Random(f"pretraining {seed}")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    )
    model.train()
    losses: list[float] = []
    batches = training_batches(tokenizer, generator, num_batches, held_out)
    for index, (ids_BT, labels_BT) in enumerate(progress.track(batches, num_batches)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(index, num_batches, LEARNING_RATE)
        loss = batch_loss(model, ids_BT, labels_BT)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        progress.note(f"loss {loss.item():.3f}")
    model.eval()
    return sum(losses[-50:]) / len(losses[-50:])


def batch_loss(model: Qwen2ForCausalLM, ids_BT: Tensor, labels_BT: Tensor) -> Tensor:
    """Mean next-token cross-entropy over the labelled tokens, in bfloat16 where the CPU is quick at it.

    No attention mask is needed: padding is on the right and attention is causal.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16_is_fast()):
        logits_BTV = model(ids_BT, use_cache=False).logits
    return next_token_loss(logits_BTV, labels_BT)


def next_token_loss(logits_BTV: Tensor, labels_BT: Tensor) -> Tensor:
    """Next-token cross-entropy over the labelled tokens: a sum over rows of a fixed divisor.

    Not a mean over tokens: batches are sorted by length, and a mean would weigh a token of a short answer several
    times as much as one of a long answer.
    """
    total = functional.cross_entropy(
        logits_BTV[:, :-1].flatten(0, 1).float(),
        labels_BT[:, 1:].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )
    return total / (len(labels_BT) * TYPICAL_TOKENS)
