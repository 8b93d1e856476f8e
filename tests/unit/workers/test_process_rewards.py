"""PRIME's worked batch through the real experience maker: upstream's calls of the workers, our rewards and rows."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from torch import Tensor

from pure_rlhf import cpu_host

cpu_host.install()

from openrlhf.trainer.ppo_utils.experience import Experience  # noqa: E402

from pure_rlhf.algorithm.step_segmentation import split_steps  # noqa: E402
from pure_rlhf.config import ActorConfig, PureConfig, RolloutConfig, TrainConfig  # noqa: E402
from pure_rlhf.config import convention_defaults as defaults_of  # noqa: E402
from pure_rlhf.monitoring.metric_table import check_declared  # noqa: E402
from pure_rlhf.prm.step_labels import HeldOutRows, LabelledRows, LabelledSteps  # noqa: E402
from pure_rlhf.types import ImplicitRows, PrmInputs, StepRows, StepSpans  # noqa: E402
from pure_rlhf.workers.experience_maker import PureExperienceMaker  # noqa: E402
from pure_rlhf.workers.gpu_turns import OwnGpus  # noqa: E402
from pure_rlhf.workers.process_rewards import make_process_rewards  # noqa: E402
from pure_rlhf.workers.upstream import upstream_args  # noqa: E402
from tests.unit.algorithm.prime_batch import OUTCOMES, RESPONSES, Q  # noqa: E402
from tests.unit.algorithm.test_prime_advantages import EQUATION_5_ADVANTAGES  # noqa: E402
from tests.unit.workers.test_experience_maker import Reader, Tokenizer  # noqa: E402

REFERENCE = -1.5  # nats, of every token


class Group:
    """Two ranks: `value_of(response, place)` is what their model says of a token."""

    def __init__(self, value_of: Any) -> None:
        self.value_of = value_of
        self.forwards: list[torch.Size] = []
        self.appended: list[Any] = []

    def async_run_method_batch(self, method_name: str, **columns: list[Any]) -> list[list[Tensor]]:
        if method_name == "append":
            self.appended = columns["rows"]
            return []
        assert method_name == "forward"
        found = [self._forward(ids) for ids in columns.get("sequences", columns.get("input_ids"))]
        half = -(-len(found) // 2)
        return [found[:half], found[half:]]

    def async_run_method(self, method_name: str) -> list[None]:
        return []

    def _forward(self, ids: Tensor) -> Tensor:
        self.forwards.append(ids.shape)
        values = torch.zeros(len(ids), ids.shape[1] - 1)
        for row, tokens in enumerate(ids.tolist()):
            response = next(
                n
                for n, answer in enumerate(RESPONSES)
                if tokens[2 : 2 + len(answer)] == answer and not any(tokens[2 + len(answer) :])
            )
            for place in range(len(RESPONSES[response])):
                values[row, 1 + place] = self.value_of(response, place)
        return values


class Verifier:
    def __init__(self, outcomes: list[float]) -> None:
        self.outcomes = outcomes

    def drain_counters(self) -> dict[str, float]:
        return {}


def samples(outcomes: list[float]) -> list[Experience]:
    """The four responses, which a curriculum has graded."""
    made = []
    for answer, outcome in zip(RESPONSES, outcomes, strict=True):
        ids = torch.tensor([[3, 3, *answer]])
        mask = torch.tensor([[0] + [1] * len(answer)])
        made.append(
            Experience(
                sequences=ids,
                attention_mask=torch.ones_like(ids),
                action_mask=mask,
                rollout_log_probs=torch.full(mask.shape, -0.5),
                response_length=torch.tensor([len(answer)]),
                total_length=torch.tensor([ids.shape[1]]),
                truncated=torch.tensor([False]),
                rewards=torch.zeros(1),
                scores=torch.tensor([outcome]),
                prompts=["p"],
                labels=["l"],
                info={},
            )
        )
    return made


def make(
    monkeypatch: pytest.MonkeyPatch,
    *,
    prm: Group,
    outcomes: list[float] = OUTCOMES,
    fit_prm: Any = None,
    files: LabelledRows | None = None,
    label_steps: Any = None,
    **changes: Any,
) -> tuple[PureExperienceMaker, list[Experience]]:
    monkeypatch.setattr(ray, "get", lambda reference: reference)
    monkeypatch.setattr(ray, "put", lambda value: value)
    config = defaults_of("prime")
    values: dict[str, Any] = {
        "process_reward": "implicit",
        "prm_update": "outcome",
        "actor": ActorConfig(num_gpus_per_node=2),
        "rollout": RolloutConfig(
            batch_size=1, n_samples_per_prompt=4, micro_batch_size=2, temperature=1.0
        ),
        "train": TrainConfig(batch_size=4, micro_batch_size=1),
    }
    values = {**{name: getattr(config, name) for name in vars(config)}, **values, **changes}
    config = PureConfig(**values)
    policy = Group(lambda response, place: -1.0)
    maker = PureExperienceMaker(
        policy,
        None,
        prm,
        Group(lambda response, place: REFERENCE),
        SimpleNamespace(value=0.0),
        SimpleNamespace(args=upstream_args(config)),
        Tokenizer(),
        settings=config,
        group_size=4,
        max_response_tokens=8,
        verifier=Verifier(outcomes),
        split=functools.partial(split_steps, separator_ids=[9], eos_token_ids=[1]),
        make_rewards=functools.partial(
            make_process_rewards, reader=Reader(), files=files or LabelledRows()
        ),
        gpus=OwnGpus(),
        label_steps=label_steps,
        fit_prm=fit_prm,
    )
    return maker, maker.make_experience_batch(samples(outcomes))


def learnt() -> Group:
    return Group(lambda response, place: REFERENCE + Q[response][place])


def advantages_of(experiences: list[Experience]) -> list[list[float]]:
    """Of the tokens of each response, in the order of the rollout."""
    found = {
        index: experience.advantages[row, experience.action_mask[row].bool()].tolist()
        for experience in experiences
        for row, index in enumerate(experience.index)
    }
    return [found[index] for index in sorted(found)]


def test_implicit_rewards_become_the_advantages_of_equation_5(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reference's log-probabilities reach the rewards as they are, from the one forward that upstream asks for."""
    prm = learnt()
    maker, experiences = make(monkeypatch, prm=prm)
    for mine, expected in zip(advantages_of(experiences), EQUATION_5_ADVANTAGES, strict=True):
        assert mine == pytest.approx(expected, abs=5e-6)
    reference: Any = maker.initial_model_group
    assert (
        prm.forwards == reference.forwards == [torch.Size([2, 7]), torch.Size([2, 5])]
    )  # longest first
    assert maker.metrics["prm/pair_accuracy"] == 0.75
    assert maker.metrics["prm/largest_return"] == pytest.approx(0.7, abs=1e-6)
    # reports show what the steps of the text earn: -0.1 + 0.2 and 0.4 + 0.1 over the largest return
    assert maker.rollout_records[0]["step_rewards"] == pytest.approx([1 / 7, 5 / 7], abs=1e-4)


