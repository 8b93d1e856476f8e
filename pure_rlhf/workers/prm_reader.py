"""Stage 2 on the driver: what the PRM reads of a batch of answers.

A PRM of the convention `pure` with the policy's own vocabulary gets the policy's token ids, one for one. For every
other one, and where the tokenizers differ, the steps go through text.
"""

from __future__ import annotations

from openrlhf.trainer.ppo_utils.experience import Experience

from pure_rlhf.prm.conventions import (
    PrmConvention,
    PrmSample,
    PureConvention,
    pad_layouts,
)
from pure_rlhf.prm.step_texts import step_texts
from pure_rlhf.prm.token_inputs import build_prm_inputs, single_separator_id
from pure_rlhf.types import PrmInputs, StepSpans, Tokenizer


class PrmReader:
    """Lays out answers for one PRM.

    Args:
        convention: how the PRM is used.
        prm_tokenizer, policy_tokenizer: of Hugging Face.
        questions: rendered prompt -> bare problem.
        step_separator: what the policy's steps end with.
    """

    def __init__(
        self,
        convention: PrmConvention,
        *,
        prm_tokenizer: Tokenizer,
        policy_tokenizer: Tokenizer,
        questions: dict[str, str],
        step_separator: str,
    ) -> None:
        self.convention = convention
        self.prm_tokenizer = prm_tokenizer
        self.policy_tokenizer = policy_tokenizer
        self.questions = questions
        self.step_separator = step_separator
        self.separator_id: int | None = None  # None: through text
        if (
            isinstance(convention, PureConvention)
            and prm_tokenizer.bos_token_id
            is None  # else the layout begins with it, and the policy's prompt does not
            and prm_tokenizer.get_vocab() == policy_tokenizer.get_vocab()
        ):
            self.separator_id = single_separator_id(prm_tokenizer, convention.separator)

    def read(self, batch: Experience, steps: StepSpans) -> PrmInputs:
        if self.separator_id is not None:
            return build_prm_inputs(
                batch.sequences,
                batch.attention_mask,
                batch.action_mask,
                steps,
                prm_separator_id=self.separator_id,
                pad_token_id=self.policy_tokenizer.pad_token_id,
            )
        texts = step_texts(
            batch.sequences,
            batch.action_mask,
            steps,
            self.policy_tokenizer,
            separator=self.step_separator,
        )
        layouts = [
            self.convention.lay_out(
                PrmSample(self.questions[prompt], prompt, answer), self.prm_tokenizer
            )
            for prompt, answer in zip(batch.prompts, texts, strict=True)
        ]
        return pad_layouts(layouts, pad_token_id=0)  # any id: the mask hides it
