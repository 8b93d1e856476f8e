"""What must be true of a model before an engine is started with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pure_rlhf.model_folder import check_whole, load_model_config, load_tokenizer


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model that can be loaded. `name` is the one in the table, `source` the folder or hub name."""

    name: str
    source: str
    tokenizer: Any
    max_positions: int | None  # tokens of prompt and answer that it can hold; None: not said


def display_names(sources: Sequence[str]) -> list[str]:
    """Short names that differ: of a long path the last two parts where they suffice.

    Example: `display_names(["/runs/a/model", "Qwen/Qwen2.5-7B"])` is `["a/model", "Qwen/Qwen2.5-7B"]`.
    """
    short = ["/".join(Path(source).parts[-2:]).strip("/") for source in sources]
    return short if len(set(short)) == len(short) else list(sources)


def check_model(name: str, source: str) -> Model:
    """Load configuration and tokenizer, not the weights; those must be there and whole.

    Raises:
        ValueError: no model folder or hub name, no weights or a truncated file, no tokenizer, no causal language model.
    """
    config = load_model_config(source)
    if Path(source).is_dir():
        check_whole(Path(source))
    tokenizer = load_tokenizer(source)
    architectures = config.architectures or []
    if architectures and not any("CausalLM" in architecture for architecture in architectures):
        raise ValueError(f"{source}: is no causal language model but {', '.join(architectures)}")
    return Model(
        name=name,
        source=source,
        tokenizer=tokenizer,
        max_positions=getattr(config, "max_position_embeddings", None),
    )
