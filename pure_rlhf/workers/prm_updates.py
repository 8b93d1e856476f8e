"""Stage 5 on the driver: when a PRM that learns is trained, measured, saved and rolled back, beside the policy.

The trainer calls it at the places of its loop; where no PRM learns, nothing of it does anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import ray

from pure_rlhf.checkpoints import last_good
from pure_rlhf.monitoring.prm_metrics import update_metrics
from pure_rlhf.monitoring.run_directory import prune_prm_checkpoints
from pure_rlhf.workers.gpu_turns import OwnGpus

if TYPE_CHECKING:
    from openrlhf.trainer.ray.launcher import RayActorGroup

    from pure_rlhf.config import PureConfig
    from pure_rlhf.workers.process_rewards import ProcessRewards


class PrmUpdates:
    """What the trainer does with a PRM that learns; `metrics` holds what to log of the last update.

    Args:
        group: the PRM's workers; None: no PRM learns.
        max_steps: of the run.
        gpus: asked for the PRM's turn.
        in_turns: the PRM's update is done before the policy's begins, as both need the memory of the same GPUs.
    """

    def __init__(
        self,
        group: RayActorGroup | None,
        config: PureConfig,
        *,
        max_steps: int,
        gpus: OwnGpus,
        in_turns: bool,
    ) -> None:
        self.group = group
        self.config = config
        self.max_steps = max_steps
        self.gpus = gpus
        self.in_turns = in_turns
        self.metrics: dict[str, float] = {}
        self.fitting: list[ray.ObjectRef] = []

    @property
    def come_first(self) -> bool:
        """Whether the PRM is updated on a step's responses before it scores them."""
        return self.group is not None and self.config.prm_update_order == "update_first"

    def are_warming_up(self, step: int) -> bool:
        """Whether the PRM's rewards count 0 yet; steps from 0."""
        return self.group is not None and step < self.config.prm.warmup_steps

    def fit_first(self) -> None:
        """Update the PRM between two forwards of it."""
        assert self.group is not None
        self.gpus.take("update")
        self._finish(self.group.async_run_method("fit"))
        self.gpus.take("score")

    def begin(self) -> None:
        """Start the PRM's update, which goes on beside the policy's."""
        if self.group is not None and not self.come_first:
            self.fitting = self.group.async_run_method("fit")
            if self.in_turns:
                ray.get(self.fitting)

    def finish(self, rewards: ProcessRewards) -> None:
        """Wait for the update, and measure the PRM where that is due."""
        if self.group is None:
            return
        if self.fitting:
            self._finish(self.fitting)
            self.fitting = []
        step, every = rewards.step + 1, self.config.eval.steps
        if step in (1, self.max_steps) or (every > 0 and step % every == 0):
            self.gpus.take("score")
            self.metrics |= rewards.measure()

    def _finish(self, fitting: list[ray.ObjectRef]) -> None:
        try:
            reported = ray.get(fitting)[0]
            self.metrics = update_metrics(reported)
        except ValueError as error:  # a worker's too
            raise RuntimeError(f"{error}. {last_good(self.config.ckpt.path)}") from error
        if "seconds" in reported:
            self.metrics["timing/prm_update"] = reported["seconds"]

    def save(self, tag: str) -> None:
        """Before the policy saves under the same tag: a checkpoint of the policy is never without its PRM."""
        if self.group is not None and not self.config.ckpt.disable_ds:
            ray.get(self.group.async_run_method("save_checkpoint", tag=tag))

    def prune(self) -> None:
        """Delete the checkpoints that the policy has no more."""
        prune_prm_checkpoints(Path(self.config.ckpt.path))

    def roll_back(self, tag: str) -> None:
        """To the PRM of the policy's checkpoint."""
        if self.group is not None:
            ray.get(self.group.async_run_method("roll_back", tag=tag))
