"""Small random models of the real classes for tests: a Qwen2 policy and a Qwen2 PRM with one tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForTokenClassification,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

EOS = "<|endoftext|>"
# Qwen2's splitting rule: punctuation keeps the blank lines that follow it, so several tokens end in one.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int = 800) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer whose vocabulary has several tokens that end in a blank line."""
    from tokenizers import Regex

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    endings = [f"x{mark}\n\ny" for mark in (".", ":", ")", "")] * 50
    tokenizer.train_from_iterator([*texts, *endings], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS)


def qwen2_config(tokenizer: PreTrainedTokenizerFast, **changes: object) -> Qwen2Config:
    values: dict[str, object] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return Qwen2Config(**values | changes)


def save_models(
    folder: Path, texts: Iterable[str], seed: int = 0, **changes: object
) -> tuple[Path, Path]:
    """Write `folder/policy` and `folder/prm`; returns both paths. `changes` go into the model configuration."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(texts)
    policy, prm = folder / "policy", folder / "prm"
    Qwen2ForCausalLM(qwen2_config(tokenizer, **changes)).to(torch.bfloat16).save_pretrained(policy)
    config = qwen2_config(tokenizer, num_labels=2, **changes)
    AutoModelForTokenClassification.from_config(config).to(torch.bfloat16).save_pretrained(prm)
    tokenizer.save_pretrained(policy)
    tokenizer.save_pretrained(prm)
    return policy, prm
