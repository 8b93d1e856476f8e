"""What is pushed of a model with an adapter is what peft's own merging gives, under the plain names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, Qwen2ForCausalLM

from pure_rlhf import cpu_host
from tests.tiny_models import qwen2_config, train_tokenizer

cpu_host.install()

from pure_rlhf.workers.lora import ADAPTER_FOLDER, ReferenceInPolicy, save_merged  # noqa: E402
from pure_rlhf.workers.weight_sources import Adapter, merge, plain_name, weight_sources  # noqa: E402

TOKENIZER = train_tokenizer(["some words"], vocab_size=300)
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def adapted(base: nn.Module, targets: Any = "all-linear", **settings: Any) -> peft.PeftModel:
    """A model with an adapter whose matrices are both random (peft's B begins as 0)."""
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=12, target_modules=targets, **settings
    )
    model: Any = peft.get_peft_model(base, config, autocast_adapter_dtype=False)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    return model.eval()


def qwen2(dtype: torch.dtype = torch.float32, **changes: object) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(qwen2_config(TOKENIZER, **changes)).to(dtype)


def plain_names(base: nn.Module) -> list[str]:
    return [name for name, _ in base.named_parameters()]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def test_merge_by_hand() -> None:
    """W + 2 B A with A = (1, 2), B = (3, 0.5): rows (6, 12) and (1, 2) come on top; as (in, out), their transpose."""
    base = torch.tensor([[1.0, 1.0], [0.0, 10.0]], dtype=torch.bfloat16)
    down, up = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [0.5]])
    merged = merge(base, Adapter(down, up, scaling=2.0, transposed=False))
    assert merged.tolist() == [[7.0, 13.0], [1.0, 12.0]] and merged.dtype == torch.bfloat16
    merged = merge(base, Adapter(down, up, scaling=2.0, transposed=True))
    assert merged.tolist() == [[7.0, 2.0], [12.0, 12.0]]
    assert base.tolist() == [[1.0, 1.0], [0.0, 10.0]]


def test_the_sum_is_rounded_once() -> None:
    """In bf16, 256 + 1 + 1 is 256 if each sum is rounded (257 lies between two numbers), and 258 if the last is."""
    ones = torch.ones(1, 2, dtype=torch.bfloat16)
    base = torch.full((1, 1), 256.0, dtype=torch.bfloat16)
    merged = merge(base, Adapter(ones.T.contiguous(), ones, scaling=1.0, transposed=False))
    assert merged.item() == 258.0


def test_names() -> None:
    prefix = "base_model.model.model.layers.0.self_attn."
    assert plain_name(f"{prefix}q_proj.base_layer.bias") == "model.layers.0.self_attn.q_proj.bias"
    assert plain_name(f"{prefix}o_proj.weight") == "model.layers.0.self_attn.o_proj.weight"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj"]])
def test_as_pefts_own_merging(tied: bool, targets: Any) -> None:
    names = plain_names(qwen2(tie_word_embeddings=tied))
    model = adapted(qwen2(tie_word_embeddings=tied), targets)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with_adapter = logits(model)
    sources = weight_sources(model)
    values = {source.name: source.value() for source in sources}
    assert [source.name for source in sources] == names
    assert all(source.shape == list(values[source.name].shape) for source in sources)
    assert ("lm_head.weight" in values) == (not tied)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(logits(model), with_adapter)
    merged: Any = model.merge_and_unload()
    expected = dict(merged.named_parameters())
    for name, value in values.items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    plain = qwen2(tie_word_embeddings=tied)
    changed = sum(
        not torch.equal(values[name], parameter) for name, parameter in plain.named_parameters()
    )
    assert changed == 2 * (7 if targets == "all-linear" else 2)
    plain.load_state_dict(values, strict=not tied)
    assert torch.allclose(logits(plain.eval()), with_adapter, atol=1e-4)


def test_a_layer_that_keeps_its_weight_transposed() -> None:
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=32)
    model = adapted(GPT2LMHeadModel(config), ["c_attn"], fan_in_fan_out=True)
    values = {source.name: source.value() for source in weight_sources(model)}
    merged: Any = model.merge_and_unload()
    for name, expected in merged.named_parameters():
        assert torch.allclose(values[name], expected, atol=1e-6), name


def test_a_model_without_an_adapter_is_its_own_parameters() -> None:
    model = qwen2(torch.bfloat16)
    sources = weight_sources(model)
    parameters = dict(model.named_parameters())
    assert [source.name for source in sources] == list(parameters)
    for source in sources:
        assert source.value().data_ptr() == parameters[source.name].data_ptr()  # no copy
        assert source.dtype == torch.bfloat16 and source.parameters == [source.base]


def test_what_cannot_be_merged_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lora_embedding_A.* neither of the two matrices"):
        weight_sources(adapted(qwen2(), ["q_proj", "embed_tokens"]))
    with pytest.raises(ValueError, match="lora_magnitude_vector"):
        weight_sources(adapted(qwen2(), ["q_proj"], use_dora=True))
    two = adapted(qwen2(), ["q_proj"])
    two.add_adapter("other", peft.LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(ValueError, match="one can be merged"):
        weight_sources(two)


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[tuple[peft.PeftModel, Path]]:
    base = qwen2(torch.bfloat16)
    base.save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.bfloat16)
    model = adapted(base)
    save_merged(model, TOKENIZER, tmp_path / "model", zero_stage=2, is_writer=True)
    yield model, tmp_path / "model"


def test_the_saved_folder_loads_without_peft(saved: tuple[peft.PeftModel, Path]) -> None:
    model, folder = saved
    loaded, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, output_loading_info=True
    )
    assert type(loaded) is Qwen2ForCausalLM
    assert not info["missing_keys"] and not info["unexpected_keys"]
    values = {source.name: source.value() for source in weight_sources(model)}
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, values[name]), name
    assert (folder / "tokenizer.json").is_file() and not (folder / "adapter_config.json").exists()


def test_base_and_saved_adapter_are_the_model(saved: tuple[peft.PeftModel, Path]) -> None:
    model, folder = saved
    base = AutoModelForCausalLM.from_pretrained(folder.parent / "base", dtype=torch.bfloat16)
    again = peft.PeftModel.from_pretrained(
        base, str(folder / ADAPTER_FOLDER), autocast_adapter_dtype=False
    )
    assert torch.equal(logits(again.eval()), logits(model))


def test_the_reference_is_asked_of_the_policys_ranks() -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    class Group:
        def async_run_method_batch(self, method_name: str, **batch: Any) -> list[str]:
            asked.append((method_name, batch))
            return ["batch"]

        def async_run_method(self, method_name: str) -> list[str]:
            asked.append((method_name, {}))
            return ["each"]

    reference = ReferenceInPolicy(Group())  # type: ignore[arg-type]
    assert reference.async_run_method_batch(method_name="forward", sequences=[1]) == ["batch"]
    assert reference.async_run_method(method_name="empty_cache") == ["each"]
    assert asked == [("reference_forward", {"sequences": [1]}), ("empty_cache", {})]
