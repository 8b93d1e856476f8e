"""From sampled responses to shipped advantages on plain tensors: what the six responses of `six_answers.py` get."""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pure_rlhf import cpu_host

cpu_host.install()

from openrlhf.trainer.ppo_utils.experience import Experience  # noqa: E402

from pure_rlhf.algorithm.step_segmentation import split_steps  # noqa: E402
from pure_rlhf.config import ActorConfig, PureConfig, RewardConfig, RolloutConfig  # noqa: E402
from pure_rlhf.grading.pool import GradeResult  # noqa: E402
from pure_rlhf.prm.step_labels import LabelledRows  # noqa: E402
from pure_rlhf.types import PrmInputs, StepSpans  # noqa: E402
from pure_rlhf.workers.experience_maker import PureExperienceMaker  # noqa: E402
from pure_rlhf.workers.gpu_turns import OwnGpus  # noqa: E402
from pure_rlhf.workers.process_rewards import make_process_rewards  # noqa: E402
from pure_rlhf.workers.upstream import upstream_args  # noqa: E402
from tests.unit.algorithm.six_answers import (  # noqa: E402
    ANSWERS,
    KL,
    PROMPT_LENGTHS,
    SOLVED,
    STEP_REWARDS,
    TEMPERATURE,
    settings_for,
    six_answer_advantages,
)

PRM_SEPARATOR = 8


class Tokenizer:
    """Token n reads "n"."""

    pad_token_id = 0

    def decode(self, ids: Tensor, **_: Any) -> str:
        return " ".join(map(str, ids.tolist()))

    def batch_decode(self, rows: Any, **_: Any) -> list[str]:
        return [" ".join(map(str, torch.as_tensor(row).tolist())) for row in rows]


class Verifier:
    """Says what `SOLVED` says, by the rule "number"."""

    def grade_batch(self, texts: list[str], labels: list[str | None]) -> list[GradeResult | None]:
        verdicts = dict(zip("abcdef", SOLVED, strict=True))
        return [
            None
            if label is None or math.isnan(verdicts[label])
            else GradeResult(extracted=text, rule="number" if verdicts[label] else None)
            for text, label in zip(texts, labels, strict=True)
        ]

    def drain_counters(self) -> dict[str, float]:
        return {"verifier/timeouts": 0.0}


class Reader:
    """Sends the token ids as they are; reads where the steps end."""

    def read(self, batch: Experience, steps: StepSpans) -> PrmInputs:
        read = torch.where(steps.mask_BS, steps.end_BS + 1, 0)
        return PrmInputs(
            input_ids_BU=batch.sequences,
            attention_mask_BU=batch.attention_mask.long(),
            read_index_BS=read,
        )


class Maker(PureExperienceMaker):
    """With the models left out: the KL is `KL`, and the PRM knows its rewards by the token ids."""

    def make_experience(self, samples_list: list[Experience]) -> list[Experience]:
        for samples in samples_list:
            samples.kl = torch.zeros(samples.action_mask.shape)
            for row, index in enumerate(samples.index):
                mask = samples.action_mask[row].bool()
                samples.kl[row, mask] = torch.tensor(KL[index], dtype=torch.float32)
            samples.action_log_probs = samples.rollout_log_probs
        return samples_list

    def _dispatch_forward(self, group: Any, sync_condition: bool, **kwargs: Any) -> list[Tensor]:
        self.waited = sync_condition
        self.batch_tokens = [ids.numel() for ids in kwargs["input_ids"]]
        known = {
            tuple([3] * length + answer): rewards
            for length, answer, rewards in zip(PROMPT_LENGTHS, ANSWERS, STEP_REWARDS, strict=True)
        }
        found = []
        for ids, mask, read in zip(
            kwargs["input_ids"], kwargs["attention_mask"], kwargs["read_index"], strict=True
        ):
            rewards = torch.full(read.shape, 99.0)  # where there is no step anything may come
            for row in range(len(ids)):
                values = known[tuple(ids[row, mask[row].bool()].tolist())]
                rewards[row, : len(values)] = torch.tensor(values)
            found.append(rewards)
        return found

    def _flatten_results(self, refs: list[Tensor], duplicate_factor: int) -> list[Tensor]:
        return refs


