"""Train a process reward model: `python -m prm_training.train_prm --stage 1 --model ... --train_data ...`.

Stage 1 puts a fresh two-label `score` head on a causal language model and trains only that; stage 2 goes on from
the folder of stage 1 and trains everything. Defaults are the published recipe of PURE's PRM. The loss is token
classification at the separators, through `transformers.Trainer`; with DeepSpeed ZeRO-2 where there are GPUs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)

from prm_training.data import PadCollator, PrmDataset, load_labelled_rows
from prm_training.evaluation import predict_step_rewards, step_metrics, summary_line
from prm_training.model_card import model_card

PUBLISHED_LEARNING_RATE = {1: 1e-4, 2: 1e-6}
PUBLISHED_EPOCHS = {1: 3.0, 2: 1.0}
EVALUATION_FILE = "prm_evaluation.json"
DEEPSPEED_CONFIG = Path(__file__).with_name("deepspeed_zero2.json")
MAX_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class PrmTrainingSettings:
    """The command line. Values that are None take the published one of the stage or suit the host."""

    stage: Literal[1, 2]
    """1: backbone frozen, only the score head is trained. 2: everything is trained."""
    model: str
    """Stage 1: a causal language model. Stage 2: the output folder of stage 1. Folder or hub name."""
    train_data: str
    """Rows of prompt, completions, labels: a JSON, JSONL(.gz) or Parquet file, or a hub name."""
    output_dir: Path
    """Where the model, its tokenizer, README.md and prm_evaluation.json are written."""
    eval_data: str | None = None
    """Held-out rows in the same form; without them nothing is measured."""
    train_split: str = "train"
    """Split of `train_data` when it is a hub name."""
    eval_split: str = "test"
    """Split of `eval_data` when it is a hub name."""
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
    """Batches of rows of like length. Where length tells the label (guesses are short), rather mix them."""
    weight_decay: float = 0.1
    """AdamW's; betas are 0.9 and 0.95."""
    dropout: float = 0.1
    """Dropout before the score head, in [0, 1)."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    max_length: int | None = None
    """Tokens a row may have; None: what the model's positions allow."""
    separator: str = "\n"
    """The text, one token, that follows every step and is read."""
    skip_bad_rows: bool = False
    """Leave bad rows out instead of stopping."""
    bf16: bool | None = None
    """bfloat16 arithmetic; None: where the hardware is quick at it."""
    gradient_checkpointing: bool | None = None
    """Recompute activations to save memory; None: on GPUs."""
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] = "sdpa"
    """Attention kernels; eager is quicker on a CPU for rows of up to some 200 tokens."""
    deepspeed: bool | None = None
    """DeepSpeed ZeRO-2 (deepspeed_zero2.json); None: on GPUs."""
    save_steps: int = 0
    """Write a checkpoint every so many steps; 0: none."""
    resume: bool = False
    """Go on from the last checkpoint in output_dir."""
    seed: int = 42
    """Seed of the head's weights, the order of rows and dropout."""
    threads: int = 0
    """CPU threads; 0 takes all cores, at most 8."""


def train_prm(settings: PrmTrainingSettings) -> dict[str, Any]:
    """Train, save, measure; returns what `prm_evaluation.json` holds.

    Raises ValueError (before any training) for bad data, a wrong checkpoint or settings that do not fit.
    """
    torch.set_num_threads(settings.threads or min(os.cpu_count() or 1, MAX_THREADS))
    started = time.monotonic()
    arguments = training_arguments(settings)
    set_seed(settings.seed)
    config = load_config(settings.model)
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    max_length = settings.max_length or config.max_position_embeddings
    train = _load(settings.train_data, settings.train_split, tokenizer, settings, max_length)
    held_out = None
    if settings.eval_data is not None:
        held_out = _load(settings.eval_data, settings.eval_split, tokenizer, settings, max_length)
    model = load_prm(settings)
    collator = PadCollator(_pad_token_id(tokenizer))
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=train,
        data_collator=collator,
        processing_class=tokenizer,
    )
    outcome = trainer.train(resume_from_checkpoint=settings.resume or None)
    trainer.save_model(str(settings.output_dir))
    report: dict[str, Any] = {
        "stage": settings.stage,
        "train_rows": len(train),
        "train_loss": outcome.training_loss,
        "optimizer_steps": outcome.global_step,
    }
    if trainer.is_world_process_zero():
        metrics = None
        if held_out is not None:
            metrics = step_metrics(*predict_step_rewards(model, held_out, collator))
            report |= metrics
        report["wall_seconds"] = round(time.monotonic() - started, 1)
        _write_documents(settings, metrics, report)
    return report


