"""Stage 5 of the PRM: workers whose model learns from the outcomes of each rollout, beside the policy's update.

`LearningPrm` is what both kinds share: a DeepSpeed engine with the optimiser of `--prm`, rows to learn from, and
checkpoints of the policy's tag in `_prm` beside the policy's `_actor`. The losses are `algorithm/prm_losses.py`.

    ImplicitPrmWorker    a language model, whose log-probabilities are compared to the reference's (PRIME)
    LearningPrmWorker    the classifier of `prm_worker.py`
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from openrlhf.models import Actor
from openrlhf.trainer.ray.launcher import BaseModelActor
from openrlhf.utils.deepspeed.deepspeed_utils import (
    offload_deepspeed_states,
    reload_deepspeed_states,
)
from openrlhf.utils.distributed_util import torch_dist_barrier_and_cuda_sync
from torch import Tensor, nn

from pure_rlhf.algorithm.implicit_reward import log_ratios
from pure_rlhf.algorithm.prm_losses import (
    implicit_outcome_logits,
    minimum_outcome_logits,
    outcome_loss,
    step_label_loss,
)
from pure_rlhf.checkpoints import checkpoint_tag
from pure_rlhf.model_folder import load_tokenizer
from pure_rlhf.prm.conventions import PrmConvention
from pure_rlhf.prm.learning import write_reference_record
from pure_rlhf.prm.models import load_prm
from pure_rlhf.types import ImplicitRows, StepRows
from pure_rlhf.validation.prm import PRM_CHECKPOINTS
from pure_rlhf.workers.prm_worker import PrmWorker, param_dtype
from pure_rlhf.workers.strategy import make_strategy

if TYPE_CHECKING:
    from openrlhf.utils.deepspeed import DeepspeedStrategy

    from pure_rlhf.config import PureConfig


def learning_strategy(strategy: Any) -> DeepspeedStrategy:
    """The policy's strategy with the batch sizes of the PRM: DeepSpeed's settings are made from them."""
    args = copy.deepcopy(strategy.args)
    args.train.batch_size = args.pure.prm_batch_size + args.pure.prm_replay_rows
    args.train.micro_batch_size = args.pure.prm_micro_batch_size
    return make_strategy(args)


class LearningPrm:
    """Mixed into a `BaseModelActor`, whose `init_model_from_pretrained` calls `_prepare`, and which has a `_loss`."""

    strategy: Any
    model: nn.Module

    def _prepare(self, model: Any, model_name_or_path: str, update_steps: int) -> None:
        """Wrap the model for training, and go on from the checkpoint of a run that is resumed.

        Args:
            update_steps: optimiser steps of the whole run, for the schedule.
        """
        self.config: PureConfig = self.strategy.args.pure
        settings = self.config.prm
        if self.config.actor.gradient_checkpointing_enable:
            model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={
                    "use_reentrant": self.config.actor.gradient_checkpointing_reentrant
                }
            )
        self.tokenizer: Any = load_tokenizer(
            model_name_or_path, trust_remote_code=self.config.trust_remote_code
        )
        # transformers puts dropout of 0.1 before the head of a classifier: a roll back would learn something else
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.rows: list[Any] = []
        self.model, self.optimizer, self.scheduler = self.strategy.prepare(
            (
                model,
                {
                    "optim": "adam",
                    "adam": dataclasses.asdict(settings.adam),
                    "lr_scheduler": settings.lr_scheduler,
                    "lr_warmup_ratio": 0.0,
                    "max_norm": settings.max_norm,
                    "scheduler_steps": update_steps,
                },
            )
        )
        self.model.eval()
        tag = checkpoint_tag(self.config.ckpt.path) if self.config.ckpt.load_enable else None
        if tag is not None:
            self.roll_back(tag)

    @property
    def engine(self) -> Any:
        """DeepSpeed's, which upstream's `Actor` holds inside."""
        return self.model.model if isinstance(self.model, Actor) else self.model

    def _loss(self, rows: Any) -> Tensor:
        """The weighted mean loss of a micro-batch."""
        raise NotImplementedError

    def append(self, rows: ImplicitRows | StepRows) -> None:
        """Keep a micro-batch for the next `fit`."""
        self.rows.append(rows)

    def fit(self) -> dict[str, float]:
        """One pass over what was appended, in its order; nothing, and no metrics, where nothing was.

        Returns: loss (mean over ranks), grad_norm and learning_rate of the last optimiser step, seconds.
        """
        if not self.rows:
            return {}
        start = time.perf_counter()
        torch.cuda.empty_cache()
        self.model.train()
        losses = []
        for rows in self.rows:
            loss = self._loss(rows)
            self.strategy.backward(loss, self.model, self.optimizer)
            self.strategy.optimizer_step(self.optimizer, self.model, self.scheduler, name="prm")
            losses.append(loss.detach().float())
        self.rows.clear()
        self.model.eval()
        torch.cuda.empty_cache()
        torch.cuda.synchronize()
        grad_norm = self.strategy.get_grad_norm(self.model)
        return {
            "loss": self.strategy.all_reduce(torch.stack(losses).mean().item()),
            "grad_norm": grad_norm if grad_norm >= 0 else math.nan,  # DeepSpeed's -1 is one of NaN
            "learning_rate": self.scheduler.get_last_lr()[0],
            "seconds": time.perf_counter() - start,
        }

    @property
    def _checkpoints(self) -> Path:
        return Path(self.config.ckpt.path) / PRM_CHECKPOINTS

    def save_checkpoint(self, tag: str) -> None:
        """Weights, optimiser and schedule under the tag that the policy's will have.

        There is no "latest": the policy's says which is loaded. The trainer deletes what the policy has no more.
        """
        # not strategy.save_ckpt: it deletes old ones first, and the policy may never get to save this one
        self.engine.save_checkpoint(str(self._checkpoints), tag=tag, save_latest=False)
        if self.strategy.is_rank_0():
            self._record_reference(self._checkpoints)
        torch_dist_barrier_and_cuda_sync()

    def roll_back(self, tag: str) -> None:
        """Load weights, optimiser and schedule of the checkpoint that this run saved with the policy's of that tag.

        Raises:
            RuntimeError: there is no such checkpoint.
        """
        loaded, _ = self.strategy.load_ckpt(self.engine, str(self._checkpoints), tag=tag)
        if loaded is None:
            raise RuntimeError(f"no checkpoint {tag} in {self._checkpoints}")
        self.rows.clear()

    def save_model(self) -> None:
        """Write the trained PRM as a Hugging Face folder: OUTPUT_DIR/prm."""
        folder = Path(self.config.output_dir) / "prm"
        self.strategy.save_model(self.model, self.tokenizer, str(folder))
        if self.strategy.is_rank_0():
            self._record_reference(folder)

    def _record_reference(self, folder: Path) -> None:
        """An implicit PRM means nothing without its reference."""

    def offload_states(self) -> None:
        """Leave the GPU to others, but for the weights (`--placement shared`)."""
        offload_deepspeed_states(self.engine)

    def reload_states(self) -> None:
        """Come back to the GPU."""
        reload_deepspeed_states(self.engine)


class ImplicitPrmWorker(LearningPrm, BaseModelActor):
    """One data-parallel rank of an implicit PRM that learns."""

    def init_model_from_pretrained(
        self, strategy: Any, model_name_or_path: str, update_steps: int
    ) -> None:
        self._setup_distributed(learning_strategy(strategy))
        args = self.strategy.args
        model = Actor(
            model_name_or_path,
            attn_implementation=args.ds.attn_implementation,
            experts_implementation=args.ds.experts_implementation,
            param_dtype=args.ds.param_dtype,
            ds_config=self.strategy.get_ds_train_config(),
            packing_samples=args.ds.packing_samples,
            use_liger_kernel=args.ds.use_liger_kernel,
        )
        self._prepare(model, model_name_or_path, update_steps)

    def _log_probs(self, sequences: Tensor, action_mask: Tensor, attention_mask: Tensor) -> Tensor:
        device = torch.cuda.current_device()
        return self.model(
            sequences.to(device),
            action_mask.to(device),
            attention_mask.to(device),
            ring_attn_group=self.strategy.ring_attn_group,
        )

    @torch.no_grad()
    def forward(self, sequences: Tensor, action_mask: Tensor, attention_mask: Tensor) -> Tensor:
        """Log-probabilities of the tokens, nats, `(b, A)`, 0 outside the responses: as the reference's worker."""
        return self._log_probs(sequences, action_mask, attention_mask).cpu()

    def _loss(self, rows: ImplicitRows) -> Tensor:
        log_probs_BA = self._log_probs(
            rows.sequences_BT, rows.action_mask_BA, rows.attention_mask_BT
        )
        device = log_probs_BA.device
        log_ratios_BA = log_ratios(
            log_probs_BA, rows.reference_log_probs_BA.to(device), rows.action_mask_BA.to(device)
        )
        logits_B = implicit_outcome_logits(log_ratios_BA, beta=self.config.prm.beta)
        return outcome_loss(logits_B, rows.outcome_B.to(device), rows.weight_B.to(device))

    def _record_reference(self, folder: Path) -> None:
        write_reference_record(folder, self.config.actor.model_name_or_path)