def test_rows_to_learn_from_go_to_the_ranks_with_their_outcomes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prm = learnt()
    outcomes = [1.0, float("nan"), 0.0, float("nan")]
    make(monkeypatch, prm=prm, outcomes=outcomes, reward_mode="PRM")
    rows: list[ImplicitRows] = prm.appended
    assert [row.sequences_BT[0, 2:].tolist() for row in rows] == RESPONSES  # cut to their width
    assert [row.weight_B.item() for row in rows] == [2.0, 0.0, 2.0, 0.0]
    assert [rows[index].outcome_B.item() for index in (0, 2)] == [1.0, 0.0]
    assert rows[3].reference_log_probs_BA.tolist() == [[0.0, REFERENCE, REFERENCE]]


def test_without_a_label_nothing_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    prm = learnt()
    maker, _ = make(monkeypatch, prm=prm, outcomes=[float("nan")] * 4, reward_mode="PRM")
    assert prm.appended == [] and "prm/pair_accuracy" not in maker.metrics
    frozen = learnt()
    make(monkeypatch, prm=frozen, prm_update="none")
    assert frozen.appended == []


@pytest.mark.parametrize("granularity", ["token", "step", "response"])
def test_at_its_start_it_pays_exactly_nothing(
    monkeypatch: pytest.MonkeyPatch, granularity: Any
) -> None:
    same = Group(lambda response, place: REFERENCE)
    maker, experiences = make(
        monkeypatch, prm=same, process_granularity=granularity, reward_mode="PRM"
    )
    assert maker.metrics["prm/drift"] == 0 and maker.metrics["prm/positive_reward_frac"] == 0
    assert all(not experience.advantages.any() for experience in experiences)


def test_update_first_scores_with_the_updated_prm(monkeypatch: pytest.MonkeyPatch) -> None:
    prm = Group(lambda response, place: REFERENCE)

    def fit() -> None:
        assert len(prm.appended) == 4
        prm.value_of = learnt().value_of

    maker, experiences = make(monkeypatch, prm=prm, fit_prm=fit)
    assert maker.metrics["prm/drift"] == 0  # of the PRM before its update
    assert advantages_of(experiences)[0] == pytest.approx(EQUATION_5_ADVANTAGES[0], abs=5e-6)


