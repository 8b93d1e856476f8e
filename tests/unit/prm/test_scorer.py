"""PrmScorer on random models of the real classes, against scores made by hand with plain transformers calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2ForCausalLM,
    Qwen2Model,
)

from pure_rlhf.prm.conventions import CONVENTIONS, PrmSample
from pure_rlhf.prm.models import load_prm
from pure_rlhf.prm.scorer import PrmScorer
from tests.prm_tokenizers import llama_tokenizer, mistral_tokenizer, qwen_tokenizer
from tests.tiny_models import qwen2_config

QUESTIONS = ("What is 2 + 5?", "Café prices - how many € for 3 cups at 2 €?")
STEPS = ("We add.", "2 + 5 = 7\nas everyone knows.", "So the answer is 7", "ки or not", "6 €?")
TEXTS = [*QUESTIONS, *STEPS, "step ки + or - or ки"] * 20
SAMPLES = [
    PrmSample(
        QUESTIONS[n % 2], f"Q: {QUESTIONS[n % 2]} A:", STEPS[n % 3 : n % 3 + 1 + n % 4] * count
    )
    for n, count in enumerate((1, 6, 2, 1, 9, 1, 3, 1, 2))
]
TOLERANCE = 2e-5
# A wide spread, so that the scores of a random model differ.
WIDE = {"initializer_range": 0.2}


def sizes(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
        **WIDE,
    }


def write_checkpoint(folder: Path, weights: dict[str, Tensor], config: Any, **changes: Any) -> None:
    """A folder as the hub has it: a configuration that names remote code, and weights under the published names."""
    config.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    # the output layer that both kinds of published checkpoint may carry along
    size = config.vocab_size, config.hidden_size
    weights = weights | {"lm_head.weight": torch.zeros(size)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def save_pure(folder: Path) -> None:
    tokenizer = qwen_tokenizer(TEXTS)
    config = qwen2_config(tokenizer, num_labels=2, **WIDE)
    AutoModelForTokenClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def score_pure(folder: Path, sample: PrmSample) -> list[float]:
    """p(right) - p(wrong) at the line feed after each step."""
    model, tokenizer = AutoModelForTokenClassification.from_pretrained(folder).eval(), load(folder)
    ids, positions = tokenizer.encode(sample.prompt), []
    for step in sample.steps:
        ids += tokenizer.encode(step) + tokenizer.encode("\n")
        positions.append(len(ids) - 1)
    p = model(torch.tensor([ids])).logits[0, positions].softmax(-1)
    return (p[:, 1] - p[:, 0]).tolist()


def save_qwen(folder: Path) -> None:
    tokenizer = qwen_tokenizer(TEXTS)
    config = qwen2_config(tokenizer, **WIDE)
    size = config.hidden_size
    head = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 2))
    weights = {f"model.{key}": value for key, value in Qwen2Model(config).state_dict().items()}
    weights |= {f"score.{key}": value for key, value in head.state_dict().items()}
    assert "score.2.bias" in weights
    write_checkpoint(
        folder,
        weights,
        config,
        architectures=["Qwen2ForProcessRewardModel"],
        auto_map={
            "AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig",
            "AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel",
        },
    )
    tokenizer.save_pretrained(folder)


def score_qwen(folder: Path, sample: PrmSample) -> list[float]:
    """The model card's code: softmax over two labels at each <extra_0>; 2 p - 1."""
    weights, tokenizer = load_file(folder / "model.safetensors"), load(folder)
    system = "Please reason step by step, and put your final answer within \\boxed{}."
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": sample.question},
        {"role": "assistant", "content": "<extra_0>".join(sample.steps) + "<extra_0>"},
    ]
    ids = torch.tensor([tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False))])
    hidden = backbone(folder, weights)(ids).last_hidden_state[0]
    inner = torch.relu(hidden @ weights["score.0.weight"].T + weights["score.0.bias"])
    p = (inner @ weights["score.2.weight"].T + weights["score.2.bias"]).softmax(-1)[:, 1]
    return (2 * p[ids[0] == tokenizer.encode("<extra_0>")[0]] - 1).tolist()


