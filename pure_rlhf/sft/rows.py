"""Rows of an SFT data set as token ids and loss masks, in the form that OpenRLHF's SFT trainer reads.

A prompt is rendered and tokenised as RL does it (`data.prompt_renderer`), and the response after it by itself, so that
RL begins with the very tokens that were learned. A response ends with the tokenizer's end of text, where rollout
engines stop. (OpenRLHF's `SFTDataset` renders with `str.format`, which a `\\boxed{}` breaks, puts a space before the
end of text, and cuts long rows, which teaches to stop in mid-sentence.)
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pure_rlhf.data import Row, load_rows, prompt_renderer
from pure_rlhf.sft.settings import SftConfig
from pure_rlhf.types import Tokenizer

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
CONVERSATIONS = ("messages", "conversations")
MOST_HELD_OUT = 20  # of so many rows one


@dataclass(frozen=True)
class SftRow:
    """One response to learn: prompt and response as text, the ids of both, and how many of them are the prompt's."""

    prompt: str
    response: str
    token_ids: list[int]
    num_prompt: int


@dataclass(frozen=True)
class SftRows:
    """Rows to train on, rows that are held out, and how many were longer than the limit."""

    train: list[SftRow]
    held_out: list[SftRow]
    num_too_long: int


def read_rows(config: SftConfig, tokenizer: Tokenizer, system_prompt: str | None) -> SftRows:
    """Read, render and tokenise all rows.

    Raises:
        ValueError: there is no such data set, a row is not what it should be, or none fits --data.max_len.
    """
    assert config.data.dataset is not None
    rows = load_rows(config.data.dataset, config.data.split)
    render = prompt_renderer(
        config.data.input_template,
        config.data.apply_chat_template,
        tokenizer,
        system_prompt=system_prompt,
    )
    texts: list[tuple[str, str]] = []
    for number, row in enumerate(rows, start=1):
        where = f"{config.data.dataset}, row {number}"
        if not isinstance(row, dict):
            raise ValueError(f"{where} is a {type(row).__name__}; expected an object with columns")
        column = next((key for key in CONVERSATIONS if key in row), None)
        if column is None:
            question, response = (
                _text(row, key, where) for key in (config.data.input_key, config.data.response_key)
            )
            texts.append((render(question), response))
        else:
            texts.append(_conversation(row, column, where, tokenizer, system_prompt))
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer has no end of text, with which a response ends")
    prompts, responses = (
        tokenizer([pair[place] for pair in texts], add_special_tokens=False)["input_ids"]
        for place in (0, 1)
    )
    found = [
        SftRow(prompt, response, [*prompt_ids, *response_ids, end], len(prompt_ids))
        for (prompt, response), prompt_ids, response_ids in zip(
            texts, prompts, responses, strict=True
        )
    ]
    fitting = [row for row in found if len(row.token_ids) <= config.data.max_len]
    if not fitting:
        shortest = min(len(row.token_ids) for row in found)
        raise ValueError(
            f"all {len(found)} rows of {config.data.dataset} are longer than --data.max_len {config.data.max_len} "
            f"tokens (the shortest has {shortest}); raise the limit"
        )
    empty = next((n for n, row in enumerate(found, 1) if row.num_prompt == 0), None)
    if empty is not None:
        raise ValueError(f"{config.data.dataset}, row {empty}: the prompt is empty")
    random.Random(f"held out {config.train.seed}").shuffle(fitting)
    count = max(0, min(config.eval.rows, len(fitting) // MOST_HELD_OUT))
    return SftRows(fitting[count:], fitting[:count], len(found) - len(fitting))


def _text(row: Row, key: str, where: str) -> str:
    if key not in row:
        raise ValueError(
            f"{where} has no column {key!r}; its columns are {', '.join(map(repr, row))}: name the right ones with "
            f"--data.input_key and --data.response_key, or give conversations (a column messages or conversations)"
        )
    value = row[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: column {key!r} must be a non-empty text, got {value!r:.80}")
    return value


def _conversation(
    row: Row, column: str, where: str, tokenizer: Tokenizer, system_prompt: str | None
) -> tuple[str, str]:
    """Everything before its last answer, and that answer; forms are role and content, or from and value."""
    messages = [
        _message(turn, f"{where}, column {column!r}") for turn in _turns(row, column, where)
    ]
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"{where}: column {column!r} must end with an answer of the assistant")
    if len(messages) == 1:
        raise ValueError(f"{where}: column {column!r} has an answer and no question")
    if messages[0]["role"] != "system":
        system = row.get("system") or system_prompt
        if isinstance(system, str):
            messages.insert(0, {"role": "system", "content": system})
    before = messages[:-1]
    if getattr(tokenizer, "chat_template", None):
        prompt = tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)
    else:
        prompt = "".join(f"{message['content']}\n\n" for message in before)
    return prompt, messages[-1]["content"]


def _turns(row: Row, column: str, where: str) -> Sequence[Any]:
    turns = row[column]
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not turns:
        raise ValueError(
            f"{where}: column {column!r} must be a list of messages, got {turns!r:.80}"
        )
    return turns


def _message(turn: Any, where: str) -> dict[str, str]:
    if isinstance(turn, Mapping):
        role = ROLES.get(str(turn.get("role", turn.get("from"))))
        content = turn.get("content", turn.get("value"))
        if role is not None and isinstance(content, str) and content.strip():
            return {"role": role, "content": content}
    raise ValueError(
        f"{where}: a message has a role (or from) of {', '.join(ROLES)} and a content (or value), got {turn!r:.80}"
    )


class SftDataset(Dataset):
    """What OpenRLHF's trainer reads of rows: ids, attention mask and loss mask, each `(1, T)`.

    The mask is 1 where the next token is of the response. `pad_token_id` fills a batch up on the right.
    """

    def __init__(self, rows: list[SftRow], pad_token_id: int) -> None:
        self.rows, self.pad_token_id = rows, pad_token_id

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        row = self.rows[index]
        ids_1T = torch.tensor([row.token_ids])
        loss_1T = torch.zeros_like(ids_1T, dtype=torch.float32)
        loss_1T[:, row.num_prompt - 1 : -1] = 1
        return ids_1T, torch.ones_like(ids_1T), loss_1T

    def collate_fn(
        self, items: Sequence[tuple[Tensor, Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A batch: each `(B, 1, T)`, as the trainer expects it."""
        width = max(ids_1T.shape[1] for ids_1T, _, _ in items)
        fills = (self.pad_token_id, 0, 0.0)
        return tuple(
            torch.stack(
                [
                    torch.nn.functional.pad(
                        item[part], (0, width - item[part].shape[1]), value=fill
                    )
                    for item in items
                ]
            )
            for part, fill in enumerate(fills)
        )  # pyright: ignore[reportReturnType]
