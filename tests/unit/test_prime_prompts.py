"""Eurus-2-RL-Data becomes whole prompts with their answers, or their tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from code_sandbox.problems import read_problem
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


def test_both_abilities_with_the_system_message(
    chatty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    tests = json.dumps({"inputs": ["2\n"], "outputs": ["4\n"]})
    lines = [row("math", "3"), row("code", tests), row("code", '{"inputs": ["2"], "outputs": []}')]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = tmp_path / "out/prompts.jsonl"
    main(str(chatty), output, rows)
    mathematics, code = map(json.loads, output.read_text().splitlines())
    question = "<system>Think.<user>What is {} in \\boxed{}?<assistant>"
    assert mathematics == {"question": question, "answer": "3", "ability": "math"}
    assert code["question"] == question and code["ability"] == "code"
    assert read_problem(code["answer"]) == read_problem(tests)
    said = capsys.readouterr().out
    assert "1 problems of mathematics and 1 of code" in said
    assert "1 problems of code have no tests that grade a program, such as: row 3" in said

    output.unlink()
    main(str(chatty), output, rows, abilities=("math",))
    assert [json.loads(line) for line in output.read_text().splitlines()] == [mathematics]


def test_other_data_are_refused(chatty: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"question": "1 + 1?", "answer": "2"}) + "\n")
    with pytest.raises(SystemExit, match=r"row 1 has no column 'ability'.*--rows FILE"):
        main(str(chatty), tmp_path / "out.jsonl", rows)
    rows.write_text(json.dumps(row("code", "{}")) + "\n")
    with pytest.raises(SystemExit, match="none of the 1 rows is a problem of math or code"):
        main(str(chatty), tmp_path / "out.jsonl", rows)
