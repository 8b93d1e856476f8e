"""Stage 2, the PRM workers: Ray actors that turn PRM inputs into step rewards.

`PrmWorker` shares the GPUs of policy and reference; `PrmEngineWorker` has a GPU to itself and runs vLLM; those of a PRM
that learns are in `learning_prm.py`. The layout of
the input and the meaning of the numbers are the convention's (`prm/conventions.py`); batches come planned by
tokens from the driver, so little of them is padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from openrlhf.trainer.ray.launcher import BaseModelActor
from torch import Tensor

from pure_rlhf.prm.conventions import PrmConvention, PrmLayout
from pure_rlhf.prm.models import load_prm
from pure_rlhf.prm.scorer import VllmBackend
from pure_rlhf.workers.host_copy import TakesTurns

if TYPE_CHECKING:
    from types import SimpleNamespace

TORCH_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class PrmWorker(TakesTurns, BaseModelActor):
    """One data-parallel rank of the process reward model (DeepSpeed evaluation engine)."""

    def init_model_from_pretrained(
        self, strategy: Any, model_name_or_path: str, convention: PrmConvention
    ) -> None:
        self._setup_distributed(strategy)
        args = strategy.args
        self.convention = convention
        model = load_prm(
            model_name_or_path,
            convention,
            dtype=param_dtype(args),
            attn_implementation=args.ds.attn_implementation,
            trust_remote_code=args.pure.trust_remote_code,
        )
        model._offload = args.reward.offload  # read by strategy.prepare
        self.model = strategy.prepare(model)
        self.model.eval()

    @torch.no_grad()
    def forward(self, input_ids: Tensor, attention_mask: Tensor, read_index: Tensor) -> Tensor:
        """Score one batch: `(b, U)` ids and mask, `(b, S)` positions to read -> `(b, S)` rewards in [-1, 1]."""
        return self.convention.step_rewards(self._read(input_ids, attention_mask, read_index)).cpu()

    def _read(self, input_ids: Tensor, attention_mask: Tensor, read_index: Tensor) -> Tensor:
        """What the model gives at the positions to read, `(b, S, C)`."""
        device = torch.cuda.current_device()
        logits = self.model(input_ids.to(device), attention_mask=attention_mask.to(device)).logits
        index = read_index.to(device).unsqueeze(-1).expand(-1, -1, logits.shape[-1])
        return logits.gather(1, index)


class PrmEngineWorker(BaseModelActor):
    """The same on a vLLM pooling engine (`--reward.backend vllm`), for a PRM on a GPU of its own."""

    def init_model_from_pretrained(
        self, strategy: Any, model_name_or_path: str, convention: PrmConvention
    ) -> None:
        args = strategy.args
        self.convention = convention
        self.engine = VllmBackend(
            model_name_or_path,
            convention,
            max_tokens=args.reward.max_tokens_per_batch,
            dtype=param_dtype(args),
            trust_remote_code=args.pure.trust_remote_code,
        )

    def execute_batch(
        self, method_name: str, all_data: dict[str, list], start_idx: int, end_idx: int
    ) -> list[Tensor]:
        """As upstream's, which asks a process group that this actor has no part in for its rank."""
        columns = [values[start_idx:end_idx] for values in all_data.values()]
        method = getattr(self, method_name)
        return [
            method(**dict(zip(all_data, row, strict=True))) for row in zip(*columns, strict=True)
        ]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, read_index: Tensor) -> Tensor:
        """As `PrmWorker.forward`."""
        layouts = [
            PrmLayout(ids[mask.bool()].tolist(), positions.tolist())
            for ids, mask, positions in zip(input_ids, attention_mask, read_index, strict=True)
        ]
        return self.convention.step_rewards(torch.stack(self.engine.read(layouts)))


def param_dtype(args: SimpleNamespace) -> torch.dtype:
    """That of `--ds.param_dtype`."""
    return TORCH_TYPES[args.ds.param_dtype]
