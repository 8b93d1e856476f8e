"""What the experience maker is made of, by the settings: step rules, the PRM's reader and files, the truth of steps."""

from __future__ import annotations

import functools
from collections.abc import Callable

from openrlhf.trainer.ppo_utils.experience import Experience
from torch import Tensor
from transformers import GenerationConfig

from pure_rlhf.algorithm.step_segmentation import find_separator_token_ids, split_steps
from pure_rlhf.config import PureConfig
from pure_rlhf.data import load_rows
from pure_rlhf.model_folder import load_tokenizer
from pure_rlhf.prm.step_labels import (
    HeldOutRows,
    LabelledRows,
    LabelledSteps,
    LaidOutRow,
    Replay,
    label_steps,
    lay_out_rows,
)
from pure_rlhf.prm.step_texts import step_texts
from pure_rlhf.types import StepSpans, Tokenizer
from pure_rlhf.user_function import load_user_function
from pure_rlhf.validation import Inputs
from pure_rlhf.workers.prm_reader import PrmReader


def step_rules(config: PureConfig, tokenizer: Tokenizer) -> Callable[[Tensor, Tensor], StepSpans]:
    """From sequences and their action mask to the steps."""
    return functools.partial(
        split_steps,
        separator_ids=find_separator_token_ids(tokenizer, config.step_separator),
        eos_token_ids=eos_token_ids(config.actor.model_name_or_path, tokenizer.eos_token_id),
    )


def eos_token_ids(model: str, tokenizer_eos: int | None) -> list[int]:
    """Every id at which the engine stops: the tokenizer's EOS and those of the model's generation config."""
    try:
        configured = GenerationConfig.from_pretrained(model).eos_token_id
    except OSError:  # a model folder need not have one
        configured = None
    extra = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in (tokenizer_eos, *extra) if token is not None})


def prm_reader(config: PureConfig, inputs: Inputs, tokenizer: Tokenizer) -> PrmReader | None:
    """None where no PRM scores steps."""
    if inputs.prm_convention is None:
        return None
    return PrmReader(
        inputs.prm_convention,
        prm_tokenizer=load_tokenizer(
            config.reward.model_name_or_path, trust_remote_code=config.trust_remote_code
        ),
        policy_tokenizer=tokenizer,
        questions={record.prompt: record.question for record in inputs.train_prompts.records},
        step_separator=config.step_separator,
    )


def labelled_rows(config: PureConfig, inputs: Inputs) -> LabelledRows:
    """The files of a PRM that learns; none where it does not."""
    convention, settings = inputs.prm_convention, config.prm
    if convention is None or not config.learns_prm:
        return LabelledRows()

    def rows_of(file: str) -> list[LaidOutRow]:
        return lay_out_rows(
            load_rows(file, "train"),
            convention,
            load_tokenizer(
                config.reward.model_name_or_path, trust_remote_code=config.trust_remote_code
            ),
            max_tokens=config.data.max_len,
        )

    replay = held_out = None
    if settings.replay_dataset is not None:
        replay = Replay(rows_of(settings.replay_dataset), seed=config.train.seed)
    if settings.held_out_dataset is not None:
        held_out = HeldOutRows.of(rows_of(settings.held_out_dataset))
    return LabelledRows(replay, held_out)


def step_labelling(
    config: PureConfig, tokenizer: Tokenizer
) -> Callable[[Experience, StepSpans], LabelledSteps] | None:
    """The function of --step_labeller, asked about a rollout; None where there is none."""
    if config.step_labeller is None:
        return None
    labeller = load_user_function("--step_labeller", config.step_labeller)

    def label(batch: Experience, steps: StepSpans) -> LabelledSteps:
        texts = step_texts(
            batch.sequences,
            batch.action_mask,
            steps,
            tokenizer,
            separator=config.step_separator,
        )
        return label_steps(labeller, batch.prompts, texts, steps.mask_BS)

    return label
