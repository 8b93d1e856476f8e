"""Stage 2 on the driver: what the responses of a rollout earn for their steps or tokens, and what the PRM learns.

Two makers of process rewards, so that `experience_maker.py` does not know what they are made of:

    LearnedRewards    a PRM scores steps (PURE)
    ImplicitRewards   log-ratios of a language model to the reference (PRIME)

A step of either: `start` sends parts of the rollout to the PRM's workers, `finish` waits for the rewards of all and the
spans that they are paid for, `learn` sends the same responses with their outcomes, for the workers' next `fit`.
`measure` asks the PRM of other rows.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ray
import torch
from torch import Tensor

from pure_rlhf.algorithm.implicit_reward import implicit_rewards, log_ratios
from pure_rlhf.algorithm.prm_losses import (
    last_step_labels,
    minimum_outcome_logits,
    outcome_weights,
    step_label_weights,
)
from pure_rlhf.algorithm.step_segmentation import response_spans, token_spans
from pure_rlhf.monitoring.prm_metrics import scoring_metrics
from pure_rlhf.prm.batching import (
    PrmBatches,
    cut_into_batches,
    join_inputs,
    join_plans,
    plan_training,
)
from pure_rlhf.prm.quality import step_metrics
from pure_rlhf.prm.step_labels import LabelledRows, LabelledSteps
from pure_rlhf.types import ImplicitRows, PrmInputs, StepRows, StepSpans

if TYPE_CHECKING:
    from openrlhf.trainer.ppo_utils.experience import Experience
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

    from pure_rlhf.config import PureConfig
    from pure_rlhf.workers.prm_reader import PrmReader
    from pure_rlhf.workers.rollout_parts import RolloutPart


Answered = tuple[Sequence["Experience"], list[ray.ObjectRef]]
"""Micro-batches, and what a group of workers gave for them."""


def in_rollout_order(
    micro_batches: Sequence[Experience], values: Sequence[Tensor], shape: torch.Size
) -> Tensor:
    """What the workers gave for each micro-batch as one `(B, A)` tensor in rollout order, float32, 0 where padded."""
    gathered = torch.zeros(shape)
    for micro_batch, found in zip(micro_batches, values, strict=True):
        gathered[micro_batch.index, : found.shape[1]] = found.float()
    return gathered


class ProcessRewards(ABC):
    """Process rewards of one rollout after the other.

    Args:
        maker: its groups of workers, and its way to call them.
    """

    def __init__(self, maker: RemoteExperienceMaker) -> None:
        self.maker = maker
        self.config: PureConfig = maker.args.pure
        self.group_size = self.config.rollout.n_samples_per_prompt
        self.step = 0  # of the run
        self.sent: list[Any] = []

    def forget(self) -> None:
        """Drop what was sent since the last `finish`."""
        self.sent.clear()

    @abstractmethod
    def start(self, parts: Sequence[RolloutPart]) -> None:
        """Send parts of a rollout to the PRM's workers, in one call; the rest comes in further ones."""

    @abstractmethod
    def finish(
        self, batch: Experience, steps: StepSpans, reference: Sequence[Answered]
    ) -> tuple[StepSpans, Tensor | None]:
        """Returns the spans that are paid and their rewards `(B, S)`; None where there is no PRM.

        Args:
            batch: all that was sent. steps: of its text. reference: what the reference's workers gave for it.
        """

    @abstractmethod
    def learn(self, outcome_B: Tensor, truth: LabelledSteps | None) -> dict[str, float]:
        """Send the rollout with its outcomes (NaN: not known), and the truth of its steps where that is known, to the
        workers; returns metrics of the PRM so far."""

    def measure(self) -> dict[str, float]:
        """Metrics of the PRM as it is now, on rows of its own."""
        return {}

    def _append(self, rows_of: Callable[[list[int]], ImplicitRows | StepRows], num: int) -> None:
        plan = plan_training(
            num,
            batch_size=self.config.prm_batch_size,
            micro_batch_size=self.config.prm_micro_batch_size,
            num_ranks=self.config.training_gpus,
        )
        rows = self._with_replay([rows_of(chosen) for chosen in plan], num)
        group = self.maker.reward_model_group
        ray.get(group.async_run_method_batch(method_name="append", rows=rows))

    def _with_replay(self, rows: list[Any], num: int) -> list[Any]:
        """The micro-batches of `num` responses with those of other rows between them."""
        return rows


