"""What must hold of a PRM that learns, and of an implicit one, before Ray starts.

First what the values alone show (`check_prm_values`), then what needs the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pure_rlhf.checkpoints import checkpoint_tag
from pure_rlhf.config import PureConfig
from pure_rlhf.data import PromptRecord, load_rows
from pure_rlhf.model_folder import load_model_config, load_tokenizer
from pure_rlhf.prm.conventions import PrmConvention
from pure_rlhf.prm.learning import READ_BY_FROZEN_IMPLICIT, changed_settings, reference_problem
from pure_rlhf.prm.step_labels import parse_labelled_responses
from pure_rlhf.types import Tokenizer

LEARNING_CONVENTIONS = ("pure", "qwen", "skywork")
"""Those with a head of their own: a language model that is read at two tokens is cut down, and could not be saved."""
PRM_CHECKPOINTS = "_prm"
"""Beside `_actor` in --ckpt.path."""


def check_prm_values(c: PureConfig) -> Iterator[str]:
    """Problems that the values alone show; none in mode VR, which reads none of them."""
    if not c.uses_prm:
        return
    if c.uses_implicit_prm:
        yield from _check_implicit_values(c)
    else:
        yield from _check_learned_values(c)
    if c.learns_prm:
        yield from _check_learning_values(c)
    elif c.prm_update_order != "score_first":
        yield (
            f"--prm_update_order {c.prm_update_order}: does nothing while --prm_update is none; choose an update, or "
            "drop it"
        )


def _check_implicit_values(c: PureConfig) -> Iterator[str]:
    if not c.scores_at_temperature_one:
        yield (
            f"--rollout.temperature {c.rollout.temperature} with --process_reward implicit: its log-ratios are taken "
            "at temperature 1, and so must the reference's; add --log_prob_temperature one, or sample at 1"
        )
    if c.granularity == "token" and c.mask_separator:
        yield (
            "--process_granularity token with --mask_separator: every token ends a span, so no advantage would be "
            "left; add --no_mask_separator (--convention prime does), or use --process_granularity step"
        )
    if c.prm_update in ("last_step", "step_labels"):
        yield (
            f"--prm_update {c.prm_update} with --process_reward implicit: an implicit PRM has no logit of a step to "
            "label; use --prm_update outcome"
        )
    if c.prm.held_out_dataset is not None:
        yield (
            f"--prm.held_out_dataset {c.prm.held_out_dataset} with --process_reward implicit: its rows are for a PRM "
            "that scores steps; drop --prm.held_out_dataset, or use --process_reward learned"
        )
    if c.reward.backend != "transformers":
        yield (
            f"--reward.backend {c.reward.backend} with --process_reward implicit: log-probabilities come from "
            "the same code as the reference's; use --reward.backend transformers"
        )
    if c.prm_update == "none" and c.reward.model_name_or_path == c.actor.model_name_or_path:
        yield (
            f"--reward.model_name_or_path {c.reward.model_name_or_path}: an implicit PRM that is its own reference and "
            "does not learn pays 0 for everything; use --prm_update outcome, or name a PRM that was trained"
        )


def _check_learned_values(c: PureConfig) -> Iterator[str]:
    if c.prm_update == "step_labels" and c.step_labeller is None:
        yield (
            "--prm_update step_labels: who labels the steps? Name a function with --step_labeller FILE.py:FUNCTION, or "
            "use --prm_update outcome"
        )
    if c.granularity != "step":
        yield (
            f"--process_granularity {c.process_granularity} with --process_reward learned: such a PRM scores steps; "
            "use step, or --process_reward implicit"
        )
    if c.learns_prm and c.reward.backend != "transformers":
        yield (
            f"--reward.backend {c.reward.backend} with --prm_update {c.prm_update}: an engine cannot train; use "
            "--reward.backend transformers"
        )


def _check_learning_values(c: PureConfig) -> Iterator[str]:
    if c.train.dynamic_batch_enable:
        yield (
            f"--train.dynamic_batch_enable with --prm_update {c.prm_update}: a PRM that learns is trained in batches "
            "of responses; drop one of the two"
        )
    answers = c.rollout.batch_size * c.rollout.n_samples_per_prompt
    size, micro = c.prm_batch_size, c.prm_micro_batch_size
    if size > 0 and answers % size:
        yield (
            f"--prm.batch_size {size}: must divide the {answers} answers of a step (--rollout.batch_size x "
            f"--rollout.n_samples_per_prompt); use {answers}"
        )
    share = c.training_gpus * micro
    if share > 0 and size % share:
        yield (
            f"--prm.micro_batch_size {micro}: {c.training_gpus} PRM ranks x {micro} = {share} must divide "
            f"--prm.batch_size {size}; both are those of the policy (--train.batch_size, ...) where they are not given"
        )
    if c.prm.replay_share > 0 or c.prm.replay_dataset is not None:
        yield from _check_replay(c)


def _check_replay(c: PureConfig) -> Iterator[str]:
    source, share = c.prm.replay_dataset, c.prm.replay_share
    flags = f"--prm.replay_dataset {source} --prm.replay_share {share}"
    if c.uses_implicit_prm:
        yield f"{flags}: an implicit PRM cannot learn from labels of steps; drop both"
    elif source is None or share == 0:
        yield f"{flags}: one does nothing without the other; set both, for example a share of 0.5"


def unread_settings_problem(c: PureConfig) -> str | None:
    """Settings of a PRM that learns which nothing would read."""
    if c.learns_prm or not c.uses_prm:
        return None
    read = READ_BY_FROZEN_IMPLICIT if c.uses_implicit_prm else ()
    unread = [f"--prm.{name}" for name in changed_settings(c.prm) if name not in read]
    if not unread:
        return None
    return (
        f"{', '.join(unread)}: nothing reads {'it' if len(unread) == 1 else 'them'} while --prm_update is none; add "
        "--prm_update outcome, or drop the settings of the PRM's training"
    )


def check_implicit_prm(c: PureConfig, policy_tokenizer: Tokenizer | None) -> Iterator[str]:
    """Problems of the folder of an implicit PRM."""
    name = c.reward.model_name_or_path
    if name == c.actor.model_name_or_path:
        return  # checked as the policy
    flag = "--reward.model_name_or_path"
    try:
        config = load_model_config(name, trust_remote_code=c.trust_remote_code)
        tokenizer = load_tokenizer(name, trust_remote_code=c.trust_remote_code)
    except ValueError as error:
        yield f"{flag} {error}"
        return
    if getattr(config, "auto_map", None) and not c.trust_remote_code:
        yield f"{flag} {name}: comes with code of its own; read it, then pass --trust_remote_code"
    kinds = config.architectures or []
    if kinds and not any(kind.endswith("ForCausalLM") for kind in kinds):
        yield (
            f"{flag} {name}: an implicit PRM is a causal language model, this one is {', '.join(kinds)}; leave the "
            "flag out (then it starts as the policy's model), or use --process_reward learned"
        )
    if policy_tokenizer is not None:
        yield from _check_same_text(f"{flag} {name}", tokenizer, policy_tokenizer)
    if (problem := reference_problem(Path(name), c.actor.model_name_or_path)) is not None:
        yield f"{flag} {problem}"


def _check_same_text(what: str, tokenizer: Tokenizer, policy_tokenizer: Tokenizer) -> Iterator[str]:
    remedy = "an implicit PRM reads the policy's own tokens; take one that was trained from it"
    if tokenizer.get_vocab() != policy_tokenizer.get_vocab():
        yield f"{what}: has another tokenizer than --actor.model_name_or_path; {remedy}"
    elif getattr(tokenizer, "chat_template", None) != getattr(
        policy_tokenizer, "chat_template", None
    ):
        yield f"{what}: has another chat template than --actor.model_name_or_path; {remedy}"


def check_learning_prm(c: PureConfig, convention: PrmConvention | None) -> Iterator[str]:
    """Problems of the files of a PRM that learns: what it is, and what a resumed run goes on from."""
    if convention is not None and convention.name not in LEARNING_CONVENTIONS:
        yield (
            f"--prm_update {c.prm_update}: PRMs of the conventions {', '.join(LEARNING_CONVENTIONS)} can learn, "
            f"{c.reward.model_name_or_path} is of {convention.name}; use --prm_update none"
        )
    elif convention is not None:
        for name in ("replay_dataset", "held_out_dataset"):
            if getattr(c.prm, name) is not None:
                source = getattr(c.prm, name)
                at_least = c.training_gpus if name == "held_out_dataset" else 1
                yield from _check_labelled_rows(f"--prm.{name}", source, convention, at_least)
    if not c.ckpt.load_enable:
        return
    tag = checkpoint_tag(c.ckpt.path)
    folder = Path(c.ckpt.path) / PRM_CHECKPOINTS
    if tag is not None and not (folder / tag).is_dir():
        yield (
            f"--ckpt.load_enable with --prm_update {c.prm_update}: {folder} has no checkpoint {tag}, the policy's last "
            "one, so the PRM would start anew; resume with the --prm_update of that run, or start another run"
        )
    elif (problem := reference_problem(folder, c.actor.model_name_or_path)) is not None:
        yield f"--ckpt.load_enable: {problem}"


def _check_labelled_rows(
    flag: str, source: str, convention: PrmConvention, at_least: int
) -> Iterator[str]:
    if convention.name != "pure":
        yield (
            f"{flag} {source}: its rows are laid out for PRMs of the convention pure, this one is of "
            f"{convention.name}; drop {flag}"
        )
        return
    try:
        num_rows = len(parse_labelled_responses(load_rows(source, "train")))
    except ValueError as error:
        yield f"{flag} {source}: {error}; name a file with rows as in docs/prm.md"
        return
    if num_rows < at_least:
        yield f"{flag} {source}: has {num_rows} rows for {at_least} PRM ranks; name a file with more rows"


def check_labels(c: PureConfig, records: list[PromptRecord]) -> Iterator[str]:
    """Whether the prompts have what a PRM learns from."""
    if not c.learns_prm or c.prm_update == "step_labels" or not records:
        return
    unlabelled = sum(record.label is None for record in records)
    column = f"column {c.data.label_key!r} of {c.data.prompt_dataset}"
    if unlabelled == len(records):
        yield (
            f"--prm_update {c.prm_update}: no problem has an answer in {column}, so the PRM would learn nothing; name "
            "the right column with --data.label_key, or use --prm_update none"
        )
    elif (
        unlabelled
        and c.uses_implicit_prm
        and c.reward_mode == "PRMVR"
        and c.curriculum.keep_unlabelled
    ):
        yield (
            f"--prm_update {c.prm_update} with --process_reward implicit: {unlabelled} of {len(records)} problems have "
            f"no answer in {column}; PRIME learns from all, add --curriculum.no_keep_unlabelled, or answer them"
        )
