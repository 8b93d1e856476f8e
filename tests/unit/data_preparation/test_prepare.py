"""The command: counts that add up, stages that are not made twice, every mistake before anything starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from data_preparation import prepare as command
from data_preparation.prepare import ModelSettings, PreparationSettings, run
from data_preparation.validate import Thresholds
from pure_rlhf.data import load_prompts
from tests.shared_data import ROOT as DATA

EVIL = '</script><script>document.title="pwned"</script><img src=x onerror=alert(1)>'
ROWS = [
    {"problem": "What is 2+2?", "solution": r"\boxed{4}"},
    {"problem": "what is $2+2$", "solution": r"\boxed{4}"},
    {"problem": "What is 3+3? (A) 5 (B) 6 (C) 7", "solution": r"\boxed{B}"},
    {"problem": f"Prove that {EVIL}.", "solution": r"\boxed{1}"},
    {"problem": "What is 7+7?", "solution": r"\boxed{14}"},
    {"question": "Add 1.", "input_output": {"inputs": ["1\n"], "outputs": ["2\n"]}},
    "no row",
]


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., PreparationSettings]:
    rows, held_out = tmp_path / "rows.jsonl", tmp_path / "held_out.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    held_out.write_text(json.dumps({"question": "What is $7 + 7$?", "answer": "14"}) + "\n")

    def make(**changes: object) -> PreparationSettings:
        values: dict = {
            "data": (str(rows),),
            "benchmarks": (str(held_out),),
            "output_dir": tmp_path / "out",
        }
        return PreparationSettings(**values | changes)

    return make


def counts(folder: Path) -> dict[str, dict]:
    return {stage["name"]: stage for stage in json.loads((folder / "counts.json").read_text())}


def test_every_row_is_accounted_for(settings: Callable, tmp_path: Path) -> None:
    assert run(settings()) == 0
    folder = tmp_path / "out"
    found = counts(folder)
    assert [stage["taken"] for stage in found.values()] == [7, 6, 5, 5, 4]
    for stage in found.values():
        assert stage["taken"] == stage["kept"] + sum(stage["reasons"].values()), stage
    assert found["rules"]["reasons"] == {"asks for a proof": 1}
    assert found["open"]["changed"] == 1
    assert found["duplicates"]["reasons"] == {"is asked twice": 1}
    assert found["contamination"]["reasons"] == {"is a problem of an evaluation set": 1}
    table = pyarrow.parquet.read_table(folder / "train.parquet").to_pylist()
    assert [(row["question"], row["ability"]) for row in table] == [
        ("What is 2+2?", "math"),
        ("What is 3+3?", "math"),
        ("Add 1.", "code"),
    ]
    assert table[1]["answer"] == "6"
    page = (folder / "preparation.html").read_text(encoding="utf-8")
    assert "asks for a proof" in page
    assert EVIL not in page


def test_what_comes_out_goes_into_training(settings: Callable, tmp_path: Path) -> None:
    assert run(settings()) == 0
    prompts = load_prompts(
        str(tmp_path / "out/train.parquet"),
        split="train",
        input_key="question",
        label_key="answer",
        render=str,
        tokenizer=None,
        max_tokens=100,
        ability_key="ability",
    )
    assert [record.label for record in prompts.records][:2] == ["4", "6"]


def test_a_stage_is_made_again_where_what_it_rests_on_changed(
    settings: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def noted(item: object) -> object:
        made.append("open")
        return item

    monkeypatch.setattr(command, "make_open", noted)
    assert run(settings()) == 0 and len(made) == 5
    assert run(settings()) == 0 and len(made) == 5, "as it was"
    assert run(settings(num_words=20)) == 0 and len(made) == 5, "only what comes after"
    (tmp_path / "out/rules.done").unlink()  # cut off while it was written
    assert run(settings()) == 0 and len(made) == 5, "its rows are the same"
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        rows.read_text() + json.dumps({"problem": "What is 9+9?", "answer": "18"}) + "\n"
    )
    assert run(settings()) == 0 and len(made) == 11


def test_all_mistakes_at_once(
    settings: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = settings(
        data=("none.jsonl",),
        benchmarks=("aime",),
        num_words=2,
        model=ModelSettings(name="./none", tries=0, template="no place"),
        keep=Thresholds(min_correct=9, min_agreement=2.0),
    )
    assert run(bad) == command.EXIT_BAD_SETTINGS
    said = capsys.readouterr().err
    for part in (
        "--num_words 2",
        "--model.tries 0",
        "--model.template",
        "--keep.min_correct 9",
        "--keep.min_agreement 2.0",
        "--data: no such file: none.jsonl",
        "--benchmarks aime",
        "--model.name ./none",
    ):
        assert part in said, part
    assert not (tmp_path / "out").exists()


def test_nothing_left_is_said(
    settings: Callable, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = tmp_path / "proofs.jsonl"
    rows.write_text(json.dumps({"problem": "Prove it.", "answer": "1"}) + "\n")
    assert run(settings(data=(str(rows),))) == 1
    assert "No problem is left" in capsys.readouterr().err


@pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not here")
def test_real_rows(tmp_path: Path) -> None:
    """MATH's test set holds MATH-500: its problems are found, all of them."""
    names = ("aime24", "amc23", "math500", "minerva_math")
    done = run(
        PreparationSettings(
            data=tuple(str(DATA / name) for name in ("math/test.jsonl.gz", "gsm8k/train.jsonl.gz")),
            benchmarks=names,
            data_dir=DATA,
            output_dir=tmp_path,
        )
    )
    assert done == 0
    found = counts(tmp_path)
    dropped = (tmp_path / "contamination.dropped.jsonl").read_text(encoding="utf-8").split("\n")
    whole = [json.loads(line) for line in dropped if "is a problem of" in line]
    earlier = sum(
        found[name]["taken"] - found[name]["kept"] for name in ("rules", "open", "duplicates")
    )
    of_math500 = [row for row in whole if row["note"].startswith("math500")]
    assert 500 - earlier <= len(of_math500) <= 500 and len(of_math500) > 400
    assert found["contamination"]["kept"] > 10_000
    assert "needs a figure" in found["rules"]["reasons"]
