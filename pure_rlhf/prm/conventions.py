"""Conventions of the published process reward models (PRMs): steps to tokens, the model's numbers to rewards.

Each convention lays a question and its steps out in token ids, says at which positions the model is read, and
turns what is read there into r in [-1, 1]; models that speak of probabilities are centred, r = 2 p - 1.

    name           layout                                                    read at           r
    pure           prompt, then each step and a separator ("\\n")             separator         p1 - p0
    qwen           chat template, `<extra_0>` after each step                `<extra_0>`       2 p1 - 1
    skywork        BOS, question "\\n", then each step and "\\n"               line feed         2 sigmoid(z) - 1
    math_shepherd  BOS, question " " step " ки", then "\\n" step " ки"        ки                2 p("+") - 1
    rlhflow        chat: the user says a step, the assistant "+"             before each "+"   2 p("+") - 1

As tokens are put together in ids, a step that spells a separator in its text adds no position that is read. The
ids are those of the reference implementations (named at each class) for the text up to the last position that is
read; what follows it (end of turn, "+") cannot change a causal model's numbers and is left out.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar, overload

import torch
from torch import Tensor

from pure_rlhf.prm.token_inputs import (
    logits_to_step_rewards,
    prm_token_ids,
    single_separator_id,
)
from pure_rlhf.types import PrmInputs, Tokenizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@overload
def is_judged_wrong(reward: float) -> bool: ...
@overload
def is_judged_wrong(reward: Tensor) -> Tensor: ...
def is_judged_wrong(reward: float | Tensor) -> bool | Tensor:
    """Whether a step with this reward counts as wrong: r <= 0, that is p(correct) <= 1/2.

    The one definition of a wrong step, for PRM training, evaluation and reports. A tie counts as wrong, as in
    ProcessBench's official code, whose argmax over the two logits takes the first of equals, label 0.
    """
    return reward <= 0


def has_rotary_positions(config: PretrainedConfig) -> bool:
    """Whether a model, by its `transformers` configuration, reads on beyond `max_position_embeddings`.

    Learned positions end there.
    """
    return bool(getattr(config, "rope_parameters", None))


@dataclass(frozen=True)
class PrmSample:
    """One answer to score, e.g. `PrmSample("1+1?", "Q: 1+1? A:", ("1+1=2", "So 2."))`."""

    question: str  # the bare problem
    prompt: str  # the rendered text that the policy read; the question where there is no template
    steps: tuple[str, ...]  # the text of each step, without its separator

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError(f"an answer needs at least one step: {self.question!r} has none")


@dataclass(frozen=True)
class PrmLayout:
    """What a PRM reads for one answer."""

    input_ids: list[int]
    read_positions: list[int]  # one a step


class PrmConvention(ABC):
    """How one family of PRMs is used. The tokenizer is the PRM's own, of Hugging Face."""

    name: ClassVar[str]

    @abstractmethod
    def lay_out(self, sample: PrmSample, tokenizer: Tokenizer) -> PrmLayout:
        """Returns the token ids and where to read them.

        Raises:
            ValueError: the tokenizer has not the single tokens that the convention needs.
        """

    def label_token_ids(self, tokenizer: Tokenizer) -> list[int] | None:
        """The tokens for "wrong" and "right" of a language model; None: the model has a head of its own.

        Raises:
            ValueError: they are not one token each.
        """
        return None

    def step_rewards(self, outputs_NC: Tensor) -> Tensor:
        """Returns N rewards in [-1, 1] in float32 from what the model gave at N positions (N may be several axes).

        C is 2, the logits of wrong and right: 2 p - 1 is the difference of their probabilities.
        """
        return logits_to_step_rewards(outputs_NC)


@dataclass(frozen=True)
class PureConvention(PrmConvention):
    """PURE-PRM and what TRL's PRMTrainer trained: the layout of `prm_token_ids`.

    As in TRL, a tokenizer that has a beginning-of-sequence token puts it first (once).
    """

    name: ClassVar[str] = "pure"
    separator: str = "\n"

    def lay_out(self, sample: PrmSample, tokenizer: Tokenizer) -> PrmLayout:
        prompt_ids, *step_ids = _encode(tokenizer, sample.prompt, *sample.steps)
        return self.lay_out_ids(prompt_ids, step_ids, tokenizer)

    def lay_out_ids(
        self, prompt_ids: list[int], step_ids: list[list[int]], tokenizer: Tokenizer
    ) -> PrmLayout:
        """The same for texts that are encoded already, each by itself: what PRM training lays out."""
        start = _start_ids(tokenizer)
        if prompt_ids[: len(start)] != start:
            prompt_ids = [*start, *prompt_ids]
        separator_id = single_separator_id(tokenizer, self.separator)
        return PrmLayout(*prm_token_ids(prompt_ids, step_ids, separator_id))

    @staticmethod
    def require_two_labels(model: str, num_labels: int | None) -> None:
        """Raises a ValueError where the head of `model` has another number of labels."""
        if num_labels != 2:
            raise ValueError(
                f"{model}: a PRM of the convention 'pure' has two labels (0 = wrong, 1 = right), this one has "
                f"{num_labels}"
            )


