"""What must be true of a model before an engine is started with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.answers import WEIGHTS

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


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
    from transformers import AutoConfig, AutoTokenizer

    folder = Path(source)
    looks_like_path = folder.is_absolute() or source.startswith(".") or folder.exists()
    if looks_like_path and not folder.is_dir():
        raise ValueError(f"{source}: there is no such model folder")
    if folder.is_dir():
        check_folder(folder)
    try:
        config = AutoConfig.from_pretrained(source)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{source}: cannot be loaded from a folder or the hub: {reason}"
        ) from error
    architectures = config.architectures or []
    if architectures and not any("CausalLM" in architecture for architecture in architectures):
        raise ValueError(f"{source}: is no causal language model but {', '.join(architectures)}")
    return Model(
        name=name,
        source=source,
        tokenizer=tokenizer,
        max_positions=getattr(config, "max_position_embeddings", None),
    )


def check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: holds no config.json: give the folder of a Hugging Face model")
    problems = []
    if not any(path for pattern in WEIGHTS for path in folder.glob(pattern)):
        problems.append("no weights (*.safetensors)")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        problems.append("no tokenizer (tokenizer.json)")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        missing = sorted(shard for shard in shards if not (folder / shard).is_file())
        problems += [f"no {shard}, which its index names" for shard in missing]
    problems += [
        f"{path.name} is truncated"
        for path in sorted(folder.glob("*.safetensors"))
        if not _is_whole(path)
    ]
    if problems:
        raise ValueError(f"{folder}: {', '.join(problems)}; copy the whole folder again")


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if header_bytes + 8 > path.stat().st_size:
            return False
        header = json.loads(file.read(header_bytes))
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    return path.stat().st_size == 8 + header_bytes + max(ends, default=0)
