"""Problems of the files: models, tokenizers, data, checkpoints, the output folder. What a run needs of them is kept."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from code_sandbox.problems import Problem
from code_sandbox.runner import SandboxError
from pure_rlhf.adapters import LOWEST_USUAL_RATE, find_resume_problems, find_target_problems
from pure_rlhf.algorithm.credit_assignment import assign_credit
from pure_rlhf.algorithm.step_segmentation import find_separator_token_ids
from pure_rlhf.checkpoints import checkpoint_tag, policy_checkpoints
from pure_rlhf.config import PureConfig
from pure_rlhf.data import PromptRecord, PromptSet, load_prompts, prompt_renderer
from pure_rlhf.fit.check import find_fit_problems
from pure_rlhf.fit.host import existing_parent
from pure_rlhf.grading.verifier import make_sandbox
from pure_rlhf.model_folder import load_model_config, load_tokenizer
from pure_rlhf.monitoring.run_directory import RunDirectory
from pure_rlhf.prm.conventions import PrmConvention, PureConvention, has_rotary_positions
from pure_rlhf.prm.scorer import VLLM_CONVENTIONS, load_convention
from pure_rlhf.prm.step_labels import label_steps
from pure_rlhf.prompt_styles import read_system_prompt
from pure_rlhf.types import Tokenizer
from pure_rlhf.user_function import load_user_function
from pure_rlhf.validation.prm import (
    check_implicit_prm,
    check_labels,
    check_learning_prm,
)


@dataclass
class Inputs:
    """The data of a run, read while it was checked."""

    train_prompts: PromptSet = field(default_factory=lambda: PromptSet([], 0))
    eval_prompts: PromptSet = field(default_factory=lambda: PromptSet([], 0))
    selection_prompts: PromptSet = field(default_factory=lambda: PromptSet([], 0))
    prm_convention: PrmConvention | None = None  # None in mode VR, and of an implicit PRM
    warnings: list[str] = field(default_factory=list)


def check_files(c: PureConfig, inputs: Inputs) -> Iterator[str]:
    """Problems of the files; fills `inputs`. A later check is skipped where an earlier one took its ground."""
    run = RunDirectory(c.output_dir)
    yield from _check_output(c, run)
    yield from find_fit_problems(c, inputs.warnings)
    tokenizer = None
    problems = list(_check_policy(c))
    if not problems:
        try:
            tokenizer = load_tokenizer(
                c.actor.model_name_or_path, trust_remote_code=c.trust_remote_code
            )
        except ValueError as error:
            problems = [f"--actor.model_name_or_path {error}"]
        else:
            yield from _check_separators(c, tokenizer)
    yield from problems
    if c.uses_prm:
        yield from _check_credit_function(c)
        if c.uses_implicit_prm:
            yield from check_implicit_prm(c, tokenizer)
        else:
            yield from _check_prm(c, inputs)
    if c.learns_prm:
        yield from check_learning_prm(c, inputs.prm_convention)
    if c.data.prompt_dataset is None:
        yield "--data.prompt_dataset is missing: name a .json, .jsonl or .parquet file or a Hugging Face data set"
    if c.ds.lora.rank and c.actor.adam.lr < LOWEST_USUAL_RATE:
        inputs.warnings.append(
            f"--actor.adam.lr {c.actor.adam.lr:g} with --ds.lora.rank {c.ds.lora.rank}: an adapter hardly moves at the "
            f"rate of a full fine-tuning; 1e-5 to 2e-4 is usual"
        )
    yield from _read_prompts(c, tokenizer, inputs)
    yield from _check_records(c, inputs)


def _check_credit_function(c: PureConfig) -> Iterator[str]:
    """A function of the user's is tried on two short responses, so that its mistakes end before anything starts."""
    if ":" not in c.credit_assignment:
        return
    import torch

    mask_BS = torch.tensor([[True, True, True], [True, False, False]])
    rewards_BS = torch.tensor([[0.5, -0.5, 0.25], [1.0, 0.0, 0.0]])
    try:
        assign_credit(rewards_BS, mask_BS, c)
    except ValueError as error:
        yield str(error)
    except Exception as error:  # whatever the user's code raises
        yield (
            f"--credit_assignment {c.credit_assignment}: failed on rewards [[0.5, -0.5, 0.25], [1.0]] with "
            f"{type(error).__name__}: {error}"
        )


def _check_step_labeller(c: PureConfig, records: list[PromptRecord]) -> Iterator[str]:
    """The function is tried on a response of two steps, so that its mistakes end before anything starts."""
    if c.step_labeller is None or not records:
        return
    import torch

    steps = ("First we add.", "The answer is \\boxed{0}.")
    try:
        function = load_user_function("--step_labeller", c.step_labeller)
        label_steps(function, [records[0].prompt], [steps], torch.tensor([[True, True]]))
    except ValueError as error:
        # its own, or one of the user's code
        yield str(error) if str(error).startswith("--step_labeller") else _labeller_failed(c, error)
    except Exception as error:  # whatever the user's code raises
        yield _labeller_failed(c, error)