class NoProcessRewards(ProcessRewards):
    """Mode VR."""

    def start(self, parts: Sequence[RolloutPart]) -> None:
        pass

    def finish(
        self, batch: Experience, steps: StepSpans, reference: Sequence[Answered]
    ) -> tuple[StepSpans, None]:
        return steps, None

    def learn(self, outcome_B: Tensor, truth: LabelledSteps | None) -> dict[str, float]:
        return {}


class LearnedRewards(ProcessRewards):
    """A PRM that scores the steps of the text.

    Args:
        reader: lays out responses for it. files: rows that it learns from besides, or is measured on.
    """

    def __init__(
        self, maker: RemoteExperienceMaker, reader: PrmReader, files: LabelledRows
    ) -> None:
        super().__init__(maker)
        self.reader = reader
        self.files = files

    def start(self, parts: Sequence[RolloutPart]) -> None:
        inputs = [self.reader.read(part.batch, part.steps) for part in parts]
        batches = [self._cut(of_part) for of_part in inputs]
        # waits for the end, so that models that share a GPU's memory do not run at once
        wait = self.maker.args.train.colocate_actor_ref and self.config.reward.backend != "vllm"
        self.sent.append((list(parts), inputs, batches, self._send(batches, wait=wait)))

    def finish(
        self, batch: Experience, steps: StepSpans, reference: Sequence[Answered]
    ) -> tuple[StepSpans, Tensor]:
        self.steps = steps
        self.rewards_BS = torch.zeros(steps.mask_BS.shape)
        read: dict[int, PrmInputs] = {}  # first row of a part -> what the PRM reads of it
        for parts, inputs, batches, references in self.sent:
            read |= {part.first: of_part for part, of_part in zip(parts, inputs, strict=True)}
            found = iter(self.maker._flatten_results(references, 1))
            for part, cut in zip(parts, batches, strict=True):
                mask_BS = part.steps.mask_BS
                rewards_BS = cut.collect(list(itertools.islice(found, len(cut.rows))), mask_BS)
                self.rewards_BS[part.rows, : mask_BS.shape[1]] = rewards_BS
        self.sent.clear()
        if self.config.learns_prm:
            self.inputs = join_inputs([read[first] for first in sorted(read)])
        return steps, self.rewards_BS

    def measure(self) -> dict[str, float]:
        held_out = self.files.held_out
        if held_out is None:
            return {}
        mask_BS = ~held_out.labels_BS.isnan()
        batches = self._cut(held_out.inputs)
        found = self.maker._flatten_results(self._send([batches], wait=True), 1)
        rewards_BS = batches.collect(found, mask_BS)
        f1 = step_metrics(rewards_BS[mask_BS], held_out.labels_BS[mask_BS])["f1_wrong_steps"]
        return {} if f1 is None else {"prm/held_out_f1": f1}

    def learn(self, outcome_B: Tensor, truth: LabelledSteps | None) -> dict[str, float]:
        if not self.config.learns_prm:
            return {}
        self._learn_from(outcome_B, None if truth is None else truth.labels_BS)
        return scoring_metrics(
            score_B=minimum_outcome_logits(
                self.rewards_BS, self.steps.mask_BS, temperature=self.config.credit_temperature
            ),
            outcome_B=outcome_B,
            rewards_BS=self.rewards_BS,
            mask_BS=self.steps.mask_BS,
            group_size=self.group_size,
        )

    def _learn_from(self, outcome_B: Tensor, truth_BS: Tensor | None) -> None:
        mask_BS = self.steps.mask_BS
        labels_BS = None
        if self.config.prm_update == "last_step":
            labels_BS = last_step_labels(outcome_B, mask_BS)
        elif self.config.prm_update == "step_labels":
            labels_BS = truth_BS
        weight_B = (
            outcome_weights(outcome_B) if labels_BS is None else step_label_weights(labels_BS)
        )
        inputs = self.inputs
        lengths_B = inputs.attention_mask_BU.sum(-1)

        def rows_of(rows: list[int]) -> StepRows:
            width = int(lengths_B[rows].max())
            return StepRows(
                inputs=PrmInputs(
                    input_ids_BU=inputs.input_ids_BU[rows, :width],
                    attention_mask_BU=inputs.attention_mask_BU[rows, :width],
                    read_index_BS=inputs.read_index_BS[rows],
                ),
                mask_BS=mask_BS[rows],
                outcome_B=outcome_B[rows],
                labels_BS=None if labels_BS is None else labels_BS[rows],
                weight_B=weight_B[rows],
            )

        if weight_B.any():
            self._append(rows_of, len(outcome_B))

    def _cut(self, inputs: PrmInputs) -> PrmBatches:
        reward = self.config.reward
        return cut_into_batches(
            inputs,
            max_tokens=reward.max_tokens_per_batch,
            num_ranks=reward.num_nodes * reward.num_gpus_per_node,
        )

    def _send(self, batches: Sequence[PrmBatches], *, wait: bool) -> list[ray.ObjectRef]:
        inputs = [part for cut in batches for part in cut.inputs]
        return self.maker._dispatch_forward(
            self.maker.reward_model_group,
            wait,
            input_ids=[part.input_ids_BU for part in inputs],
            attention_mask=[part.attention_mask_BU for part in inputs],
            read_index=[part.read_index_BS for part in inputs],
        )

    def _with_replay(self, rows: list[Any], num: int) -> list[Any]:
        if self.files.replay is None:
            return rows
        num_steps, num_ranks = num // self.config.prm_batch_size, self.config.training_gpus
        replayed = self.files.replay.draw(
            num_steps * self.config.prm_replay_rows,
            micro_batch_size=self.config.prm_micro_batch_size,
            step=self.step,
        )
        return join_plans(rows, replayed, num_ranks * num_steps)


