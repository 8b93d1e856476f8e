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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
    set_seed,
)

from prm_training.data import PadCollator
from prm_training.evaluation import (
    predict_from_features,
    predict_step_rewards,
    save_calibration_plot,
    summary_line,
)
from prm_training.features import (
    FeaturePlan,
    HeadOnly,
    collate_features,
    compute_features,
    memory_verdict,
    plan_features,
)
from prm_training.model_card import CALIBRATION_FILE, model_card
from prm_training.prepare import PreparedData, prepare
from prm_training.settings import PrmTrainingSettings, training_arguments
from prm_training.trainer import PrmTrainer, RowOrder, last_complete_checkpoint
from pure_rlhf.cpu_host import prepare_deepspeed
from pure_rlhf.prm.quality import step_metrics

EVALUATION_FILE = "prm_evaluation.json"
MAX_THREADS = 8


def train_prm(settings: PrmTrainingSettings) -> dict[str, Any]:
    """Train, save, measure; returns what `prm_evaluation.json` holds.

    Raises ValueError (before any training) for bad data, a wrong checkpoint or settings that do not fit.
    """
    torch.set_num_threads(settings.threads or min(os.cpu_count() or 1, MAX_THREADS))
    started = time.monotonic()
    data = prepare(settings)
    plans = _feature_plans(settings, data)
    arguments = training_arguments(
        settings, measures=data.held_out is not None, head_only=plans is not None
    )
    if arguments.deepspeed:
        prepare_deepspeed()
    set_seed(settings.seed)
    model = load_prm(settings)
    trainer, measure = _build_trainer(settings, data, plans, model, arguments)
    checkpoint = last_complete_checkpoint(settings.output_dir) if settings.resume else None
    if settings.resume:
        _say(f"going on from {checkpoint}" if checkpoint else "no checkpoint: from the start")
    outcome = trainer.train(resume_from_checkpoint=checkpoint)
    if plans is None:
        trainer.save_model(str(settings.output_dir))
    elif trainer.is_world_process_zero():
        model.save_pretrained(settings.output_dir)
        data.tokenizer.save_pretrained(settings.output_dir)
    report: dict[str, Any] = {
        "stage": settings.stage,
        "base": _absolute(settings.model),
        "data": _absolute(settings.train_data),
        "train_rows": len(data.train),
        "neutral": settings.neutral,
        "prefixes": settings.prefixes,
        "train_loss": outcome.training_loss,
        "optimizer_steps": outcome.global_step,
    }
    metrics = None
    if data.held_out is not None:
        metrics = step_metrics(*measure())
        report |= metrics | {"during_training": trainer.measured}
    if trainer.is_world_process_zero():
        report["wall_seconds"] = round(time.monotonic() - started, 1)
        _write_documents(settings, metrics, report)
    return report


def _absolute(name: str) -> str:
    """A path that holds wherever it is read; a hub name as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def _feature_plans(
    settings: PrmTrainingSettings, data: PreparedData
) -> tuple[FeaturePlan, FeaturePlan | None] | None:
    """What to keep of the frozen backbone's outputs for training and held-out rows; None: nothing."""
    if settings.stage != 1 or not settings.cache_features:
        return None
    train = plan_features(data.train)
    held_out = None if data.held_out is None else plan_features(data.held_out)
    hidden_size = AutoConfig.from_pretrained(settings.model).hidden_size
    dtype = torch.bfloat16 if training_arguments(settings, head_only=True).bf16 else torch.float32
    size = sum(plan.num_bytes(hidden_size, dtype) for plan in (train, held_out) if plan)
    fits, sentence = memory_verdict(size)
    _say(sentence)
    return (train, held_out) if fits else None


def _build_trainer(
    settings: PrmTrainingSettings,
    data: PreparedData,
    plans: tuple[FeaturePlan, FeaturePlan | None] | None,
    model: PreTrainedModel,
    arguments: TrainingArguments,
) -> tuple[PrmTrainer, Callable[[], tuple[Tensor, Tensor]]]:
    """The trainer of the whole model or, with kept outputs, of its head; and what measures it."""
    collator = PadCollator(_pad_token_id(data.tokenizer))
    order = RowOrder(
        data.train.lengths, settings.rows_at_once(), settings.length_grouping, settings.seed
    )
    _say(
        f"padding: {collator.padding_frac(data.train.lengths, order.batches(0)):.1%} of the tokens in training, "
        f"{'rows of like length together' if settings.length_grouping else 'rows of any length together'}"
    )

    if plans is None:

        def measure() -> tuple[Tensor, Tensor]:
            assert data.held_out is not None
            return predict_step_rewards(trainer.model, data.held_out, collator)  # type: ignore[arg-type]

        trained: torch.nn.Module = model
        train_dataset, held_out = data.train, data.held_out
    else:
        head = HeadOnly(model)
        train_plan, held_out_plan = plans
        train_dataset = compute_features(
            model, data.train, train_plan, collator, arguments, "training rows"
        )
        held_out = None
        if data.held_out is not None and held_out_plan is not None:
            held_out = compute_features(
                model, data.held_out, held_out_plan, collator, arguments, "held-out rows"
            )

        def measure() -> tuple[Tensor, Tensor]:
            assert held_out is not None
            return predict_from_features(head.score, held_out)

        trained = head

    trainer = PrmTrainer(
        order=order,
        measure=measure,
        model=trained,
        args=arguments,
        train_dataset=train_dataset,
        eval_dataset=held_out,
        data_collator=collator if plans is None else collate_features,
        processing_class=data.tokenizer,
    )
    return trainer, measure


def load_prm(settings: PrmTrainingSettings) -> PreTrainedModel:
    """A token-classification model with two labels; in stage 1 only its `score` can be trained."""
    config = AutoConfig.from_pretrained(settings.model)
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


def _write_documents(
    settings: PrmTrainingSettings, metrics: dict[str, Any] | None, report: dict[str, Any]
) -> None:
    if metrics is not None:
        save_calibration_plot(metrics, settings.output_dir / CALIBRATION_FILE)
    card = model_card(
        base=settings.model,
        data=settings.train_data,
        stage=settings.stage,
        separator=settings.separator,
        treatment=f"neutral steps: {settings.neutral}, prefixes: {settings.prefixes}",
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