@pytest.mark.parametrize("update", ["outcome", "last_step"])
def test_a_classifier_gets_its_own_inputs_back(
    monkeypatch: pytest.MonkeyPatch, update: Any
) -> None:
    class Classifier(Group):
        def _forward(self, ids: Tensor) -> Tensor:
            return torch.full((len(ids), 3), 0.5)

    prm = Classifier(None)
    maker, _ = make(
        monkeypatch,
        prm=prm,
        process_reward="learned",
        prm_update=update,
        reward_mode="PRM",
        outcomes=[1.0, 0.0, float("nan"), 0.0],
    )
    rows: list[StepRows] = prm.appended
    assert [row.inputs.input_ids_BU[0, 2:].tolist() for row in rows] == RESPONSES
    assert [int(row.mask_BS.sum()) for row in rows] == [2, 2, 3, 1]
    if update == "outcome":
        assert all(row.labels_BS is None for row in rows)
        assert [row.weight_B.item() for row in rows] == pytest.approx([4 / 3, 4 / 3, 0, 4 / 3])
    else:
        # two right steps, the last step of two wrong responses: four labels on four responses
        assert [row.weight_B.item() for row in rows] == [1.0, 1.0, 0.0, 1.0]
        labels = [row.labels_BS for row in rows]
        assert [label[0].nansum().item() for label in labels if label is not None] == [2, 0, 0, 0]
    # equal rewards of equal steps tie: V = 0.5 for all
    assert maker.metrics["prm/outcome_accuracy"] == pytest.approx(1 / 3)


class Scores(Group):
    """A classifier that gives every step this reward."""

    def _forward(self, ids: Tensor) -> Tensor:
        self.forwards.append(ids.shape)
        return torch.full((len(ids), 3), 0.5)


def truth_of(batch: Experience, steps: StepSpans) -> LabelledSteps:
    """Of the steps of the four responses (2, 2, 3, 1) the first is right, the second a slip, a third not known."""
    nan = float("nan")
    labels_BS = torch.tensor([[1.0, 0.0, nan]] * 4).masked_fill(~steps.mask_BS, nan)
    defects = [[None, "a slip", None][:count] for count in steps.mask_BS.sum(1).tolist()]
    return LabelledSteps(labels_BS, defects)


def test_a_prm_learns_from_labels_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    learned = {"process_reward": "learned", "reward_mode": "PRM", "label_steps": truth_of}
    prm = Scores(None)
    maker, _ = make(
        monkeypatch, prm=prm, prm_update="step_labels", outcomes=[float("nan")] * 4, **learned
    )
    labels = [row.labels_BS for row in prm.appended]
    assert [label[0].nan_to_num(9).tolist() for label in labels] == [
        [1, 0, 9], [1, 0, 9], [1, 0, 9], [1, 9, 9]
    ]  # fmt: skip
    # seven labelled steps in four responses
    assert [row.weight_B.item() for row in prm.appended] == pytest.approx([4 / 7] * 4)
    assert maker.metrics["prm/step_f1"] == 0 and maker.metrics["prm/step_auc"] == 0.5
    assert maker.metrics["defect/a_slip"] == 0.75 and maker.metrics["prm/recall_a_slip"] == 0
    frozen, _ = make(monkeypatch, prm=Scores(None), prm_update="none", **learned)
    assert frozen.metrics["prm/step_auc"] == 0.5 and "prm/outcome_accuracy" not in frozen.metrics


def test_the_truth_of_steps_is_shown_whatever_the_rewards_are_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rewards of the steps of the text: response 0 earns -0.1 + 0.2 and 0.4 + 0.1; the second step is called right."""
    maker, _ = make(monkeypatch, prm=learnt(), label_steps=truth_of)
    assert maker.metrics["steps/right_frac"] == pytest.approx(4 / 7)
    assert maker.metrics["prm/recall_a_slip"] <= 2 / 3
    assert maker.rollout_records[0]["truth"] == [True, "a slip"]
    assert maker.rollout_records[2]["truth"] == [True, "a slip", None]
    check_declared(maker.metrics)


def test_held_out_rows_are_scored_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = PrmInputs(
        input_ids_BU=torch.ones(4, 4, dtype=torch.long),
        attention_mask_BU=torch.ones(4, 4, dtype=torch.long),
        read_index_BS=torch.zeros(4, 3, dtype=torch.long),
    )
    nan = float("nan")
    held_out = HeldOutRows(
        inputs, torch.tensor([[1, 1, 0], [0, nan, nan], [1, 0, nan], [1, nan, nan]])
    )
    prm = Scores(None)
    maker, _ = make(
        monkeypatch, prm=prm, process_reward="learned", reward_mode="PRM",
        files=LabelledRows(held_out=held_out),
    )  # fmt: skip
    prm.forwards.clear()
    assert maker.process_rewards.measure() == {"prm/held_out_f1": 0.0}, "it calls all steps right"
    assert sum(rows for rows, _ in prm.forwards) == 4
    prm._forward = lambda ids: torch.full((len(ids), 3), -0.5)  # type: ignore[method-assign]
    # three of the seven steps are wrong, and all are called wrong
    assert maker.process_rewards.measure() == {"prm/held_out_f1": pytest.approx(2 * 3 / (3 + 7))}
