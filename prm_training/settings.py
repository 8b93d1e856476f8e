"""The command line of PRM training, and the same in `transformers`' words."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import TrainingArguments

from prm_training.data import SeparatorInSteps
from prm_training.selection import Neutral, Prefixes
from pure_rlhf.cpu_host import bfloat16_is_fast

PUBLISHED_LEARNING_RATE = {1: 1e-4, 2: 1e-6}
PUBLISHED_EPOCHS = {1: 3.0, 2: 1.0}
DEEPSPEED_CONFIG = Path(__file__).with_name("deepspeed_zero2.json")


@dataclass(frozen=True, kw_only=True)
class PrmTrainingSettings:
    """The command line. Values that are None take the published one of the stage or suit the host."""

    stage: Literal[1, 2]
    """1: backbone frozen, only the score head is trained. 2: everything is trained."""
    model: str
    """Stage 1: a causal language model. Stage 2: the output folder of stage 1. Folder or hub name."""
    train_data: str
    """Step-labelled rows: a JSON, JSONL(.gz) or Parquet file, or a hub name. Known by their columns: TRL's form
    (prompt, completions, labels or ratings), OpenAI's raw PRM800K, Math-Shepherd."""
    output_dir: Path
    """Where the model, its tokenizer, README.md, calibration.png and prm_evaluation.json are written."""
    eval_data: str | None = None
    """Held-out rows in one of these forms; without them (and held_out_frac) nothing is measured."""
    held_out_frac: float = 0.0
    """Without eval_data: hold out this share of the training problems, in [0, 0.5]."""
    train_split: str = "train"
    """Split of `train_data` when it is a hub name."""
    eval_split: str = "test"
    """Split of `eval_data` and `exclude_problems` when they are hub names."""
    neutral: Neutral = "wrong"
    """Steps that are rated 0: wrong (TRL's rule), right, or drop (not trained on)."""
    prefixes: Prefixes = "as_is"
    """Labels of prefixes that several rows repeat: as_is; whole_solutions (only these rows); last_step (of each
    row); each_step_once (all rows, a shared step labelled in one of them). Also for held-out rows."""
    separator_in_steps: SeparatorInSteps = "refuse"
    """Steps that contain the separator: refuse (a bad row), keep, or space (put one in its place)."""
    exclude_problems: tuple[str, ...] = ()
    """Files or hub names of evaluation problems (column problem, question or prompt): training rows of these
    are left out and listed in removed_problems.json."""
    skip_bad_rows: bool = False
    """Leave bad rows out, and count them, instead of stopping."""
    learning_rate: float | None = None
    """Published: 1e-4 in stage 1, 1e-6 in stage 2. Constant, no warm-up unless asked for."""
    epochs: float | None = None
    """Published: 3 in stage 1, 1 in stage 2."""
    lr_schedule: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant"
    """Learning-rate schedule."""
    warmup_frac: float = 0.0
    """Share of the steps that warm up, in [0, 1); the schedule must have a warm-up."""
    global_batch_size: int = 128
    """Rows per optimiser step, over all ranks."""
    micro_batch_size: int = 4
    """Rows per forward pass and rank; global_batch_size must be a multiple of it times the ranks."""
    length_grouping: bool = True
    """Forward passes over rows of like length; an optimiser step has several, of any length."""
    cache_features: bool = True
    """Stage 1: run the frozen backbone once and keep its outputs, where memory allows."""
    weight_decay: float = 0.1
    """AdamW's; betas are 0.9 and 0.95."""
    dropout: float = 0.1
    """Dropout before the score head, in [0, 1)."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    max_length: int | None = None
    """Tokens a row may have; None: any number where positions are rotary (rows beyond the model's are counted), else
    what the model's positions allow."""
    separator: str = "\n"
    """The text, one token, that follows every step and is read."""
    bf16: bool | None = None
    """bfloat16 arithmetic; None: where the hardware is quick at it."""
    gradient_checkpointing: bool | None = None
    """Recompute activations to save memory; None: on GPUs."""
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] = "sdpa"
    """Attention kernels; eager is quicker on a CPU for rows of up to some 200 tokens."""
    deepspeed: bool | None = None
    """DeepSpeed ZeRO-2 (deepspeed_zero2.json); None: on GPUs."""
    eval_steps: float = 0.25
    """Measure on the held-out rows every so many steps; below 1: every such share of all steps; 0: at the end."""
    save_steps: int = 0
    """Write a checkpoint every so many steps; 0: none."""
    resume: bool = False
    """Go on from the last complete checkpoint in output_dir; from the start where there is none."""
    seed: int = 42
    """Seed of the head's weights, the order of rows and dropout."""
    threads: int = 0
    """CPU threads; 0 takes all cores, at most 8."""

    def rows_at_once(self) -> int:
        """Rows of one forward pass over all ranks."""
        return self.micro_batch_size * int(os.environ.get("WORLD_SIZE", "1"))

    def problems(self) -> list[str]:
        """What cannot be, in words for the user."""
        found = []
        rows_at_once = self.rows_at_once()
        if rows_at_once < 1 or self.global_batch_size < 1 or self.global_batch_size % rows_at_once:
            found.append(
                f"--global_batch_size must be a multiple of --micro_batch_size times the ranks, got "
                f"{self.global_batch_size} and {self.micro_batch_size} x "
                f"{rows_at_once // (self.micro_batch_size or 1)}"
            )
        if not 0 <= self.held_out_frac <= 0.5:
            found.append(f"--held_out_frac must be in [0, 0.5], got {self.held_out_frac}")
        if self.held_out_frac and self.eval_data is not None:
            found.append("--held_out_frac and --eval_data are both given: leave one out")
        if not 0 <= self.dropout < 1:
            found.append(f"--dropout must be in [0, 1), got {self.dropout}")
        if self.eval_steps < 0 or self.save_steps < 0:
            found.append("--eval_steps and --save_steps must not be negative")
        return found


