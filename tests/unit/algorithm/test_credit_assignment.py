"""Each credit assignment against numbers worked out by hand, and its limits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pure_rlhf.algorithm.credit_assignment import (
    CREDIT_ASSIGNMENTS,
    CreditSettings,
    assign_credit,
)

NAN = float("nan")


def settings_of(method: str, temperature: float = 0.1, gamma: float = 1.0) -> CreditSettings:
    return CreditSettings(
        credit_assignment=method, credit_temperature=temperature, credit_gamma=gamma
    )


def credit(rewards: list[float], method: str, **settings: float) -> list[float]:
    row = torch.tensor([rewards])
    mask = torch.ones_like(row, dtype=torch.bool)
    return assign_credit(row, mask, settings_of(method, **settings))[0].tolist()


def random_batch(num_steps: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rewards = torch.rand(20, num_steps, generator=generator) * 2 - 1
    counts = torch.randint(1, num_steps + 1, (20, 1), generator=generator)
    return rewards, torch.arange(num_steps) < counts


@pytest.mark.parametrize(
    ("rewards", "temperature", "expected_sum"),
    [
        ([0.8, -0.4], 0.1, -0.39999263),
        ([0.9, 0.8, -0.6, 0.7], 0.1, -0.599995),
        ([0.9, 0.8, -0.6, 0.7], 1.0, -0.00639),
        ([0.9, 0.8, -0.6, 0.7], 0.01, -0.6),
        ([0.2, 0.1, 0.0], 0.1, 0.042479),
    ],
)
def test_softmin_sums(rewards: list[float], temperature: float, expected_sum: float) -> None:
    total = sum(credit(rewards, "softmin", temperature=temperature))
    assert total == pytest.approx(expected_sum, abs=2e-6)


def test_softmin_credits() -> None:
    # exp(-0.8 / 0.1) : exp(0.4 / 0.1) = 1 : e^12, so 0.8 / (1 + e^12) and -0.4 / (1 + e^-12).
    assert credit([0.8, -0.4], "softmin") == pytest.approx([4.9153e-06, -0.39999754], rel=1e-4)
    # Weights e^-2 : e^-1 : 1. The middle step earns more than the better first one.
    assert credit([0.2, 0.1, 0.0], "softmin") == pytest.approx([0.018006, 0.024473, 0], abs=1e-6)
    # T = 1 / ln 3 makes the weights 3^-0.5 : 3^0.5 = 1 : 3.
    assert credit([0.5, -0.5], "softmin", temperature=0.9102392266) == pytest.approx(
        [0.125, -0.375]
    )


def test_the_other_methods() -> None:
    rewards = [0.8, -0.4, 0.6, -0.4]
    assert credit(rewards, "sum") == pytest.approx(rewards)
    assert credit(rewards, "mean") == pytest.approx([0.2, -0.1, 0.15, -0.1])
    assert credit(rewards, "min") == pytest.approx([0, -0.4, 0, 0])  # the first of equal minima
    # gamma = 0.5: G_4 = -0.4, G_3 = 0.6 - 0.2 = 0.4, G_2 = -0.4 + 0.2 = -0.2, G_1 = 0.8 - 0.1 =
    # 0.7; the credits are 0.7 + 0.2, -0.2 - 0.4, 0.4 + 0.4, -0.4.
    assert credit(rewards, "gamma_decay", gamma=0.5) == pytest.approx([0.9, -0.6, 0.8, -0.4])
    assert credit(rewards, "gamma_decay", gamma=1.0) == pytest.approx(rewards)


def test_credits_of_log_sum_exp_share_out_its_value() -> None:
    # T = 1 / ln 3: the weights of 0.5 and -0.5 are 1 : 3, and V = -T ln((3^-0.5 + 3^0.5) / 2)
    # = -T ln(2 / 3^0.5) = 0.5 - T ln 2 = 0.5 - 0.630930
    assert credit([0.5, -0.5], "log_sum_exp", temperature=0.9102392266) == pytest.approx(
        [-0.130930 / 4, -0.130930 * 3 / 4], abs=1e-6
    )
    assert sum(credit([0.9, -0.2, 0.6], "log_sum_exp")) == pytest.approx(-0.090174, abs=1e-6)


def test_the_value_of_log_sum_exp_rises_with_every_reward_and_that_of_softmin_does_not() -> None:
    rewards, mask = random_batch()
    for step in range(3):
        better = rewards.clone()
        better[:, step] += 0.1
        values = [
            assign_credit(r, mask, settings_of("log_sum_exp", temperature=0.3)).sum(1)
            for r in (rewards, better)
        ]
        assert (values[1] > values[0])[mask[:, step]].all()
    assert sum(credit([1.0, 0.0], "softmin")) < sum(credit([0.9, 0.0], "softmin"))
    assert sum(credit([1.0, 0.0], "log_sum_exp")) > sum(credit([0.9, 0.0], "log_sum_exp"))


def test_log_sum_exp_goes_from_min_to_mean() -> None:
    rewards, mask = random_batch()
    totals = {
        (method, temperature): assign_credit(
            rewards, mask, settings_of(method, temperature=temperature)
        ).sum(1)
        for method, temperature in (
            ("min", 1.0),
            ("mean", 1.0),
            ("log_sum_exp", 1e-5),
            ("log_sum_exp", 1e6),
            ("log_sum_exp", 1e30),
        )
    }
    lowest, mean = totals["min", 1.0], totals["mean", 1.0]
    torch.testing.assert_close(totals["log_sum_exp", 1e-5], lowest, atol=1e-4, rtol=0)
    torch.testing.assert_close(totals["log_sum_exp", 1e6], mean)
    torch.testing.assert_close(totals["log_sum_exp", 1e30], mean)


def test_suffix_sums_of_min_are_the_returns_of_the_paper() -> None:
    rewards, mask = random_batch()
    credits = assign_credit(rewards, mask, settings_of("min"))
    for row in range(len(rewards)):
        existing = rewards[row, mask[row]].tolist()
        worst = existing.index(min(existing))
        for step in range(len(existing)):
            expected = min(existing[step:]) if step <= worst else 0.0
            assert credits[row, step:].sum().item() == pytest.approx(expected)


def test_softmin_becomes_min_as_temperature_goes_to_zero() -> None:
    rewards, mask = random_batch()
    softmin = assign_credit(rewards, mask, settings_of("softmin", temperature=1e-5))
    torch.testing.assert_close(softmin, assign_credit(rewards, mask, settings_of("min")))


def test_softmin_becomes_mean_as_temperature_goes_to_infinity() -> None:
    rewards, mask = random_batch()
    softmin = assign_credit(rewards, mask, settings_of("softmin", temperature=1e6))
    torch.testing.assert_close(softmin, assign_credit(rewards, mask, settings_of("mean")))


def test_sum_of_softmin_lies_between_min_and_mean() -> None:
    rewards, mask = random_batch()
    totals = {
        method: assign_credit(rewards, mask, settings_of(method)).sum(1)
        for method in ("min", "softmin", "mean")
    }
    assert (totals["min"] <= totals["softmin"] + 1e-6).all()
    assert (totals["softmin"] <= totals["mean"] + 1e-6).all()


@pytest.mark.parametrize("method", CREDIT_ASSIGNMENTS)
def test_padding_batch_order_and_split_change_nothing(method: str) -> None:
    rewards, mask = random_batch()
    whole = assign_credit(rewards, mask, settings_of(method, gamma=0.9))
    wider = assign_credit(
        torch.nn.functional.pad(rewards, (0, 5), value=NAN),
        torch.nn.functional.pad(mask, (0, 5)),
        settings_of(method, gamma=0.9),
    )
    torch.testing.assert_close(wider, torch.nn.functional.pad(whole, (0, 5)))
    backwards = assign_credit(rewards.flip(0), mask.flip(0), settings_of(method, gamma=0.9))
    torch.testing.assert_close(backwards, whole.flip(0))
    pieces = [
        assign_credit(
            rewards[start : start + 3], mask[start : start + 3], settings_of(method, gamma=0.9)
        )
        for start in range(0, len(rewards), 3)
    ]
    torch.testing.assert_close(torch.cat(pieces), whole)
    assert whole[~mask].eq(0).all()


@pytest.mark.parametrize("method", CREDIT_ASSIGNMENTS)
def test_one_step_is_worth_its_reward(method: str) -> None:
    assert credit([-0.3], method, gamma=0.5) == pytest.approx([-0.3])


@pytest.mark.parametrize(
    ("method", "expected_sum"),
    # 200 equal rewards r = -0.25. gamma_decay: r (1 - 0.5^200) / (1 - 0.5) = 2 r.
    [
        ("softmin", -0.25),
        ("min", -0.25),
        ("mean", -0.25),
        ("sum", -50),
        ("gamma_decay", -0.5),
        ("log_sum_exp", -0.25),
    ],
)
def test_two_hundred_equal_steps(method: str, expected_sum: float) -> None:
    credits = credit([-0.25] * 200, method, gamma=0.5)
    assert sum(credits) == pytest.approx(expected_sum, rel=1e-4)
    if method in ("softmin", "mean", "log_sum_exp"):
        assert credits == pytest.approx([-0.25 / 200] * 200)


def test_extreme_temperatures_stay_finite() -> None:
    for temperature in (1e-30, 1e30):
        assert all(
            map(torch.isfinite, torch.tensor(credit([1, -1], "softmin", temperature=temperature)))
        )


def test_bfloat16_rewards_give_float32_credit() -> None:
    rewards = torch.tensor([[0.5, -0.5]], dtype=torch.bfloat16)
    result = assign_credit(rewards, torch.ones(1, 2, dtype=torch.bool), settings_of("sum"))
    assert result.dtype == torch.float32


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_a_reward_that_is_not_finite_is_refused_with_its_answer(bad: float) -> None:
    rewards, mask = random_batch()
    rewards[3, 0] = rewards[7, 0] = bad
    rewards[5, :] = torch.where(mask[5], rewards[5], bad)  # no step there: no complaint
    with pytest.raises(ValueError, match=r"responses \[3, 7\] of 20"):
        assign_credit(rewards, mask, settings_of("softmin"))


def test_an_unknown_method_falls_through_to_none_of_the_others() -> None:
    rewards, mask = random_batch()
    with pytest.raises(
        ValueError, match="must be one of softmin, min, sum, gamma_decay, mean, log_sum_exp, or"
    ):
        assign_credit(rewards, mask, settings_of("max"))


TOY = """
def halves(rewards_BS, mask_BS, settings):
    return rewards_BS / 2 + settings.credit_gamma - 1


def one_number(rewards_BS, mask_BS, settings):
    return rewards_BS.sum(dim=1)
"""


def test_a_function_of_a_file_of_the_users(tmp_path: Path) -> None:
    file = tmp_path / "toy.py"
    file.write_text(TOY)
    assert credit([0.5, -0.5], f"{file}:halves", gamma=0.5) == [-0.25, -0.75]
    # where there is no step there is no credit, whatever the function says
    rewards, mask = random_batch()
    result = assign_credit(rewards, mask, settings_of(f"{file}:halves", gamma=0.5))
    assert result[~mask].eq(0).all()
    for function, message in (
        ("one_number", r"of shape \(1, 2\); got \(1,\)"),
        ("thirds", "has no function thirds"),
    ):
        with pytest.raises(ValueError, match=message):
            credit([0.5, -0.5], f"{file}:{function}")
    with pytest.raises(ValueError, match="there is no file"):
        credit([0.5, -0.5], f"{tmp_path}/none.py:halves")
