"""Stages 1 to 4 on the driver: from sampled answers to per-token advantages. The one file to read first.

OpenRLHF's `train_step` calls `make_experience_batch`, then does the PPO update and the weight sync itself, so
the advantages are shipped per token and the update stays upstream's code.
"""

from __future__ import annotations

import dataclasses
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

from code_sandbox.problems import Problem
from pure_rlhf import cpu_host
from pure_rlhf.algorithm.advantages import compute_advantages
from pure_rlhf.algorithm.implicit_reward import rewards_of_steps
from pure_rlhf.algorithm.settings import AdvantageSettings
from pure_rlhf.algorithm.step_segmentation import join_steps
from pure_rlhf.grading.pool import verdict_code
from pure_rlhf.grading.verifier import Verifier
from pure_rlhf.monitoring.records import RolloutRecord
from pure_rlhf.monitoring.rollout_metrics import ability_metrics, rollout_metrics
from pure_rlhf.monitoring.rollout_records import rollout_records
from pure_rlhf.monitoring.step_truth import step_truth_metrics
from pure_rlhf.prm.step_labels import LabelledSteps
from pure_rlhf.types import Advantages, StepSpans
from pure_rlhf.workers.gpu_turns import OwnGpus
from pure_rlhf.workers.process_rewards import Answered, ProcessRewards, in_rollout_order
from pure_rlhf.workers.rollout_parts import (
    PartScorer,
    PartsInTheMaking,
    RolloutPart,
    groups_in_part,
    micro_batches_by_length,
    rows_of_all_ranks,
)
from pure_rlhf.workers.samples_generator import answer_texts, rewards_of_codes