def samples() -> list[Experience]:
    """One experience a response, as the samples generator makes them."""
    made = []
    for index, (length, answer) in enumerate(zip(PROMPT_LENGTHS, ANSWERS, strict=True)):
        ids = torch.tensor([[3] * length + answer])
        mask = torch.tensor([[0] * (length - 1) + [1] * len(answer)])
        made.append(
            Experience(
                sequences=ids,
                attention_mask=torch.ones_like(ids),
                action_mask=mask,
                rollout_log_probs=torch.full(mask.shape, -0.5),
                response_length=torch.tensor([len(answer)]),
                total_length=torch.tensor([ids.shape[1]]),
                truncated=torch.tensor([answer[-1] != 1]),
                index=[index],
                prompts=[f"prompt {index // 3}"],
                labels=["abcdef"[index]],
                info={},
            )
        )
    return made


def maker_for(config: PureConfig) -> Maker:
    strategy = SimpleNamespace(args=upstream_args(config))
    maker = Maker(
        None,
        None,
        "prm group" if config.uses_prm else None,
        None,
        SimpleNamespace(value=0.1),
        strategy,
        Tokenizer(),
        settings=config,
        group_size=3,
        max_response_tokens=8,
        verifier=Verifier(),
        split=functools.partial(split_steps, separator_ids=[9], eos_token_ids=[1]),
        make_rewards=functools.partial(
            make_process_rewards,
            reader=Reader() if config.uses_prm else None,
            files=LabelledRows(),
        ),
        gpus=OwnGpus(),
    )
    return maker


def config_for(**changes: Any) -> PureConfig:
    values = {
        "credit_temperature": TEMPERATURE,
        "normalize": False,
        "rollout": RolloutConfig(micro_batch_size=2, n_samples_per_prompt=3),
        "reward": RewardConfig(max_tokens_per_batch=16),
    }
    return PureConfig(**{**values, **changes})


def shipped(maker: Maker) -> list[Experience]:
    return maker.make_experience_batch(samples())


@pytest.mark.parametrize("mode", ["PRM", "VR", "PRMVR"])
def test_advantages_reach_their_response(mode: Any) -> None:
    """Whatever order the PRM's batches had, and however the responses are cut into micro-batches."""
    maker = maker_for(config_for(reward_mode=mode))
    expected, action_mask = six_answer_advantages(settings_for("openrlhf", reward_mode=mode))
    experiences = shipped(maker)
    assert [len(e.index) for e in experiences] == [2, 2, 2]
    for experience in experiences:
        for row, index in enumerate(experience.index):
            mine = experience.advantages[row, experience.action_mask[row].bool()]
            torch.testing.assert_close(mine, expected.advantages_BA[index, action_mask[index]])
        assert experience.kl is None  # upstream would log it a second time
    if mode != "VR":
        assert len(maker.batch_tokens) > 1 and max(maker.batch_tokens) <= 16


def test_what_is_logged_and_kept_of_a_batch() -> None:
    maker = maker_for(config_for())
    shipped(maker)
    records = maker.rollout_records
    assert len(records) == 6
    assert [record["group"] for record in records] == [0, 0, 0, 1, 1, 1]
    assert records[0]["steps"] == ["5 9", "6 1"] and records[0]["step_rewards"] == [0.5, -0.5]
    assert [record["verifiable_reward"] for record in records] == [1, 0, 1, None, None, None]
    assert [record["accepted_by"] for record in records[:3]] == ["number", None, "number"]
    assert [record["truncated"] for record in records] == [False, True] + [False] * 4
    assert maker.metrics["reward/verifiable_accuracy"] == pytest.approx(2 / 3)
    assert maker.metrics["verifier/timeouts"] == 0
    timings = {key for key in maker.metrics if key.startswith("timing/")}
    stages = ("log_probs", "score_prm", "verify", "advantages", "metrics")
    assert timings == {f"timing/{stage}" for stage in stages}