def _labeller_failed(c: PureConfig, error: Exception) -> str:
    return (
        f"--step_labeller {c.step_labeller}: failed on the first prompt with two made-up steps, with "
        f"{type(error).__name__}: {error}; it must label any text"
    )


def _read_prompts(c: PureConfig, tokenizer: Tokenizer | None, inputs: Inputs) -> Iterator[str]:
    chat = c.data.apply_chat_template and tokenizer is not None
    try:
        system_prompt = read_system_prompt(c.data.system_prompt)
    except ValueError as error:
        yield f"--data.system_prompt {error}"
        return
    render, render_program = (
        prompt_renderer(template, chat, tokenizer, system_prompt=system_prompt)
        for template in (c.data.input_template, c.data.program_template)
    )
    for flag, source, split, name in (
        ("--data.prompt_dataset", c.data.prompt_dataset, c.data.prompt_split, "train_prompts"),
        ("--eval.dataset", c.eval.dataset, c.eval.split, "eval_prompts"),
        (
            "--eval.selection_dataset",
            c.eval.selection_dataset,
            c.eval.split,
            "selection_prompts",
        ),
    ):
        if source is None:
            continue
        try:
            prompts = load_prompts(
                source,
                split=split,
                input_key=c.data.input_key,
                label_key=c.data.label_key,
                render=render,
                tokenizer=tokenizer,
                max_tokens=c.data.prompt_max_len,
                ability_key=c.data.ability_key,
                render_program=render_program,
                allow_asserts=name != "train_prompts",
            )
        except ValueError as error:
            yield f"{flag}: {error}"
        else:
            setattr(inputs, name, prompts)


def _check_records(c: PureConfig, inputs: Inputs) -> Iterator[str]:
    train, held_out = inputs.train_prompts.records, inputs.eval_prompts.records
    if train and len(train) < c.rollout.batch_size:
        yield (
            f"--rollout.batch_size {c.rollout.batch_size}: {c.data.prompt_dataset} has only {len(train)} problems; "
            f"lower it to at most that"
        )
    if train and c.reward_mode == "VR" and not any(record.label for record in train):
        yield (
            f"--reward_mode VR: no problem in {c.data.prompt_dataset} has an answer in column "
            f"{c.data.label_key!r}; name the right column with --data.label_key, or use --reward_mode PRM"
        )
    if train and c.curriculum.method != "off" and not any(record.label for record in train):
        yield (
            f"--curriculum.method {c.curriculum.method}: chooses by verified accuracy, but no problem in "
            f"{c.data.prompt_dataset} has an answer in column {c.data.label_key!r}; name the right column with "
            f"--data.label_key, or use off"
        )
    yield from check_labels(c, train)
    yield from _check_sandbox(c, [*train, *held_out, *inputs.selection_prompts.records])
    yield from _check_step_labeller(c, train)
    labelled = sum(record.label is not None for record in train)
    if train and not c.curriculum.keep_unlabelled and labelled < c.rollout.batch_size:
        yield (
            f"--curriculum.no_keep_unlabelled: {c.data.prompt_dataset} has only {labelled} problems with an answer in "
            f"column {c.data.label_key!r}, and --rollout.batch_size {c.rollout.batch_size} are needed; name the right "
            f"column with --data.label_key, lower the batch size, or keep the others"
        )
    selection = inputs.selection_prompts.records
    for flag, source, records in (
        ("--eval.dataset", c.eval.dataset, held_out),
        ("--eval.selection_dataset", c.eval.selection_dataset, selection),
    ):
        unlabelled = sum(record.label is None for record in records)
        if unlabelled:
            yield f"{flag} {source}: {unlabelled} of {len(records)} problems have no answer to grade by"
    if selection and not c.eval.steps > 0:
        yield (
            f"--eval.selection_dataset {c.eval.selection_dataset}: checkpoints are compared at evaluations; set "
            f"--eval.steps, for example to --ckpt.save_steps {c.ckpt.save_steps}"
        )
    questions = {record.question for record in selection}
    for what, records in (("--eval.dataset", held_out), ("--data.prompt_dataset", train)):
        shared = sum(record.question in questions for record in records)
        if shared:
            inputs.warnings.append(
                f"--eval.selection_dataset shares {shared} problems with {what}: a checkpoint that is chosen on them "
                f"scores too well on them"
            )


def _check_sandbox(c: PureConfig, records: list[PromptRecord]) -> Iterator[str]:
    """An interpreter is started and tried where there are programs to run; its mistakes end before anything starts."""
    count = sum(isinstance(record.label, Problem) for record in records)
    if not count:
        return
    one = dataclasses.replace(c.programs, workers=1)
    try:
        with make_sandbox(one) as sandbox:
            sandbox.try_out()
    except (SandboxError, ValueError) as error:
        yield f"--data.ability_key {c.data.ability_key}: {count} problems of code cannot be graded here: {error}"


