"""What must hold for any batch: invariances, the bias of the step baseline, and refused input."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from pure_rlhf.algorithm.advantages import compute_advantages, length_penalty
from pure_rlhf.types import StepSpans
from tests.unit.algorithm.loop_reference import loop_advantages
from tests.unit.algorithm.six_answers import (
    arguments_for,
    lay_out,
    place,
    six_answer_advantages,
)

NAN = float("nan")
GROUP_SIZE = 4


def random_answers(num_answers: int = 24) -> list[list[int]]:
    """Answers of 1 to 30 tokens with separators anywhere; a third of them cut off."""
    generator = torch.Generator().manual_seed(0)
    answers = []
    for _ in range(num_answers):
        length = int(torch.randint(1, 31, (), generator=generator))
        tokens = torch.tensor([5, 6, 7, 9])
        answer = tokens[torch.randint(0, 4, (length,), generator=generator)].tolist()
        if torch.rand((), generator=generator) < 0.67:
            answer.append(1)
        answers.append(answer)
    return answers


def make_inputs(answers: list[list[int]], extra_padding: int = 0) -> dict[str, Any]:
    """Arguments of `compute_advantages`; what an answer gets depends on its tokens alone."""
    steps, action_mask = lay_out(answers, [2 + len(a) % 3 for a in answers], extra_padding)
    step_rewards = torch.full(steps.mask_BS.shape, NAN)
    kl_rows = []
    for row, answer in enumerate(answers):
        generator = torch.Generator().manual_seed(hash(tuple(answer)))
        count = int(steps.mask_BS[row].sum())
        step_rewards[row, :count] = torch.rand(count, generator=generator) * 2 - 1
        kl_rows.append(torch.randn(len(answer), generator=generator).tolist())
    solved = torch.tensor([float(len(answer) % 2) for answer in answers])
    solved[: len(solved) // GROUP_SIZE // 2 * GROUP_SIZE] = NAN
    return {
        "step_rewards_BS": step_rewards,
        "steps": steps,
        "verifiable_reward_B": solved,
        "kl_BA": place(kl_rows, action_mask),
        "action_mask_BA": action_mask,
    }


def settings_with(convention: str = "openrlhf", **changes: Any) -> dict[str, Any]:
    values = {"group_size": GROUP_SIZE, "kl_coef": 0.05, "max_response_tokens": 31}
    return arguments_for(convention, **{**values, **changes})


def changed(arguments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return arguments | {"settings": dataclasses.replace(arguments["settings"], **changes)}


SETTINGS = {
    "openrlhf": settings_with(),
    "verl": settings_with("verl"),
    "step": settings_with(reward_baseline="step", credit_assignment="sum"),
    "paper": settings_with(reward_baseline="return", credit_assignment="min"),
    "verl with mask": settings_with("verl", mask_separator=True, reward_mode="PRM"),
    "none": settings_with(reward_baseline="none", credit_assignment="mean", normalize=False),
    "VR": settings_with(reward_mode="VR", verifiable_reward_range="minus_one_one"),
    "reinforce token": settings_with(
        advantage_estimator="reinforce_baseline", process_reward_coef=0.3
    ),
    "reinforce return": settings_with("verl", advantage_estimator="reinforce_baseline"),
    "log sum exp": settings_with(credit_assignment="log_sum_exp"),
    "gamma decay": settings_with(credit_assignment="gamma_decay", credit_gamma=0.9),
    "group norm": settings_with(advantage_estimator="group_norm", reward_baseline="none"),
    "group norm verl": settings_with(
        "verl", advantage_estimator="group_norm", reward_baseline="none"
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_equals_the_plain_loop(name: str) -> None:
    inputs = make_inputs(random_answers())
    ours = compute_advantages(**SETTINGS[name], **inputs).advantages_BA
    expected = loop_advantages(**SETTINGS[name], **inputs).float()
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=2e-5)
    assert ours[~inputs["action_mask_BA"]].eq(0).all()


@pytest.mark.parametrize("name", SETTINGS)
def test_padding_changes_nothing(name: str) -> None:
    answers = random_answers()
    inputs = make_inputs(answers)
    padded = make_inputs(answers, extra_padding=7)
    outside = ~padded["action_mask_BA"]
    padded["kl_BA"] = padded["kl_BA"].masked_fill(outside, NAN)  # never to be read
    padded["step_rewards_BS"] = torch.nn.functional.pad(padded["step_rewards_BS"], (0, 2))
    padded["steps"] = pad_steps(padded["steps"], 2)
    reference = compute_advantages(**SETTINGS[name], **inputs)
    result = compute_advantages(**SETTINGS[name], **padded)
    pad = torch.nn.functional.pad
    torch.testing.assert_close(result.advantages_BA, pad(reference.advantages_BA, (0, 7)))
    torch.testing.assert_close(result.returns_BA, pad(reference.returns_BA, (0, 7)))
    torch.testing.assert_close(result.process_return_B, reference.process_return_B)


def pad_steps(steps: StepSpans, count: int) -> StepSpans:
    pad = torch.nn.functional.pad
    return dataclasses.replace(
        steps,
        end_BS=pad(steps.end_BS, (0, count)),
        mask_BS=pad(steps.mask_BS, (0, count)),
        content_tokens_BS=pad(steps.content_tokens_BS, (0, count)),
    )


def take_rows(inputs: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    taken: dict[str, Any] = {
        name: value[rows] for name, value in inputs.items() if isinstance(value, Tensor)
    }
    steps = inputs["steps"]
    fields = {field.name: getattr(steps, field.name)[rows] for field in dataclasses.fields(steps)}
    return {**taken, "steps": StepSpans(**fields)}


@pytest.mark.parametrize("name", SETTINGS)
def test_order_of_prompts_and_of_answers_changes_nothing(name: str) -> None:
    inputs = make_inputs(random_answers())
    order = [group * GROUP_SIZE + place for group in (3, 0, 5, 1, 4, 2) for place in (2, 0, 3, 1)]
    whole = compute_advantages(**SETTINGS[name], **inputs).advantages_BA
    shuffled = compute_advantages(**SETTINGS[name], **take_rows(inputs, order)).advantages_BA
    torch.testing.assert_close(shuffled, whole[order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_splitting_into_groups_changes_nothing_but_whitening(name: str) -> None:
    settings = changed(SETTINGS[name], normalize=False)
    inputs = make_inputs(random_answers())
    whole = compute_advantages(**settings, **inputs).advantages_BA
    pieces = [
        compute_advantages(
            **settings, **take_rows(inputs, list(range(start, start + GROUP_SIZE)))
        ).advantages_BA
        for start in range(0, len(whole), GROUP_SIZE)
    ]
    torch.testing.assert_close(torch.cat(pieces), whole)


def test_leave_one_out_rewards_sum_to_zero_in_every_group() -> None:
    inputs = make_inputs(random_answers())
    settings = settings_with(reward_mode="VR", kl_coef=0.0, normalize=False, mask_separator=False)
    rewards_B = compute_advantages(**settings, **inputs).token_rewards_BA.sum(1)
    assert rewards_B.abs().max() > 0.1
    torch.testing.assert_close(
        rewards_B.view(-1, GROUP_SIZE).sum(1), torch.zeros(6), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("convention", ["openrlhf", "verl"])
@pytest.mark.parametrize("value_range", ["minus_one_zero", "zero_one", "minus_one_one"])
def test_unanswered_prompts_contribute_exactly_zero(convention: str, value_range: str) -> None:
    inputs = make_inputs(random_answers())
    unanswered = inputs["verifiable_reward_B"].isnan()
    assert unanswered.any() and not unanswered.all()
    settings = settings_with(
        convention,
        reward_mode="VR",
        kl_coef=0.0,
        normalize=False,
        verifiable_reward_range=value_range,
    )
    result = compute_advantages(**settings, **inputs)
    assert result.advantages_BA[unanswered].eq(0).all()
    assert result.advantages_BA[~unanswered].ne(0).any()
    assert result.process_return_B.eq(0).all()
    both = changed(settings, reward_mode="PRMVR")
    process_only = changed(settings, reward_mode="PRM")
    torch.testing.assert_close(
        compute_advantages(**both, **inputs).advantages_BA[unanswered],
        compute_advantages(**process_only, **inputs).advantages_BA[unanswered],
        atol=0,
        rtol=0,
    )


def test_range_of_the_verifiable_reward_matters_only_where_it_shares_the_baseline() -> None:
    inputs = make_inputs(random_answers())
    for convention, matters in (("openrlhf", False), ("verl", True)):
        first, second = (
            compute_advantages(
                **settings_with(convention, verifiable_reward_range=value_range, normalize=False),
                **inputs,
            ).advantages_BA
            for value_range in ("minus_one_zero", "zero_one")
        )
        assert torch.allclose(first, second, atol=1e-5) != matters


def test_modes() -> None:
    inputs = make_inputs(random_answers())
    solved = inputs["verifiable_reward_B"]
    process = compute_advantages(**settings_with(reward_mode="PRM"), **inputs).advantages_BA
    flipped = {**inputs, "verifiable_reward_B": 1 - solved}
    assert torch.equal(
        process, compute_advantages(**settings_with(reward_mode="PRM"), **flipped).advantages_BA
    )
    verifiable = compute_advantages(**settings_with(reward_mode="VR"), **inputs)
    without_prm = {**inputs, "step_rewards_BS": None}
    assert torch.equal(
        verifiable.advantages_BA,
        compute_advantages(**settings_with(reward_mode="VR"), **without_prm).advantages_BA,
    )
    with pytest.raises(ValueError, match="reward_mode PRMVR needs step rewards"):
        compute_advantages(**settings_with(), **without_prm)


def test_bad_rewards_are_refused_with_their_answers() -> None:
    inputs = make_inputs(random_answers())
    step_rewards = inputs["step_rewards_BS"].clone()
    step_rewards[9, 0] = NAN
    with pytest.raises(ValueError, match=r"NaN or infinity for the responses \[9\] of 24"):
        compute_advantages(**settings_with(), **{**inputs, "step_rewards_BS": step_rewards})

    kl = inputs["kl_BA"].clone()
    kl[5] = torch.where(inputs["action_mask_BA"][5], float("inf"), 0.0)
    with pytest.raises(ValueError, match=r"KL divergence must be finite.*responses \[5\]"):
        compute_advantages(**settings_with(), **{**inputs, "kl_BA": kl})

    solved = inputs["verifiable_reward_B"].clone()
    solved[1], solved[-1] = 1.0, -1.0  # the first group is otherwise unknown
    with pytest.raises(ValueError, match=r"NaN for all responses.*\[0, 1, 2, 3, 23\]"):
        compute_advantages(**settings_with(), **{**inputs, "verifiable_reward_B": solved})


def test_incomplete_groups_are_refused() -> None:
    inputs = take_rows(make_inputs(random_answers()), list(range(6)))
    with pytest.raises(ValueError, match="multiple of group_size 4, got 6"):
        compute_advantages(**settings_with(), **inputs)


def test_inputs_are_left_alone() -> None:
    inputs = make_inputs(random_answers())
    before = {name: value.clone() for name, value in inputs.items() if isinstance(value, Tensor)}
    for settings in SETTINGS.values():
        compute_advantages(**settings, **inputs)
    for name, value in before.items():
        torch.testing.assert_close(inputs[name], value, atol=0, rtol=0, equal_nan=True)


def test_kl_is_not_read_where_its_coefficient_is_zero() -> None:
    settings = settings_with(group_size=3, kl_coef=0.0)
    result, action_mask = six_answer_advantages(settings)
    assert result.advantages_BA[action_mask].isfinite().all()


def test_length_penalty_by_hand() -> None:
    lengths = torch.tensor([0.0, 80.0, 90.0, 100.0])
    assert length_penalty(lengths, limit=100, buffer=20).tolist() == [0.0, 0.0, -0.5, -1.0]


def test_length_penalty_is_an_outcome_of_every_mode() -> None:
    """Two answers of 2 and 4 tokens, limit 4, buffer 2: penalties 0 and -1, times 0.5, centred on each other."""
    inputs = make_inputs([[5, 1], [5, 6, 7, 1]])
    inputs["verifiable_reward_B"] = torch.full((2,), torch.nan)
    inputs["step_rewards_BS"] = torch.zeros_like(inputs["step_rewards_BS"])
    inputs["kl_BA"] = None
    settings = arguments_for(
        "openrlhf", group_size=2, reward_mode="PRM", mask_separator=False, normalize=False,
        max_response_tokens=4, length_penalty_coef=0.5, length_penalty_buffer=2,
    )  # fmt: skip
    lengths = inputs["action_mask_BA"].sum(-1).tolist()
    assert lengths == [2, 4]
    rewards = compute_advantages(**settings, **inputs).token_rewards_BA.sum(-1)
    assert rewards.tolist() == pytest.approx([0.5, -0.5])
