"""Typed settings of an SFT run; groups and names are OpenRLHF's, defaults PRIME's (arXiv 2502.01456, appendix A)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pure_rlhf.bounds import Bounds
from pure_rlhf.config import AdamConfig, DeepspeedConfig
from pure_rlhf.types import SchedulerName


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    model_name_or_path: str = "Qwen/Qwen2.5-Math-7B"
    """Model to begin with: folder or hub name."""
    gradient_checkpointing_enable: bool = False


@dataclass(frozen=True, kw_only=True)
class SftDataConfig:
    dataset: str | None = None
    """Rows: a .json, .jsonl (also .gz) or .parquet file, or a Hugging Face data set name. Each has a question and a
    response, or a conversation (messages or conversations)."""
    split: str = "train"
    input_key: str = "question"
    """Column of the question."""
    response_key: str = "response"
    """Column of the response that is learned."""
    input_template: str = "{}"
    """The first {} is replaced by the question: as --data.input_template of the RL that follows."""
    apply_chat_template: bool = False
    """Write prompts through the tokenizer's chat template; conversations always are, where it has one."""
    system_prompt: str = "none"
    """none, actions (the seven actions of PRIME), or a file with a text of your own; a row's own wins."""
    max_len: Annotated[int, Bounds(low=2, remedy="it counts tokens")] = 6144
    """Longest prompt + response, in tokens. Longer rows are dropped, and counted: cut off they would teach to stop."""


@dataclass(frozen=True, kw_only=True)
class SftTrainConfig:
    batch_size: Annotated[int, Bounds(low=1, remedy="it counts rows")] = 96
    """Rows in one optimiser step."""
    micro_batch_size: Annotated[int, Bounds(low=1, remedy="it counts rows")] = 1
    """Rows in one forward and backward of a rank; with --ds.packing_samples they are packed without padding."""
    max_epochs: Annotated[int, Bounds(low=1, remedy="3 is PRIME's")] = 3
    seed: Annotated[int, Bounds(low=0, high=2**32 - 1, remedy="any number will do")] = 42
    full_determinism_enable: bool = False


@dataclass(frozen=True, kw_only=True)
class SftEvalConfig:
    rows: Annotated[int, Bounds(low=0, remedy="0 holds none out")] = 128
    """Rows that are held out, at most a twentieth of all, to measure the loss; the report has answers to some."""
    steps: Annotated[int, Bounds(low=1, never=-1, remedy="-1: after each epoch")] = -1
    """Measure the held-out loss every so many steps; -1: after each epoch."""


@dataclass(frozen=True, kw_only=True)
class SftCheckpointConfig:
    save_steps: Annotated[int, Bounds(low=1, never=-1, remedy="-1 saves none")] = 200
    """Checkpoint every so many steps; -1: never."""
    max_num: Annotated[int, Bounds(low=1, remedy="--ckpt.save_steps -1 saves none")] = 1
    """Checkpoints to keep."""
    load_enable: bool = False
    """Go on from the last checkpoint in the output directory, or begin where there is none."""


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    """Supervised fine-tuning of a language model: the warm-up before RL."""

    output_dir: str = "output/sft"
    """Run directory: config.json, metrics.jsonl, model/, checkpoints/, sft_report.html."""
    lr_scheduler: SchedulerName = "cosine"
    lr_warmup_ratio: Annotated[float, Bounds(low=0, high=1, remedy="a share of all steps")] = 0.1
    max_norm: Annotated[float, Bounds(low=0, remedy="1 is usual, 0 does not clip")] = 1.0
    """Gradient clipping."""
    trust_remote_code: bool = False
    """Run code that comes with a model. Off: refused."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: SftDataConfig = field(default_factory=SftDataConfig)
    train: SftTrainConfig = field(default_factory=SftTrainConfig)
    eval: SftEvalConfig = field(default_factory=SftEvalConfig)
    ckpt: SftCheckpointConfig = field(default_factory=SftCheckpointConfig)
    adam: AdamConfig = field(default_factory=lambda: AdamConfig(lr=1e-5))
    ds: DeepspeedConfig = field(default_factory=DeepspeedConfig)

    @property
    def checkpoints(self) -> Path:
        return Path(self.output_dir) / "checkpoints"