@dataclass(frozen=True)
class QwenConvention(PrmConvention):
    """Qwen2.5-Math-PRM-7B and -72B, Qwen2.5-Math-7B-PRM800K: the usage of their model cards."""

    name: ClassVar[str] = "qwen"
    separator: ClassVar[str] = "<extra_0>"
    system_prompt: ClassVar[str] = (
        "Please reason step by step, and put your final answer within \\boxed{}."
    )

    def lay_out(self, sample: PrmSample, tokenizer: Tokenizer) -> PrmLayout:
        separator_id = single_separator_id(tokenizer, self.separator)
        text = tokenizer.apply_chat_template(
            [
                {"role": "system", "content": self.system_prompt},
                {"role": "user", "content": sample.question},
                {"role": "assistant", "content": self.separator},
            ],
            tokenize=False,
        )
        head, found, _ = text.rpartition(self.separator)
        if not found:
            raise ValueError("the chat template of this PRM leaves out what the assistant says")
        # The head and the first step are one piece of text; a special token ends each piece.
        step_ids = _encode(tokenizer, head + sample.steps[0], *sample.steps[1:])
        return PrmLayout(*prm_token_ids([], step_ids, separator_id))


@dataclass(frozen=True)
class SkyworkConvention(PrmConvention):
    """Skywork-o1-Open-PRM: `prepare_input` of SkyworkAI/skywork-o1-prm-inference.

    That function splits an answer at each line feed; here a step may hold line feeds.
    """

    name: ClassVar[str] = "skywork"

    def lay_out(self, sample: PrmSample, tokenizer: Tokenizer) -> PrmLayout:
        separator_id = single_separator_id(tokenizer)
        question_ids, *step_ids = _encode(tokenizer, sample.question + "\n", *sample.steps)
        prompt_ids = _start_ids(tokenizer) + question_ids
        return PrmLayout(*prm_token_ids(prompt_ids, step_ids, separator_id))

    def step_rewards(self, outputs_NC: Tensor) -> Tensor:
        if outputs_NC.shape[-1] != 1:
            raise ValueError(
                f"a Skywork PRM gives one number a token, got outputs of shape "
                f"{tuple(outputs_NC.shape)}; choose another convention"
            )
        return torch.tanh(outputs_NC[..., 0].float() / 2)  # = 2 sigmoid(z) - 1


@dataclass(frozen=True)
class MathShepherdConvention(PrmConvention):
    """math-shepherd-mistral-7b-prm: the usage of its model card, `question step ки\\nstep ки`.

    The steps that it was trained on begin with "Step 1: " and so on; they are not added here. A step that ends in a
    space gives the ки that is read all the same, which the card's tokenisation of the whole text loses.
    """

    name: ClassVar[str] = "math_shepherd"
    separator: ClassVar[str] = "ки"

    def lay_out(self, sample: PrmSample, tokenizer: Tokenizer) -> PrmLayout:
        separator_id = single_separator_id(tokenizer, self.separator)
        # A sentence-piece tokenizer puts a space before a text. So a step is encoded together with the ки before it,
        # which takes that space, as in the whole text.
        first, *others = sample.steps
        pieces = [f"{sample.question} {first}", *(f"{self.separator}\n{step}" for step in others)]
        input_ids, read_positions = _start_ids(tokenizer), []
        for number, token_ids in enumerate(_encode(tokenizer, *pieces, self.separator)):
            if number:
                if token_ids[0] != separator_id:
                    raise ValueError(
                        f"{self.separator!r} before a line feed must be the token {separator_id} "
                        "that it is alone; this is not the tokenizer of a Math-Shepherd PRM"
                    )
                read_positions.append(len(input_ids))
            input_ids.extend(token_ids)
        return PrmLayout(input_ids, read_positions)

    def label_token_ids(self, tokenizer: Tokenizer) -> list[int]:
        return _two_labels(tokenizer, *_encode(tokenizer, "+ -"))


