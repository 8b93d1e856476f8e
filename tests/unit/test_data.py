"""Prompts from files: every form, and every way in which a file can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from code_sandbox.problems import Problem, read_problem
from pure_rlhf.config import DEFAULT_INPUT_TEMPLATE
from pure_rlhf.data import PromptSet, load_prompts, load_rows, render_prompt


def load(path: Path, tokenizer=None, max_tokens: int = 100) -> PromptSet:
    return load_prompts(
        str(path),
        split="train",
        input_key="question",
        label_key="answer",
        render=lambda question: f"<{question}>",
        tokenizer=tokenizer,
        max_tokens=max_tokens,
    )


def words(texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
    """A tokenizer that counts words."""
    return {"input_ids": [list(range(len(text.split()))) for text in texts]}


def test_template_keeps_the_empty_box_and_braces_of_the_problem() -> None:
    prompt = render_prompt(DEFAULT_INPUT_TEMPLATE, "What is \\frac{1}{2}{}?")
    assert prompt == (
        'What is \\frac{1}{2}{}?\n\nPlease reason step by step with steps separated by "\n\n", and put your final '
        "answer within \\boxed{}."
    )


@pytest.mark.parametrize("absent", [None, "null", ""])
def test_unanswered(tmp_path: Path, absent: object) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps({"question": "q", "answer": absent})
        + "\n"
        + '{"question": "r", "answer": 3}\n\n'
    )
    assert [record.label for record in load(path).records] == [None, "3"]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (["1", "2"], "is a list; a label is one text or number"),
        ({"a": 1}, "is a dict"),
        (True, "is a bool"),
        (float("nan"), "is nan"),
        ("$\\,$", "holds nothing but signs and spaces"),
    ],
)
def test_a_label_that_no_answer_can_meet_names_its_row(
    tmp_path: Path, label: object, said: str
) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"question": "q", "answer": "1"}, {"question": "r", "answer": label}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=rf"a.jsonl, row 2: column 'answer' .*{said}"):
        load(path)


def test_json_array_and_gzip(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": "1"}, {"question": "r", "answer": "2"}]
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))
    assert [record.prompt for record in load(path).records] == ["<q>", "<r>"]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"question": ["q"], "answer": ["1"]}), path)
    assert load(path).records[0].label == "1"


def test_long_prompts_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"question": "w " * n, "answer": "1"}) + "\n" for n in (1, 9, 2))
    )
    prompts = load(path, words, max_tokens=4)
    assert prompts.num_dropped == 1
    assert [(record.index, len(record.token_ids)) for record in prompts.records] == [(0, 2), (1, 3)]
    with pytest.raises(ValueError, match=r"all 3 prompts .* longer than --data.prompt_max_len 1"):
        load(path, words, max_tokens=1)


def test_a_line_separator_inside_a_string_is_not_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps({"question": "a\u2028b", "answer": "1"}, ensure_ascii=False), encoding="utf-8"
    )
    assert load(path).records[0].question == "a\u2028b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no rows"),
        ("[]", "holds no rows"),
        ('{"question": "q", "answer": 1}\n{"question": ', "is not JSON: line 2"),
        ('[{"question": "q",\n "answer": }]', "is not JSON: line 2"),
        (
            '{"problem": "q", "answer": 1}',
            "no column 'question'; its columns are 'problem', 'answer'",
        ),
        ('{"question": "q"}', "no column 'answer'"),
        ('{"question": " ", "answer": 1}', "must be a non-empty text"),
        ("[1]", "row 1 is a int"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load(path)


def damaged(tmp_path: Path) -> dict[str, bytes]:
    """Name of a file -> what it holds, each of which cannot be read for another reason."""
    import pyarrow
    import pyarrow.parquet

    row = json.dumps({"question": "q", "answer": "1"}).encode()
    packed = gzip.compress(row * 100)
    whole = tmp_path / "whole.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"question": ["q"], "answer": ["1"]}), whole)
    return {
        "cut.jsonl.gz": packed[: len(packed) // 2],
        "no.jsonl.gz": row,
        "flipped.json.gz": packed[:12] + b"\xff\xff\xff" + packed[15:],
        "latin.jsonl": '{"question": "caf\u00e9", "answer": 1}'.encode("latin-1"),
        "deep.json": b"[" * 100_000,
        "digits.jsonl": b'{"question": "q", "answer": ' + b"9" * 5000 + b"}",
        "cut.parquet": whole.read_bytes()[:-20],
        "no.parquet": row,
        "empty.parquet": b"",
    }


def test_damaged_files_are_named(tmp_path: Path) -> None:
    for name, content in damaged(tmp_path).items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} .+"):
            load(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [("", "the name is empty"), (" ", "the name is empty"), ("x" * 300, "no name of a file"),
     ("a\0b.jsonl", "no such file")],
)  # fmt: skip
def test_names_that_are_none(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_rows(source, "train")


@pytest.mark.parametrize("column", ["question", "answer"])
def test_half_a_surrogate_pair_is_no_text(tmp_path: Path, column: str) -> None:
    path = tmp_path / "a.jsonl"
    row = {"question": "q", "answer": "1"} | {column: "\ud800"}
    path.write_text(json.dumps(row))
    with pytest.raises(ValueError, match=f"row 1: column '{column}' holds half"):
        load(path)


def test_missing_file() -> None:
    with pytest.raises(ValueError, match="no such file"):
        load_rows("./nowhere.jsonl", "train")


TESTS = {"inputs": ["1", "2"], "outputs": ["2", "4"]}


def load_both(path: Path, *rows: dict, allow_asserts: bool = False) -> PromptSet:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_prompts(
        str(path),
        split="train",
        input_key="question",
        label_key="answer",
        render=lambda question: f"<{question}>",
        tokenizer=None,
        max_tokens=100,
        ability_key="ability",
        render_program=lambda question: f"[{question}]",
        allow_asserts=allow_asserts,
    )


@pytest.mark.parametrize("label", [TESTS, json.dumps(TESTS)])
def test_problems_of_code_beside_mathematics(tmp_path: Path, label: object) -> None:
    prompts = load_both(
        tmp_path / "a.jsonl",
        {"question": "q", "answer": "1", "ability": "math"},
        {"question": "r", "answer": label, "ability": "code"},
        {"question": "s", "answer": None, "ability": "code"},
        {"question": "t", "answer": {**TESTS, "checker": "any order"}, "ability": "code"},
    )
    assert [record.prompt for record in prompts.records] == ["<q>", "[r]", "[s]", "[t]"]
    assert [record.label for record in prompts.records] == [
        "1",
        read_problem(TESTS),
        None,
        None,  # several outputs are right: unanswered, not wrong
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": "1"}, "has no column 'ability'"),
        ({"answer": "1", "ability": "Code"}, "must be 'math' or 'code', got 'Code'"),
        ({"answer": "1", "ability": None}, "must be 'math' or 'code'"),
        ({"answer": "4", "ability": "code"}, "column 'answer': must be a JSON object with tests"),
        ({"answer": "{", "ability": "code"}, "is not JSON"),
        ({"answer": {"inputs": ["1"]}, "ability": "code"}, "'outputs' must be a list"),
        ({"answer": {"inputs": [], "outputs": []}, "ability": "code"}, "there is no test"),
        ({"answer": {"inputs": ["1"], "outputs": [""]}, "ability": "code"}, "output is empty"),
        ({"answer": {"kind": "asserts", "checks": "assert f()"}, "ability": "code"}, "no reward"),
        ({"answer": TESTS, "ability": "math"}, "is a dict; a label is one text or number"),
    ],
)
def test_what_is_wrong_with_a_problem_of_code(tmp_path: Path, row: dict, said: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.jsonl, row 1.*{said}"):
        load_both(tmp_path / "a.jsonl", {"question": "q"} | row)


def test_asserts_where_no_reward_is_made_of_them(tmp_path: Path) -> None:
    row = {
        "question": "q",
        "answer": {"kind": "asserts", "checks": "assert f()"},
        "ability": "code",
    }
    (record,) = load_both(tmp_path / "a.jsonl", row, allow_asserts=True).records
    assert isinstance(record.label, Problem) and record.label.kind == "asserts"


def test_lists_of_parquet_are_tests_too(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    rows = [{"question": "q", "answer": TESTS, "ability": "code"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    (record,) = load_prompts(
        str(path),
        split="train",
        input_key="question",
        label_key="answer",
        render=str,
        tokenizer=None,
        max_tokens=100,
        ability_key="ability",
    ).records
    assert record.label == read_problem(TESTS)
