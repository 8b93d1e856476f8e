"""Stage 2, the PRM worker: a token-classification model in a Ray actor that turns PRM inputs into step rewards.

Shares the GPUs of policy and reference. The layout of the input and the meaning of the two logits are
`algorithm/prm_scoring.py`'s; batches come planned by tokens from the driver, so little of them is padding.
"""

from __future__ import annotations

from typing import Any

import torch
from openrlhf.trainer.ray.launcher import BaseModelActor
from torch import Tensor
from transformers import AutoModelForTokenClassification

from pure_rlhf.algorithm.prm_scoring import logits_to_step_rewards


class PrmWorker(BaseModelActor):
    """One data-parallel rank of the process reward model (DeepSpeed evaluation engine)."""

    def init_model_from_pretrained(self, strategy: Any, model_name_or_path: str) -> None:
        self._setup_distributed(strategy)
        args = strategy.args
        model = AutoModelForTokenClassification.from_pretrained(
            model_name_or_path,
            dtype=torch.bfloat16 if args.ds.param_dtype == "bf16" else torch.float16,
            attn_implementation=args.ds.attn_implementation,
            trust_remote_code=args.pure.trust_remote_code,
        )
        model.config.use_cache = False
        model._offload = args.reward.offload  # read by strategy.prepare
        self.model = strategy.prepare(model)
        self.model.eval()

    @torch.no_grad()
    def forward(self, input_ids: Tensor, attention_mask: Tensor, read_index: Tensor) -> Tensor:
        """Score one batch: `(b, U)` ids and mask, `(b, S)` positions to read -> `(b, S)` rewards in [-1, 1]."""
        device = torch.cuda.current_device()
        logits = self.model(input_ids.to(device), attention_mask=attention_mask.to(device)).logits
        index = read_index.to(device).unsqueeze(-1).expand(-1, -1, logits.shape[-1])
        return logits_to_step_rewards(logits.gather(1, index)).cpu()