if TYPE_CHECKING:
    from openrlhf.trainer.ray.launcher import RayActorGroup

    from pure_rlhf.config import PureConfig


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
        verifier: Verifier,
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
        config: PureConfig = self.args.pure
        self.most_parts = config.score_parts(on_gpus=not cpu_host.is_cpu_host())
        self.part_rows = group_size * groups_in_part(
            num_groups=config.rollout.batch_size,
            group_size=group_size,
            unit_rows=rows_of_all_ranks(config),
            most_parts=self.most_parts,
        )
        self._parts: dict[int, RolloutPart] = {}  # of the rollout that is being written
        self._scorer = PartScorer(self._score)
        self._grading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grade")
        self._reference_results: list[ray.ObjectRef] = []
        self._reference: list[Answered] = []
        self._times: list[tuple[str, float, float]] = []
        self.scores_early = False
        self.label_steps = label_steps
        self.fit_prm = fit_prm
        self.gpus = gpus
        self.metrics: dict[str, float] = {}
        self.rollout_records: list[RolloutRecord] = []

    def begin_rollout(self) -> PartsInTheMaking:
        """Takes the groups of the next rollout as they are written, and has them scored meanwhile."""
        self.scores_early = True
        self._scorer.wait()  # for what was begun of a rollout that could not be filled
        self._parts.clear()
        self._reference.clear()
        self._times.clear()
        self.process_rewards.forget()
        num_groups = self.args.rollout.batch_size
        return PartsInTheMaking(num_groups, self.part_rows // self.group_size, self._begin)

    def _begin(self, first: int, samples: list[Experience]) -> None:
        """Have a part of the rollout graded and scored."""
        batch = Experience.concat_experiences(samples, self.tokenizer.pad_token_id)
        texts = answer_texts(batch, self.tokenizer)
        micro_batches = self.split_rollout_samples(samples)
        for micro_batch in micro_batches:
            micro_batch.index = [first + row for row in micro_batch.index]
        self._parts[first] = part = RolloutPart(
            first=first,
            samples=samples,
            batch=batch,
            texts=texts,
            steps=self.split(batch.sequences, batch.action_mask),  # 1 where each step ends
            micro_batches=micro_batches,
            verdict_codes=self._grading.submit(self._grade, batch, texts),  # 2b final answers
        )
        self._scorer.put(part)

    def split_rollout_samples(self, rollout_samples: list[Experience]) -> list[Experience]:
        """Upstream's, with micro-batches of responses that are alike in length, so that less of them is padding."""
        config: PureConfig = self.args.pure
        if config.train.dynamic_batch_enable:
            return super().split_rollout_samples(rollout_samples)
        plan = micro_batches_by_length(
            [int(sample.total_length) for sample in rollout_samples],
            micro_batch_size=config.rollout.micro_batch_size,
            num_ranks=config.training_gpus,
        )
        for row, sample in enumerate(rollout_samples):
            sample.index = [row]
        return [
            Experience.concat_experiences(
                [rollout_samples[row] for row in rows], self.tokenizer.pad_token_id
            )
            for rows in plan
        ]

    @torch.no_grad()
    def _score(self, parts: list[RolloutPart]) -> None:
        """In a thread of its own, under generation: what the models say of some parts."""
        # 2 process rewards, on the PRM workers; with the PRM on the policy's GPUs they are done here
        with self._spent("timing/score_prm"):
            self.process_rewards.start(parts)
        micro_batches = [micro_batch for part in parts for micro_batch in part.micro_batches]
        with self._spent("timing/log_probs"):
            self.make_experience(micro_batches)  # log-probs, KL
        self._reference.append((micro_batches, self._reference_results))

    @torch.no_grad()
    def make_experience_batch(self, rollout_samples: list[Experience]) -> list[Experience]:
        self.metrics = {}
        generation_ended = time.perf_counter()
        self.gpus.take("score")
        for first in range(0, len(rollout_samples), self.part_rows):
            if first not in self._parts:
                self._begin(first, rollout_samples[first : first + self.part_rows])
        parts = [self._parts.pop(first) for first in sorted(self._parts)]
        scored = [sample for part in parts for sample in part.samples]
        assert all(one is other for one, other in zip(scored, rollout_samples, strict=True))
        batch = Experience.concat_experiences(rollout_samples, self.tokenizer.pad_token_id)
        steps = join_steps([part.steps for part in parts])
        texts = [text for part in parts for text in part.texts]
        self._scorer.wait()
        self._take_times(generation_ended)
        experiences = [micro_batch for part in parts for micro_batch in part.micro_batches]
        reference, self._reference = self._reference, []
        with self._timed("timing/score_prm"):
            spans, rewards_BS = self.process_rewards.finish(batch, steps, reference)
        with self._timed("timing/verify"):
            verdict_code_B = torch.cat([part.verdict_codes.result() for part in parts])
        verifiable_reward_B = rewards_of_codes(verdict_code_B)
        truth = self.label_steps(batch, steps) if self.label_steps is not None else None
        with self._timed("timing/score_prm"):
            self.metrics |= self.process_rewards.learn(verifiable_reward_B, truth)
            if self.fit_prm is not None:
                self.fit_prm()
                self.process_rewards.start(parts)
                spans, rewards_BS = self.process_rewards.finish(batch, steps, reference)
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
            self._reference_results = references
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
        is_program_B = torch.tensor([isinstance(label, Problem) for label in batch.labels])
        self.metrics |= ability_metrics(verifiable_reward_B, is_program_B)
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
    def _spent(self, key: str) -> Iterator[None]:
        """Keep when this began and ended, for `_take_times`."""
        start = time.perf_counter()
        yield
        self._times.append((key, start, time.perf_counter()))

    def _take_times(self, generation_ended: float) -> None:
        """What the step waited for, and what was done while the engines wrote."""
        times, self._times = self._times, []
        for key, start, end in times:
            hidden = min(max(generation_ended - start, 0.0), end - start)
            self._add(key, end - start - hidden)
            if self.scores_early:
                self._add(f"{key}_hidden", hidden)

    @contextmanager
    def _timed(self, key: str) -> Iterator[None]:
        """Add the time that this takes to a metric."""
        start = time.perf_counter()
        yield
        self._add(key, time.perf_counter() - start)

    def _add(self, key: str, seconds: float) -> None:
        self.metrics[key] = self.metrics.get(key, 0.0) + seconds


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
        # nobody reads them there, and tests may be large
        experience.labels = [None] * len(rows)  # pyright: ignore[reportAttributeAccessIssue]
