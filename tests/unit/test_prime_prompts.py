"""The mathematics of Eurus-2-RL-Data becomes whole prompts with their answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pure_rlhf.cli.prime_prompts import main
from tests.conftest import RandomWorld

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def row(ability: str, answer: str) -> dict[str, object]:
    return {
        "data_source": "numina_olympiads",
        "prompt": [
            {"role": "system", "content": "Think."},
            {"role": "user", "content": "What is {} in \\boxed{}?"},
        ],
        "ability": ability,
        "reward_model": {"ground_truth": answer, "style": "rule"},
    }


@pytest.fixture
def chatty(world: RandomWorld, tmp_path: Path) -> Path:
    folder = tmp_path / "chatty"
    shutil.copytree(world.policy, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def test_mathematics_alone_with_the_system_message(chatty: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(r) + "\n" for r in (row("math", "3"), row("code", "{}"))))
    output = tmp_path / "out/prompts.jsonl"
    main(str(chatty), output, rows)
    (found,) = map(json.loads, output.read_text().splitlines())
    assert found == {
        "question": "<system>Think.<user>What is {} in \\boxed{}?<assistant>",
        "answer": "3",
    }


def test_other_data_are_refused(chatty: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"question": "1 + 1?", "answer": "2"}) + "\n")
    with pytest.raises(SystemExit, match=r"row 1 has no column 'ability'.*--rows FILE"):
        main(str(chatty), tmp_path / "out.jsonl", rows)
    rows.write_text(json.dumps(row("code", "{}")) + "\n")
    with pytest.raises(SystemExit, match="none of the 1 rows has the ability 'math'"):
        main(str(chatty), tmp_path / "out.jsonl", rows)