def _check_output(c: PureConfig, run: RunDirectory) -> Iterator[str]:
    if run.holds_a_run() and not c.ckpt.load_enable:
        yield (
            f"--output_dir {c.output_dir}: already holds a run; choose another folder, or continue that run with "
            f"--ckpt.load_enable"
        )
    tag = checkpoint_tag(c.ckpt.path) if c.ckpt.load_enable else None
    if c.ckpt.load_enable and tag is None:
        yield (
            f"--ckpt.load_enable: there is no checkpoint in {c.ckpt.path} that was written to its end; drop the flag "
            "to start afresh, in another --output_dir"
        )
    newest = policy_checkpoints(c.ckpt.path) / tag if tag is not None else None
    if newest is not None:
        yield from find_resume_problems(c.ds.lora, newest)
    ranks = _ranks_of_checkpoint(newest) if newest else None
    if ranks is not None and ranks != c.training_gpus:
        yield (
            f"--ckpt.load_enable: {c.ckpt.path} was written by {ranks} policy ranks, each with its part of the "
            f"optimiser, and this run has {c.training_gpus}; use --actor.num_gpus_per_node {ranks} on one node, and "
            f"the same for --ref.num_gpus_per_node and --reward.num_gpus_per_node"
        )
    parent = existing_parent(run.path)
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        yield f"--output_dir {c.output_dir}: {parent} cannot be written; choose another folder"
    foreign = [path for path in _links(run.path) if path.lstat().st_uid != os.getuid()]
    if foreign:  # of a user's own, checkpoints on another disk
        yield (
            f"--output_dir {c.output_dir}: {', '.join(map(str, foreign))} is a link that another user made, and the "
            f"run would write where it leads; remove it, or choose another folder"
        )


def _links(folder: Path) -> list[Path]:
    if not folder.is_dir() or not os.access(folder, os.R_OK):
        return []
    return [path for path in sorted(folder.iterdir()) if path.is_symlink()]


def _ranks_of_checkpoint(checkpoint: Path) -> int | None:
    """How many ranks wrote it; None where that cannot be seen."""
    return len(list(checkpoint.glob("*zero_pp_rank_*_optim_states.pt"))) or None


def _check_policy(c: PureConfig) -> Iterator[str]:
    name = c.actor.model_name_or_path
    try:
        config = load_model_config(name, trust_remote_code=c.trust_remote_code)
    except ValueError as error:
        yield f"--actor.model_name_or_path {error}"
        return
    if getattr(config, "auto_map", None) and not c.trust_remote_code:
        # OpenRLHF runs it without asking
        yield (
            f"--actor.model_name_or_path {name}: comes with code of its own; read it, then pass "
            f"--trust_remote_code"
        )
    elif c.ds.lora.rank:
        yield from find_target_problems(c.ds.lora, config, trust_remote_code=c.trust_remote_code)


def _check_separators(c: PureConfig, tokenizer: Tokenizer) -> Iterator[str]:
    try:
        find_separator_token_ids(tokenizer, c.step_separator)
    except ValueError as error:
        yield f"--step_separator {c.step_separator!r}: {error}"


def _check_prm(c: PureConfig, inputs: Inputs) -> Iterator[str]:
    name = c.reward.model_name_or_path
    try:
        config = load_model_config(name, trust_remote_code=c.trust_remote_code)
    except ValueError as error:
        yield f"--reward.model_name_or_path {error}"
        return
    chosen: PureConvention | str | None = None if c.prm_convention == "auto" else c.prm_convention
    if c.prm_convention == "pure" or (chosen is None and c.prm_separator != "\n"):
        chosen = PureConvention(c.prm_separator)
    try:
        convention, _ = load_convention(name, chosen, trust_remote_code=c.trust_remote_code)
    except ValueError as error:
        yield (
            f"--reward.model_name_or_path {name} (--prm_convention {c.prm_convention}, --prm_separator "
            f"{c.prm_separator!r}): {error}"
        )
        return
    inputs.prm_convention = convention
    if c.reward.backend == "vllm" and convention.name not in VLLM_CONVENTIONS:
        yield (
            f"--reward.backend vllm: serves the conventions {', '.join(VLLM_CONVENTIONS)}, this PRM is of "
            f"{convention.name}; use transformers"
        )
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and longest < c.data.max_len:
        problem = (
            f"--data.max_len {c.data.max_len}: the PRM {name} was made for at most {longest} tokens; lower it, with "
            f"--data.prompt_max_len and --rollout.max_new_tokens"
        )
        if (
            has_rotary_positions(config)
            and c.reward.beyond_positions == "warn"
            and c.reward.backend != "vllm"
        ):
            inputs.warnings.append(f"{problem}, or read its rewards of longer responses with care")
        else:
            yield problem
