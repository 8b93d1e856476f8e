"""Conventions of published PRMs: token ids against what the reference implementations make of strings."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prm_training.data import PrmDataset, StepLabelledRow
from pure_rlhf.algorithm.step_segmentation import find_separator_token_ids, split_steps
from pure_rlhf.prm.conventions import (
    CONVENTIONS,
    PrmLayout,
    PrmSample,
    PureConvention,
    pad_layouts,
    recognise_convention,
)
from pure_rlhf.prm.step_texts import step_texts
from tests.prm_tokenizers import llama_tokenizer, mistral_tokenizer, qwen_tokenizer
from tests.tiny_models import train_tokenizer

QUESTION = "Café Déjà sells 3 cups at 2 €. How much is that?"
STEPS = (
    "\n We multiply:\n3 * 2 = 6 €.",
    " and so",
    "x",
    "Ответ: 6 \N{GRINNING FACE} + 0 - 0.",
)
TEXTS = [QUESTION, "Answer ки step ки + or - : We add.", *STEPS] * 20
SAMPLE = PrmSample(QUESTION, f"Question: {QUESTION}\nAnswer:", STEPS)


def read_tokens(layout: PrmLayout) -> list[int]:
    return [layout.input_ids[position] for position in layout.read_positions]


# ---- layouts -------------------------------------------------------------------------------------


def test_pure_is_the_layout_of_prm_training() -> None:
    tokenizer = train_tokenizer(TEXTS)
    row = StepLabelledRow(SAMPLE.prompt, list(STEPS), [1, 0, 1, 0])
    example = PrmDataset([row], tokenizer, "\n")[0]
    layout = CONVENTIONS["pure"].lay_out(SAMPLE, tokenizer)
    assert layout.input_ids == example["input_ids"]
    assert [example["labels"][position] for position in layout.read_positions] == [1, 0, 1, 0]
    assert tokenizer.decode(layout.input_ids) == SAMPLE.prompt + "".join(f"{s}\n" for s in STEPS)


def test_pure_begins_with_bos_once_where_there_is_one() -> None:
    tokenizer = llama_tokenizer(TEXTS)
    once = CONVENTIONS["pure"].lay_out(PrmSample("q", "q", ("a",)), tokenizer)
    rendered = CONVENTIONS["pure"].lay_out(PrmSample("q", "<|begin_of_text|>q", ("a",)), tokenizer)
    assert once.input_ids == [tokenizer.bos_token_id, *tokenizer.encode("qa\n")]
    assert once == rendered == PrmLayout(once.input_ids, [3])


def test_pure_with_another_separator() -> None:
    tokenizer = train_tokenizer(TEXTS)
    layout = PureConvention(separator="\n\n").lay_out(SAMPLE, tokenizer)
    assert read_tokens(layout) == tokenizer.encode("\n\n") * 4


def test_qwen_is_the_model_cards_usage() -> None:
    tokenizer: Any = qwen_tokenizer(TEXTS)
    messages = [
        {
            "role": "system",
            "content": "Please reason step by step, and put your final answer within \\boxed{}.",
        },
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "<extra_0>".join(STEPS) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    expected = tokenizer.encode(text)
    separator_id = tokenizer.encode("<extra_0>")[0]
    positions = [i for i, token_id in enumerate(expected) if token_id == separator_id]
    layout = CONVENTIONS["qwen"].lay_out(SAMPLE, tokenizer)
    assert layout.read_positions == positions
    assert layout.input_ids == expected[: positions[-1] + 1]
    assert tokenizer.decode(expected[positions[-1] + 1 :]) == "<|im_end|>\n"


def test_a_step_that_spells_the_separator_adds_no_position() -> None:
    tokenizer = qwen_tokenizer(TEXTS)
    layout = CONVENTIONS["qwen"].lay_out(PrmSample("q", "q", ("a <extra_0> b", "c")), tokenizer)
    assert len(layout.read_positions) == 2
    assert layout.read_positions[-1] == len(layout.input_ids) - 1


def test_skywork_is_prepare_input() -> None:
    tokenizer = train_tokenizer(TEXTS)
    tokenizer.add_special_tokens({"bos_token": "<|bos|>"})
    # that function splits at line feeds and adds none for the last, empty part
    response = "We multiply:\n3 * 2 = 6.\nSo 6"
    expected = tokenizer.encode("<|bos|>" + QUESTION + "\n")
    positions = []
    for step in response.split("\n"):
        expected += [*tokenizer.encode(step), tokenizer.encode("\n")[-1]]
        positions.append(len(expected) - 1)
    sample = PrmSample(QUESTION, "not read", tuple(response.split("\n")))
    assert CONVENTIONS["skywork"].lay_out(sample, tokenizer) == PrmLayout(expected, positions)


def test_math_shepherd_is_the_model_cards_usage() -> None:
    tokenizer = mistral_tokenizer(TEXTS)
    output = "".join(f"{step} ки\n" for step in STEPS).rstrip("\n")
    expected = tokenizer.encode(f"{QUESTION} {output}")
    step_tag_id = tokenizer.encode("ки")[-1]
    assert tokenizer.convert_ids_to_tokens(step_tag_id) == "▁ки"
    layout = CONVENTIONS["math_shepherd"].lay_out(SAMPLE, tokenizer)
    assert layout.input_ids == expected
    assert layout.read_positions == [i for i, t in enumerate(expected) if t == step_tag_id]
    plus, minus = tokenizer.encode("+ -")[1:]
    assert CONVENTIONS["math_shepherd"].label_token_ids(tokenizer) == [minus, plus]


def test_math_shepherd_reads_a_step_that_ends_in_a_space() -> None:
    tokenizer = mistral_tokenizer(TEXTS)
    layout = CONVENTIONS["math_shepherd"].lay_out(PrmSample("q", "q", ("a ", "b")), tokenizer)
    assert tokenizer.convert_ids_to_tokens(read_tokens(layout)) == ["▁ки", "▁ки"]


def test_rlhflow_reads_what_predicts_the_label_of_each_turn() -> None:
    tokenizer: Any = llama_tokenizer(TEXTS)
    conversation: list[dict[str, str]] = []
    expected: list[int] = []
    positions = []
    for number, step in enumerate(step.strip() for step in STEPS):
        text = step if number else QUESTION + " " + step
        conversation.append({"role": "user", "content": text})
        conversation.append({"role": "assistant", "content": "+"})
        expected = tokenizer.apply_chat_template(conversation, return_dict=False)
        positions.append(len(expected) - 3)
    layout = CONVENTIONS["rlhflow"].lay_out(SAMPLE, tokenizer)
    assert layout.read_positions == positions
    assert layout.input_ids == expected[:-2]
    plus, minus = tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]
    assert CONVENTIONS["rlhflow"].label_token_ids(tokenizer) == [minus, plus]
    assert all(layout.input_ids[position + 1] == plus for position in positions[:-1])


def test_an_answer_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one step: '1\+1\?'"):
        PrmSample("1+1?", "1+1?", ())


@pytest.mark.parametrize(
    ("name", "tokenizer", "message"),
    [
        ("pure", mistral_tokenizer(TEXTS), r"'\\n' is encoded as 2 tokens"),
        ("skywork", mistral_tokenizer(TEXTS), r"'\\n' is encoded as 2 tokens"),
        ("qwen", train_tokenizer(TEXTS), "'<extra_0>' is encoded as"),
        ("math_shepherd", qwen_tokenizer(["a"] * 9), "'ки' is encoded as 4 tokens"),
    ],
)
def test_a_tokenizer_without_the_single_token_is_refused(
    name: str, tokenizer: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        CONVENTIONS[name].lay_out(SAMPLE, tokenizer)


def test_labels_that_are_no_single_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match='"\\+" and "-" must be one token each'):
        CONVENTIONS["math_shepherd"].label_token_ids(train_tokenizer(["a"]))


# ---- rewards -------------------------------------------------------------------------------------


def test_rewards_of_two_logits() -> None:
    # softmax([0, log 3]) is [1/4, 3/4]: 2 * 3/4 - 1 = 1/2
    outputs = torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0], [2.0, 2.0]])
    for name in ("pure", "qwen", "math_shepherd", "rlhflow"):
        rewards = CONVENTIONS[name].step_rewards(outputs)
        torch.testing.assert_close(rewards, torch.tensor([0.5, -0.5, 0.0]))


def test_rewards_of_one_value() -> None:
    # sigmoid(log 3) is 3/4
    outputs = torch.tensor([[math.log(3)], [-math.log(3)], [0.0], [-1e4]])
    rewards = CONVENTIONS["skywork"].step_rewards(outputs)
    torch.testing.assert_close(rewards, torch.tensor([0.5, -0.5, 0.0, -1.0]))


def test_another_number_of_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match="num_labels=2"):
        CONVENTIONS["qwen"].step_rewards(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="one number a token"):
        CONVENTIONS["skywork"].step_rewards(torch.zeros(3, 2))


def test_pad_layouts() -> None:
    inputs = pad_layouts([PrmLayout([5, 2], [1]), PrmLayout([5, 6, 7], [0, 2])], pad_token_id=9)
    assert inputs.input_ids_BU.tolist() == [[5, 2, 9], [5, 6, 7]]
    assert inputs.attention_mask_BU.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert inputs.read_index_BS.tolist() == [[1, 0], [0, 2]]


# ---- recognition ---------------------------------------------------------------------------------


def hf_config(architecture: str, name: str = "/models/mine", num_labels: int = 2) -> Any:
    return SimpleNamespace(
        architectures=[architecture], num_labels=num_labels, name_or_path=name, auto_map={}
    )


@pytest.mark.parametrize(
    ("config", "vocabulary", "expected"),
    [
        (hf_config("Qwen2ForTokenClassification"), {}, "pure"),
        (hf_config("LlamaForTokenClassification"), {}, "pure"),
        (hf_config("Qwen2ForProcessRewardModel"), {"<extra_0>": 151651}, "qwen"),
        (hf_config("Qwen2ForPrmModel"), {}, "skywork"),
        (
            hf_config("MistralForCausalLM", "peiyi9979/math-shepherd-mistral-7b-prm"),
            {"▁ки": 12902},
            "math_shepherd",
        ),
        (
            hf_config("LlamaForCausalLM", "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data"),
            {"<|start_header_id|>": 128006},
            "rlhflow",
        ),
    ],
)
def test_recognised(config: Any, vocabulary: dict[str, int], expected: str) -> None:
    assert recognise_convention(config, vocabulary) == expected


@pytest.mark.parametrize(
    ("config", "vocabulary"),
    [
        (hf_config("Qwen2ForTokenClassification", num_labels=3), {}),
        (hf_config("Qwen2ForProcessRewardModel"), {}),
        (hf_config("Qwen2ForRewardModel", num_labels=1), {"<extra_0>": 0}),
        # any language model has these tokens; "prm" in the name of a folder above says nothing
        (hf_config("MistralForCausalLM", "/prm/Mistral-7B-v0.1"), {"▁ки": 12902}),
        (hf_config("LlamaForCausalLM", "meta-llama/Llama-3.1-8B"), {"<|start_header_id|>": 0}),
        (hf_config("Qwen2ForCausalLM", "my-prm"), {"<extra_0>": 0}),
        (SimpleNamespace(architectures=None, num_labels=2, name_or_path=""), {}),
    ],
)
def test_unknown_or_ambiguous_is_refused_with_the_names(
    config: Any, vocabulary: dict[str, int]
) -> None:
    with pytest.raises(ValueError) as refusal:
        recognise_convention(config, vocabulary)
    assert "--prm_convention: pure, qwen, skywork, math_shepherd, rlhflow" in str(refusal.value)
    assert str(config.name_or_path) in str(refusal.value)


# ---- from the policy's tokens to the text of steps -----------------------------------------------

ANSWER_STEPS = (
    "",
    "First: Ω ≈ 3.14 (naïve).",
    "line one\nline two: ",
    "  indented \N{GRINNING FACE}",
    "数学 \\boxed{6}",
)


def texts_of(tokenizer: Any, prompt: str, answers: list[list[int]]) -> list[tuple[str, ...]]:
    """The step texts of answers given as token ids, as one right-padded batch."""
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    width = len(prompt_ids) + max(map(len, answers))
    pad = tokenizer.eos_token_id
    rows = [prompt_ids + answer for answer in answers]
    sequences_BT = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    action_mask_BA = torch.tensor(
        [[len(prompt_ids) <= position < len(row) for position in range(1, width)] for row in rows]
    )
    steps = split_steps(
        sequences_BT,
        action_mask_BA,
        separator_ids=find_separator_token_ids(tokenizer),
        eos_token_ids=[pad],
    )
    return step_texts(sequences_BT, action_mask_BA, steps, tokenizer)


def metaspace_tokenizer() -> Any:
    """Sentence-piece, with a token for the blank line; its decoder drops the first space of a text."""
    from tokenizers import normalizers

    tokenizer = mistral_tokenizer([*TEXTS, *ANSWER_STEPS])
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.add_tokens(["\n\n"])
    return tokenizer


@pytest.mark.parametrize(
    "tokenizer",
    [
        train_tokenizer(["First: line one\n\nline two:\n\n(naïve)."] * 9, vocab_size=300),
        train_tokenizer(["数学 Ω ≈ 3.14 and indented text.\n\n"] * 9, vocab_size=600),
        metaspace_tokenizer(),
    ],
    ids=["english", "chinese", "sentence-piece"],
)
def test_step_texts_are_exact(tokenizer: Any) -> None:
    answer = tokenizer.encode("\n\n".join(ANSWER_STEPS), add_special_tokens=False)
    eos = tokenizer.eos_token_id
    cut_off = tokenizer.encode("One.\n\n Two", add_special_tokens=False)
    after_separator = tokenizer.encode("One.\n\n", add_special_tokens=False)
    assert texts_of(tokenizer, "Q:", [[*answer, eos], cut_off, after_separator, [eos]]) == [
        ANSWER_STEPS,
        ("One.", " Two"),
        ("One.",),
        ("",),
    ]


def test_step_texts_keep_the_full_stop_of_a_fused_separator() -> None:
    tokenizer: Any = train_tokenizer(["We add.\n\nSo it is"] * 50)
    answer = tokenizer.encode("We add.\n\nSo it is", add_special_tokens=False)
    assert any(tokenizer.decode([token_id]) == ".\n\n" for token_id in answer)
    assert texts_of(tokenizer, "Q:", [answer]) == [("We add.", "So it is")]


def test_an_answer_goes_from_one_tokenizer_to_another_without_loss() -> None:
    policy: Any = train_tokenizer(["First: line one\n\n"] * 9, vocab_size=300)
    prm = qwen_tokenizer(TEXTS)
    answer = policy.encode("\n\n".join(ANSWER_STEPS), add_special_tokens=False)
    (texts,) = texts_of(policy, "Q:", [[*answer, policy.eos_token_id]])
    layout = CONVENTIONS["qwen"].lay_out(PrmSample("Q", "Q:", texts), prm)
    text = prm.decode(layout.input_ids)
    assert text.endswith("assistant\n" + "".join(f"{step}<extra_0>" for step in ANSWER_STEPS))
    assert read_tokens(layout) == prm.encode("<extra_0>") * len(ANSWER_STEPS)
