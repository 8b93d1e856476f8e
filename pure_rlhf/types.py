"""Axis legend, index convention, and the records that travel between the stages.

Axes (suffixes of tensor names in `pure_rlhf/algorithm/`):
    B  answers (rollouts); the answers to one prompt are contiguous
    G  answers per prompt
    P  prompts, B = P * G
    T  tokens of prompt + answer, right-padded
    A  action positions, A = T - 1
    S  steps of an answer, right-padded
    U  tokens of a PRM input

Index convention (the same as OpenRLHF's `Experience`): `action_mask_BA` is the answer mask of
`sequences_BT[:, 1:]`. Action index `a` is the prediction of token `a + 1`, so a step whose last
token stands at sequence position `t` pays out at action index `t - 1`.

This module does not load torch, so that the command line can use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor


SchedulerName = Literal[
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "polynomial",
    "inverse_sqrt",
]
"""Those of transformers that need no setting of their own besides --actor.min_lr_ratio."""


class TokenDecoder(Protocol):
    """What finding separators needs of a Hugging Face tokenizer."""

    @property
    def all_special_ids(self) -> list[int]: ...

    def __len__(self) -> int: ...

    def batch_decode(self, sequences: Any, /, **options: Any) -> list[str]: ...


class Tokenizer(TokenDecoder, Protocol):
    """All that is used of one, `transformers.PreTrainedTokenizerBase`."""

    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int  # there is one once OpenRLHF's get_tokenizer has loaded it
    unk_token_id: int | None

    def __call__(self, texts: list[str], /, **options: bool) -> Mapping[str, list[list[int]]]: ...

    def get_vocab(self) -> dict[str, int]: ...

    def encode(self, text: str, /, **options: bool) -> list[int]: ...

    def decode(self, token_ids: Tensor | Sequence[int], /, **options: bool) -> str: ...

    def apply_chat_template(self, chat: list[dict[str, str]], /, **options: bool) -> str: ...


@dataclass(frozen=True)
class Completion:
    """One answer: its token ids (with EOS where it was sampled) and their engine log-probabilities.

    `prompt_index` says whose answer it is: the prompt itself does not cross the wire a second time.
    """

    prompt_index: int
    token_ids: list[int]
    log_probs: list[float]
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class StepSpans:
    """Where the steps of each answer end, in action positions.

    Example: an answer of 7 tokens whose third token is a separator and whose last is EOS, after a
    prompt of 4 tokens (so its action indices are 3..9): `end_BS = [[5, 9]]`,
    `content_tokens_BS = [[2, 3]]`.
    """

    end_BS: Tensor  # int64; action index of the last token of each step; 0 where mask_BS is False
    mask_BS: Tensor  # bool; True where the step exists
    content_tokens_BS: Tensor  # int64; tokens of the step without its terminator (separator or EOS)
    truncated_B: Tensor  # bool; True where the last token is neither EOS nor a separator


@dataclass(frozen=True, kw_only=True)
class PrmInputs:
    """What the PRM reads: one row per answer, right-padded."""

    input_ids_BU: Tensor  # int64
    attention_mask_BU: Tensor  # int64, 1 = real token
    read_index_BS: Tensor  # int64; position whose logits score the step; 0 where there is none


@dataclass(frozen=True, kw_only=True)
class ImplicitRows:
    """Responses that an implicit PRM learns from."""

    sequences_BT: Tensor  # int64, prompt + response, right-padded
    attention_mask_BT: Tensor  # int64, 1 = real token
    action_mask_BA: Tensor  # int64
    reference_log_probs_BA: Tensor  # float32, nats; 0 outside the response
    outcome_B: Tensor  # float32 in [0, 1]; NaN where there is no label
    weight_B: Tensor  # float32, of `prm_losses.outcome_weights`


@dataclass(frozen=True, kw_only=True)
class StepRows:
    """Responses that a PRM which scores steps learns from."""

    inputs: PrmInputs
    mask_BS: Tensor  # bool; True where the step exists
    outcome_B: Tensor  # float32 in [0, 1]; NaN where there is no label
    labels_BS: (
        Tensor | None
    )  # float32 in [0, 1], NaN where a step has none; None: it learns from the outcome
    weight_B: Tensor  # float32, of `prm_losses.outcome_weights` or `step_label_weights`


@dataclass(frozen=True, kw_only=True)
class Advantages:
    """What the policy update needs, and what the metrics are made of. All float32."""

    advantages_BA: Tensor  # final; 0 outside the answer
    returns_BA: Tensor  # sums of token_rewards_BA from each answer token to the end; else 0
    process_return_B: Tensor  # sum of the credit of the steps, before coefficient and baseline
    token_rewards_BA: Tensor  # credit, verifiable reward, KL penalty, token or step baseline
