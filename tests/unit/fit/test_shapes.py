"""Parameters counted from a configuration, beside the real ones, and beside what transformers makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pure_rlhf.fit.shapes import (
    KNOWN_MODELS,
    count_parameters,
    read_shape,
    shape_from_config,
    without_output,
)
from tests.conftest import RandomWorld


@pytest.mark.parametrize(
    ("name", "count"),
    [  # of the model cards' safetensors
        ("Qwen/Qwen2.5-Math-7B", 7_615_616_512),
        ("Qwen/Qwen2.5-Math-1.5B", 1_543_714_304),
        ("Qwen/Qwen2.5-0.5B", 494_032_768),
        # the 7B without an output layer of 152,064 x 3,584
        ("jinachris/PURE-PRM-7B", 7_615_616_512 - 152_064 * 3_584),
    ],
)
def test_known_models(name: str, count: int) -> None:
    assert KNOWN_MODELS[name].num_parameters == count


def test_a_small_model_by_hand() -> None:
    """Two layers, hidden 4, 2 heads (1 of keys), intermediate 8, vocabulary 10, tied."""
    shape = shape_from_config(
        {
            "model_type": "llama",
            "hidden_size": 4,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "intermediate_size": 8,
            "vocab_size": 10,
            "tie_word_embeddings": True,
        }
    )
    assert shape is not None
    # q and o 4x4, k and v 4x2; three 4x8; two norms of 4
    layer = 2 * 16 + 2 * 8 + 3 * 32 + 8
    assert shape.num_parameters == 10 * 4 + 2 * layer + 4
    assert (
        shape.kv_bytes_per_token == 2 * 2 * 2 * 1 * 2
    )  # k and v, 16 bits, layers, heads, head size
    # rank 3: q 4+4, o 4+4, k and v 4+2, three of 4+8
    assert shape.adapter_parameters(3) == 3 * 2 * (8 + 8 + 6 + 6 + 3 * 12)
    assert without_output(shape) == shape


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"hidden_size": 4, "num_hidden_layers": 2, "vocab_size": 10},
        {
            "hidden_size": 4,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vocab_size": 10,
            "num_experts": 8,
        },
    ],
)
def test_what_is_no_plain_transformer_has_no_shape(values: dict[str, int]) -> None:
    assert shape_from_config(values) is None


def test_weights_in_a_folder_are_counted(world: RandomWorld) -> None:
    from transformers import AutoModelForCausalLM

    shape = read_shape(str(world.policy))
    assert shape is not None
    real = AutoModelForCausalLM.from_pretrained(world.policy).num_parameters()
    assert shape.num_parameters == real
    # the configuration alone says the same
    values = json.loads((world.policy / "config.json").read_text())
    from_config = shape_from_config(values)
    assert from_config is not None and from_config.num_parameters == real


def test_what_is_not_there_is_not_known(tmp_path: Path) -> None:
    assert read_shape("somebody/no-such-model") is None
    assert read_shape(str(tmp_path)) is None
    assert count_parameters(str(tmp_path)) is None
    (tmp_path / "config.json").write_text("{not json")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    assert read_shape(str(tmp_path)) is None and count_parameters(str(tmp_path)) is None