@dataclass(frozen=True)
class RlhflowConvention(PrmConvention):
    """Llama3.1-8B-PRM-Mistral-Data and -Deepseek-Data: `math-rm/prm_evaluate.py` of RLHFlow/RLHF-Reward-Modeling.

    Steps are stripped, as there, and the first one follows the question and a space.
    """

    name: ClassVar[str] = "rlhflow"

    def lay_out(self, sample: PrmSample, tokenizer: Tokenizer) -> PrmLayout:
        head, to_label, to_step = self._turns(tokenizer)
        _, plus_id = self.label_token_ids(tokenizer)
        first, *others = (step.strip() for step in sample.steps)
        texts = [head + f"{sample.question} {first}".strip(), *(to_step + step for step in others)]
        input_ids, read_positions = [], []
        for token_ids in _encode(tokenizer, *(text + to_label for text in texts)):
            input_ids.extend(token_ids)
            read_positions.append(len(input_ids) - 1)
            input_ids.append(plus_id)
        return PrmLayout(input_ids[:-1], read_positions)

    def label_token_ids(self, tokenizer: Tokenizer) -> list[int]:
        minus, plus = _encode(tokenizer, "-", "+")
        return _two_labels(tokenizer, plus + minus)

    def _turns(self, tokenizer: Tokenizer) -> tuple[str, str, str]:
        """The text of the chat template before the first step, from a step to its label, and on to the next."""
        marks = [f"@@{number}@@" for number in range(4)]
        roles = ("user", "assistant") * 2
        chat = [{"role": r, "content": mark} for r, mark in zip(roles, marks, strict=True)]
        parts = re.split("|".join(marks), tokenizer.apply_chat_template(chat, tokenize=False))
        if len(parts) != 5 or parts[1] != parts[3]:
            raise ValueError("the chat template of this PRM does not write all turns alike")
        return parts[0], parts[1], parts[2]


CONVENTIONS: dict[str, PrmConvention] = {
    convention.name: convention
    for convention in (
        PureConvention(),
        QwenConvention(),
        SkyworkConvention(),
        MathShepherdConvention(),
        RlhflowConvention(),
    )
}


def recognise_convention(hf_config: PretrainedConfig, vocabulary: Container[str]) -> str:
    """Returns the name of the convention that a checkpoint follows.

    A language model tells nothing of what it was trained for: one that is read at "+" and "-" is recognised only if
    its name (the last part of the path) says that it is a PRM.

    Args:
        hf_config: the Hugging Face configuration: architectures, num_labels, name_or_path.
        vocabulary: the tokens of its tokenizer, `tokenizer.get_vocab()`.

    Raises:
        ValueError: none fits; the message lists the names.
    """
    architectures = hf_config.architectures or []
    kind = architectures[0] if len(architectures) == 1 else ""
    is_called_prm = "prm" in PurePath(hf_config.name_or_path or "").name.lower()
    if kind.endswith("ForTokenClassification") and hf_config.num_labels == 2:
        return PureConvention.name
    if kind.endswith("ForProcessRewardModel") and QwenConvention.separator in vocabulary:
        return QwenConvention.name
    if kind.endswith("ForPrmModel"):
        return SkyworkConvention.name
    if kind.endswith("ForCausalLM") and is_called_prm:
        if f"▁{MathShepherdConvention.separator}" in vocabulary:
            return MathShepherdConvention.name
        if "<|start_header_id|>" in vocabulary:
            return RlhflowConvention.name
    raise ValueError(
        f"{hf_config.name_or_path or 'this PRM'} ({', '.join(architectures) or 'no architecture'}, "
        f"{hf_config.num_labels} labels) does not tell by which convention it is scored; if it is a PRM, choose one "
        f"with --prm_convention: {', '.join(CONVENTIONS)}"
    )


def pad_layouts(layouts: Sequence[PrmLayout], pad_token_id: int) -> PrmInputs:
    """Returns the layouts as tensors, right-padded.

    Example: `pad_layouts([PrmLayout([5, 2], [1]), PrmLayout([5], [0])], 0)` gives `input_ids_BU = [[5, 2], [5, 0]]`,
    `read_index_BS = [[1], [0]]`.
    """

    def padded(rows: list[list[int]], fill: int) -> Tensor:
        width = max(map(len, rows))
        return torch.tensor([row + [fill] * (width - len(row)) for row in rows])

    return PrmInputs(
        input_ids_BU=padded([layout.input_ids for layout in layouts], pad_token_id),
        attention_mask_BU=padded([[1] * len(layout.input_ids) for layout in layouts], 0),
        read_index_BS=padded([layout.read_positions for layout in layouts], 0),
    )


def _encode(tokenizer: Tokenizer, *texts: str) -> list[list[int]]:
    return tokenizer(list(texts), add_special_tokens=False)["input_ids"]


def _start_ids(tokenizer: Tokenizer) -> list[int]:
    return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]


def _two_labels(tokenizer: Tokenizer, plus_minus: list[int]) -> list[int]:
    """The ids of "+" and "-" in the order of `logits_to_step_rewards`: wrong, right."""
    if len(plus_minus) != 2 or tokenizer.unk_token_id in plus_minus:
        raise ValueError(
            f'"+" and "-" must be one token each for a PRM that is read at them, but they are '
            f"encoded as {plus_minus}; choose another convention, or the PRM's own tokenizer"
        )
    plus_id, minus_id = plus_minus
    return [minus_id, plus_id]
