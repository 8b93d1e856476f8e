"""What the PRM reads: separators one for one, one token more for an answer that was cut off."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from pure_rlhf.algorithm.step_segmentation import split_steps
from pure_rlhf.prm.token_inputs import (
    build_prm_inputs,
    logits_to_step_rewards,
    prm_token_ids,
    single_separator_id,
)
from pure_rlhf.types import PrmInputs

PAD, EOS, PRM_SEPARATOR, SEPARATOR, OTHER_SEPARATOR = 0, 1, 2, 8, 9


def prm_inputs(
    prompts: list[list[int]], answers: list[list[int]], extra_padding: int = 0
) -> PrmInputs:
    rows = [p + a for p, a in zip(prompts, answers, strict=True)]
    width = max(map(len, rows)) + extra_padding
    sequences = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
    attention_mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    action_mask = attention_mask[:, 1:].bool()
    for row, prompt in enumerate(prompts):
        action_mask[row, : len(prompt) - 1] = False
    steps = split_steps(
        sequences,
        action_mask,
        separator_ids=[SEPARATOR, OTHER_SEPARATOR],
        eos_token_ids=[EOS],
    )
    return build_prm_inputs(
        sequences,
        attention_mask,
        action_mask,
        steps,
        prm_separator_id=PRM_SEPARATOR,
        pad_token_id=PAD,
    )


def test_terminators_are_replaced_one_for_one() -> None:
    inputs = prm_inputs([[3, 4]], [[5, 8, 6, 9, EOS]])
    assert inputs.input_ids_BU.tolist() == [[3, 4, 5, 2, 6, 2, 2]]
    assert inputs.attention_mask_BU.tolist() == [[1] * 7]
    assert inputs.read_index_BS.tolist() == [[3, 5, 6]]


def test_a_cut_off_answer_gets_one_separator_more() -> None:
    # The first row fills the width and is cut off: U = T + 1. The second ends in a separator, where
    # it was cut off: nothing to append. A separator token in the prompt stays.
    inputs = prm_inputs([[3, 8], [3]], [[5, 8, 6], [5, 9]])
    assert inputs.input_ids_BU.tolist() == [[3, 8, 5, 2, 6, 2], [3, 5, 2, 0, 0, 0]]
    assert inputs.attention_mask_BU.tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert inputs.read_index_BS.tolist() == [[3, 5], [2, 0]]


def test_padding_is_trimmed() -> None:
    inputs = prm_inputs([[3, 4], [3]], [[5, EOS], [6]], extra_padding=4)
    assert inputs.input_ids_BU.tolist() == [[3, 4, 5, 2], [3, 6, 2, 0]]
    assert inputs.attention_mask_BU.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert inputs.read_index_BS.tolist() == [[3], [2]]


def steps_of(answer: list[int]) -> list[list[int]]:
    """The steps of an answer by a plain loop, terminators left out."""
    steps: list[list[int]] = []
    current: list[int] = []
    for token in answer:
        if token in (SEPARATOR, OTHER_SEPARATOR, EOS):
            steps.append(current)
            current = []
        else:
            current.append(token)
    return [*steps, current] if current else steps


def test_training_and_scoring_lay_an_answer_out_alike() -> None:
    prompts = [[3, 4], [3], [3, 8, 4], [4], [3, 3, 3]]
    answers = [[5, 8, 6, 7, EOS], [8, 8, 5], [5, 9, EOS], [EOS], [5, 6, 8]]
    inputs = prm_inputs(prompts, answers, extra_padding=1)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        expected_ids, expected_positions = prm_token_ids(prompt, steps_of(answer), PRM_SEPARATOR)
        length = int(inputs.attention_mask_BU[row].sum())
        assert inputs.input_ids_BU[row, :length].tolist() == expected_ids
        num_steps = len(expected_positions)
        assert inputs.read_index_BS[row, :num_steps].tolist() == expected_positions
        assert inputs.read_index_BS[row, num_steps:].eq(0).all()


def test_layout_of_a_list_of_steps() -> None:
    prompt = [3, 4]
    assert prm_token_ids(prompt, [[5], [], [6, 7]], 2) == ([3, 4, 5, 2, 2, 6, 7, 2], [3, 4, 7])
    assert prm_token_ids(prompt, [], 2) == ([3, 4], [])
    assert prompt == [3, 4]


def test_step_rewards() -> None:
    # softmax([0, log 3]) = [1/4, 3/4]; softmax([log 3, 0]) is its mirror image; equal ones give 0.
    logits = torch.tensor([[[0.0, math.log(3)], [math.log(3), 0.0], [7.0, 7.0]]])
    torch.testing.assert_close(logits_to_step_rewards(logits), torch.tensor([[0.5, -0.5, 0.0]]))


def test_step_rewards_equal_the_softmax_difference_and_stay_in_range() -> None:
    logits = torch.randn(4, 9, 2, generator=torch.Generator().manual_seed(0)) * 5
    probabilities = logits.softmax(-1)
    rewards = logits_to_step_rewards(logits)
    torch.testing.assert_close(rewards, probabilities[..., 1] - probabilities[..., 0])
    huge = logits_to_step_rewards(torch.tensor([[[-1e5, 1e5], [1e5, -1e5]]]))
    assert huge.tolist() == [[1.0, -1.0]]


def test_step_rewards_are_float32_from_bfloat16_logits() -> None:
    rewards = logits_to_step_rewards(torch.tensor([[[0.0, 1.0]]], dtype=torch.bfloat16))
    assert rewards.dtype == torch.float32
    torch.testing.assert_close(rewards, torch.tensor([[math.tanh(0.5)]]))


def test_a_head_with_another_number_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="num_labels=2"):
        logits_to_step_rewards(torch.zeros(1, 3, 1))


@dataclass
class LetterTokenizer:
    """One token per character."""

    def encode(self, text: str, /, **kwargs: bool) -> list[int]:
        start = [1] if kwargs["add_special_tokens"] else []
        return start + [ord(letter) for letter in text]


def test_separator_must_be_one_token() -> None:
    assert single_separator_id(LetterTokenizer()) == 10
    with pytest.raises(ValueError, match=r"'\\n\\n' is encoded as 2 tokens \[10, 10\]"):
        single_separator_id(LetterTokenizer(), "\n\n")
