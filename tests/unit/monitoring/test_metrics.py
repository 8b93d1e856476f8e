"""The metric table, and the rollout metrics on batches small enough to compute by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from pure_rlhf.monitoring.metric_table import METRICS, check_declared
from pure_rlhf.monitoring.rollout_metrics import (
    GROUP_ACCURACY_BINS,
    ability_metrics,
    count_reflections,
    repetition_score,
    rollout_metrics,
    timing_per_kilotoken,
)
from pure_rlhf.types import StepSpans

NAN = math.nan


def batch(**changes: Any) -> dict[str, Any]:
    """Two prompts with two answers each; 2, 1, 3 and 2 steps; the second prompt has no known
    answer.
    """
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0]]).bool()
    steps = StepSpans(
        end_BS=torch.tensor([[1, 3, 0], [2, 0, 0], [0, 1, 2], [1, 2, 0]]),
        mask_BS=mask,
        content_tokens_BS=torch.tensor([[1, 1, 0], [2, 0, 0], [0, 0, 1], [4, 2, 0]]),
        truncated_B=torch.tensor([False, False, False, True]),
    )
    arguments: dict[str, Any] = {
        "steps": steps,
        "step_rewards_BS": torch.tensor(
            [[0.8, -0.4, 9.0], [0.5, 9.0, 9.0], [0.1, 0.1, -0.3], [-0.2, 0.6, 9.0]]
        ),
        "process_return_B": torch.tensor([-0.4, 0.5, -0.3, -0.2]),
        "verifiable_reward_B": torch.tensor([1.0, 0.0, NAN, NAN]),
        "response_length_B": torch.tensor([4, 3, 3, 8]),
        "truncated_B": torch.tensor([False, False, False, True]),
        "action_mask_BA": torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]]).bool(),
        "kl_BA": torch.tensor([[0.1, 0.3, 5.0], [0.2, 5.0, 5.0], [5.0, 5.0, 5.0], [0.2, 5.0, 5.0]]),
        "policy_log_probs_BA": -torch.tensor(
            [[1.0, 2.0, 9.0], [3.0, 9.0, 9.0], [9.0] * 3, [1.0, 9.0, 9.0]]
        ),
        "engine_log_probs_BA": -torch.tensor(
            [[1.1, 1.9, 0.0], [3.0, 0.0, 0.0], [0.0] * 3, [1.4, 0.0, 0.0]]
        ),
        "group_size": 2,
    }
    return arguments | changes


def test_values_by_hand() -> None:
    expected = {
        "rollout/num_answers": 4,
        "rollout/response_length": 4.5,
        "rollout/response_length_min": 3,
        "rollout/response_length_correct": 4,
        "rollout/response_length_wrong": 3,
        "rollout/truncated_frac": 0.25,
        "rollout/truncated_frac_correct": 0,
        "rollout/truncated_frac_wrong": 0,
        "policy/kl_reference": 0.2,
        "pure/steps_per_answer": 2,
        "pure/steps_per_answer_max": 3,
        "pure/single_step_frac": 0.25,
        "pure/zero_step_frac": 0,
        "pure/tokens_per_step": 11 / 8,
        "pure/empty_step_frac": 2 / 8,
        "pure/worst_step_position": (1 + 1 + 0) / 3,
        "reward/step_reward": (0.8 - 0.4 + 0.5 + 0.1 + 0.1 - 0.3 - 0.2 + 0.6) / 8,
        "reward/worst_step": (-0.4 + 0.5 - 0.3 - 0.2) / 4,
        "reward/process_return": -0.1,
        "reward/process_return_std": (0.45 + 0.05) / 2,
        "reward/answered_frac": 0.5,
        "reward/verifiable_accuracy": 0.5,
        "reward/prm_verifier_agreement": 0.0,
        "reward/false_positive_frac": 0.5,
        "reward/no_signal_group_frac": 0.0,
        "reward/group_pass_frac": 1.0,
        # p = 0.3 and right, p = 0.75 and wrong
        "reward/prm_calibration_error": (0.7 + 0.75) / 2,
        "prm_calibration/0.0-0.2/answers": 0,
        "prm_calibration/0.2-0.4/answers": 1,
        "prm_calibration/0.2-0.4/accuracy": 1.0,
        "prm_calibration/0.4-0.6/answers": 0,
        "prm_calibration/0.6-0.8/answers": 1,
        "prm_calibration/0.6-0.8/accuracy": 0.0,
        "prm_calibration/0.8-1.0/answers": 0,
        "group/accuracy_none": 0,
        "group/accuracy_low": 0,
        "group/accuracy_middle": 1.0,
        "group/accuracy_high": 0,
        "group/accuracy_all": 0,
        "sync/log_prob_gap": (0.1 + 0.1 + 0.0 + 0.4) / 4,
        "sync/log_prob_gap_max": 0.4,
        "sync/importance_ratio_mean": (math.exp(0.1) + math.exp(-0.1) + 1 + math.exp(0.4)) / 4,
        "sync/importance_ratio_max": math.exp(0.4),
    }
    metrics = rollout_metrics(**batch())
    assert metrics == pytest.approx(expected, abs=1e-6)


def test_every_emitted_key_is_declared() -> None:
    check_declared(rollout_metrics(**batch()))
    check_declared(["eval/held_out/pass@1", "timing/step"])


@pytest.mark.parametrize("key", ["reward/proces_return", "eval/a/b/pass@1", "eval/pass@1", ""])
def test_undeclared_key_is_named(key: str) -> None:
    with pytest.raises(KeyError, match="undeclared"):
        check_declared(["timing/step", key])


def test_without_prm_and_without_answers_nothing_is_nan() -> None:
    metrics = rollout_metrics(
        **batch(
            step_rewards_BS=None,
            process_return_B=torch.zeros(4),
            verifiable_reward_B=torch.full((4,), NAN),
            kl_BA=None,
            engine_log_probs_BA=None,
        )
    )
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["reward/answered_frac"] == 0
    assert metrics["reward/no_signal_group_frac"] == 1
    absent = {
        "reward/process_return",
        "reward/step_reward",
        "reward/worst_step",
        "pure/worst_step_position",
        "reward/verifiable_accuracy",
        "reward/prm_verifier_agreement",
        "reward/group_pass_frac",
        "policy/kl_reference",
        "sync/log_prob_gap",
        "rollout/response_length_correct",
    }
    assert not absent & set(metrics)


def test_no_action_token_means_no_token_metric() -> None:
    metrics = rollout_metrics(**batch(action_mask_BA=torch.zeros(4, 3, dtype=torch.bool)))
    assert not {"policy/kl_reference", "sync/log_prob_gap", "sync/log_prob_gap_max"} & set(metrics)


def test_nan_of_the_engine_is_absent_not_nan() -> None:
    metrics = rollout_metrics(**batch(engine_log_probs_BA=torch.full((4, 3), NAN)))
    assert not [key for key, value in metrics.items() if not math.isfinite(value)]


def test_group_without_signal() -> None:
    """The first group earns the same everywhere, the second differs in the verifier only."""
    metrics = rollout_metrics(
        **batch(
            process_return_B=torch.full((4,), 0.5),
            verifiable_reward_B=torch.tensor([1.0, 1.0, 0.0, 1.0]),
        )
    )
    assert metrics["reward/no_signal_group_frac"] == 0.5
    assert metrics["reward/group_pass_frac"] == 1.0


def test_group_accuracies_by_hand() -> None:
    """Eight answers a prompt: 0, 1, 2, 3, 5, 6, 8 right; the last prompt has no known answer."""
    counts = (0, 1, 2, 3, 5, 6, 8)
    verified = [[1.0] * right + [0.0] * (8 - right) for right in counts] + [[NAN] * 8]
    four = batch(verifiable_reward_B=None)
    fields: dict[str, Any] = {
        key: torch.cat([value] * 16) if isinstance(value, torch.Tensor) else value
        for key, value in four.items()
    }
    fields |= {
        "steps": StepSpans(**{k: torch.cat([v] * 16) for k, v in vars(four["steps"]).items()}),
        "verifiable_reward_B": torch.tensor(verified).flatten(),
        "group_size": 8,
    }
    metrics = rollout_metrics(**fields)
    shares = [metrics[f"group/accuracy_{name}"] for name in GROUP_ACCURACY_BINS]
    assert shares == pytest.approx([1 / 7, 2 / 7, 2 / 7, 1 / 7, 1 / 7])
    assert metrics["reward/verifiable_accuracy"] == pytest.approx(sum(counts) / 56)


def test_calibration_by_hand() -> None:
    """Returns beyond the ends count as p = 0 and p = 1; two answers share the uppermost range."""
    metrics = rollout_metrics(
        **batch(
            process_return_B=torch.tensor([3.0, 0.8, -7.0, 0.0]),
            verifiable_reward_B=torch.tensor([1.0, 0.0, 0.0, 1.0]),
        )
    )
    # 0.8-1.0: p 1 and 0.9, one of two right; 0.0-0.2: p 0, wrong; 0.4-0.6: p 0.5, right
    assert metrics["prm_calibration/0.8-1.0/accuracy"] == 0.5
    assert metrics["prm_calibration/0.8-1.0/answers"] == 2
    assert metrics["prm_calibration/0.0-0.2/accuracy"] == 0.0
    assert metrics["prm_calibration/0.4-0.6/accuracy"] == 1.0
    assert "prm_calibration/0.2-0.4/accuracy" not in metrics
    assert metrics["reward/prm_calibration_error"] == pytest.approx((0.9 + 0 + 0.5) / 4)


def test_answers_cut_by_the_limit_and_empty_answers() -> None:
    arguments = batch(
        truncated_B=torch.tensor([False, True, False, True]),
        verifiable_reward_B=torch.tensor([1.0, 1.0, 0.0, 0.0]),
    )
    content = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 0, 0], [4, 2, 0]])
    arguments["steps"] = dataclasses.replace(arguments["steps"], content_tokens_BS=content)
    metrics = rollout_metrics(**arguments)
    assert metrics["rollout/truncated_frac_correct"] == 0.5
    assert metrics["rollout/truncated_frac_wrong"] == 0.5
    assert metrics["pure/zero_step_frac"] == 0.5


def test_reflections_by_hand() -> None:
    # "retry again" holds two of the patterns; "recheck" needs a comma or a space after it
    assert count_reflections("Wait, let's check: However, RETRY again. Let's verify\nrecheck") == 6
    assert count_reflections("try again; rethink\nit, recheck, alternatively,") == 4
    assert count_reflections("Await no one; waits, however") == 0
    metrics = rollout_metrics(**batch(texts=["wait, wait,", "", "", "however, x"]))
    assert metrics["rollout/reflection_patterns"] == 0.75
    check_declared(metrics)


def test_timing_per_kilotoken() -> None:
    row = {"rollout/num_answers": 100.0, "rollout/response_length": 20.0, "timing/generation": 3.0}
    found = timing_per_kilotoken(row | {"timing/policy_update": 1.0})
    assert found == {
        "timing/generation_per_kilotoken": 1.5,
        "timing/policy_update_per_kilotoken": 0.5,
    }
    check_declared(found)
    assert timing_per_kilotoken(row | {"rollout/response_length": 0.0}) == {}


def test_order_of_groups_does_not_matter() -> None:
    order = torch.tensor([2, 3, 0, 1])
    arguments = batch()
    steps = arguments["steps"]
    shuffled: dict[str, Any] = {
        key: value[order] if isinstance(value, torch.Tensor) else value
        for key, value in arguments.items()
    }
    shuffled["steps"] = StepSpans(
        end_BS=steps.end_BS[order],
        mask_BS=steps.mask_BS[order],
        content_tokens_BS=steps.content_tokens_BS[order],
        truncated_B=steps.truncated_B[order],
    )
    assert rollout_metrics(**shuffled) == pytest.approx(rollout_metrics(**arguments))


def test_uneven_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="4 answers do not form groups of 3"):
        rollout_metrics(**batch(group_size=3))


def test_table_is_complete() -> None:
    for key, metric in METRICS.items():
        assert key == metric.key
        assert metric.meaning and metric.bad_sign
        assert "/" in key


def test_repetition_by_hand() -> None:
    ids = torch.tensor([[9, 5, 6, 5, 6, 5, 0], [1, 2, 3, 4, 5, 6, 7], [3, 3, 3, 3, 3, 3, 3]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 1, 0], [1] * 7, [0, 0, 0, 0, 0, 0, 1]])
    # 56 65 56 65: two of four are new; no 2-gram twice; one token has no 2-gram
    assert repetition_score(ids, mask, 2).tolist() == [0.5, 0.0, 0.0]
    assert repetition_score(ids[:, :1], mask[:, :1], 2).tolist() == [0.0, 0.0, 0.0]


def test_repetition_agrees_with_counting() -> None:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 3, (20, 60), generator=generator)
    lengths = torch.randint(1, 61, (20,), generator=generator)
    mask = torch.arange(60) < lengths[:, None]
    expected = []
    for row, length in zip(ids.tolist(), lengths.tolist(), strict=True):
        grams = [tuple(row[at : at + 4]) for at in range(length - 3)]
        expected.append(1 - len(set(grams)) / len(grams) if grams else 0.0)
    assert repetition_score(ids, mask, 4).tolist() == pytest.approx(expected)


def test_accuracy_by_ability_where_there_are_programs() -> None:
    reward_B = torch.tensor([1.0, 0.0, math.nan, 1.0, 0.5, math.nan])
    is_program_B = torch.tensor([False, False, False, True, True, True])
    found = ability_metrics(reward_B, is_program_B)
    assert found == {"reward/accuracy_math": 0.5, "reward/accuracy_code": 0.5}
    check_declared(found)
    assert ability_metrics(reward_B, torch.zeros(6, dtype=torch.bool)) == {}
    assert ability_metrics(reward_B[3:], is_program_B[3:]) == {"reward/accuracy_code": 0.5}


def test_a_program_that_passes_some_tests_is_wrong() -> None:
    """It earns a share; correct is what passes all."""
    rewards_B, lengths_B = torch.tensor([1.0, 0.5, 0.0, math.nan]), torch.tensor([10, 20, 40, 80])
    changes = {"verifiable_reward_B": rewards_B, "response_length_B": lengths_B}
    found = rollout_metrics(**batch(**changes))
    assert found["rollout/response_length_correct"] == 10
    assert found["rollout/response_length_wrong"] == 30
    assert found["reward/verifiable_accuracy"] == pytest.approx(1 / 3)