def save_skywork(folder: Path) -> None:
    tokenizer = qwen_tokenizer(TEXTS)
    tokenizer.add_special_tokens({"bos_token": "<|im_start|>"})
    config = qwen2_config(tokenizer, **WIDE)
    weights = {f"model.{key}": value for key, value in Qwen2Model(config).state_dict().items()}
    weights["v_head.summary.weight"] = torch.randn(1, config.hidden_size) * 0.2
    weights["v_head.summary.bias"] = torch.tensor([0.1])
    write_checkpoint(folder, weights, config, architectures=["Qwen2ForPrmModel"])
    tokenizer.save_pretrained(folder)


def score_skywork(folder: Path, sample: PrmSample) -> list[float]:
    """Sigmoid of the value at the line feed after each step; 2 p - 1."""
    weights, tokenizer = load_file(folder / "model.safetensors"), load(folder)
    ids, positions = tokenizer.encode(f"{tokenizer.bos_token}{sample.question}\n"), []
    for step in sample.steps:
        ids += tokenizer.encode(step) + tokenizer.encode("\n")
        positions.append(len(ids) - 1)
    hidden = backbone(folder, weights)(torch.tensor([ids])).last_hidden_state[0, positions]
    value = hidden @ weights["v_head.summary.weight"][0] + weights["v_head.summary.bias"]
    return (2 * value.sigmoid() - 1).tolist()


def save_math_shepherd(folder: Path) -> None:
    tokenizer = mistral_tokenizer(TEXTS)
    MistralForCausalLM(MistralConfig(**sizes(tokenizer), sliding_window=None)).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)


def score_math_shepherd(folder: Path, sample: PrmSample) -> list[float]:
    """The model card's code: softmax over the logits of "+" and "-" at each ки; 2 p - 1."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), load(folder)
    output = "\n".join(f"{step} ки" for step in sample.steps)
    ids = torch.tensor([tokenizer.encode(f"{sample.question} {output}")])
    p = model(ids).logits[0][:, tokenizer.encode("+ -")[1:]].softmax(-1)[:, 0]
    # the last tags: one of the steps spells the tag in its text, and the reference reads it there too
    positions = [
        index
        for index, text in enumerate(tokenizer.convert_ids_to_tokens(ids[0].tolist()))
        if text == "▁ки" and (index + 1 == ids.shape[1] or ids[0, index + 1] == newline(tokenizer))
    ]
    return (2 * p[positions] - 1).tolist()


def newline(tokenizer: Any) -> int:
    return tokenizer.convert_tokens_to_ids("<0x0A>")


def save_rlhflow(folder: Path) -> None:
    tokenizer = llama_tokenizer(TEXTS)
    LlamaForCausalLM(LlamaConfig(**sizes(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def score_rlhflow(folder: Path, sample: PrmSample) -> list[float]:
    """RLHFlow's code: one conversation more a step, the third token from its end predicts the label; 2 p - 1."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), load(folder)
    labels = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]
    conversation, rewards = [], []
    for number, step in enumerate(sample.steps):
        text = step if number else sample.question + " " + step
        conversation.append({"role": "user", "content": text})
        conversation.append({"role": "assistant", "content": "+"})
        ids = tokenizer.apply_chat_template(conversation, return_dict=False)
        p = model(torch.tensor([ids])).logits[0, -3, labels].softmax(-1)[0]
        rewards.append(float(2 * p - 1))
    return rewards


