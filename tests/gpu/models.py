"""The random models, tokenizer and problems that the checks use; nothing is downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast, Qwen2ForCausalLM

from tests.tiny_models import EOS, qwen2_config, train_tokenizer

SHAPES: dict[str, dict[str, Any]] = {
    # of Qwen/Qwen2.5-0.5B
    "qwen2.5-0.5b": {
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
    # a narrow model needs larger weights for log-probabilities that differ
    "tiny": {"initializer_range": 0.05},
}
TOKENS_PER_STEP = 40
"""Every so many made-up words end a step, so that answers of a random policy have steps."""


@dataclass(frozen=True)
class Setting:
    """Where a check runs and what with: `device` is cuda or cpu, `folder` holds what `make_models` wrote."""

    device: str
    folder: Path

    @property
    def policy(self) -> Path:
        return self.folder / "models/policy"

    @property
    def prm(self) -> Path:
        return self.folder / "models/prm"

    @property
    def problems(self) -> Path:
        return self.folder / "models/problems.jsonl"


def make_models(setting: Setting, shape: str) -> dict[str, float]:
    """Write policy and PRM in bfloat16 with one tokenizer, and 48 problems; returns millions of parameters."""
    torch.manual_seed(0)
    rows = [{"question": f"What is {a} + {a + 7}?", "answer": str(2 * a + 7)} for a in range(48)]
    texts = [f"{row['question']} We add.\n\nSo \\boxed{{{row['answer']}}}" for row in rows]
    changes = SHAPES[shape]
    tokenizer = train_tokenizer(texts)
    tokenizer = with_made_up_words(tokenizer, changes.get("vocab_size", len(tokenizer)))
    policy: Any = Qwen2ForCausalLM(qwen2_config(tokenizer, **changes))
    prm = AutoModelForTokenClassification.from_config(
        qwen2_config(tokenizer, num_labels=2, **changes)
    )
    for model, folder in ((policy, setting.policy), (prm, setting.prm)):
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    setting.problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"million parameters": policy.num_parameters() / 1e6}


def with_made_up_words(
    tokenizer: PreTrainedTokenizerFast, vocab_size: int
) -> PreTrainedTokenizerFast:
    """The same with words up to `vocab_size`, that no text has but that a random policy writes."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab = state["model"]["vocab"]
    for number in range(len(vocab), vocab_size):
        # in the byte-level alphabet: Ġ is a blank, Ċ a line feed
        vocab[f"Ġword{number}" + "ĊĊ" * (number % TOKENS_PER_STEP == 0)] = number
    whole = Tokenizer.from_str(json.dumps(state))
    return PreTrainedTokenizerFast(tokenizer_object=whole, eos_token=EOS, pad_token=EOS)
