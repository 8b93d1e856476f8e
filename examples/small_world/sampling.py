"""Batched sampling with a key-value cache in plain transformers: enough for a few thousand short answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerFast, Qwen2ForCausalLM

from examples.small_world.progress import Progress
from examples.small_world.prompts import render_prompt
from pure_rlhf.cpu_host import bfloat16_is_fast

MAX_ANSWER_TOKENS = 128


def sample_answers(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[str],
    *,
    temperature: float,
    seed: int,
    stage: str,
    batch_size: int = 512,
) -> list[list[int]]:
    """Answer each question once; token ids without EOS (a cut answer just stops at 128 tokens).

    Temperature 0 is greedy. Prompts are sorted by length inside and returned in the order given.
    """
    eos_token_id = tokenizer.eos_token_id
    assert isinstance(eos_token_id, int)
    generator = torch.Generator().manual_seed(seed)
    prompts = [tokenizer.encode(render_prompt(question)) for question in questions]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers: list[list[int]] = [[] for _ in prompts]
    starts = range(0, len(order), batch_size)
    for start in Progress(stage).track(starts, len(starts)):
        rows = order[start : start + batch_size]
        sampled = _sample_batch(
            model, [prompts[row] for row in rows], eos_token_id, temperature, generator
        )
        for row, answer in zip(rows, sampled, strict=True):
            answers[row] = answer
    return answers


@torch.no_grad()
def _sample_batch(
    model: Qwen2ForCausalLM,
    prompts: list[list[int]],
    eos_token_id: int,
    temperature: float,
    generator: torch.Generator,
) -> list[list[int]]:
    width = max(map(len, prompts))
    ids_BT = torch.tensor([[eos_token_id] * (width - len(ids)) + ids for ids in prompts])
    mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts])
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    finished_B = torch.zeros(len(prompts), dtype=torch.bool)
    chosen: list[Tensor] = []
    for _ in range(MAX_ANSWER_TOKENS):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16_is_fast()):
            hidden_BTH = model.model(
                ids_BT, attention_mask=mask_BT, position_ids=positions_BT, past_key_values=cache
            ).last_hidden_state
            logits_BV = model.lm_head(hidden_BTH[:, -1]).float()
        next_B = _choose(logits_BV, temperature, generator)
        next_B = torch.where(finished_B, eos_token_id, next_B)
        chosen.append(next_B)
        finished_B |= next_B == eos_token_id
        if bool(finished_B.all()):
            break
        ids_BT = next_B[:, None]
        mask_BT = torch.cat([mask_BT, torch.ones_like(ids_BT)], dim=1)
        positions_BT = positions_BT[:, -1:] + 1
    rows = torch.stack(chosen, dim=1).tolist()
    return [row[: row.index(eos_token_id)] if eos_token_id in row else row for row in rows]


def _choose(logits_BV: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    if temperature == 0:
        return logits_BV.argmax(dim=-1)
    probabilities_BV = torch.softmax(logits_BV / temperature, dim=-1)
    return torch.multinomial(probabilities_BV, 1, generator=generator)[:, 0]
