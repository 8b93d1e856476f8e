"""Steps end at separator tokens, at EOS, or at the last token of an answer that was cut off."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from pure_rlhf.algorithm.step_segmentation import find_separator_token_ids, split_steps
from pure_rlhf.types import StepSpans

PAD, EOS, PROMPT, SEPARATOR, OTHER_SEPARATOR = 0, 1, 3, 8, 9


def batch_of(
    answers: list[list[int]], prompt_lengths: list[int], extra_padding: int = 0
) -> tuple[Tensor, Tensor]:
    """Lays answers out as `sequences_BT` and `action_mask_BA`."""
    lengths = [p + len(a) for p, a in zip(prompt_lengths, answers, strict=True)]
    width = max(lengths) + extra_padding
    sequences = torch.full((len(answers), width), PAD)
    action_mask = torch.zeros(len(answers), width - 1, dtype=torch.bool)
    for row, (answer, prompt_length) in enumerate(zip(answers, prompt_lengths, strict=True)):
        end = prompt_length + len(answer)
        sequences[row, :prompt_length] = PROMPT
        sequences[row, prompt_length:end] = torch.tensor(answer)
        action_mask[row, prompt_length - 1 : end - 1] = True
    return sequences, action_mask


def split(sequences: Tensor, action_mask: Tensor) -> StepSpans:
    return split_steps(
        sequences,
        action_mask,
        separator_ids=[SEPARATOR, OTHER_SEPARATOR],
        eos_token_ids=[EOS],
    )


def one_answer(answer: list[int], prompt_length: int = 2) -> StepSpans:
    return split(*batch_of([answer], [prompt_length]))


def test_documented_example() -> None:
    # 7 answer tokens after a prompt of 4: action indices 3..9, separator third, EOS last.
    steps = one_answer([5, 6, SEPARATOR, 5, 6, 7, EOS], prompt_length=4)
    assert steps.end_BS.tolist() == [[5, 9]]
    assert steps.content_tokens_BS.tolist() == [[2, 3]]
    assert steps.mask_BS.tolist() == [[True, True]]
    assert steps.truncated_B.tolist() == [False]


@pytest.mark.parametrize(
    ("answer", "ends", "content", "truncated"),
    [
        pytest.param([EOS], [1], [0], False, id="eos only"),
        pytest.param([5], [1], [1], True, id="one token, cut off"),
        pytest.param([SEPARATOR], [1], [0], False, id="one separator, cut off there"),
        pytest.param([5, 6, EOS], [3], [2], False, id="one step"),
        pytest.param([5, 6, 7], [3], [3], True, id="one step, cut off"),
        pytest.param([5, 8, 6, 7], [2, 4], [1, 2], True, id="two steps, cut off"),
        pytest.param([5, 8, 6, 9], [2, 4], [1, 1], False, id="cut off at a separator"),
        pytest.param([8, 5, EOS], [1, 3], [0, 1], False, id="leading separator"),
        pytest.param([5, 8, 9, 8, 6, EOS], [2, 3, 4, 6], [1, 0, 0, 1], False, id="consecutive"),
        pytest.param([5, 8, EOS], [2, 3], [1, 0], False, id="separator right before eos"),
    ],
)
def test_where_steps_end(
    answer: list[int], ends: list[int], content: list[int], truncated: bool
) -> None:
    steps = one_answer(answer)  # a prompt of 2 tokens, so the first answer token has action index 1
    assert steps.end_BS.tolist() == [ends]
    assert steps.content_tokens_BS.tolist() == [content]
    assert steps.mask_BS.tolist() == [[True] * len(ends)]
    assert steps.truncated_B.tolist() == [truncated]


def test_rows_of_different_shape() -> None:
    answers = [[5, 8, 6, 8, 7, EOS], [8, 5], [5, 6, 7, EOS]]
    steps = split(*batch_of(answers, [1, 3, 2]))
    assert steps.end_BS.tolist() == [[1, 3, 5], [2, 3, 0], [4, 0, 0]]
    assert steps.content_tokens_BS.tolist() == [[1, 1, 1], [0, 1, 0], [3, 0, 0]]
    assert steps.mask_BS.int().tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert steps.truncated_B.tolist() == [False, True, False]


def test_separators_outside_the_answer_do_not_count() -> None:
    sequences, action_mask = batch_of([[5, 6, EOS]], [3], extra_padding=2)
    sequences[0, 1] = SEPARATOR  # a blank line in the prompt
    sequences[0, 6:] = SEPARATOR  # padding that happens to be a separator
    steps = split(sequences, action_mask)
    assert steps.end_BS.tolist() == [[4]]


def test_padding_and_batch_order_change_nothing() -> None:
    answers = [[5, 8, 6, 8, 7, EOS], [8, 5], [5, 6, 7, EOS]]
    prompt_lengths = [1, 3, 2]
    reference = split(*batch_of(answers, prompt_lengths))
    padded = split(*batch_of(answers, prompt_lengths, extra_padding=5))
    backwards = split(*batch_of(answers[::-1], prompt_lengths[::-1]))
    for name in ("end_BS", "mask_BS", "content_tokens_BS", "truncated_B"):
        assert torch.equal(getattr(reference, name), getattr(padded, name))
        assert torch.equal(getattr(reference, name), getattr(backwards, name).flip(0))


def test_integer_masks_and_two_eos_tokens() -> None:
    sequences, action_mask = batch_of([[5, EOS], [6, 2]], [2, 2])
    steps = split_steps(
        sequences, action_mask.long(), separator_ids=[SEPARATOR], eos_token_ids=[EOS, 2]
    )
    assert steps.truncated_B.tolist() == [False, False]
    assert steps.content_tokens_BS.tolist() == [[1], [1]]


def test_two_hundred_steps() -> None:
    steps = one_answer([5, 6, SEPARATOR] * 199 + [7, EOS], prompt_length=1)
    assert steps.end_BS.tolist() == [[3 * k + 2 for k in range(199)] + [598]]
    assert steps.content_tokens_BS.tolist() == [[2] * 199 + [1]]


def test_answer_without_tokens_is_refused_with_its_row() -> None:
    sequences, action_mask = batch_of([[5, EOS], [6, EOS], [7, EOS]], [2, 2, 2])
    action_mask[1] = False
    with pytest.raises(ValueError, match=r"rows \[1\] of 3"):
        split(sequences, action_mask)


def test_mask_of_wrong_shape_is_refused() -> None:
    sequences, action_mask = batch_of([[5, EOS]], [2])
    with pytest.raises(ValueError, match=r"need an action mask of shape \(1, 3\)"):
        split(sequences, torch.nn.functional.pad(action_mask, (1, 0)))


def make_tokenizer(extra_tokens: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: one token per byte, `extra_tokens`, and one special token."""
    newline = "Ċ"  # how the byte-level alphabet writes a line feed
    tokens = sorted(ByteLevel.alphabet()) + [text.replace("\n", newline) for text in extra_tokens]
    backend = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[]))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>\n\n")


def test_every_token_that_ends_in_a_blank_line_is_a_separator() -> None:
    tokenizer = make_tokenizer(["\n\n", ".\n\n", "\n\na", ":\n", "\n\n\n", ")\n\n"])
    separator_ids = find_separator_token_ids(tokenizer)
    texts = [tokenizer.decode([token_id]) for token_id in separator_ids]
    # Not the one with a letter after the blank line, not the single line feed, and not the special
    # token, although its text ends in a blank line.
    assert texts == ["\n\n", ".\n\n", "\n\n\n", ")\n\n"]
    assert separator_ids == sorted(separator_ids)


def test_other_separator() -> None:
    tokenizer = make_tokenizer([":\n"])
    texts = [tokenizer.decode([i]) for i in find_separator_token_ids(tokenizer, "\n")]
    assert sorted(texts) == ["\n", ":\n"]


def test_tokenizer_without_separator_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ends with '\\n\\n'.*choose a separator"):
        find_separator_token_ids(make_tokenizer([]))
    with pytest.raises(ValueError, match="must not be empty"):
        find_separator_token_ids(make_tokenizer([]), "")
