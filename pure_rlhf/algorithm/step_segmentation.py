"""Splits answers into steps, in token space (stage 1 of the pipeline).

A step ends at a *separator token*: a token whose own text ends in a blank line, such as a bare
blank line, or a full stop or a colon with a blank line fused to it. The last step ends at EOS, or,
where the answer was cut off by the length limit, at its last token. Text is never decoded and
tokenised again, so a step is a range of the very tokens that the policy sampled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from pure_rlhf.types import StepSpans, TokenDecoder


def find_separator_token_ids(tokenizer: TokenDecoder, separator: str = "\n\n") -> list[int]:
    """Returns, in ascending order, every token id whose own text ends with `separator`.

    Special tokens are left out. One call decodes the whole vocabulary (151,000 tokens take about
    a second), so call it once per process.

    Raises:
        ValueError: the separator is empty, or no token of the vocabulary ends with it.
    """
    if not separator:
        raise ValueError("the step separator must not be empty; the published one is a blank line")
    special_ids = set(tokenizer.all_special_ids)
    texts = tokenizer.batch_decode(
        [[token_id] for token_id in range(len(tokenizer))],
        skip_special_tokens=False,
        clean_up_tokenization_spaces=False,
    )
    separator_ids = [
        token_id
        for token_id, text in enumerate(texts)
        if text.endswith(separator) and token_id not in special_ids
    ]
    if not separator_ids:
        raise ValueError(
            f"a step ends at a token whose text ends with {separator!r}, but none of the "
            f"{len(texts)} tokens of this tokenizer does; choose a separator that it has as one "
            "token, or another tokenizer"
        )
    return separator_ids


def split_steps(
    sequences_BT: Tensor,
    action_mask_BA: Tensor,
    *,
    separator_ids: Sequence[int],
    eos_token_ids: Sequence[int],
) -> StepSpans:
    """Finds where the steps of each answer end.

    Consecutive separators, a separator at the start, and a separator right before EOS give steps
    without content, as in the published versions: the PRM scores them and they count. An answer
    that was cut off gets no invented EOS: its last step ends at its last token, which is content.
    An answer that was cut off right after a separator has no step after that separator.

    Args:
        sequences_BT: token ids of prompt + answer, right-padded.
        action_mask_BA: true (non-zero) where `sequences_BT[:, 1:]` is a token of the answer; one
            contiguous run per row.
        separator_ids: the ids of `find_separator_token_ids`.
        eos_token_ids: the ids at which generation stops.

    Example (separator 9, EOS 1, padding 0), a prompt of two tokens and the answer `5 9 6 1`:
        `split_steps([[3, 4, 5, 9, 6, 1, 0]], [[0, 1, 1, 1, 1, 0]], ...)` gives `end_BS = [[2, 4]]`,
        `content_tokens_BS = [[1, 1]]`, `truncated_B = [False]`.

    Raises:
        ValueError: a row has no answer token, or the shapes do not fit each other.
    """
    action_mask_BA = _checked_action_mask(sequences_BT, action_mask_BA)
    batch_size, num_actions = action_mask_BA.shape
    end_mask_BA = _is_one_of(sequences_BT[:, 1:], [*separator_ids, *eos_token_ids])
    end_mask_BA &= action_mask_BA
    # argmax gives the first of equal values; the last one is found from the other side.
    first_action_B = action_mask_BA.float().argmax(dim=1)
    last_action_B = num_actions - 1 - action_mask_BA.flip(1).float().argmax(dim=1)
    assert torch.equal(action_mask_BA.sum(dim=1), last_action_B - first_action_B + 1), (
        "the answer tokens of a row must be one contiguous run"
    )

    truncated_B = ~end_mask_BA.gather(1, last_action_B[:, None]).squeeze(1)
    end_mask_BA.scatter_(1, last_action_B[:, None], True)

    num_steps_B = end_mask_BA.sum(dim=1)
    max_steps = int(num_steps_B.max())
    step_positions_S = torch.arange(max_steps, device=sequences_BT.device)
    mask_BS = step_positions_S < num_steps_B[:, None]
    # Both sides run through the answers in order, and through the steps of each in order.
    end_BS = torch.zeros(batch_size, max_steps, dtype=torch.int64, device=sequences_BT.device)
    end_BS[mask_BS] = end_mask_BA.nonzero()[:, 1]

    previous_end_BS = torch.cat([first_action_B[:, None] - 1, end_BS[:, :-1]], dim=1)
    last_step_mask_BS = step_positions_S == num_steps_B[:, None] - 1
    has_no_terminator_BS = last_step_mask_BS & truncated_B[:, None]
    content_tokens_BS = end_BS - previous_end_BS - 1 + has_no_terminator_BS.long()
    return StepSpans(
        end_BS=end_BS,
        mask_BS=mask_BS,
        content_tokens_BS=content_tokens_BS.masked_fill(~mask_BS, 0),
        truncated_B=truncated_B,
    )


def cat_padded(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all `(b, W)` tensors below one another, padded with zeros on the right to the widest."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, width - part.shape[1])) for part in parts])


def join_steps(parts: Sequence[StepSpans]) -> StepSpans:
    """The steps of several batches as those of one, whose rows are padded on the right."""
    return StepSpans(
        end_BS=cat_padded([part.end_BS for part in parts]),
        mask_BS=cat_padded([part.mask_BS for part in parts]),
        content_tokens_BS=cat_padded([part.content_tokens_BS for part in parts]),
        truncated_B=torch.cat([part.truncated_B for part in parts]),
    )


def token_spans(steps: StepSpans, action_mask_BA: Tensor) -> StepSpans:
    """One span a token of the response, for rewards of tokens (PRIME). Every token is its own content.

    As every token ends a span, `mask_separator` would leave no advantage: it must be off.

    Args:
        steps: of `split_steps` on the same batch.
        action_mask_BA: true (non-zero) at the response tokens.

    Example: a response at the action indices 3 to 5 gives `end_BS = [[3, 4, 5]]`, `content_tokens_BS = [[1, 1, 1]]`.
    """
    action_mask_BA = action_mask_BA.bool()
    length_B = action_mask_BA.sum(dim=1)
    mask_BS = torch.arange(int(length_B.max()), device=length_B.device) < length_B[:, None]
    end_BS = torch.zeros(mask_BS.shape, dtype=torch.int64, device=length_B.device)
    end_BS[mask_BS] = action_mask_BA.nonzero()[:, 1]
    return StepSpans(
        end_BS=end_BS,
        mask_BS=mask_BS,
        content_tokens_BS=mask_BS.long(),
        truncated_B=steps.truncated_B,
    )


def response_spans(steps: StepSpans, action_mask_BA: Tensor) -> StepSpans:
    """One span a response, for one reward at its last token. Arguments as `token_spans`.

    Example: a response at the action indices 3 to 5 that ends in EOS gives `end_BS = [[5]]`,
    `content_tokens_BS = [[2]]`.
    """
    length_B = action_mask_BA.bool().sum(dim=1)
    end_BS = steps.end_BS.amax(dim=1, keepdim=True)
    return StepSpans(
        end_BS=end_BS,
        mask_BS=torch.ones_like(end_BS, dtype=torch.bool),
        content_tokens_BS=(length_B - (~steps.truncated_B).long())[:, None],
        truncated_B=steps.truncated_B,
    )


def _is_one_of(tokens_BA: Tensor, token_ids: Sequence[int]) -> Tensor:
    """Equals torch.isin, twenty times faster with a few hundred ids: one look-up per token."""
    vocabulary_size = max([int(tokens_BA.max()), *token_ids]) + 1
    is_listed_V = torch.zeros(vocabulary_size, dtype=torch.bool, device=tokens_BA.device)
    is_listed_V[torch.tensor(token_ids, dtype=torch.int64, device=tokens_BA.device)] = True
    return is_listed_V[tokens_BA]


def _checked_action_mask(sequences_BT: Tensor, action_mask_BA: Tensor) -> Tensor:
    """Returns the mask as booleans, or raises ValueError where an answer cannot be split."""
    batch_size, num_tokens = sequences_BT.shape
    if action_mask_BA.shape != (batch_size, num_tokens - 1):
        raise ValueError(
            f"sequences of shape {tuple(sequences_BT.shape)} need an action mask of shape "
            f"{(batch_size, num_tokens - 1)}, got {tuple(action_mask_BA.shape)}"
        )
    action_mask_BA = action_mask_BA.bool()
    empty_rows = (~action_mask_BA.any(dim=1)).nonzero().flatten().tolist()
    if empty_rows or batch_size == 0:
        raise ValueError(
            f"every answer needs at least one token, but the rows {empty_rows} of {batch_size} "
            "have none; generate with min_tokens >= 1"
        )
    return action_mask_BA