class LearningPrmWorker(LearningPrm, PrmWorker):
    """One data-parallel rank of a PRM that scores steps and learns; `forward` is `PrmWorker`'s."""

    def init_model_from_pretrained(
        self,
        strategy: Any,
        model_name_or_path: str,
        convention: PrmConvention,
        update_steps: int,
    ) -> None:
        self._setup_distributed(learning_strategy(strategy))
        args = self.strategy.args
        self.convention = convention
        model = load_prm(
            model_name_or_path,
            convention,
            dtype=param_dtype(args),
            attn_implementation=args.ds.attn_implementation,
            trust_remote_code=args.pure.trust_remote_code,
        )
        self._prepare(model, model_name_or_path, update_steps)

    def _loss(self, rows: StepRows) -> Tensor:
        outputs_BSC = self._read(
            rows.inputs.input_ids_BU, rows.inputs.attention_mask_BU, rows.inputs.read_index_BS
        ).float()
        device = outputs_BSC.device
        # the logit of "right" over "wrong": r = tanh(logit / 2)
        logits_BS = outputs_BSC[..., -1]
        if outputs_BSC.shape[-1] == 2:
            logits_BS = logits_BS - outputs_BSC[..., 0]
        weight_B = rows.weight_B.to(device)
        if rows.labels_BS is not None:
            return step_label_loss(logits_BS, rows.labels_BS.to(device), weight_B)
        logits_B = minimum_outcome_logits(
            torch.tanh(logits_BS / 2),
            rows.mask_BS.to(device),
            temperature=self.config.credit_temperature,
            sharpness=self.config.prm.sharpness,
        )
        return outcome_loss(logits_B, rows.outcome_B.to(device), weight_B)
