"""The published prompts are found in MATH, all of them, in their order, with the published answers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pure_rlhf.cli.published_prompts import chosen_problems, main, problem_hash
from pure_rlhf.grading.final_answer import has_answer
from tests.shared_data import shared_file


def test_white_space_does_not_change_the_hash() -> None:
    assert problem_hash("What is $1 + 1$?") == problem_hash(" What is\n$1+1$?\u00a0")
    assert problem_hash("What is $1 + 1$?") != problem_hash("What is $1 + 2$?")


def test_the_choice_is_whole() -> None:
    chosen = chosen_problems()
    assert len(chosen) == 8523 and sum(is_known for _, is_known in chosen) == 879
    assert all(len(key) == 16 and int(key, 16) >= 0 for key, _ in chosen)


def test_from_a_local_copy_of_math(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Question and answer are the published ones but for white space."""
    folder = tmp_path / "math"
    folder.mkdir()
    for part in ("train", "test"):
        (folder / f"{part}.jsonl.gz").symlink_to(shared_file(f"math/{part}.jsonl.gz"))
    published = json.loads(
        gzip.decompress(shared_file("pure/8k_math_879_answers.json.gz").read_bytes())
    )
    output = tmp_path / "out/prompts.jsonl"
    main(output, folder)
    assert "8523 problems of MATH, 879 with a known answer" in capsys.readouterr().out
    rows = [json.loads(line) for line in output.read_text().split("\n")[:-1]]
    assert len(rows) == len(published) == 8523
    for row, expected in zip(rows, published, strict=True):
        assert row["question"].split() == expected["question"].split()
        known = expected["answer"].strip() if has_answer(expected["answer"]) else None
        assert row["answer"] == known
    output.write_text("a user's")
    main(output, Path("/no/such/folder"))
    assert output.read_text() == "a user's"


def test_half_of_math_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"problem": "1+1?", "solution": "\\\\boxed{2}"}\n')
    with pytest.raises(
        SystemExit, match="8523 of the 8523 published problems are not among these 1 rows"
    ):
        main(tmp_path / "prompts.jsonl", tmp_path)
    assert not (tmp_path / "prompts.jsonl").exists()
