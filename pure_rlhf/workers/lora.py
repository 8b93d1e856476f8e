"""LoRA: the policy with a trainable adapter on a frozen base, which is the reference too.

OpenRLHF's `Actor` adds the adapter; the update is upstream's. Here: what is saved (a plain model folder with the
adapter merged, the adapter itself in its subfolder) and the reference. The push merges too: `weight_sources.py`; a
note in each checkpoint, by which a resume with another adapter is refused, is written by `strategy.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from openrlhf.trainer.ray.launcher import RayActorGroup
from openrlhf.utils.distributed_util import torch_dist_barrier_and_cuda_sync
from torch import Tensor

from pure_rlhf.workers.policy_worker import PolicyWorker
from pure_rlhf.workers.weight_sources import plain_name, weight_sources

if TYPE_CHECKING:
    from peft import PeftModel
    from ray import ObjectRef

    from pure_rlhf.types import Tokenizer

ADAPTER_FOLDER = "adapter"


class LoraPolicyWorker(PolicyWorker):
    """One data-parallel rank of a policy with an adapter."""

    def init_model_from_pretrained(self, *args: Any, **kwargs: Any) -> None:
        super().init_model_from_pretrained(*args, **kwargs)
        self.save_hf_ckpt = False  # upstream would write the adapter alone; see save_checkpoint

    @property
    def peft_model(self) -> PeftModel:
        return self.actor.model.module

    def reference_forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """As `forward`, of the base without the adapter: the reference's log-probabilities."""
        with self.peft_model.disable_adapter():
            return self.forward(*args, **kwargs)

    def save_model(self) -> None:
        self._save_folder(Path(self.strategy.args.ckpt.output_dir))

    def save_checkpoint(self, tag: str, *args: Any, **kwargs: Any) -> None:
        super().save_checkpoint(tag, *args, **kwargs)
        ckpt = self.strategy.args.ckpt
        if ckpt.save_hf:
            self._save_folder(Path(ckpt.path) / f"{tag}_hf")

    def _save_folder(self, folder: Path) -> None:
        save_merged(
            self.peft_model,
            self.tokenizer,
            folder,
            zero_stage=self.strategy.args.ds.zero_stage,
            is_writer=self.strategy.is_rank_0(),
        )
        torch_dist_barrier_and_cuda_sync()


class ReferenceInPolicy:
    """The policy's group in the place of the reference's: the same base, asked with the adapter off.

    Has what `RemoteExperienceMaker` calls of a `RayActorGroup`.
    """

    def __init__(self, policy: RayActorGroup) -> None:
        self._policy = policy

    def async_run_method_batch(self, method_name: str, **batch: object) -> list[ObjectRef]:
        return self._policy.async_run_method_batch(f"reference_{method_name}", **batch)

    def async_run_method(
        self, method_name: str, *args: object, **kwargs: object
    ) -> list[ObjectRef]:
        return self._policy.async_run_method(method_name, *args, **kwargs)


@torch.no_grad()
def save_merged(
    model: PeftModel, tokenizer: Tokenizer, folder: Path, *, zero_stage: int, is_writer: bool
) -> None:
    """Write a Hugging Face folder that loads without peft, and the adapter into `folder/adapter`.

    Every rank must call this (ZeRO-3 gathers); one writes. The model is not changed.
    """
    import deepspeed  # here, because the driver loads this module too

    weights: dict[str, Tensor] = {}
    for source in weight_sources(model):
        with deepspeed.zero.GatheredParameters(source.parameters, enabled=zero_stage == 3):
            if is_writer:
                weights[source.name] = source.value().to("cpu", copy=True)
    adapter = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with deepspeed.zero.GatheredParameters(adapter, enabled=zero_stage == 3):
        if is_writer:
            # the vocabulary is the base's; looking whether it is would ask the hub
            model.save_pretrained(str(folder / ADAPTER_FOLDER), save_embedding_layers=False)
    if not is_writer:
        return
    kept = model.state_dict().keys()
    weights |= {plain_name(name): b.cpu() for name, b in model.named_buffers() if name in kept}
    base: Any = model.get_base_model()
    base.save_pretrained(str(folder), state_dict=weights)
    tokenizer.save_pretrained(str(folder))