def test_the_weight_of_the_process_rewards_is_the_schedules() -> None:
    """Halved, it halves what the PRM alone gives."""
    mode = {"reward_mode": "PRM", "algo": PureConfig().algo}
    whole, half = maker_for(config_for(**mode)), maker_for(config_for(**mode))
    half.process_reward_coef = 0.5
    for maker in (whole, half):
        maker.kl_ctl.value = 0.0
    for full, halved in zip(shipped(whole), shipped(half), strict=True):
        torch.testing.assert_close(full.advantages, 2 * halved.advantages)


def test_a_curriculum_has_graded_already() -> None:
    maker = maker_for(config_for())

    def refuse(*_: Any) -> None:
        raise AssertionError("graded twice")

    maker.verifier.grade_batch = refuse  # type: ignore[method-assign]
    graded = samples()
    for sample, verdict in zip(graded, SOLVED, strict=True):
        sample.scores = torch.tensor([verdict])
    maker.make_experience_batch(graded)
    assert maker.metrics["reward/verifiable_accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("backend", "waits"), [("transformers", True), ("vllm", False)])
def test_a_prm_with_a_gpu_of_its_own_is_not_waited_for(backend: Any, waits: bool) -> None:
    """Models that share the memory of a GPU run one after the other."""
    maker = maker_for(config_for(reward=RewardConfig(backend=backend)))
    maker.args.train.colocate_actor_ref = True
    shipped(maker)
    assert maker.waited == waits


def comparable(experiences: list[Experience], maker: Maker) -> list[Any]:
    """What the update gets, and the metrics that are no times."""
    tensors = [
        (
            e.index,
            e.sequences.tolist(),
            e.advantages.tolist(),
            e.returns.tolist(),
            e.rewards.tolist(),
        )
        for e in experiences
    ]
    metrics = {key: value for key, value in maker.metrics.items() if "timing/" not in key}
    return [tensors, repr(metrics), repr(maker.rollout_records)]


@pytest.mark.parametrize("mode", ["PRM", "VR", "PRMVR"])
def test_scored_early_or_late_the_numbers_are_the_same(mode: Any) -> None:
    """To the last digit; the second group comes first."""
    changes: dict[str, Any] = {
        "reward_mode": mode,
        "rollout": RolloutConfig(
            micro_batch_size=1, n_samples_per_prompt=3, batch_size=2, score_parts=2
        ),
        "actor": ActorConfig(num_gpus_per_node=1),
        "reward": RewardConfig(num_gpus_per_node=1, max_tokens_per_batch=16),
    }
    late, early = maker_for(config_for(**changes)), maker_for(config_for(**changes))
    assert early.part_rows == 3
    expected = comparable(shipped(late), late)
    for _ in range(2):  # and the next rollout knows nothing of this one
        rollout = samples()
        parts = early.begin_rollout()
        parts.add(1, rollout[3:])
        early._scorer.wait()
        assert [part.first for part in early._parts.values()] == [3]
        parts.add(0, rollout[:3])
        assert comparable(early.make_experience_batch(rollout), early) == expected
        assert early.metrics["timing/log_probs_hidden"] > 0
    assert "timing/log_probs_hidden" not in late.metrics


def test_a_rollout_that_could_not_be_filled_leaves_nothing() -> None:
    changes: dict[str, Any] = {
        "rollout": RolloutConfig(
            micro_batch_size=1, n_samples_per_prompt=3, batch_size=2, score_parts=2
        ),
        "actor": ActorConfig(num_gpus_per_node=1),
        "reward": RewardConfig(num_gpus_per_node=1),
    }
    maker, other = maker_for(config_for(**changes)), maker_for(config_for(**changes))
    maker.begin_rollout().add(0, samples()[:3])
    maker.begin_rollout()
    assert comparable(shipped(maker), maker) == comparable(shipped(other), other)
