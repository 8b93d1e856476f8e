"""Is there a model behind a name? A folder or a name of the Hugging Face hub, asked without loading weights.

One answer for training, PRM training and evaluation; a flag's name is put in front by whoever asks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pure_rlhf.types import Tokenizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig

WEIGHTS = ("*.safetensors", "*.bin")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def load_model_config(source: str, *, trust_remote_code: bool = False) -> PretrainedConfig:
    """The configuration of a model.

    Raises:
        ValueError: there is no such folder, the hub does not give it, or transformers has no such architecture. One
            line, which begins with `source`.
    """
    from transformers import AutoConfig

    folder = Path(source)
    names_a_folder = folder.is_absolute() or source.startswith(".") or folder.exists()
    if names_a_folder and not (folder / "config.json").is_file():
        raise ValueError(
            f"{source}: no model folder there (a folder with config.json); check the path"
        )
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: {_not_loadable(error)}") from error


def load_tokenizer(source: str, *, trust_remote_code: bool = False) -> Tokenizer:
    """The tokenizer of a model.

    Raises:
        ValueError: as `load_model_config`.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: the tokenizer {_not_loadable(error)}") from error


def _not_loadable(error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"cannot be loaded from a folder or the hub: {reason}"


def check_whole(folder: Path) -> None:
    """Weights, and a tokenizer, must be there to their last byte.

    Raises:
        ValueError: something is missing or truncated; names all of it.
    """
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