def training_arguments(
    settings: PrmTrainingSettings, *, measures: bool = False, head_only: bool = False
) -> TrainingArguments:
    """The settings in `transformers`' words.

    `head_only`: a micro batch is the whole batch of a rank, and neither ZeRO nor recomputation has a use.
    """
    has_gpu = torch.cuda.is_available()
    use_deepspeed = has_gpu if settings.deepspeed is None else settings.deepspeed
    checkpointing = settings.gradient_checkpointing
    learning_rate, epochs = settings.learning_rate, settings.epochs
    num_passes = settings.global_batch_size // settings.rows_at_once()
    return TrainingArguments(
        output_dir=str(settings.output_dir),
        learning_rate=PUBLISHED_LEARNING_RATE[settings.stage]
        if learning_rate is None
        else learning_rate,
        num_train_epochs=PUBLISHED_EPOCHS[settings.stage] if epochs is None else epochs,
        lr_scheduler_type=settings.lr_schedule,
        warmup_steps=settings.warmup_frac,
        per_device_train_batch_size=settings.micro_batch_size * (num_passes if head_only else 1),
        gradient_accumulation_steps=1 if head_only else num_passes,
        weight_decay=settings.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.95,
        max_grad_norm=settings.max_grad_norm,
        bf16=bfloat16_is_fast() if settings.bf16 is None else settings.bf16,
        gradient_checkpointing=not head_only
        and (has_gpu if checkpointing is None else checkpointing),
        deepspeed=str(DEEPSPEED_CONFIG) if use_deepspeed and not head_only else None,
        use_cpu=not has_gpu,
        remove_unused_columns=False,
        dataloader_pin_memory=has_gpu,
        eval_strategy="steps" if measures and settings.eval_steps else "no",
        eval_steps=settings.eval_steps or None,
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 500,
        save_total_limit=3,
        logging_steps=10,
        report_to="none",
        seed=settings.seed,
    )