class ImplicitRewards(ProcessRewards):
    """Log-ratios of a language model to the reference, summed over tokens, steps or responses."""

    def start(self, parts: Sequence[RolloutPart]) -> None:
        # The same micro-batches as the reference's: where both are the same model, the difference is exactly 0.
        micro_batches = [micro_batch for part in parts for micro_batch in part.micro_batches]
        references = self.maker._dispatch_forward(
            self.maker.reward_model_group,
            self.maker.args.train.colocate_actor_ref,
            sequences=[micro_batch.sequences for micro_batch in micro_batches],
            action_mask=[micro_batch.action_mask for micro_batch in micro_batches],
            attention_mask=[micro_batch.attention_mask for micro_batch in micro_batches],
        )
        self.sent.append((micro_batches, references))

    def finish(
        self, batch: Experience, steps: StepSpans, reference: Sequence[Answered]
    ) -> tuple[StepSpans, Tensor]:
        settings = self.config.prm
        self.batch = batch
        make_spans = {"token": token_spans, "response": response_spans}.get(self.config.granularity)
        self.spans = make_spans(steps, batch.action_mask) if make_spans else steps
        self.reference_BA = self._gather(reference)
        self.log_ratios_BA = log_ratios(
            self._gather(self.sent), self.reference_BA, self.batch.action_mask
        )
        self.paid = implicit_rewards(
            self.log_ratios_BA,
            self.spans,
            beta=settings.beta,
            normalization=settings.normalize,
            return_floor=settings.return_floor,
        )
        self.sent.clear()
        return self.spans, self.paid.rewards_BS

    def learn(self, outcome_B: Tensor, truth: LabelledSteps | None) -> dict[str, float]:
        batch, weight_B = self.batch, outcome_weights(outcome_B)
        lengths_B = batch.attention_mask.sum(-1)

        def rows_of(rows: list[int]) -> ImplicitRows:
            width = int(lengths_B[rows].max())
            return ImplicitRows(
                sequences_BT=batch.sequences[rows, :width],
                attention_mask_BT=batch.attention_mask[rows, :width],
                action_mask_BA=batch.action_mask[rows, : width - 1],
                reference_log_probs_BA=self.reference_BA[rows, : width - 1],
                outcome_B=outcome_B[rows],
                weight_B=weight_B[rows],
            )

        if self.config.learns_prm and weight_B.any():
            self._append(rows_of, len(outcome_B))
        return scoring_metrics(
            score_B=self.log_ratios_BA.sum(dim=1),
            outcome_B=outcome_B,
            rewards_BS=self.paid.rewards_BS,
            mask_BS=self.spans.mask_BS,
            group_size=self.group_size,
            log_ratios_BA=self.log_ratios_BA,
            action_mask_BA=batch.action_mask,
            largest_return=self.paid.largest_return,
        )

    def _gather(self, answered: Sequence[Answered]) -> Tensor:
        micro_batches = [micro_batch for sent, _ in answered for micro_batch in sent]
        values = [value for _, found in answered for value in self.maker._flatten_results(found, 1)]
        return in_rollout_order(micro_batches, values, self.batch.action_mask.shape)


def make_process_rewards(
    maker: RemoteExperienceMaker, *, reader: PrmReader | None, files: LabelledRows
) -> ProcessRewards:
    """Those of the run's settings, for the PRM of `maker`."""
    if maker.reward_model_group is None:
        return NoProcessRewards(maker)
    if maker.args.pure.uses_implicit_prm:
        return ImplicitRewards(maker)
    assert reader is not None, "a PRM without its reader"
    return LearnedRewards(maker, reader, files)
