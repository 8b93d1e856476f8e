"""Everything that is wrong with model, tokenizer and rows is reported at once, before anything is trained."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForTokenClassification, AutoTokenizer

from prm_training.prepare import PrmInputError, prepare
from prm_training.settings import PrmTrainingSettings
from tests.conftest import RandomWorld

GOOD = {"prompt": "1+1+1?", "completions": ["1+1=2", "2+1=4"], "labels": [True, False]}


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def settings_for(world: RandomWorld, folder: Path, **changes: object) -> PrmTrainingSettings:
    values: dict[str, object] = {
        "stage": 1,
        "model": str(world.policy),
        "train_data": write(folder / "good.jsonl", GOOD, GOOD),
        "output_dir": folder / "out",
    }
    return PrmTrainingSettings(**(values | changes))  # type: ignore[arg-type]


def test_everything_wrong_is_said_at_once(world: RandomWorld, tmp_path: Path) -> None:
    three = tmp_path / "three_labels"
    model = AutoModelForTokenClassification.from_pretrained(world.policy, num_labels=3)
    model.save_pretrained(three)
    AutoTokenizer.from_pretrained(world.policy).save_pretrained(three)
    train = write(
        tmp_path / "train.jsonl",
        GOOD,
        GOOD | {"labels": [1]},
        GOOD | {"completions": ["1\n1", "2"]},
        GOOD | {"prompt": "1" * 80},
    )
    test = write(tmp_path / "test.jsonl", GOOD | {"labels": [1, 7]}, GOOD)
    settings = settings_for(
        world,
        tmp_path,
        stage=2,
        model=str(three),
        train_data=train,
        eval_data=test,
        max_length=60,
        micro_batch_size=3,
        exclude_problems=(str(tmp_path / "none.jsonl"),),
    )
    with pytest.raises(PrmInputError) as caught:
        prepare(settings)
    message = str(caught.value)
    for part in (
        "--global_batch_size must be a multiple",
        "has two labels (0 = wrong, 1 = right), this one has 3",
        "no such file",
        f"{train}: 3 of 4 rows",
        "row 2: 2 steps and 1 labels",
        "row 3: step 1 contains the separator",
        "row 4: ",
        "tokens, the limit is 60",
        f"{test}: 1 of 2 rows",
        "row 1: the label of step 2 is 7",
    ):
        assert part in message, part
    assert str(pickle.loads(pickle.dumps(caught.value))) == message
    assert not settings.output_dir.exists()


def test_a_separator_of_several_tokens_is_reported_with_the_rows(
    world: RandomWorld, tmp_path: Path
) -> None:
    bad = write(tmp_path / "bad.jsonl", GOOD | {"labels": []})
    with pytest.raises(PrmInputError) as caught:
        prepare(settings_for(world, tmp_path, separator="9#9#", train_data=bad))
    assert "exactly one token" in str(caught.value) and "row 1: 2 steps" in str(caught.value)


def test_rows_beyond_the_models_positions_are_kept_and_counted(
    world: RandomWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the published training: 180 of the 37,326 rows of its first phase are longer than 4,096 tokens."""
    folder = tmp_path / "short"
    shutil.copytree(world.policy, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 40}))
    rows = write(tmp_path / "rows.jsonl", GOOD, GOOD | {"prompt": "1" * 80})
    settings = settings_for(world, tmp_path, model=str(folder), train_data=rows)
    assert len(prepare(settings).train) == 2
    assert "1 of 2 rows of" in capsys.readouterr().out
    limited = settings_for(
        world, tmp_path, model=str(folder), train_data=rows, max_length=40, skip_bad_rows=True
    )
    assert len(prepare(limited).train) == 1


def test_many_bad_rows_are_listed_in_a_file(world: RandomWorld, tmp_path: Path) -> None:
    rows = [GOOD] + [GOOD | {"prompt": ""}] * 13
    settings = settings_for(world, tmp_path, train_data=write(tmp_path / "rows.jsonl", *rows))
    with pytest.raises(PrmInputError, match="and 3 more"):
        prepare(settings)
    lines = (settings.output_dir / "bad_rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in lines] == list(range(2, 15))


def test_bad_rows_are_counted_and_skipped_if_asked(
    world: RandomWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [GOOD, GOOD | {"labels": [1]}, GOOD | {"prompt": "1" * 80}]
    source = write(tmp_path / "rows.jsonl", *rows)
    settings = settings_for(world, tmp_path, train_data=source, max_length=60, skip_bad_rows=True)
    assert len(prepare(settings).train) == 1
    assert "2 bad rows left out" in capsys.readouterr().out
    only_bad = settings_for(
        world, tmp_path, train_data=write(tmp_path / "b.jsonl", rows[1]), skip_bad_rows=True
    )
    with pytest.raises(PrmInputError, match=r"no training row is left.*row 1: 2 steps"):
        prepare(only_bad)


def test_what_is_selected_is_said(
    world: RandomWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rated = {"prompt": "1+1+1?", "completions": ["1+1=2", "2+1=4"], "ratings": [1, 0]}
    source = write(tmp_path / "rows.jsonl", rated, rated | {"prompt": "What is 4?"})
    evaluation = write(tmp_path / "test.jsonl", {"problem": "what is $4$?"})
    settings = settings_for(
        world,
        tmp_path,
        train_data=source,
        eval_data=source,
        neutral="right",
        prefixes="last_step",
        exclude_problems=(evaluation,),
    )
    data = prepare(settings)
    assert [row.labels for row in data.train.rows] == [[-100, 1]]
    assert data.held_out is not None and len(data.held_out) == 2
    said = capsys.readouterr().out
    assert "(form: ratings): 2 rows, 4 labels, 100.0% right" in said
    assert "wrong 2 / 2, right 4 / 0, drop 2 / 0" in said
    assert "--prefixes last_step: 2 rows, 2 labels" in said and "teaches nothing" in said
    assert "1 evaluation problems of 1" in said and "1 rows removed, 1 left" in said
    assert "1 of 2 held-out problems are also trained on" in said
    (removed,) = json.loads((settings.output_dir / "removed_problems.json").read_text())
    assert removed["problem"] == "What is 4?" and removed["rows"] == [2]
    assert removed["found_in"] == f"{evaluation}, row 1"


def test_problems_can_be_held_out(world: RandomWorld, tmp_path: Path) -> None:
    rows = [GOOD | {"prompt": f"{n}?"} for n in range(10)]
    source = write(tmp_path / "rows.jsonl", *rows)
    data = prepare(settings_for(world, tmp_path, train_data=source, held_out_frac=0.3))
    assert data.held_out is not None
    assert len(data.train) == 7 and len(data.held_out) == 3
