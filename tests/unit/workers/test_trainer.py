"""What the trainer adds to OpenRLHF's loop, without its workers: alarms acted on, greedy evaluation, the schedule."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pure_rlhf import cpu_host

cpu_host.install()

from openrlhf.trainer.ppo_trainer import BasePPOTrainer  # noqa: E402

from pure_rlhf.config import (  # noqa: E402
    CheckpointConfig,
    EvalConfig,
    PureConfig,
    RolloutConfig,
    TrainConfig,
)
from pure_rlhf.data import PromptRecord  # noqa: E402
from pure_rlhf.grading.pool import GradeResult  # noqa: E402
from pure_rlhf.monitoring.alarm_watch import AlarmSettings, AlarmWatch  # noqa: E402
from pure_rlhf.monitoring.metric_table import check_declared  # noqa: E402
from pure_rlhf.monitoring.run_directory import (  # noqa: E402
    RunDirectory,
    prune_prm_checkpoints,
)
from pure_rlhf.monitoring.run_status import RunStatus  # noqa: E402
from pure_rlhf.prm.learning import PrmConfig  # noqa: E402
from pure_rlhf.types import Completion  # noqa: E402
from pure_rlhf.workers import trainer as trainer_module  # noqa: E402
from pure_rlhf.workers.experience_parts import eos_token_ids  # noqa: E402
from pure_rlhf.workers.gpu_turns import OwnGpus  # noqa: E402
from pure_rlhf.workers.greedy_evaluation import GreedyEvaluation  # noqa: E402
from pure_rlhf.workers.prm_updates import PrmUpdates  # noqa: E402
from pure_rlhf.workers.rollout_engines import RolloutEngines  # noqa: E402
from pure_rlhf.workers.samples_generator import PureSamplesGenerator  # noqa: E402
from pure_rlhf.workers.trainer import PureTrainer, planned_steps  # noqa: E402

PROMPTS = [PromptRecord(n, f"q{n}", f"<q{n}>", [7, n], str(n)) for n in range(4)]


class Engines(PureSamplesGenerator):
    """Answers prompt n with n tokens; the last one is cut off."""

    def __init__(self, push: Callable[[], None]) -> None:
        self.steps_left = 5
        self.push = push

    def generate(self, prompts: list[PromptRecord], temperature: float) -> list[Completion]:
        assert temperature == 0.0
        return [Completion(n, [1] * n, [0.0] * n, n == 3) for n in range(len(prompts))]


class Verifier:
    """Prompts 1 and 2 are right; prompt 0 has no final answer."""

    def __init__(self) -> None:
        self.num_drained = 0

    def grade_batch(
        self, texts: list[str], labels: list[str], *, allow_asserts: bool
    ) -> list[GradeResult]:
        assert allow_asserts, "no reward is made of these"
        rule = {"1": "written", "2": "number"}
        return [
            GradeResult(extracted=None if label == "0" else label, rule=rule.get(label))
            for label in labels
        ]

    def drain_counters(self) -> dict[str, float]:
        self.num_drained += 1
        return {}


class Group:
    """The policy's workers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def async_run_method(self, method_name: str, **kwargs: Any) -> list[dict[str, float]]:
        self.calls.append((method_name, kwargs))
        return [{"sync/buckets": 1.0}]


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PureTrainer:
    monkeypatch.setattr(trainer_module.ray, "get", lambda reference: reference)
    made: Any = object.__new__(PureTrainer)
    made.config = PureConfig(
        process_reward_schedule="linear",
        alarm=AlarmSettings(window=1, limits=("policy/loss>1",), action="rollback"),
    )
    made.max_steps = 5
    made.run = RunDirectory(str(tmp_path))
    made.alarms = AlarmWatch(made.config.alarm, made.run)
    made.status = RunStatus(made.run, 5)
    made.gpus = OwnGpus()
    made.verifier = Verifier()
    made.actor_model_group, made.vllm_engines = Group(), []
    made.engines = RolloutEngines(
        [],
        policy=made.actor_model_group,
        gpus=made.gpus,
        start=lambda *_: None,
        most_replacements=0,
        tell=made.status.tell,
    )
    made.samples_generator = Engines(made.engines.push)
    made.prm_updates = PrmUpdates(None, made.config, max_steps=5, gpus=made.gpus, in_turns=False)
    made.greedy = GreedyEvaluation(
        made.samples_generator,
        made.verifier,
        SimpleNamespace(batch_decode=lambda rows, **_: [str(row) for row in rows]),
        made.run,
        held_out=PROMPTS,
        selection=[],
    )
    made.sinks, made.wandb_logger, made.tensorboard_logger = [], None, None
    return made