def load(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def backbone(folder: Path, weights: dict[str, Tensor]) -> Any:
    config: Any = AutoConfig.from_pretrained(folder)
    model = Qwen2Model(config).eval()
    model.load_state_dict(
        {k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")}
    )
    return model


@dataclass(frozen=True)
class Kind:
    save: Callable[[Path], None]
    score: Callable[[Path, PrmSample], list[float]]


KINDS = {
    "pure": Kind(save_pure, score_pure),
    "qwen": Kind(save_qwen, score_qwen),
    "skywork": Kind(save_skywork, score_skywork),
    "math_shepherd": Kind(save_math_shepherd, score_math_shepherd),
    "rlhflow": Kind(save_rlhflow, score_rlhflow),
}


@pytest.fixture(scope="module", params=list(KINDS))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("models") / f"{request.param}-prm"
    folder.mkdir()
    torch.manual_seed(0)
    KINDS[request.param].save(folder)
    return request.param, folder


@torch.no_grad()
def test_scores_are_those_of_the_definition(checkpoint: tuple[str, Path]) -> None:
    name, folder = checkpoint
    expected = [KINDS[name].score(folder, sample) for sample in SAMPLES]
    # a budget that takes several batches of several rows, each with padding
    scorer = PrmScorer(str(folder), max_tokens_per_batch=400, dtype=torch.float32)
    assert scorer.convention.name == name
    rewards = scorer.score(SAMPLES)
    assert list(map(len, rewards)) == [len(sample.steps) for sample in SAMPLES]
    for got, want in zip(rewards, expected, strict=True):
        assert got == pytest.approx(want, abs=TOLERANCE)
    flat = [reward for row in rewards for reward in row]
    assert max(flat) - min(flat) > 0.05 and max(map(abs, flat)) <= 1


def test_neither_batches_nor_packing_change_a_score(checkpoint: tuple[str, Path]) -> None:
    _, folder = checkpoint
    scorer = PrmScorer(str(folder), dtype=torch.float32)
    together = scorer.score(SAMPLES)
    alone = [scorer.score([sample])[0] for sample in SAMPLES]
    backwards = scorer.score(SAMPLES[::-1])[::-1]
    scorer._backend.packs = True  # pyright: ignore  as with flash-attention, which is not here
    packed = scorer.score(SAMPLES)
    for rows in zip(together, alone, backwards, packed, strict=True):
        for other in rows[1:]:
            assert other == pytest.approx(rows[0], abs=TOLERANCE)


def test_a_language_model_is_cut_down_to_its_two_labels(tmp_path: Path) -> None:
    save_rlhflow(tmp_path)
    model = load_prm(str(tmp_path), CONVENTIONS["rlhflow"], dtype=torch.float32)
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 2)


def test_nothing_to_score(checkpoint: tuple[str, Path]) -> None:
    assert PrmScorer(str(checkpoint[1])).score([]) == []


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("save", "change", "message"),
    [
        (save_qwen, lambda w: w.pop("score.2.bias"), "1 weights are missing, such as score.2.bias"),
        (save_skywork, lambda w: w.pop("v_head.summary.weight"), "missing, such as v_head.summary"),
        (save_qwen, lambda w: w.update(extra=torch.zeros(1)), "have no place, such as extra"),
        (
            save_qwen,
            lambda w: w.update({"score.2.weight": torch.zeros(1, 64)}),
            "another shape, such as .*score.2.weight",
        ),
        (save_pure, lambda w: w.pop("model.norm.weight"), "missing, such as model.norm.weight"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    tmp_path: Path, save: Any, change: Any, message: str
) -> None:
    save(tmp_path)
    change_weights(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        PrmScorer(str(tmp_path))


def test_a_language_model_is_no_token_classifier(tmp_path: Path) -> None:
    tokenizer = qwen_tokenizer(TEXTS)
    Qwen2ForCausalLM(qwen2_config(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"--prm_convention: pure, qwen"):
        PrmScorer(str(tmp_path))
    with pytest.raises(ValueError, match=r"2 weights are missing, such as score.bias"):
        PrmScorer(str(tmp_path), convention="pure")
    with pytest.raises(ValueError, match=r"convention 'skywork'.*v_head"):
        PrmScorer(str(tmp_path), convention="skywork")


def test_a_head_with_three_labels_is_refused(tmp_path: Path) -> None:
    tokenizer = qwen_tokenizer(TEXTS)
    config = qwen2_config(tokenizer, num_labels=3)
    AutoModelForTokenClassification.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has two labels .*, this one has 3"):
        PrmScorer(str(tmp_path), convention="pure")


def test_names_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    save_pure(tmp_path)
    with pytest.raises(ValueError, match=r"--prm_convention is one of pure, .*, got 'qwen2'"):
        PrmScorer(str(tmp_path), convention="qwen2")
    with pytest.raises(ValueError, match="no model folder there"):
        PrmScorer(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["skywork", "math_shepherd", "rlhflow"])
def test_vllm_is_refused_where_it_has_no_such_output(tmp_path: Path, name: str) -> None:
    KINDS[name].save(tmp_path)
    with pytest.raises(ValueError, match=f"convention '{name}'.*use the backend transformers"):
        PrmScorer(str(tmp_path), convention=name, backend="vllm")
