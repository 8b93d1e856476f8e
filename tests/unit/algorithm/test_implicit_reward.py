"""Implicit rewards of tokens, steps and responses, worked out by hand on PRIME's batch of four responses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pure_rlhf.algorithm.implicit_reward import (
    implicit_rewards,
    log_ratios,
    rewards_of_steps,
    sum_over_spans,
)
from pure_rlhf.algorithm.step_segmentation import response_spans, token_spans
from tests.unit.algorithm.prime_batch import BETA, RESPONSES, Q, prime_batch
from tests.unit.algorithm.six_answers import lay_out

STEP_SUMS = [[0.1, 0.5, 0], [-0.3, -0.3, 0], [0.4, 0.5, -0.2], [0.65, 0, 0]]


def rows(values: Tensor, counts: list[int]) -> list[list[float]]:
    return [row[:count].tolist() for row, count in zip(values, counts, strict=True)]


def test_each_token_earns_its_log_ratio_over_the_largest_return() -> None:
    steps, action_mask, q = prime_batch()
    found = implicit_rewards(q, token_spans(steps, action_mask), beta=BETA)
    assert found.largest_return == pytest.approx(0.7)
    lengths = [len(row) for row in Q]
    first, _, _, last = rows(found.rewards_BS, lengths)
    assert first == pytest.approx([0.285714, -0.142857, 0.571428, 0.142857], abs=1e-6)
    assert last == pytest.approx([1.071427, -0.142857], abs=1e-6)  # a reward may be above 1
    assert found.rewards_BS[3, 2:].tolist() == [0, 0, 0]
    returns = found.rewards_BS.flip(1).cumsum(1)
    assert returns.abs().max().item() == pytest.approx(1.0, abs=2e-6)  # a return may not


def test_steps_and_responses_earn_the_sums_of_their_tokens() -> None:
    steps, action_mask, q = prime_batch()
    of_steps = implicit_rewards(q, steps, beta=BETA, normalization="none")
    torch.testing.assert_close(of_steps.rewards_BS, BETA * torch.tensor(STEP_SUMS))
    assert of_steps.largest_return == pytest.approx(0.7)
    whole = implicit_rewards(q, response_spans(steps, action_mask), beta=BETA)
    assert whole.rewards_BS.flatten().tolist() == pytest.approx(
        [0.6 / 0.7, -0.6 / 0.7, 1.0, 0.65 / 0.7], abs=2e-6
    )


def test_the_largest_return_may_be_negative_and_within_a_response() -> None:
    # returns -1 and -4, then 1 and -2: M = 4
    steps, action_mask = lay_out([[9, 1], [9, 1]], [1, 1])
    q = torch.tensor([[3.0, -4.0], [3.0, -2.0]])
    found = implicit_rewards(q, token_spans(steps, action_mask), beta=BETA)
    assert found.largest_return == 4.0
    torch.testing.assert_close(found.rewards_BS, q / 4, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("size", "expected"), [(0.0, 0.0), (9e-5, 0.0), (1.1e-4, 1.0)])
def test_what_is_no_more_than_rounding_earns_exactly_nothing(size: float, expected: float) -> None:
    steps, action_mask = lay_out([[5, 1]], [2])
    found = implicit_rewards(
        torch.tensor([[0.0, size, 0.0]]), token_spans(steps, action_mask), beta=BETA
    )
    # 1.1e-4 / (1.1e-4 + 1e-6) = 0.99099
    assert found.rewards_BS.abs().sum().item() == pytest.approx(expected, abs=0.01)
    assert expected or not found.rewards_BS.any()


def test_scale_cancels_and_beta_too() -> None:
    steps, action_mask, q = prime_batch()
    spans = token_spans(steps, action_mask)
    one = implicit_rewards(q, spans, beta=BETA).rewards_BS
    torch.testing.assert_close(implicit_rewards(q, spans, beta=7.0).rewards_BS, one)
    torch.testing.assert_close(
        implicit_rewards(100 * q, spans, beta=BETA).rewards_BS, one, atol=2e-6, rtol=0
    )


def test_log_ratios_are_zero_outside_whatever_stands_there() -> None:
    nan = float("nan")
    found = log_ratios(
        torch.tensor([[nan, -1.0, -2.0, 5.0]]),
        torch.tensor([[0.0, -1.5, -1.0, nan]]),
        torch.tensor([[0, 1, 1, 0]]),
    )
    assert found.tolist() == [[0.0, 0.5, -1.0, 0.0]]


def test_log_ratios_that_are_not_finite_are_refused_with_their_rows() -> None:
    values = torch.tensor([[0.0, -1.0], [0.0, float("nan")]])
    with pytest.raises(ValueError, match=r"for the responses \[1\] of 2; check the checkpoints"):
        log_ratios(values, torch.zeros(2, 2), torch.ones(2, 2))


def test_equal_models_earn_exactly_nothing() -> None:
    steps, action_mask, _ = prime_batch()
    log_probs = torch.randn(action_mask.shape)
    q = log_ratios(log_probs, log_probs.clone(), action_mask)
    for spans in (token_spans(steps, action_mask), steps, response_spans(steps, action_mask)):
        assert not implicit_rewards(q, spans, beta=BETA).rewards_BS.any()


def test_reports_get_the_rewards_of_the_steps_of_the_text() -> None:
    steps, action_mask, q = prime_batch()
    for spans, expected in (
        (token_spans(steps, action_mask), STEP_SUMS),
        (steps, STEP_SUMS),
        (
            response_spans(steps, action_mask),  # all of it at the last step
            [[0, 0.6, 0], [0, -0.6, 0], [0, 0, 0.7], [0.65, 0, 0]],
        ),
    ):
        paid = implicit_rewards(q, spans, beta=1.0, normalization="none").rewards_BS
        torch.testing.assert_close(rewards_of_steps(paid, spans, steps), torch.tensor(expected))


def test_sums_over_spans_do_not_round_at_the_size_of_the_running_sum() -> None:
    """2,000 tokens of 1e4, then a step of two small ones: a difference of running sums would give 0 or 2."""
    steps, action_mask = lay_out([[5] * 1999 + [9, 5, 1]], [1])
    values = torch.full((1, 2002), 1e4)
    values[0, 2000:] = torch.tensor([1e-3, 2e-3])
    assert sum_over_spans(values * action_mask, steps)[0, 1].item() == pytest.approx(3e-3)


def test_gradient_reaches_the_tokens_of_a_span() -> None:
    steps, _, q = prime_batch()
    q.requires_grad_()
    sum_over_spans(q, steps)[2, 1].backward()
    assert q.grad is not None
    assert q.grad[2].nonzero().flatten().tolist() == [3, 4]  # its third and fourth token


def test_spans_of_tokens_and_responses() -> None:
    steps, action_mask = lay_out([[5, 9, 5, 7], *RESPONSES[3:]], [3, 2])  # the first was cut off
    tokens = token_spans(steps, action_mask)
    assert tokens.end_BS.tolist() == [[2, 3, 4, 5], [1, 2, 0, 0]]
    assert tokens.mask_BS.int().tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert tokens.content_tokens_BS.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    whole = response_spans(steps, action_mask)
    assert whole.end_BS.tolist() == [[5], [2]] and whole.mask_BS.all()
    assert whole.content_tokens_BS.tolist() == [[4], [1]]  # EOS is no content
    assert tokens.truncated_B.tolist() == whole.truncated_B.tolist() == [True, False]
