"""The trainer actor: OpenRLHF's loop with PURE's experience maker.

Upstream's `fit` draws rollouts, calls `train_step`, saves checkpoints and calls `evaluate`. Added here: the weight of
the process rewards over the steps, the metrics of a step in one place, alarms acted on, evaluation before and after, a
PRM that learns, with checkpoints that go with the policy's.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from openrlhf.trainer.ppo_trainer import BasePPOTrainer, PPOTrainer
from openrlhf.utils.utils import get_tokenizer
from transformers import set_seed

from pure_rlhf import cpu_host
from pure_rlhf.algorithm.settings import scheduled_coef
from pure_rlhf.checkpoints import last_good
from pure_rlhf.config import PureConfig
from pure_rlhf.grading.verifier import Verifier
from pure_rlhf.monitoring.alarm_watch import AlarmWatch
from pure_rlhf.monitoring.alarms import Alarm
from pure_rlhf.monitoring.metric_table import check_declared
from pure_rlhf.monitoring.progress import STOPPED
from pure_rlhf.monitoring.records import EvaluationRecord, JsonObject, RunState
from pure_rlhf.monitoring.rollout_metrics import timing_per_kilotoken
from pure_rlhf.monitoring.run_directory import RunDirectory, prune_hf_folders
from pure_rlhf.monitoring.run_status import RunStatus
from pure_rlhf.monitoring.sinks import open_sinks
from pure_rlhf.scratch import name_semaphores
from pure_rlhf.types import Tokenizer
from pure_rlhf.validation import Inputs
from pure_rlhf.workers.experience_maker import PureExperienceMaker
from pure_rlhf.workers.experience_parts import (
    labelled_rows,
    prm_reader,
    step_labelling,
    step_rules,
)
from pure_rlhf.workers.generation_ahead import GenerationAhead
from pure_rlhf.workers.gpu_turns import OwnGpus, SharedGpus
from pure_rlhf.workers.greedy_evaluation import GreedyEvaluation
from pure_rlhf.workers.prm_updates import PrmUpdates
from pure_rlhf.workers.process_rewards import make_process_rewards
from pure_rlhf.workers.rollout_engines import RolloutEngines
from pure_rlhf.workers.samples_generator import PureSamplesGenerator, collate_prompts
from pure_rlhf.workers.step_profiler import PROFILED_STEP, StepProfiler
from pure_rlhf.workers.upstream import SELECTION_METRIC, replaced, undecorated

if TYPE_CHECKING:
    from openrlhf.trainer.ppo_utils.experience import Experience
    from openrlhf.trainer.ray.launcher import RayActorGroup
    from openrlhf.utils.deepspeed import DeepspeedStrategy
    from ray.actor import ActorHandle

    from pure_rlhf.workers.lora import ReferenceInPolicy

# Upstream's names of what its update reports -> ours (monitoring/metric_table.py declares them).
STATUS_KEYS = {
    "policy_loss": "policy/loss",
    "ppo_clip_ratio": "policy/clip_ratio",
    "ppo_kl": "policy/kl",
    "actor_lr": "policy/learning_rate",
    "actor_grad_norm": "policy/grad_norm",
    "entropy_loss": "policy/entropy",
    "timing/generation": "timing/generation",
    "timing/ppo_train": "timing/policy_update",
    "timing/broadcast": "timing/weight_sync",
    "sync/buckets": "sync/buckets",
    "sync/megabytes": "sync/megabytes",
}


class PureTrainer(undecorated(PPOTrainer)):
    """Single controller of a run. `progress()` may be called while `run_training()` runs (two threads)."""

    def __init__(
        self,
        strategy: DeepspeedStrategy,
        config: PureConfig,
        *,
        inputs: Inputs,
        actor_group: RayActorGroup,
        prm_group: RayActorGroup | None,
        reference_group: RayActorGroup | ReferenceInPolicy | None,
        engines: list[ActorHandle],
        start_engine: Callable[[int, int], ActorHandle],
    ) -> None:
        """As `launcher.build` calls it. Under --placement shared the GPUs hold nobody but the policy then."""
        logging.getLogger("openrlhf").setLevel(logging.WARNING)
        tokenizer = get_tokenizer(config.actor.model_name_or_path, None, "left", strategy)
        self.config = config
        self.num_dropped = inputs.train_prompts.num_dropped
        # upstream seeds the processes that train, and the order of the prompts is drawn in this one
        set_seed(config.train.seed)
        self.prompts_dataloader = strategy.setup_dataloader(
            inputs.train_prompts.records, 1, False, True, collate_prompts
        )
        # upstream only asks whether there is one
        self.eval_dataloader = inputs.eval_prompts.records or inputs.selection_prompts.records
        self.generate_kwargs: JsonObject = {}
        name_semaphores()  # those of its pools
        self.verifier = Verifier(
            config.verifier_workers,
            config.verifier_timeout,
            batch_timeout_seconds=config.verifier.batch_timeout,
            strict=config.verifier.strict,
            programs=config.programs,
        )
        learning_prm = prm_group if config.learns_prm else None
        self.gpus = OwnGpus()
        if config.shares_gpus:
            frozen = (
                reference_group if config.has_reference_worker else None,
                None if config.learns_prm else prm_group,
            )
            self.gpus = SharedGpus(
                engines,
                [group for group in (actor_group, learning_prm) if group],
                # at ZeRO-3 DeepSpeed moves them itself
                [] if config.ds.zero_stage == 3 else [group for group in frozen if group],
            )
        self.max_steps = planned_steps(config, len(inputs.train_prompts.records))
        self.run = RunDirectory(config.output_dir)
        self.status = RunStatus(self.run, self.max_steps)
        self.engines = RolloutEngines(
            engines,
            policy=actor_group,
            gpus=self.gpus,
            start=start_engine,
            # shared: there is no room for another; asynchronous: the policy is busy with an update when one dies
            most_replacements=0
            if config.shares_gpus or config.train.async_steps
            else config.vllm.max_replacements,
            tell=self.status.tell,
        )
        generator = PureSamplesGenerator(
            strategy,
            self.prompts_dataloader,
            None,
            tokenizer,
            engines,
            max_steps=config.max_steps,
            verifier=self.verifier,
            gpus=self.gpus,
            push=self.engines.push,
            revive=self.engines.revive,
            seed=config.train.seed
            if config.samples_repeatably(on_gpus=not cpu_host.is_cpu_host())
            else None,
        )
        self.samples_generator: PureSamplesGenerator | GenerationAhead = (
            GenerationAhead(generator) if config.train.async_steps else generator
        )
        # Not PPOTrainer's constructor: it would read the data again, by upstream's rules.
        no_critic: Any = None
        BasePPOTrainer.__init__(
            self,
            strategy,
            actor_group,
            no_critic,
            prm_group,  # pyright: ignore[reportArgumentType]  # None is what upstream asks for too
            reference_group,  # pyright: ignore[reportArgumentType]
            engines,
            tokenizer,
        )
        self.prm_updates = PrmUpdates(
            learning_prm,
            config,
            max_steps=self.max_steps,
            gpus=self.gpus,
            in_turns=self.args.train.colocate_actor_ref,
        )
        self.experience_maker = self._make_experience_maker(inputs, tokenizer)
        if config.can_score_early and self.experience_maker.most_parts > 1:
            generator.begin_rollout = self.experience_maker.begin_rollout
        # Upstream's loop goes on to the next episode after the last step; there must be none.
        self.args.train.num_episodes = math.ceil(
            self.max_steps / (len(inputs.train_prompts.records) // config.rollout.batch_size)
        )
        self.greedy = GreedyEvaluation(
            self.samples_generator,
            self.verifier,
            tokenizer,
            self.run,
            held_out=inputs.eval_prompts.records,
            selection=inputs.selection_prompts.records,
        )
        self.alarms = AlarmWatch(config.alarm, self.run)
        self.sinks = open_sinks(
            Path(config.output_dir).name,
            dataclasses.asdict(config),
            mlflow_experiment=config.logger.mlflow_experiment,
        )
        self.profiler = (
            StepProfiler(self.run.path / "trace.json", min(PROFILED_STEP, self.max_steps))
            if config.profile
            else None
        )
        self.is_stopping = False

    def _make_experience_maker(self, inputs: Inputs, tokenizer: Tokenizer) -> PureExperienceMaker:
        config = self.config
        return PureExperienceMaker(
            self.actor_model_group,
            None,
            self.reward_model_group,
            self.reference_model_group,
            self.kl_ctl,
            self.strategy,
            tokenizer,
            settings=config,
            group_size=config.rollout.n_samples_per_prompt,
            max_response_tokens=config.rollout.max_new_tokens,
            verifier=self.verifier,
            split=step_rules(config, tokenizer),
            make_rewards=functools.partial(
                make_process_rewards,
                reader=prm_reader(config, inputs, tokenizer),
                files=labelled_rows(config, inputs),
            ),
            label_steps=step_labelling(config, tokenizer),
            gpus=self.gpus,
            fit_prm=self.prm_updates.fit_first if self.prm_updates.come_first else None,
        )

    def progress(self) -> RunState:
        """What the run is doing: phase and activity, step, max_steps, and the metrics of the last step."""
        return self.status.state

    def stop_after_step(self) -> None:
        """The step that is being made is the last one; it is saved."""
        self.is_stopping = True
        self.status.tell("Stopping after this step (once more: at once).")

    def init_checkpoint_states(self) -> dict[str, Any]:
        states = super().init_checkpoint_states()
        self.samples_generator.skip_steps(states["global_step"])
        self.alarms.resume(self.run.rewind(states["global_step"]))
        self.status.step_done(states["global_step"], {})
        self.kl_ctl.value = states.get("kl_coef", self.kl_ctl.value)  # the adaptive one has moved
        return states

    def run_training(self) -> dict[str, EvaluationRecord]:
        """Evaluate, train, evaluate; returns the evaluations."""
        if self.greedy.held_out and "before" not in self.run.read_evaluation():
            self.status.enter("evaluating before training")
            self.greedy.keep_held_out("before")
        self.status.enter("training")
        self.step_start = time.perf_counter()
        self.status.begin("generation")
        self.fit()
        if self.is_stopping and self.status.step < self.max_steps:
            self._close()
            self.status.enter(STOPPED)
            return self.run.read_evaluation()
        if self.samples_generator.unfilled:
            alarm = Alarm("curriculum", self.status.step, self.samples_generator.unfilled)
            self.status.raise_alarms(self.alarms.record(alarm))
        if self.greedy.held_out:
            self.status.enter("evaluating after training")
            self.samples_generator.settle()
            self.greedy.keep_held_out("after")
        self.status.enter("saving")
        self._close()
        return self.run.read_evaluation()

    def _close(self) -> None:
        for sink in self.sinks:
            sink.close()
        self.verifier.close()

    def train_step(
        self, rollout_samples: list[Experience], global_step: int
    ) -> tuple[dict[str, float], int]:
        self.experience_maker.process_reward_coef = self.process_reward_coef(global_step)
        self.experience_maker.process_rewards.step = global_step
        self.status.begin("scoring")
        status, next_step = super().train_step(rollout_samples, global_step)
        self.run.write_rollouts(next_step, self.experience_maker.rollout_records)
        return status, next_step

    def process_reward_coef(self, global_step: int) -> float:
        """Weight of the process rewards after so many steps: the schedule's, lowered by every roll back."""
        if self.prm_updates.are_warming_up(global_step):
            return 0.0
        coef = scheduled_coef(self.config, min(global_step / max(self.max_steps - 1, 1), 1.0))
        return coef * self.alarms.process_reward_factor

    def ppo_train(self, global_steps: int) -> dict[str, float]:
        self.status.begin("the update")
        self.gpus.take("update")
        self.prm_updates.begin()
        status = super().ppo_train(global_steps)
        self.prm_updates.finish(self.experience_maker.process_rewards)
        self._check_finite(status)
        return status

    def _check_finite(self, status: dict[str, float]) -> None:
        """Raises: RuntimeError where the update has made nothing of the policy; it is not saved and not sent then."""
        if math.isfinite(status["policy_loss"]):
            return
        raise RuntimeError(
            f"the policy's loss is {status['policy_loss']}, and its weights are of no use any more: a smaller "
            f"--actor.adam.lr, or --actor.max_norm. {last_good(self.config.ckpt.path)}"
        )

    def broadcast_to_vllm(self) -> None:
        """Upstream's hook after an update, and when a run is resumed."""
        self.status.begin("the weight sync")
        self.samples_generator.weights_changed()

    def save_logs_and_checkpoints(
        self,
        global_step: int,
        logs_dict: dict[str, float] | None = None,
        client_states: JsonObject | None = None,
    ) -> None:
        """Called by upstream's loop once a step: write the metrics, then let upstream log and save."""
        client_states = client_states or {}
        client_states["data_loader_state_dict"] = self.samples_generator.data_state()
        client_states["kl_coef"] = self.kl_ctl.value
        metrics = self._metrics_of_step(global_step, logs_dict or {})
        check_declared(metrics)
        self.run.write_metrics(global_step, metrics)
        for sink in self.sinks:
            sink.log(global_step, metrics)
        self.status.step_done(global_step, metrics)
        # Before the step is saved, so that a run that goes on from there has the step's evaluation and best checkpoint;
        # upstream's loop would make them after it.
        if global_step % self.args.eval.steps == 0 and self.eval_dataloader:
            self.status.begin("the evaluation")
            self.save_best_checkpoint(self._measure(global_step), global_step, {**client_states})
        self.status.begin("the checkpoint")
        save_steps = self.args.ckpt.save_steps
        if self.is_stopping and save_steps != math.inf:
            save_steps = 1
        if global_step % save_steps == 0:
            self.prm_updates.save(f"global_step{global_step}")
        with replaced(self.args.ckpt, "save_steps", save_steps):
            super().save_logs_and_checkpoints(global_step, metrics, client_states)
        prune_hf_folders(Path(self.config.ckpt.path), self.config.ckpt.max_num)
        self.prm_updates.prune()
        if self.is_stopping:
            self.samples_generator.stop()
        self.status.begin("generation")

    def _metrics_of_step(self, global_step: int, logs: dict[str, float]) -> dict[str, float]:
        """Of all who have a part in a step; with the alarms that they raise, and what follows from these."""
        status = {**logs, **self.engines.metrics}
        metrics = {
            ours: float(status[theirs]) for theirs, ours in STATUS_KEYS.items() if theirs in status
        }
        metrics |= self.experience_maker.metrics | self.samples_generator.metrics
        metrics |= self.prm_updates.metrics
        metrics |= self.gpus.drain_metrics()
        if self.config.uses_prm:
            metrics["reward/process_reward_coef"] = self.experience_maker.process_reward_coef
        metrics["rollout/engines_replaced"] = float(self.engines.num_replaced)
        metrics["data/prompts_dropped"] = float(self.num_dropped)
        metrics["timing/step"] = time.perf_counter() - self.step_start
        turns = self.gpus.drain_turns()
        if self.profiler is not None:
            self.profiler.step_done(global_step, turns)
        metrics |= timing_per_kilotoken(metrics)
        self.step_start = time.perf_counter()
        metrics["alarm/raised"] = float(self.watch({"step": global_step, **metrics}))
        return metrics

    def save_best_checkpoint(
        self,
        eval_metrics: dict[str, float],
        global_step: int,
        client_states: JsonObject | None = None,
    ) -> None:
        """Upstream's hook after an evaluation: it saves where the metric is the best so far, and so does the PRM."""
        if eval_metrics.get(SELECTION_METRIC, -math.inf) > self.best_eval_metric_value:
            self.prm_updates.save(f"best_global_step{global_step}")
        super().save_best_checkpoint(eval_metrics, global_step, client_states)
        self.prm_updates.prune()

    def watch(self, row: dict[str, float]) -> int:
        """Raise the alarms that begin at this step, and do what they ask for; returns how many there are."""
        verdict = self.alarms.observe(row)
        self.status.raise_alarms(*verdict.records)
        if verdict.roll_back_to is not None:
            tag = f"global_step{verdict.roll_back_to}"
            self.gpus.take("update")  # it brings back the optimiser's states too
            ray.get(self.actor_model_group.async_run_method("roll_back", tag=tag))
            self.prm_updates.roll_back(tag)
            self.samples_generator.discard()
        elif verdict.stop:
            self.samples_generator.stop()
        return len(verdict.records)

    def evaluate(self, global_step: int, **generate_kwargs: object) -> dict[str, float]:
        """Upstream's hook of `--eval.steps`: it was done before the step was saved."""
        return {}

    def _measure(self, global_step: int) -> dict[str, float]:
        """Greedy pass@1; the best checkpoint is kept by `SELECTION_METRIC`."""
        self.samples_generator.settle()
        logs = self.greedy.after_step(global_step)
        # the two backends put eval/ in front
        logged = {key.removeprefix("eval/"): value for key, value in logs.items()}
        for backend in (self.wandb_logger, self.tensorboard_logger):
            if backend:
                backend.log_eval(global_step, logged)
        for sink in self.sinks:
            sink.log(global_step, logs)
        self.step_start = time.perf_counter()
        return logs


def planned_steps(config: PureConfig, num_prompts: int) -> int:
    """Rollout-and-update steps of the run: --max_steps, or fewer where the episodes end first."""
    return min(
        config.max_steps, num_prompts // config.rollout.batch_size * config.train.num_episodes
    )
