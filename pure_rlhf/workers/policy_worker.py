"""Stage 5, the policy worker: OpenRLHF's DeepSpeed actor and PPO update, with bucketed weight sync.

The loss, the optimiser step, packing, dynamic batches, checkpoints and resume are upstream's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import torch
from openrlhf.trainer.ray import ppo_actor
from openrlhf.utils.distributed_util import torch_dist_barrier_and_cuda_sync
from torch.utils.data import DataLoader, Sampler
from transformers import set_seed

from pure_rlhf import cpu_host
from pure_rlhf.workers.transports import Broadcast, SameDevice, open_group
from pure_rlhf.workers.upstream import replaced, undecorated
from pure_rlhf.workers.weight_sync import push_weights

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from pure_rlhf.config import PureConfig


class SimilarLengths(Sampler[int]):
    """Rows in a random order in which those of one optimiser step are sorted, so that less of a micro-batch is padding.

    Upstream weighs what it averages by the whole step's tokens or responses, so the gradient is the same.

    Args:
        lengths: of the rows. step_rows: of an optimiser step of this rank.
    """

    def __init__(self, lengths: Sequence[int], step_rows: int) -> None:
        self.lengths = lengths
        self.step_rows = step_rows

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self.lengths)).tolist()
        for start in range(0, len(order), self.step_rows):
            step = order[start : start + self.step_rows]
            yield from sorted(step, key=lambda row: -self.lengths[row])


class PolicyTrainer(ppo_actor.ActorPPOTrainer):
    """Upstream's PPO trainer of one rank, with other micro-batches of a step and another transport of the weights."""

    def ppo_train(self, kl_ctl: float) -> dict[str, float]:
        with replaced(ppo_actor, "DataLoader", self._loader):
            return super().ppo_train(kl_ctl)

    def _loader(self, buffer: Any, *, shuffle: bool, **settings: Any) -> DataLoader:
        if not shuffle:  # a dynamic batch has been planned
            return DataLoader(buffer, shuffle=False, **settings)
        lengths = [int(item.total_length) for item in buffer.items]
        step_rows = settings["batch_size"] * self.strategy.accumulated_gradient
        return DataLoader(buffer, sampler=SimilarLengths(lengths, step_rows), **settings)

    def _init_vllm_sync_group(self, backend: str) -> None:
        """Called on rank 0 under --placement split."""
        # joining the group times out after 300 s (vLLM's constant), and an engine may load for longer
        ray.get([engine.__ray_ready__.remote() for engine in self.vllm_engines])
        with replaced(ppo_actor, "stateless_init_process_group", open_group):
            super()._init_vllm_sync_group(backend)

    def join_engines(self, engines: list[ActorHandle]) -> None:
        """Open the group of the weights anew, with these engines; every rank must call this."""
        self.vllm_engines = engines
        if not self.use_cuda_ipc and torch.distributed.get_rank() == 0:
            self._init_vllm_sync_group(self.strategy.args.vllm.sync_backend)
        torch_dist_barrier_and_cuda_sync()

    def broadcast_to_vllm(self) -> dict[str, float]:
        args = self.strategy.args
        torch.cuda.empty_cache()
        model: Any = self.actor.model  # the DeepSpeed engine
        metrics = push_weights(
            model.module,
            self.vllm_engines,
            zero_stage=args.ds.zero_stage,
            bucket_bytes=args.vllm.sync_bucket_mb * 2**20,
            # upstream opens the group where the engines are not on the policy's devices
            transport=SameDevice()
            if self.use_cuda_ipc
            else Broadcast(getattr(self, "_model_update_group", None)),
        )
        if args.vllm.enable_prefix_caching and torch.distributed.get_rank() == 0:
            # what the engines have cached was computed with the old weights
            ray.get([engine.reset_prefix_cache.remote() for engine in self.vllm_engines])
        torch.cuda.empty_cache()
        torch_dist_barrier_and_cuda_sync()
        return metrics


class PolicyWorker(undecorated(ppo_actor.PolicyModelActor)):
    """One data-parallel rank of the policy."""

    def init_model_from_pretrained(self, *args: Any, **kwargs: Any) -> None:
        # Upstream's method names its trainer class, whose constructor already opens the sync group.
        with replaced(ppo_actor, "ActorPPOTrainer", PolicyTrainer):
            super().init_model_from_pretrained(*args, **kwargs)

    def fit(self, kl_ctl: float = 0) -> dict[str, float]:
        # Upstream draws the order of the micro-batches from a state that two runs of one seed do not share. The number
        # of optimiser steps is in the checkpoint, so a resumed run draws the same.
        set_seed(self.strategy.seed + self.actor_scheduler.last_epoch)
        config: PureConfig = self.strategy.args.pure
        with cpu_host.all_cores(config.processes_in_update):
            return super().fit(kl_ctl)

    def broadcast_to_vllm(self) -> dict[str, float]:
        """Push the weights to all engines; returns the transfer's metrics (rank 0)."""
        return self.trainer.broadcast_to_vllm()

    def join_engines(self, engines: list[ActorHandle]) -> None:
        """One of the engines was replaced."""
        self.trainer.join_engines(engines)

    def roll_back(self, tag: str) -> None:
        """Load weights, optimiser and schedule of an earlier checkpoint of this run.

        Raises:
            RuntimeError: there is no such checkpoint.
        """
        folder = Path(self.strategy.args.ckpt.path) / "_actor"
        loaded, _ = self.strategy.load_ckpt(self.actor.model, str(folder), tag=tag)
        if loaded is None:
            raise RuntimeError(f"no checkpoint {tag} in {folder}")
