"""Stages 1 to 4 on the driver: from sampled answers to per-token advantages. The one file to read first.

OpenRLHF's `train_step` calls `make_experience_batch`, then does the PPO update and the weight sync itself, so
the advantages are shipped per token and the update stays upstream's code.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray
import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker
from torch import Tensor

from pure_rlhf.algorithm.advantages import compute_advantages
from pure_rlhf.algorithm.implicit_reward import rewards_of_steps
from pure_rlhf.algorithm.settings import AdvantageSettings
from pure_rlhf.grading.pool import VerifierPool, verdict_code
from pure_rlhf.monitoring.records import RolloutRecord
from pure_rlhf.monitoring.rollout_metrics import rollout_metrics
from pure_rlhf.monitoring.rollout_records import rollout_records
from pure_rlhf.monitoring.step_truth import step_truth_metrics
from pure_rlhf.prm.step_labels import LabelledSteps
from pure_rlhf.types import Advantages, StepSpans
from pure_rlhf.workers.gpu_turns import OwnGpus
from pure_rlhf.workers.process_rewards import ProcessRewards, in_rollout_order
from pure_rlhf.workers.samples_generator import answer_texts

if TYPE_CHECKING:
    from openrlhf.trainer.ray.launcher import RayActorGroup


class PureExperienceMaker(RemoteExperienceMaker):
    """Upstream's log-probabilities and KL, PURE's rewards and advantages.

    Args (besides upstream's):
        settings: how rewards become advantages; the trainer's schedule sets the weight of the process rewards for
            each step in `process_reward_coef`.
        group_size: responses to each prompt.
        max_response_tokens: the length limit of a response.
        verifier: grades final answers.
        make_rewards: the process rewards of the run, for this maker's PRM.
        label_steps: says what is true of the steps (`--step_labeller`); None: nobody knows.
        fit_prm: trains the PRM before it scores (`--prm_update_order update_first`); None: it is trained later.
        split: the step rules, from sequences and their action mask to the steps.
        gpus: asked for the models' turn.
    After each batch, `metrics` and `rollout_records` hold what to log of it.
    """

    def __init__(
        self,
        *args: Any,
        settings: AdvantageSettings,
        group_size: int,
        max_response_tokens: int,
        verifier: VerifierPool,
        split: Callable[[Tensor, Tensor], StepSpans],
        make_rewards: Callable[[RemoteExperienceMaker], ProcessRewards],
        gpus: OwnGpus,
        label_steps: Callable[[Experience, StepSpans], LabelledSteps] | None = None,
        fit_prm: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(*args)
        self.settings = settings
        self.process_reward_coef = settings.process_reward_coef
        self.group_size = group_size
        self.max_response_tokens = max_response_tokens
        self.verifier = verifier
        self.split = split
        self.process_rewards = make_rewards(self)
        self.reference_results: list[ray.ObjectRef] = []
        self.label_steps = label_steps
        self.fit_prm = fit_prm
        self.gpus = gpus
        self.metrics: dict[str, float] = {}
        self.rollout_records: list[RolloutRecord] = []

    @torch.no_grad()
    def make_experience_batch(self, rollout_samples: list[Experience]) -> list[Experience]:
        self.metrics = {}
        self.gpus.take("score")
        batch = Experience.concat_experiences(rollout_samples, self.tokenizer.pad_token_id)
        steps = self.split(batch.sequences, batch.action_mask)  # 1 where each step ends
        texts = answer_texts(batch, self.tokenizer)
        micro_batches = self.split_rollout_samples(rollout_samples)
        with ThreadPoolExecutor(max_workers=1) as executor:
            grading = executor.submit(self._grade, batch, texts)  # 2b final answers
            # 2 process rewards, on the PRM workers; with the PRM on the policy's GPUs they are done here
            with self._timed("timing/score_prm"):
                self.process_rewards.start(batch, steps, micro_batches)
            with self._timed("timing/log_probs"):
                experiences = self.make_experience(micro_batches)  # log-probs, KL
            with self._timed("timing/score_prm"):
                spans, rewards_BS = self.process_rewards.finish(self.reference_results)
            with self._timed("timing/verify"):
                verdict_code_B = grading.result()
        verifiable_reward_B = (verdict_code_B > 0).float()
        verifiable_reward_B[verdict_code_B.isnan()] = math.nan
        truth = self.label_steps(batch, steps) if self.label_steps is not None else None
        with self._timed("timing/score_prm"):
            self.metrics |= self.process_rewards.learn(verifiable_reward_B, truth)
            if self.fit_prm is not None:
                self.fit_prm()
                self.process_rewards.start(batch, steps, micro_batches)
                spans, rewards_BS = self.process_rewards.finish(self.reference_results)
        with self._timed("timing/advantages"):
            advantages = compute_advantages(  # 3 credit and 4 advantages
                dataclasses.replace(self.settings, process_reward_coef=self.process_reward_coef),
                group_size=self.group_size,
                max_response_tokens=self.max_response_tokens,
                kl_coef=self.kl_ctl.value,
                step_rewards_BS=rewards_BS,
                steps=spans,
                verifiable_reward_B=verifiable_reward_B,
                kl_BA=_gather(experiences, "kl", batch.action_mask.shape),
                action_mask_BA=batch.action_mask.bool(),
            )
        with self._timed("timing/metrics"):
            self._record(
                batch,
                experiences,
                steps,
                # of the text, whatever the rewards were paid for
                None if rewards_BS is None else rewards_of_steps(rewards_BS, spans, steps),
                verifiable_reward_B,
                verdict_code_B,
                advantages,
                texts,
                truth,
            )
        _ship(experiences, advantages, verifiable_reward_B)
        return experiences

    def _grade(self, batch: Experience, texts: list[str]) -> Tensor:
        """The `verdict_code` of each answer; a curriculum has graded them already."""
        if batch.scores is not None:
            return batch.scores.float()
        return torch.tensor(
            [verdict_code(g) for g in self.verifier.grade_batch(texts, batch.labels)]
        )

    def _dispatch_forward(
        self, group: RayActorGroup, sync_condition: bool, **kwargs: Any
    ) -> list[ray.ObjectRef]:
        """Upstream's, which keeps of the reference's log-probabilities only the KL, clamped: an implicit PRM needs
        them as they are."""
        references = super()._dispatch_forward(group, sync_condition, **kwargs)
        if group is self.initial_model_group:
            self.reference_results = references
        return references

    def _record(
        self,
        batch: Experience,
        experiences: list[Experience],
        steps: StepSpans,
        step_rewards_BS: Tensor | None,
        verifiable_reward_B: Tensor,
        verdict_code_B: Tensor,
        advantages: Advantages,
        texts: list[str],
        truth: LabelledSteps | None,
    ) -> None:
        """Metrics of the whole batch, and a few answers for a person to read."""
        shape = batch.action_mask.shape
        self.metrics |= rollout_metrics(
            steps=steps,
            step_rewards_BS=step_rewards_BS,
            process_return_B=advantages.process_return_B,
            verifiable_reward_B=verifiable_reward_B,
            response_length_B=batch.response_length,
            truncated_B=batch.truncated,
            action_mask_BA=batch.action_mask.bool(),
            kl_BA=_gather(experiences, "kl", shape),
            policy_log_probs_BA=_gather(experiences, "action_log_probs", shape),
            engine_log_probs_BA=batch.rollout_log_probs,
            group_size=self.group_size,
            answer_ids_BA=batch.sequences[:, 1:],
            texts=texts,
        )
        self.metrics |= step_truth_metrics(truth, step_rewards_BS) if truth is not None else {}
        self.metrics |= self.verifier.drain_counters()
        self.rollout_records = rollout_records(
            self.args.pure.rollouts_per_step,
            group_size=self.group_size,
            prompts=batch.prompts,
            labels=batch.labels,
            texts=texts,
            sequences_BT=batch.sequences,
            action_mask_BA=batch.action_mask,
            steps=steps,
            step_rewards_BS=step_rewards_BS,
            verifiable_reward_B=verifiable_reward_B,
            verdict_code_B=verdict_code_B,
            truncated_B=batch.truncated,
            advantages=advantages,
            truth=truth,
            decode=self.tokenizer.decode,
        )

    @contextmanager
    def _timed(self, key: str) -> Iterator[None]:
        """Add the time that this takes to a metric."""
        start = time.perf_counter()
        yield
        self.metrics[key] = self.metrics.get(key, 0.0) + time.perf_counter() - start


def _gather(experiences: list[Experience], field: str, shape: torch.Size) -> Tensor:
    """A per-token field of all micro-batches as one `(B, A)` tensor in rollout order."""
    return in_rollout_order(experiences, [getattr(e, field) for e in experiences], shape)


def _ship(
    experiences: list[Experience], advantages: Advantages, verifiable_reward_B: Tensor
) -> None:
    """Write the advantages into the micro-batches, as the policy workers expect them."""
    reward_B = advantages.process_return_B + verifiable_reward_B.nan_to_num(0.0)
    for experience in experiences:
        rows, width = experience.index, experience.action_mask.shape[1]
        experience.advantages = advantages.advantages_BA[rows, :width].contiguous()
        experience.returns = advantages.returns_BA[rows, :width].contiguous()
        experience.rewards = reward_B[rows]
        experience.info["reward"] = reward_B[rows]  # upstream prints and averages it
        experience.info["return"] = advantages.token_rewards_BA[rows].sum(-1)
        experience.kl = None