def training_arguments(settings: PrmTrainingSettings) -> TrainingArguments:
    """The settings in `transformers`' words; raises ValueError where the batch sizes do not divide."""
    has_gpu = torch.cuda.is_available()
    num_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    rows_at_once = settings.micro_batch_size * num_ranks
    if settings.global_batch_size % rows_at_once:
        raise ValueError(
            f"--global_batch_size must be a multiple of --micro_batch_size times the ranks, got "
            f"{settings.global_batch_size} and {settings.micro_batch_size} x {num_ranks}"
        )
    use_deepspeed = has_gpu if settings.deepspeed is None else settings.deepspeed
    checkpointing = settings.gradient_checkpointing
    learning_rate, epochs = settings.learning_rate, settings.epochs
    return TrainingArguments(
        output_dir=str(settings.output_dir),
        learning_rate=PUBLISHED_LEARNING_RATE[settings.stage]
        if learning_rate is None
        else learning_rate,
        num_train_epochs=PUBLISHED_EPOCHS[settings.stage] if epochs is None else epochs,
        lr_scheduler_type=settings.lr_schedule,
        warmup_steps=settings.warmup_frac,
        per_device_train_batch_size=settings.micro_batch_size,
        gradient_accumulation_steps=settings.global_batch_size // rows_at_once,
        weight_decay=settings.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.95,
        max_grad_norm=settings.max_grad_norm,
        bf16=_bf16_is_fast() if settings.bf16 is None else settings.bf16,
        gradient_checkpointing=has_gpu if checkpointing is None else checkpointing,
        deepspeed=str(DEEPSPEED_CONFIG) if use_deepspeed else None,
        use_cpu=not has_gpu,
        train_sampling_strategy="group_by_length" if settings.length_grouping else "random",
        remove_unused_columns=False,
        dataloader_pin_memory=has_gpu,
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 500,
        save_total_limit=2,
        logging_steps=10,
        report_to="none",
        seed=settings.seed,
    )


def load_config(model: str) -> PretrainedConfig:
    """The configuration of a folder or hub name; raises ValueError when there is none."""
    try:
        return AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(
            f"--model {model} cannot be loaded ({reason}): give the folder of a model, or a name that "
            "the Hugging Face hub knows"
        ) from error


def load_prm(settings: PrmTrainingSettings) -> PreTrainedModel:
    """A token-classification model with two labels; in stage 1 only its `score` can be trained."""
    config = load_config(settings.model)
    architectures = " ".join(config.architectures or [])
    if settings.stage == 2 and "TokenClassification" not in architectures:
        raise ValueError(
            f"--model {settings.model} is no token-classification model ({architectures or 'unknown'}): "
            "stage 2 goes on from the output folder of stage 1"
        )
    config.id2label = {0: "wrong", 1: "right"}
    config.label2id = {"wrong": 0, "right": 1}
    config.classifier_dropout = settings.dropout
    config.use_cache = False
    model = AutoModelForTokenClassification.from_pretrained(
        settings.model,
        config=config,
        dtype=torch.float32,
        attn_implementation=settings.attn_implementation,
    )
    if settings.stage == 1:
        model.base_model.requires_grad_(False)
    return model


def _load(
    source: str,
    split: str,
    tokenizer: PreTrainedTokenizerBase,
    settings: PrmTrainingSettings,
    max_length: int,
) -> PrmDataset:
    rows, num_skipped = load_labelled_rows(source, split, skip_bad_rows=settings.skip_bad_rows)
    dataset = PrmDataset(rows, tokenizer, settings.separator)
    dataset.require_at_most(max_length, source)
    steps = sum(len(row.labels) for row in rows)
    right = sum(sum(row.labels) for row in rows)
    skipped = f", {num_skipped} bad rows left out" if num_skipped else ""
    _say(f"{source}: {len(rows)} rows, {steps} steps, {right / steps:.0%} right{skipped}")
    return dataset


def _write_documents(
    settings: PrmTrainingSettings, metrics: dict[str, Any] | None, report: dict[str, Any]
) -> None:
    card = model_card(
        base=settings.model,
        data=settings.train_data,
        stage=settings.stage,
        separator=settings.separator,
        metrics=metrics,
    )
    (settings.output_dir / "README.md").write_text(card, encoding="utf-8")
    text = json.dumps(report, indent=2) + "\n"
    (settings.output_dir / EVALUATION_FILE).write_text(text, encoding="utf-8")
    shown = "" if metrics is None else f": {summary_line(metrics)}"
    _say(f"PRM stage {settings.stage} in {report['wall_seconds']} s{shown}")


def _pad_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    token_id = (
        tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    )
    assert isinstance(token_id, int)
    return token_id


def _bf16_is_fast() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _say(text: str) -> None:
    if int(os.environ.get("RANK", "0")) == 0:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def main() -> None:
    """Parse the command line and train; bad input ends with exit code 2 and one message."""
    settings = tyro.cli(PrmTrainingSettings, description=__doc__)
    try:
        train_prm(settings)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