def rows(*losses: float) -> list[dict[str, float]]:
    return [{"step": step, "policy/loss": loss} for step, loss in enumerate(losses, start=1)]


def test_a_roll_back_loads_the_checkpoint_pushes_it_and_halves_the_weight(
    trainer: PureTrainer, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints/_actor/global_step2").mkdir(parents=True)
    (tmp_path / "checkpoints/_actor/global_step2/metric.json").touch()
    assert [trainer.watch(row) for row in rows(0, 0, 0, 2)] == [0, 0, 0, 1]
    group: Any = trainer.actor_model_group
    assert group.calls == [("roll_back", {"tag": "global_step2"}), ("broadcast_to_vllm", {})]
    # the schedule goes from 1 to 0 in four steps; half of it is left
    assert [trainer.process_reward_coef(step) for step in (0, 2, 4)] == [0.5, 0.25, 0.0]
    assert trainer.samples_generator.steps_left == 5
    assert [alarm["rolled_back_to"] for alarm in trainer.progress()["alarms"]] == [2]


def test_an_alarm_that_nothing_can_undo_ends_the_run(trainer: PureTrainer) -> None:
    assert [trainer.watch(row) for row in rows(0, 0, 0, 2)][-1] == 1
    assert trainer.samples_generator.steps_left == 0
    assert trainer.process_reward_coef(0) == 1.0


class LearningPrm(Group):
    """The workers of a PRM whose update gives this loss."""

    loss = 0.5

    def async_run_method(self, method_name: str, **kwargs: Any) -> list[dict[str, float]]:
        super().async_run_method(method_name, **kwargs)
        return [{"loss": self.loss, "grad_norm": 1.0, "learning_rate": 1e-6, "seconds": 2.0}]


class Rewards:
    """Process rewards of a PRM that is 0.9 on its held-out rows."""

    step = 0

    def measure(self) -> dict[str, float]:
        return {"prm/held_out_f1": 0.9}


@pytest.fixture
def learning(trainer: PureTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LearningPrm:
    made: Any = trainer
    made.config = dataclasses.replace(
        made.config,
        prm_update="outcome",
        prm=PrmConfig(warmup_steps=2),
        ckpt=CheckpointConfig(path=str(tmp_path / "checkpoints")),
    )
    group: Any = LearningPrm()
    made.prm_updates = PrmUpdates(group, made.config, max_steps=5, gpus=made.gpus, in_turns=False)
    made.experience_maker = SimpleNamespace(process_rewards=Rewards())
    made.best_eval_metric_value = 0.5
    monkeypatch.setattr(BasePPOTrainer, "ppo_train", lambda self, step: {"policy_loss": 0.0})
    monkeypatch.setattr(BasePPOTrainer, "save_best_checkpoint", lambda *_: None)
    return group


def test_a_prm_that_learns_is_updated_beside_the_policy(
    trainer: PureTrainer, learning: LearningPrm
) -> None:
    assert trainer.ppo_train(3) == {"policy_loss": 0.0}
    assert learning.calls == [("fit", {})]
    assert trainer.prm_updates.metrics == {
        "prm/loss": 0.5, "prm/grad_norm": 1.0, "prm/learning_rate": 1e-6, "timing/prm_update": 2.0,
        "prm/held_out_f1": 0.9,
    }  # fmt: skip
    check_declared(trainer.prm_updates.metrics)
    # in its warm-up it is not paid for; then the schedule's 1 - 2 / 4
    assert [trainer.process_reward_coef(step) for step in (0, 1, 2)] == [0, 0, 0.5]


def test_a_prm_that_learns_is_measured_now_and_then(
    trainer: PureTrainer, learning: LearningPrm
) -> None:
    """After the first step, after every --eval.steps, after the last."""
    trainer.prm_updates.config = dataclasses.replace(trainer.config, eval=EvalConfig(steps=3))
    rewards: Any = trainer.experience_maker.process_rewards
    measured = []
    for step in range(5):
        rewards.step = step
        trainer.ppo_train(step)
        measured.append("prm/held_out_f1" in trainer.prm_updates.metrics)
    assert measured == [True, False, True, False, True]


def test_a_prm_that_is_updated_first_is_not_updated_twice(
    trainer: PureTrainer, learning: LearningPrm
) -> None:
    updates = trainer.prm_updates
    updates.config = dataclasses.replace(trainer.config, prm_update_order="update_first")
    assert updates.come_first
    updates.fit_first()
    trainer.ppo_train(3)
    assert learning.calls == [("fit", {})] and trainer.prm_updates.metrics["prm/loss"] == 0.5


def test_a_loss_of_nan_names_the_last_good_checkpoint(
    trainer: PureTrainer, learning: LearningPrm, tmp_path: Path
) -> None:
    learning.loss = math.nan
    with pytest.raises(RuntimeError, match=r"gave loss nan.*Last good checkpoint: none was saved"):
        trainer.ppo_train(3)
    (tmp_path / "checkpoints/_actor/global_step2").mkdir(parents=True)
    (tmp_path / "checkpoints/_actor/global_step2/metric.json").touch()
    (tmp_path / "checkpoints/_actor/latest").write_text("global_step2")
    with pytest.raises(RuntimeError, match=r"checkpoint: .*/checkpoints/_actor/global_step2"):
        trainer.ppo_train(3)


def test_the_best_checkpoint_of_the_policy_has_its_prm(
    trainer: PureTrainer, learning: LearningPrm
) -> None:
    trainer.save_best_checkpoint({"eval/selection/pass@1": 0.4}, 6)
    assert learning.calls == []
    trainer.save_best_checkpoint({"eval/selection/pass@1": 0.6}, 8)
    assert learning.calls == [("save_checkpoint", {"tag": "best_global_step8"})]


def test_a_roll_back_is_one_of_both(
    trainer: PureTrainer, learning: LearningPrm, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints/_actor/global_step2").mkdir(parents=True)
    (tmp_path / "checkpoints/_actor/global_step2/metric.json").touch()
    for row in rows(0, 0, 0, 2):
        trainer.watch(row)
    assert learning.calls == [("roll_back", {"tag": "global_step2"})]


def test_checkpoints_of_a_prm_go_with_the_policys(tmp_path: Path) -> None:
    for name in ("_actor/global_step2", "_prm/global_step1", "_prm/global_step2"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "_prm/prm_reference.json").write_text("{}")
    assert [path.name for path in prune_prm_checkpoints(tmp_path)] == ["global_step1"]
    assert {path.name for path in (tmp_path / "_prm").iterdir()} == {
        "global_step2", "prm_reference.json"
    }  # fmt: skip


def test_greedy_evaluation(trainer: PureTrainer) -> None:
    found = trainer.greedy.grade(PROMPTS)
    low, high = found.pop("ci95")
    assert 0 < low < 0.5 < high < 1
    assert found == {
        "pass@1": 0.5, "n": 4, "truncated": 0.25, "no_answer": 0.25, "mean_tokens": 1.5
    }  # fmt: skip
    verifier: Any = trainer.verifier
    assert verifier.num_drained == 1, "these responses are not the next step's"


@pytest.mark.parametrize(("held_out", "selection"), [(4, 0), (0, 2), (4, 2)])
def test_evaluations_are_kept_and_choose_the_checkpoint(
    trainer: PureTrainer, tmp_path: Path, held_out: int, selection: int
) -> None:
    trainer.greedy.held_out, trainer.greedy.selection = PROMPTS[:held_out], PROMPTS[:selection]
    logs = trainer._measure(3)
    kept = json.loads((tmp_path / "evaluation.json").read_text())["step 3"]
    assert kept.get("n") == (held_out or None)
    assert kept.get("selection", {}).get("n") == (selection or None)
    expected = {"eval/held_out/pass@1": 0.5} if held_out else {}
    assert logs == expected | ({"eval/selection/pass@1": 0.5} if selection else {})


def test_a_policy_that_is_of_no_use_any_more_is_neither_sent_nor_saved(
    trainer: PureTrainer, learning: LearningPrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BasePPOTrainer, "ppo_train", lambda self, step: {"policy_loss": math.nan})
    with pytest.raises(RuntimeError, match=r"loss is nan.*Last good checkpoint: none was saved"):
        trainer.ppo_train(3)


def test_the_run_ends_with_the_prompts_or_with_max_steps() -> None:
    config = PureConfig(
        max_steps=7, rollout=RolloutConfig(batch_size=4), train=TrainConfig(num_episodes=3)
    )
    assert planned_steps(config, num_prompts=11) == 6  # two batches an episode
    assert planned_steps(config, num_prompts=100) == 7


def test_every_id_at_which_the_engine_stops(tmp_path: Path) -> None:
    assert eos_token_ids(str(tmp_path), 2) == [2]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 2]}))
    assert eos_token_ids(str(tmp_path), 2) == [2, 5]
