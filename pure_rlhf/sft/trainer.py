"""OpenRLHF's SFT trainer with what a run leaves: metrics, held-out loss, whole checkpoints, an exact resume.

Everything that learns is upstream's: model, loss, order of the rows, optimiser.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from pure_rlhf import cpu_host
from pure_rlhf.adapters import ALL_LINEAR
from pure_rlhf.checkpoints import tag_to_load
from pure_rlhf.sft.rows import SftDataset, SftRows
from pure_rlhf.sft.settings import SftConfig
from pure_rlhf.types import Tokenizer
from pure_rlhf.workers.strategy import Strategy, make_strategy

# `pure_rlhf.workers` comes first: without it OpenRLHF asks for flash-attn, and DeepSpeed compiles for a minute
# isort: split
from openrlhf.models import Actor
from openrlhf.trainer.sft_trainer import SFTTrainer

METRICS_FILE = "metrics.jsonl"


def train(config: SftConfig, rows: SftRows, tokenizer: Tokenizer) -> None:
    """Train, measure and save; every rank calls it with the same arguments."""
    args = sft_args(config)
    strategy = make_strategy(args)
    strategy.setup_distributed()
    lora = config.ds.lora
    model = Actor(
        config.model.model_name_or_path,
        attn_implementation=args.ds.attn_implementation,
        param_dtype=args.ds.param_dtype,
        lora_rank=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=args.ds.lora.target_modules,
        lora_dropout=lora.dropout,  # pyright: ignore[reportArgumentType]  # a share; upstream says int
        ds_config=strategy.get_ds_train_config(),
        packing_samples=config.ds.packing_samples,
        use_liger_kernel=config.ds.use_liger_kernel,
    )
    if config.model.gradient_checkpointing_enable:
        model.gradient_checkpointing_enable()
    # masked, so any id will do
    pad_token_id = (
        tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    )
    assert pad_token_id is not None
    data = SftDataset(rows.train, pad_token_id)
    loader = strategy.setup_dataloader(
        data, config.train.micro_batch_size, False, True, data.collate_fn
    )
    steps_per_epoch = max(1, len(loader) // strategy.accumulated_gradient)
    settings = {
        "optim": "adam",
        "adam": vars(args.adam),
        "lr_scheduler": config.lr_scheduler,
        "lr_warmup_ratio": config.lr_warmup_ratio,
        "min_lr_ratio": 0.1,
        "max_norm": config.max_norm,
        "scheduler_steps": len(loader) * config.train.max_epochs // strategy.accumulated_gradient,
    }
    model, optimizer, scheduler = strategy.prepare((model, settings))
    consumed, first_step = 0, 0
    if config.ckpt.load_enable and tag_to_load(config.checkpoints) is not None:
        _, states = strategy.load_ckpt(model.model, str(config.checkpoints))
        consumed, first_step = states["consumed_samples"], model.model.global_steps
        strategy.print(f"Going on after step {first_step}")
    trainer = _Trainer(
        model=model,
        strategy=strategy,
        optim=optimizer,
        train_dataloader=loader,
        eval_dataloader=_held_out_loader(config, rows, pad_token_id, strategy),
        scheduler=scheduler,
        max_norm=config.max_norm,
        batch_size=config.train.batch_size,
        max_epochs=config.train.max_epochs,
        tokenizer=tokenizer,
    )
    trainer.metrics = _Metrics(Path(config.output_dir) / METRICS_FILE, strategy, first_step)
    if not first_step:
        trainer.evaluate(trainer.eval_dataloader, 0)
    trainer.fit(args, consumed, steps_per_epoch)
    strategy.save_model(model, tokenizer, str(Path(config.output_dir) / "model"))


def sft_args(config: SftConfig) -> SimpleNamespace:
    """What OpenRLHF calls `args`; ours rides along as `args.pure`."""
    lora = config.ds.lora
    return SimpleNamespace(
        pure=config,
        local_rank=-1,
        max_norm=config.max_norm,
        optim="adam",
        adam=SimpleNamespace(**vars(config.adam)),
        model=SimpleNamespace(
            model_name_or_path=config.model.model_name_or_path,
            aux_loss_coef=0.0,
            pretrain_mode_enable=False,
        ),
        train=SimpleNamespace(**vars(config.train)),
        eval=SimpleNamespace(**vars(config.eval)),
        ckpt=SimpleNamespace(
            path=str(config.checkpoints),
            save_steps=config.ckpt.save_steps,
            max_num=config.ckpt.max_num,
            max_mem=math.inf,
        ),
        logger=SimpleNamespace(
            logging_steps=1, tensorboard_dir=None, wandb=SimpleNamespace(key=None)
        ),
        ds=SimpleNamespace(
            **vars(config.ds)
            | {
                "attn_implementation": cpu_host.attention_implementation(
                    config.ds.attn_implementation
                ),
                "param_dtype": cpu_host.parameter_type(config.ds.param_dtype),
                "lora": SimpleNamespace(
                    **vars(lora)
                    | {
                        "target_modules": ALL_LINEAR
                        if lora.has_all_linear
                        else list(lora.target_modules)
                    }
                ),
                "deepcompile": False,
                "ring_attn_size": 1,
                "tensor_parallel_size": 1,
                "use_universal_ckpt": False,
            }
        ),
    )


def _held_out_loader(
    config: SftConfig, rows: SftRows, pad_token_id: int, strategy: Strategy
) -> Any:
    if not rows.held_out:
        return None
    data = SftDataset(rows.held_out, pad_token_id)
    # every rank reads all: padding them to even shares would count some twice
    return torch.utils.data.DataLoader(
        data, batch_size=config.train.micro_batch_size, collate_fn=data.collate_fn
    )


class _Metrics:
    """The lines of metrics.jsonl, one a step, written by rank 0; what a resumed run makes again is cut off."""

    def __init__(self, path: Path, strategy: Strategy, first_step: int) -> None:
        self.path, self.writes = path, strategy.is_rank_0()
        self.pending: dict[str, float] = {}
        if self.writes:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            kept = [line for line in lines if json.loads(line)["step"] <= first_step]
            draft = path.with_suffix(".part")
            draft.write_text("".join(f"{line}\n" for line in kept if first_step), encoding="utf-8")
            draft.replace(path)

    def write(self, step: int, values: dict[str, float]) -> None:
        if self.writes:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")


class _Trainer(SFTTrainer):
    metrics: _Metrics
    _began: float

    def fit(self, *args: Any, **options: Any) -> None:
        self._began = time.perf_counter()
        super().fit(*args, **options)

    def save_logs_and_checkpoints(
        self,
        args: Any,
        global_step: int,
        step_bar: Any,
        logs_dict: dict[str, float] | None = None,
        client_states: dict[str, Any] | None = None,
    ) -> None:
        """Upstream's hook after every step."""
        logs = logs_dict or {}
        now = time.perf_counter()
        values = {
            # upstream's is that of this rank's rows
            "sft/loss": self.strategy.all_reduce({"loss": logs["loss_mean"]})["loss"],
            "sft/learning_rate": logs["lr"],
            "sft/grad_norm": logs["grad_norm"],
            "timing/total": now - self._began,
        }
        if not math.isfinite(values["sft/loss"]):
            raise RuntimeError(
                f"the loss of step {global_step} is {values['sft/loss']}; the last checkpoint is from before it: lower "
                f"--adam.lr, or look at the rows"
            )
        if global_step % args.eval.steps == 0 and self.eval_dataloader is not None:
            values["sft/held_out_loss"] = self._held_out_loss()
        self.metrics.write(global_step, values)
        if global_step % args.ckpt.save_steps == 0:
            self.strategy.save_ckpt(
                self.model.model,
                args.ckpt.path,
                f"global_step{global_step}",
                args.ckpt.max_num,
                args.ckpt.max_mem,
                client_states or {},
            )
        self._began = time.perf_counter()

    def evaluate(self, eval_dataloader: Any, steps: int = 0) -> None:
        """The held-out loss before the first step."""
        if eval_dataloader is not None:
            self.metrics.write(steps, {"sft/held_out_loss": self._held_out_loss()})

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        """In nats a token of the responses (upstream's is a mean over batches)."""
        self.model.eval()
        device = next(self.model.parameters()).device
        total = count = 0.0
        for inputs, attention_mask, loss_mask in self.eval_dataloader:
            inputs, attention_mask, loss_mask = (
                part.to(device).squeeze(1) for part in (inputs, attention_mask, loss_mask)
            )
            log_probs = self.model(inputs, attention_mask=attention_mask, return_logprobs=True)
            total -= float((log_probs.float() * loss_mask[:, :-1]).sum())
            count += float(loss_mask[:, :-1].sum())
        self.model.train()
        return total / count
