"""From the policy's tokens to the text of its steps, for a PRM that has another tokenizer or another convention."""

from __future__ import annotations

from torch import Tensor

from pure_rlhf.types import StepSpans, Tokenizer


def step_texts(
    sequences_BT: Tensor,
    action_mask_BA: Tensor,
    steps: StepSpans,
    tokenizer: Tokenizer,
    *,
    separator: str = "\n\n",
) -> list[tuple[str, ...]]:
    """Returns the text of each step of each answer, for a PRM that has another tokenizer than the policy.

    Decodes the tokens of a step with its terminator, leaves special tokens (EOS) out, and takes away exactly one
    separator and the line feeds at the end: the full stop of a terminator ".\\n\\n" stays. A character whose bytes
    were cut off by the length limit comes out as U+FFFD.

    Args:
        sequences_BT, action_mask_BA: as given to `split_steps`, which made `steps`.
        tokenizer: the policy's.
        separator: what the policy's steps end with.

    Example: `5 ".\\n\\n" 6 EOS` gives `("5.", "6")`.
    """
    first_action_B = action_mask_BA.bool().float().argmax(dim=1).tolist()
    spans: list[list[int]] = []
    for sequence, first, ends, mask in zip(
        sequences_BT.tolist(),
        first_action_B,
        steps.end_BS.tolist(),
        steps.mask_BS.tolist(),
        strict=True,
    ):
        # Action a predicts token a + 1. The token before a step is decoded with it: a sentence-piece decoder drops the
        # space at the start of a text, not one inside.
        starts = [first, *(end + 1 for end in ends)]
        spans += [
            sequence[start : end + 2]
            for start, end, is_step in zip(starts, ends, mask, strict=False)
            if is_step
        ]
    with_context, context = (
        tokenizer.batch_decode(
            token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        for token_ids in (spans, [span[:1] for span in spans])
    )
    texts = iter(
        text[len(before) :].removesuffix(separator).rstrip("\n")
        for text, before in zip(with_context, context, strict=True)
    )
    return [tuple(next(texts) for _ in range(count)) for count in steps.mask_BS.sum(1).tolist()]
