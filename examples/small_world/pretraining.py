"""Pretraining from nothing that can be cut off: model, loss and loop that base policy and PRM backbone share.

A batch is made from its index alone, so a run that goes on from its checkpoint sees what an uninterrupted one sees.
Deterministic under a seed for one number of threads.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from examples.small_world.progress import Progress

WIDTH_MULTIPLE = 16
CHECKPOINT_EVERY = 500
WARMUP_FRAC = 0.05
IGNORED = -100
TYPICAL_TOKENS = 30  # of an answer; scales the loss

Item = TypeVar("Item")
Example = tuple[list[int], list[int]]  # token ids, labels (IGNORED where no loss is taken)


def sorted_batches(
    rows: list[Item], size: int, length: Callable[[Item], int], generator: random.Random
) -> list[list[Item]]:
    """Batches of rows of like length, in a drawn order."""
    rows = sorted(rows, key=length)
    batches = [rows[at : at + size] for at in range(0, len(rows), size)]
    generator.shuffle(batches)
    return batches


def build_model(
    tokenizer: PreTrainedTokenizerFast, seed: int, *, layers: int, width: int
) -> Qwen2ForCausalLM:
    """A Qwen2 model with fresh weights, heads of 32 and half as many key-value heads."""
    torch.manual_seed(seed)
    end = tokenizer.eos_token_id
    assert isinstance(end, int)
    heads = width // 32
    config = Qwen2Config(
        vocab_size=math.ceil(len(tokenizer) / 64) * 64,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        initializer_range=0.1,  # Qwen's 0.02 suits wide models; at this width it learns far slower
        num_attention_heads=heads,
        num_key_value_heads=heads // 2 if heads % 2 == 0 else heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    # eager: at these lengths PyTorch's fused attention has a backward pass that is half slower on CPU
    return Qwen2ForCausalLM._from_config(config, attn_implementation="eager")


def pad_rows(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Right-pad to a multiple of 16 (few shapes: the CPU kernels are compiled per shape)."""
    width = math.ceil(max(map(len, rows)) / WIDTH_MULTIPLE) * WIDTH_MULTIPLE
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def learning_rate_at(batch_index: int, num_batches: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    done = (batch_index + 1) / num_batches
    if done < WARMUP_FRAC:
        return peak * done / WARMUP_FRAC
    cosine = 0.5 * (1 + math.cos(math.pi * (done - WARMUP_FRAC) / (1 - WARMUP_FRAC)))
    return peak * (0.01 + 0.99 * cosine)


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


def pretrain(
    model: nn.Module,
    batch_loss: Callable[[int], tuple[Tensor, str]],
    *,
    num_batches: int,
    learning_rate: float,
    checkpoint: Path,
    progress: Progress,
    stop_after: int | None = None,
) -> float:
    """Train the model in place; `batch_loss` gives the loss of a batch by its index, and a note for the bar.

    Goes on from `checkpoint` where that file is there, writes it every 500 batches, and leaves it at the end, which
    comes after `stop_after` of the `num_batches` where that is given: a second call goes on as if it had not.
    Returns the mean loss of the last fifty batches.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    )
    done, losses = 0, list[float]()
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done, losses = state["done"], state["losses"]
    model.train()
    end = num_batches if stop_after is None else stop_after
    for index in progress.track(range(done, end), end, done):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(index, num_batches, learning_rate)
        loss, note = batch_loss(index)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        progress.note(note)
        if (index + 1) % CHECKPOINT_EVERY == 0 or index + 1 == end:
            draft = checkpoint.with_suffix(".part")
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "done": index + 1, "losses": losses[-50:]}, draft)
            draft.replace(checkpoint)
    model.eval()
    return sum(losses[-50:]) / len(losses[-50:])
