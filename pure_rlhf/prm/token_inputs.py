"""What the process reward model (PRM) reads, and what its logits mean (stage 2 of the pipeline).

The PRM is a two-label token classifier that was trained on `prompt, step, separator, step,
separator, ...` with one separator token (a line feed) after every step, and is read at those
separators. So the token that ends a step of the policy (a blank-line token or EOS) is replaced, one
for one, by the separator of the PRM; an answer that was cut off gets one more token at its end. The
step reward is
`r_k = p(correct) - p(wrong)`, in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from pure_rlhf.types import PrmInputs, StepSpans, Tokenizer


def single_separator_id(tokenizer: Tokenizer, separator: str = "\n") -> int:
    """Returns the id of the one token that `separator` is encoded as.

    Raises:
        ValueError: the separator is not exactly one token of this tokenizer.
    """
    token_ids = tokenizer.encode(separator, add_special_tokens=False)
    if len(token_ids) != 1:
        raise ValueError(
            f"the separator of the PRM must be exactly one token, but {separator!r} is encoded as "
            f"{len(token_ids)} tokens {list(token_ids)}; choose the separator that the PRM was "
            "trained with, and its own tokenizer"
        )
    return token_ids[0]


def prm_token_ids(
    prompt_ids: list[int], step_ids: list[list[int]], separator_id: int
) -> tuple[list[int], list[int]]:
    """Lays out one answer, given as a list of steps, as the PRM reads it (used by PRM training).

    Returns the input ids and, for each step, the position of its separator in them. The ids of the
    steps are without their terminator (blank-line token or EOS).

    Example: `prm_token_ids([3, 4], [[5], [], [6, 7]], 2)` gives
    `([3, 4, 5, 2, 2, 6, 7, 2], [3, 4, 7])`.
    """
    input_ids = list(prompt_ids)
    read_positions = []
    for token_ids in step_ids:
        input_ids.extend(token_ids)
        read_positions.append(len(input_ids))
        input_ids.append(separator_id)
    return input_ids, read_positions


def build_prm_inputs(
    sequences_BT: Tensor,
    attention_mask_BT: Tensor,
    action_mask_BA: Tensor,
    steps: StepSpans,
    *,
    prm_separator_id: int,
    pad_token_id: int,
) -> PrmInputs:
    """Turns the policy's sequences into the PRM's, for the same ids as `prm_token_ids` gives.

    The width U is that of the longest row, at most T + 1. Whatever follows the last answer token
    becomes padding.

    Args:
        sequences_BT: token ids of prompt + answer, right-padded.
        attention_mask_BT: true (non-zero) at the real tokens.
        action_mask_BA: true (non-zero) where `sequences_BT[:, 1:]` is a token of the answer.
        steps: where the steps end, from `split_steps` on the same batch.

    Example (separator 9, EOS 1, PRM separator 2, padding 0): the prompt `3 4` with the answers
    `5 9 6 1` and `5 9 6` (cut off) both give `[3, 4, 5, 2, 6, 2]`, read at `[3, 5]`.
    """
    batch_size, num_tokens = sequences_BT.shape
    device = sequences_BT.device
    assert action_mask_BA.shape == (batch_size, num_tokens - 1)

    # Action index a predicts token a + 1; the separator that is appended stands one further.
    last_action_B = steps.end_BS.amax(dim=1)
    is_last_step_BS = steps.mask_BS & (steps.end_BS == last_action_B[:, None])
    is_appended_BS = is_last_step_BS & steps.truncated_B[:, None]
    read_index_BS = (steps.end_BS + 1 + is_appended_BS.long()).masked_fill(~steps.mask_BS, 0)

    length_B = last_action_B + 2 + steps.truncated_B.long()
    width = int(length_B.max())
    real_mask_BU = torch.arange(width, device=device) < length_B[:, None]

    padded_ids_BU = torch.nn.functional.pad(sequences_BT, (0, 1), value=pad_token_id)[:, :width]
    input_ids_BU = padded_ids_BU.masked_fill(~real_mask_BU, pad_token_id).long()
    attention_mask_BU = torch.nn.functional.pad(attention_mask_BT.bool(), (0, 1), value=False)
    attention_mask_BU = attention_mask_BU[:, :width] & real_mask_BU

    row_of_step, _ = steps.mask_BS.nonzero(as_tuple=True)
    read_index = read_index_BS[steps.mask_BS]
    input_ids_BU[row_of_step, read_index] = prm_separator_id
    attention_mask_BU[row_of_step, read_index] = True
    return PrmInputs(
        input_ids_BU=input_ids_BU,
        attention_mask_BU=attention_mask_BU.long(),
        read_index_BS=read_index_BS,
    )


def logits_to_step_rewards(logits_BS2: Tensor) -> Tensor:
    """Returns `r_k = softmax(z)[1] - softmax(z)[0]`, in [-1, 1], in float32.

    The last axis holds the logits of "wrong" (0) and "correct" (1). The difference of the two
    probabilities equals `tanh((z_1 - z_0) / 2)`, which needs no exponential that can overflow.
    Example: logits `[0, log 3]` give 3/4 - 1/4 = 0.5.
    """
    if logits_BS2.shape[-1] != 2:
        raise ValueError(
            f"a PRM has two labels (0 = wrong, 1 = correct), got logits of shape "
            f"{tuple(logits_BS2.shape)}; load the checkpoint with num_labels=2"
        )
    logits_BS2 = logits_BS2.float()
    return torch.tanh((logits_BS2[..., 1] - logits_BS2[..., 0]) / 2)
