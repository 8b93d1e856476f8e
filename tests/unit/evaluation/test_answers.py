"""Files of answers: appended, continued after a kill, refused when they are another run's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.answers import Answer, AnswerFile, folder_name, weights_digest

SETTINGS = {"weights": "ab", "max_new_tokens": 3000}


def answer(text: str) -> Answer:
    return Answer(text=text, num_tokens=3, truncated=False, correct=True, extracted="1")


def test_a_finished_problem_is_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "model" / "math500.greedy.jsonl"
    file = AnswerFile(path, SETTINGS)
    file.append("0", [answer("one"), answer("zwei\u2028ü")])
    again = AnswerFile(path, SETTINGS)
    assert again.answers == {"0": [answer("one"), answer("zwei\u2028ü")]}
    assert all(json.loads(line)["fingerprint"] == file.fingerprint for line in path.open())


@pytest.mark.parametrize("cut", [1, 30])
def test_a_torn_last_line_is_dropped_and_written_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.jsonl"
    file = AnswerFile(path, SETTINGS)
    file.append("0", [answer("one")])
    file.append("1", [answer("two")])
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    file = AnswerFile(path, SETTINGS)
    assert list(file.answers) == ["0"]
    file.append("1", [answer("two")])
    assert path.read_bytes() == whole


def test_a_torn_first_line_starts_the_file_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"fingerprint": "12')
    file = AnswerFile(path, SETTINGS)
    file.append("0", [answer("one")])
    assert list(AnswerFile(path, SETTINGS).answers) == ["0"]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    AnswerFile(path, SETTINGS).append("0", [answer("one")])
    with pytest.raises(
        ValueError, match=r"max_new_tokens: 3000 there, 96 now.*another --output_dir"
    ):
        AnswerFile(path, SETTINGS | {"max_new_tokens": 96})


def test_answers_of_earlier_rules_are_kept_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    AnswerFile(path, SETTINGS).append("0", [answer("one")])
    file = AnswerFile(path, SETTINGS | {"verifier": 2})
    assert file.is_outdated and file.answers == {"0": [answer("one")]}
    graded = replace(answer("one"), correct=False, rule=None, vote=1)
    file.replace({"0": [graded]})
    file.append("1", [answer("two")])
    again = AnswerFile(path, SETTINGS | {"verifier": 2})
    assert not again.is_outdated and again.answers == {"0": [graded], "1": [answer("two")]}
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    AnswerFile(path, SETTINGS).append("0", [answer("one")])
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(ValueError, match="line 3 is damaged"):
        AnswerFile(path, SETTINGS)


def test_weights_digest_sees_a_change_of_the_last_byte(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"\0" * 3_000_000)
    before = weights_digest(str(tmp_path))
    weights.write_bytes(b"\0" * 2_999_999 + b"\1")
    assert weights_digest(str(tmp_path)) != before
    assert weights_digest("Qwen/none") == "hub:Qwen/none"


def test_folder_name() -> None:
    assert folder_name("file:world/test") == "file-world-test"
    assert folder_name("../..") == ".." or "/" not in folder_name("../..")
