"""What a model weighs: its shape, from config.json, or from a table of known models where there is no network.

Loads neither torch nor transformers.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# what older architectures call the same things
_ALIASES = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "num_layers"),
    "num_attention_heads": ("n_head", "num_heads"),
    "intermediate_size": ("n_inner", "ffn_dim"),
}
# these have two matrices in their feed-forward layers; all others known to us have three
_UNGATED = ("gpt2", "gpt_neox", "gptj", "opt", "phi", "bloom", "falcon")
_BIASED_ATTENTION = ("qwen2",)


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes of a transformer. `num_parameters` counts tied embeddings once."""

    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    intermediate_size: int
    vocab_size: int
    num_parameters: int
    num_vocab_matrices: int
    """Matrices of vocabulary x hidden size: 2, or 1 where embeddings and output are tied or there is no output."""
    gated: bool = True

    @property
    def vocab_matrix(self) -> int:
        """Parameters of one matrix of vocabulary x hidden size, the largest tensor of these models."""
        return self.vocab_size * self.hidden_size

    @property
    def kv_bytes_per_token(self) -> int:
        """Of the KV cache, in 16 bits."""
        return 2 * 2 * self.num_layers * self.num_kv_heads * self.head_size

    def adapter_parameters(self, rank: int) -> int:
        """Of LoRA adapters of this rank on every linear layer but the output: rank x (inputs + outputs)."""
        query = self.num_heads * self.head_size
        key = self.num_kv_heads * self.head_size
        attention = 2 * (self.hidden_size + query) + 2 * (self.hidden_size + key)
        matrices = 3 if self.gated else 2
        return (
            rank
            * self.num_layers
            * (attention + matrices * (self.hidden_size + self.intermediate_size))
        )


def shape_from_config(values: Mapping[str, Any]) -> ModelShape | None:
    """The shape that a config.json describes; None where it has not the sizes of a plain transformer.

    Parameters are counted from the sizes: exact for Qwen2 and Llama, near enough for their relatives. A mixture of
    experts is not a plain transformer.
    """
    values = values.get("text_config") or values
    hidden, layers, heads, inner = (_size(values, name) for name in _ALIASES)
    vocab = _size(values, "vocab_size")
    if not (hidden and layers and heads and vocab):
        return None
    if any(values.get(key) for key in ("num_experts", "num_local_experts", "n_routed_experts")):
        return None
    kind = str(values.get("model_type", ""))
    names = [str(name) for name in values.get("architectures") or []]
    tied = bool(values.get("tie_word_embeddings", kind in _UNGATED))
    has_output = not names or any("CausalLM" in name or "LMHead" in name for name in names)
    shape = ModelShape(
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=_size(values, "num_key_value_heads") or heads,
        head_size=_size(values, "head_dim") or hidden // heads,
        intermediate_size=inner or 4 * hidden,
        vocab_size=vocab,
        num_parameters=0,
        num_vocab_matrices=2 if has_output and not tied else 1,
        gated=kind not in _UNGATED,
    )
    biased = kind in _BIASED_ATTENTION or bool(values.get("attention_bias"))
    return dataclasses.replace(shape, num_parameters=_count(shape, biased))


def without_output(shape: ModelShape) -> ModelShape:
    """The same as a PRM: the output layer over the vocabulary is not kept."""
    if shape.num_vocab_matrices == 1:
        return shape
    return dataclasses.replace(
        shape,
        num_parameters=shape.num_parameters - shape.vocab_matrix,
        num_vocab_matrices=1,
    )


def read_shape(source: str) -> ModelShape | None:
    """The shape of a model in a folder, of a hub model that is in the cache here, or of a known one; else None.

    Weights in a folder are counted from the headers of their files, which is exact for every architecture.
    """
    folder = Path(source)
    if (folder / "config.json").is_file():
        return _read_folder(folder)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(source, "config.json")
    except HFValidationError:  # not a name that a hub model could have
        return None
    if isinstance(cached, str) and (shape := _read_folder(Path(cached).parent)):
        return shape
    return KNOWN_MODELS.get(source)


def count_parameters(source: str) -> int | None:
    """Parameters of a model, also of one whose shape is not understood if its weights are in a folder; else None."""
    shape = read_shape(source)
    if shape is not None:
        return shape.num_parameters
    return sum(_count_file(path) for path in Path(source).glob("*.safetensors")) or None


def _read_folder(folder: Path) -> ModelShape | None:
    try:
        shape = shape_from_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except ValueError:  # what is wrong with the file is said by whoever loads it
        return None
    counted = sum(_count_file(path) for path in folder.glob("*.safetensors"))
    # some shards only may be there, in a folder of the cache
    if shape is None or counted < shape.num_parameters / 2:
        return shape
    return dataclasses.replace(shape, num_parameters=counted)


def _count_file(path: Path) -> int:
    """Parameters of one safetensors file, of which only the header is read; 0 where it is cut off."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= path.stat().st_size else b""
    try:
        header = json.loads(text)
    except ValueError:
        return 0
    return sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")


def _size(values: Mapping[str, Any], name: str) -> int:
    found = next((values[key] for key in (name, *_ALIASES.get(name, ())) if values.get(key)), 0)
    return found if isinstance(found, int) else 0


def _count(shape: ModelShape, biased: bool) -> int:
    query = shape.num_heads * shape.head_size
    key = shape.num_kv_heads * shape.head_size
    attention = 2 * shape.hidden_size * (query + key) + biased * (query + 2 * key)
    matrices = 3 if shape.gated else 2
    layer = (
        attention
        + matrices * shape.hidden_size * shape.intermediate_size
        + 2 * shape.hidden_size  # norms
    )
    return (
        shape.num_vocab_matrices * shape.vocab_matrix + shape.num_layers * layer + shape.hidden_size
    )


def _qwen2(
    hidden: int, layers: int, heads: int, inner: int, vocab: int, *, kv_heads: int, tied: bool
) -> ModelShape:
    shape = shape_from_config(
        {
            "model_type": "qwen2",
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "intermediate_size": inner,
            "vocab_size": vocab,
            "tie_word_embeddings": tied,
        }
    )
    assert shape is not None
    return shape


_HALF_B = _qwen2(896, 24, 14, 4864, 151936, kv_heads=2, tied=True)
_ONE_AND_A_HALF_B = _qwen2(1536, 28, 12, 8960, 151936, kv_heads=2, tied=True)
_SEVEN_B = _qwen2(3584, 28, 28, 18944, 152064, kv_heads=4, tied=False)

# From the config.json of each.
KNOWN_MODELS: dict[str, ModelShape] = {
    "Qwen/Qwen2.5-Math-7B": _SEVEN_B,
    "Qwen/Qwen2.5-Math-7B-Instruct": _SEVEN_B,
    "Qwen/Qwen2.5-7B": _SEVEN_B,
    "Qwen/Qwen2.5-7B-Instruct": _SEVEN_B,
    "Qwen/Qwen2.5-Math-1.5B": _ONE_AND_A_HALF_B,
    "Qwen/Qwen2.5-Math-1.5B-Instruct": _ONE_AND_A_HALF_B,
    "Qwen/Qwen2.5-1.5B": _ONE_AND_A_HALF_B,
    "Qwen/Qwen2.5-1.5B-Instruct": _ONE_AND_A_HALF_B,
    "Qwen/Qwen2.5-0.5B": _HALF_B,
    "Qwen/Qwen2.5-0.5B-Instruct": _HALF_B,
    "jinachris/PURE-PRM-7B": without_output(_SEVEN_B),
    "Qwen/Qwen2.5-Math-PRM-7B": without_output(_SEVEN_B),
}
