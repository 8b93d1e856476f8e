"""Loads process reward models as torch modules that give, for every token, what their convention reads.

All forms load without remote code: the two-layer head of Qwen2.5-Math-PRM and the value head of Skywork-o1-Open-PRM
are built here on the Qwen2 of transformers, under the names of their checkpoints. Of a language model only the two
rows of its output layer that score "-" and "+" are kept, so that no logits of a whole vocabulary are computed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    Qwen2Config,
    Qwen2Model,
    Qwen2PreTrainedModel,
)
from transformers.modeling_outputs import TokenClassifierOutput

from pure_rlhf.model_folder import load_model_config
from pure_rlhf.prm.conventions import (
    PrmConvention,
    PureConvention,
    QwenConvention,
    SkyworkConvention,
)


class Qwen2ForProcessRewardModel(Qwen2PreTrainedModel):
    """Qwen2.5-Math-PRM: Linear, ReLU, Linear to the logits of (wrong, right)."""

    _keys_to_ignore_on_load_unexpected = [r"^lm_head\."]  # noqa: RUF012 (as transformers declares it)

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        size = config.hidden_size
        self.score = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 2))
        self.post_init()

    def forward(self, input_ids: Tensor, **inputs: object) -> TokenClassifierOutput:
        hidden = self.model(input_ids=input_ids, **inputs).last_hidden_state
        return TokenClassifierOutput(logits=self.score(hidden))


class Qwen2ForPrmModel(Qwen2PreTrainedModel):
    """Skywork-o1-Open-PRM: Linear to one number, the logit of "right"."""

    _keys_to_ignore_on_load_unexpected = [r"^lm_head\."]  # noqa: RUF012

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        self.v_head = nn.Sequential(OrderedDict(summary=nn.Linear(config.hidden_size, 1)))
        self.post_init()

    def forward(self, input_ids: Tensor, **inputs: object) -> TokenClassifierOutput:
        hidden = self.model(input_ids=input_ids, **inputs).last_hidden_state
        return TokenClassifierOutput(logits=self.v_head(hidden))


def load_prm(
    model: str,
    convention: PrmConvention,
    *,
    dtype: torch.dtype,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Returns the module in evaluation mode, on the CPU.

    `load_prm(...)(input_ids=ids_BU, attention_mask=mask_BU).logits` are the numbers `(B, U, C)` whose values at the
    read positions `convention.step_rewards` takes.

    Args:
        model: folder or hub name.
        attn_implementation: as in transformers; None: its choice.
        trust_remote_code: run code of the checkpoint for a backbone that transformers does not have.

    Raises:
        ValueError: weights are missing, left over or of another shape, or the head has another number of labels: the
            checkpoint is not of this convention.
    """
    # all that the conventions with a head of their own need; a language model is cut down below
    classes: dict[str, Any] = {
        PureConvention.name: AutoModelForTokenClassification,
        QwenConvention.name: Qwen2ForProcessRewardModel,
        SkyworkConvention.name: Qwen2ForPrmModel,
    }
    model_class = classes.get(convention.name, AutoModelForCausalLM)
    remote = {"trust_remote_code": trust_remote_code} if model_class.__name__[:4] == "Auto" else {}
    if convention.name == PureConvention.name:
        config = load_model_config(model, trust_remote_code=trust_remote_code)
        PureConvention.require_two_labels(model, config.num_labels)
    module, report = model_class.from_pretrained(
        model,
        dtype=dtype,
        attn_implementation=attn_implementation,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below, with the other faults
        **remote,
    )
    _require_all_weights(model, convention, report)
    module.config.use_cache = False
    label_ids = convention.label_token_ids(
        AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
    )
    if label_ids is not None:
        _keep_rows(module, label_ids)
    return module.eval()


def _require_all_weights(model: str, convention: PrmConvention, report: dict[str, Any]) -> None:
    problems = [
        f"{len(report[key])} {what}, such as {sorted(map(str, report[key]))[0]}"
        for key, what in (
            ("missing_keys", "weights are missing"),
            ("unexpected_keys", "weights have no place"),
            ("mismatched_keys", "weights have another shape"),
        )
        if report[key]
    ]
    if problems:
        raise ValueError(
            f"{model} is no whole checkpoint of a PRM of the convention {convention.name!r}: "
            f"{'; '.join(problems)}"
        )


def _keep_rows(module: Any, token_ids: list[int]) -> None:
    """Cut the output layer of a language model down to these tokens; what follows it in the model stays."""
    full = module.get_output_embeddings()
    kept = nn.Linear(full.in_features, len(token_ids), bias=full.bias is not None)
    kept = kept.to(device=full.weight.device, dtype=full.weight.dtype)
    with torch.no_grad():
        kept.weight.copy_(full.weight[token_ids])
        if full.bias is not None:
            kept.bias.copy_(full.bias[token_ids])
    module.config.tie_word_embeddings = False
    module.set_output_embeddings(kept)
