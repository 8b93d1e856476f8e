"""Rows of SFT: prompts as RL has them, losses on the response alone, every bad row named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from pure_rlhf.data import load_prompts, prompt_renderer
from pure_rlhf.sft.rows import SftDataset, SftRow, SftRows, read_rows
from pure_rlhf.sft.settings import SftConfig, SftDataConfig, SftEvalConfig
from tests.conftest import RandomWorld

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def tokenizer(world: RandomWorld) -> Any:
    return AutoTokenizer.from_pretrained(world.policy)


def read(
    path: Path, tokenizer: Any, *rows: object, system: str | None = None, **data: Any
) -> SftRows:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    held_out = SftEvalConfig(rows=data.pop("rows", 0))
    config = SftConfig(data=SftDataConfig(dataset=str(path), **data), eval=held_out)
    return read_rows(config, tokenizer, system)


def test_a_row_begins_with_the_very_tokens_that_rl_begins_with(
    tokenizer: Any, tmp_path: Path
) -> None:
    template = "Solve {} with \\boxed{}."
    (row,) = read(
        tmp_path / "a.jsonl",
        tokenizer,
        {"question": "1+{}?", "response": "So 2."},
        input_template=template,
    ).train
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"question": "1+{}?", "answer": "2"}) + "\n")
    (record,) = load_prompts(
        str(prompts),
        split="train",
        input_key="question",
        label_key="answer",
        render=prompt_renderer(template, False, tokenizer),
        tokenizer=tokenizer,
        max_tokens=100,
    ).records
    assert row.token_ids[: row.num_prompt] == record.token_ids
    assert tokenizer.decode(row.token_ids[row.num_prompt : -1]) == "So 2."
    assert row.token_ids[-1] == tokenizer.eos_token_id, "and nothing, no space, before it"
    assert row.prompt == "Solve 1+{}? with \\boxed{}."


def test_the_loss_is_on_the_response_and_its_end() -> None:
    rows = [SftRow("p", "r", [5, 6, 7, 8, 0], 2), SftRow("p", "r", [5, 9, 0], 1)]
    data = SftDataset(rows, pad_token_id=3)
    ids, attention, loss = data.collate_fn([data[0], data[1]])
    assert ids.squeeze(1).tolist() == [[5, 6, 7, 8, 0], [5, 9, 0, 3, 3]]
    assert attention.squeeze(1).tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    # position t predicts token t + 1
    assert loss.squeeze(1).tolist() == [[0, 1, 1, 1, 0], [1, 1, 0, 0, 0]]
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
    ],
)
def test_conversations_in_both_forms(tokenizer: Any, tmp_path: Path, turns: list) -> None:
    tokenizer.chat_template = CHAT
    path = tmp_path / "a.jsonl"
    (row,) = read(path, tokenizer, {"conversations": turns}, system="Think.").train
    assert (row.prompt, row.response) == ("<system>Think.<user>q<assistant>", "a")
    (row,) = read(path, tokenizer, {"messages": turns, "system": "Own."}, system="Think.").train
    assert row.prompt == "<system>Own.<user>q<assistant>", "a row's own wins"
    longer = [*turns, {"role": "user", "content": "why"}, {"role": "assistant", "content": "so"}]
    (row,) = read(path, tokenizer, {"messages": longer}).train
    assert (row.prompt, row.response) == ("<user>q<assistant>a<user>why<assistant>", "so")


def test_without_a_chat_template_messages_are_paragraphs(tokenizer: Any, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    (row,) = read(tmp_path / "a.jsonl", tokenizer, {"messages": turns}, system="Think.").train
    assert row.prompt == "Think.\n\nq\n\n"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "q"}, "no column 'response'"),
        ({"question": "q", "response": ""}, "column 'response' must be a non-empty text"),
        ({"question": 3, "response": "r"}, "column 'question' must be a non-empty text"),
        ([], "is a list"),
        ({"messages": "q"}, "must be a list of messages"),
        ({"messages": []}, "must be a list of messages"),
        ({"messages": [{"role": "user", "content": "q"}]}, "must end with an answer"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "an answer and no question"),
        ({"messages": [{"role": "tool", "content": "q"}]}, "a message has a role"),
        ({"messages": [{"role": "user", "content": None}]}, "a message has a role"),
    ],
)
def test_a_bad_row_is_named(tokenizer: Any, tmp_path: Path, row: object, said: str) -> None:
    good = {"question": "q", "response": "r"}
    with pytest.raises(ValueError, match=rf"a\.jsonl, row 2.*{said}"):
        read(tmp_path / "a.jsonl", tokenizer, good, row)


def test_long_rows_are_dropped_whole_and_counted(tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"question": "q", "response": "r " * n} for n in (1, 2, 500)]
    found = read(tmp_path / "a.jsonl", tokenizer, *rows, max_len=50)
    assert (len(found.train), found.num_too_long) == (2, 1)
    with pytest.raises(ValueError, match=r"all 3 rows .* longer than --data.max_len 2 tokens"):
        read(tmp_path / "a.jsonl", tokenizer, *rows, max_len=2)


def test_some_rows_are_held_out_the_same_ones_each_time(tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"question": f"q{n}", "response": "r"} for n in range(60)]
    first, second = (read(tmp_path / "a.jsonl", tokenizer, *rows, rows=10) for _ in range(2))
    assert first == second
    assert len(first.held_out) == 3, "at most a twentieth"
    assert not {row.prompt for row in first.held_out} & {row.prompt for row in first.train}
