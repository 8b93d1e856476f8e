"""The command: bad input at once, scores that survive a kill, the report in a real browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.evaluate_prm import (
    EXIT_BAD_SCORES,
    EXIT_BAD_SETTINGS,
    EXIT_INTERRUPTED,
    PrmEvaluationSettings,
    run,
)
from evaluation.prm_scores import ScoreFile, sample_key
from pure_rlhf.prm.conventions import PrmSample
from pure_rlhf.report.prm import collect_prm_record, labelled_steps_table, readable_prm
from tests.browser import CHROMIUM, browse
from tests.conftest import RandomWorld

HOSTILE = "<script>document.title='hacked'</script>"


class WrongMeansWrong:
    """Takes a step for wrong where it says "wrong"; counts what it is asked, and can be stopped."""

    def __init__(self, *, stop_after: int | None = None) -> None:
        self.asked: list[PrmSample] = []
        self.stop_after = stop_after

    def score(self, samples: Sequence[PrmSample], /) -> list[list[float]]:
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked += samples
        return [[-0.8 if "wrong" in step else 0.6 for step in sample.steps] for sample in samples]


def labelled_steps(folder: Path) -> Path:
    """Two kinds of steps of which the PRM misses one wrong step, and a hostile one."""
    folder.mkdir()
    wrong_copy = [
        {"prompt": "Q: 1? A:", "completions": ["good", "wrong"], "labels": [True, False]},
        {"prompt": "Q: 2? A:", "completions": ["bad"], "labels": [False]},
    ]
    right = [{"prompt": "Q: {}? A:", "completions": ["good", "wrong"], "labels": [True, True]}]
    for name, rows in (("wrong_copy", wrong_copy), ("none", right), ("<i>x", right)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file of each kind."""
    solutions = [
        {
            "problem": f"{i}?",
            "steps": ["good", "wrong" if i % 2 else "good"],
            "label": i % 2 * 2 - 1,
        }
        for i in range(6)
    ]
    solutions[1]["label"] = 0  # seen one step too late
    (tmp_path / "math.json").write_text(json.dumps(solutions))
    item = {
        "idx": "a",
        "classification": "redundency",
        "original_question": "?",
        "original_process": ["1. good"],
        "modified_question": "?",
        "modified_process": ["1. good", "2. wrong"],
        "error_steps": [2],
    }
    (tmp_path / "bench.jsonl").write_text(json.dumps(item) + "\n")
    texts = ["good\n\nwrong \\boxed{1}", "good\n\n\\boxed{2}"]
    candidates = {"prompt": "1+1?", "answers": texts, "label": [0, 1]}
    (tmp_path / f"{HOSTILE.replace('/', '')}.jsonl").write_text(json.dumps(candidates) + "\n")
    return tmp_path


def settings(world: RandomWorld, data: Path) -> PrmEvaluationSettings:
    (candidates,) = data.glob("<*.jsonl")
    return PrmEvaluationSettings(
        model=str(world.prm),
        process_bench=(str(data / "math.json"),),
        prm_bench=(str(data / "bench.jsonl"),),
        best_of_n=(str(candidates),),
        output_dir=data / "out",
    )


def test_all_problems_at_once(
    world: RandomWorld, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "math.json").write_text('[{"problem": "?", "steps": ["a"], "label": 3}]')
    bad = replace(
        settings(world, data),
        model=str(world.policy),
        prm_bench=("missing.jsonl",),
        best_of_n=(str(data / "bench.jsonl"),),
        max_problems=0,
        input_template="no place",
    )
    assert run(bad) == EXIT_BAD_SETTINGS
    said = capsys.readouterr().err
    for words in (
        "row 1: column 'label' is 3",
        "no such file: missing.jsonl",
        "bench.jsonl: unknown form",
        "--max_problems 0: must be at least 1",
        "--input_template 'no place': must hold {}",
        "choose one with --prm_convention: pure, qwen, skywork, math_shepherd, rlhflow",
    ):
        assert words in said, said
    assert not (data / "out").exists()
    assert run(PrmEvaluationSettings(model=str(world.prm), problems=("x",))) == EXIT_BAD_SETTINGS
    said = capsys.readouterr().err
    assert "name at least one thing to measure" in said and "--problems" in said


def test_all_problems_of_labelled_steps_at_once(
    world: RandomWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "columns.jsonl": '{"prompt": "?", "steps": ["a"]}',
        "lengths.jsonl": '{"prompt": "?", "completions": ["a"], "labels": [true, false]}',
        "labels.jsonl": '{"prompt": "?", "completions": ["a"], "labels": ["yes"]}',
        "none.jsonl": "",
    }
    (tmp_path / "rows").mkdir()
    (tmp_path / "empty").mkdir()
    for name, text in files.items():
        (tmp_path / "rows" / name).write_text(text)
    (tmp_path / "none.jsonl").write_text("{")
    sources = ("rows", "empty", "missing.jsonl", "none.jsonl", "missing.jsonl")
    bad = PrmEvaluationSettings(
        model=str(world.prm),
        labelled_steps=tuple(str(tmp_path / source) for source in sources),
        output_dir=tmp_path / "out",
    )
    assert run(bad) == EXIT_BAD_SETTINGS
    said = capsys.readouterr().err
    for words in (
        "row 1: has no column 'completions' and 'labels'; its columns are prompt, steps",
        "row 1: 1 steps and 2 labels: each step needs one label",
        "row 1: the label of step 1 is 'yes'; allowed are true, false, 1, 0",
        "rows/none.jsonl holds no rows",
        "none.jsonl is not JSON: line 1",
        "both the kind 'none'",
        "empty: the folder holds no file that ends in .json",
        "missing.jsonl: there is no such file or folder",
        "nothing twice",
    ):
        assert words in said, said
    assert not (tmp_path / "out").exists()


def test_report(world: RandomWorld, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scorer = WrongMeansWrong()
    assert run(settings(world, data), scorer) == 0
    assert len(scorer.asked) == 6 + 2 + 2
    assert {s.prompt == s.question for s in scorer.asked} == {True}
    results = json.loads((data / "out" / "prm_report.json").read_text())
    (subset,) = results["process_bench"]["subsets"]
    assert subset["first_wrong"]["erroneous_accuracy"]["value"] == pytest.approx(2 / 3)
    assert subset["first_wrong"]["f1"]["value"] == pytest.approx(0.8)
    assert subset["outcome_rule"]["f1"]["value"] == 1
    assert results["prm_bench"]["overall"]["prm_score"]["value"] == 1
    assert results["best_of_n"][0]["curves"]["min"][-1]["value"] == 1
    record, unreadable = readable_prm(collect_prm_record(str(data / "out")))
    assert record == {"best_of_n": results["best_of_n"]} and not unreadable, "for report.html"
    said = capsys.readouterr().out
    assert "ProcessBench math: F1 80.0 (0.0 to 100.0); by PURE's outcome rule 100.0" in said


def test_labelled_steps_by_kind(
    world: RandomWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = PrmEvaluationSettings(
        model=str(world.prm),
        labelled_steps=(str(labelled_steps(tmp_path / "rows")),),
        output_dir=tmp_path / "out",
        input_template="Problem: {}",
    )
    scorer = WrongMeansWrong()
    assert run(measured, scorer) == 0
    assert {s.prompt for s in scorer.asked} == {"Q: 1? A:", "Q: 2? A:", "Q: {}? A:"}, "no template"
    assert {s.question == s.prompt for s in scorer.asked} == {True}
    results = json.loads((tmp_path / "out" / "prm_report.json").read_text())
    counts = ("num_solutions", "num_wrong", "num_wrong_found", "num_right", "num_right_passed")
    assert {
        kind["name"]: [kind[name] for name in counts] for kind in results["labelled_steps"]
    } == {
        "wrong copy": [2, 2, 1, 1, 1],
        "none": [1, 0, 0, 2, 1],
        "<i>x": [1, 0, 0, 2, 1],
    }
    together = results["labelled_steps_together"]
    assert [together[name] for name in counts] == [4, 2, 1, 5, 3]
    # right: 0.6 three times, -0.8 twice; wrong: 0.6, -0.8
    assert together["auc"] == pytest.approx((3 * 1.5 + 2 * 0.5) / 10)
    said = capsys.readouterr().out.splitlines()
    assert (
        "Labelled steps, wrong copy: wrong ones found 50.0 (9.5 to 90.5), 1 of 2; "
        "right ones let pass 100.0 (20.7 to 100.0), 1 of 1"
    ) in said
    assert any(line.startswith("Labelled steps, none: wrong ones found -; right") for line in said)
    (line,) = (line for line in said if line.startswith("Labelled steps, all 3 kinds: "))
    assert line.endswith("; AUC 0.550")
    page = (tmp_path / "out" / "prm_report.html").read_text()
    assert "<h2>Labelled steps</h2>" in page and "AUC over the steps of all kinds: 0.550" in page
    assert "<th>wrong copy</th><td>2</td><td>2</td><td>1</td>" in page
    assert "<th>all kinds together</th><td>4</td><td>2</td><td>1</td>" in page
    assert "<th>&lt;i&gt;x</th>" in page and "<i>x" not in page
    assert "Problem: {}" not in page, "no prompt of this report had the template"
    record, unreadable = readable_prm(collect_prm_record(str(tmp_path / "out")))
    assert record == {"labelled_steps": results["labelled_steps"]} and not unreadable
    assert "1 of 2: 50.0% <small>9.5% to 90.5%</small>" in labelled_steps_table(record)
    capsys.readouterr()
    assert run(replace(measured, max_problems=1), WrongMeansWrong()) == 0
    assert "all 3 kinds: wrong ones found 100.0 (20.7 to 100.0), 1 of 1" in capsys.readouterr().out


def test_a_stopped_run_goes_on(world: RandomWorld, data: Path) -> None:
    many = [{"problem": f"{i}?", "steps": ["good"], "label": -1} for i in range(200)]
    (data / "math.json").write_text(json.dumps(many))
    stopped = WrongMeansWrong(stop_after=1)
    assert run(settings(world, data), stopped) == EXIT_INTERRUPTED
    assert len(stopped.asked) == 128
    scores = data / "out" / "scores.jsonl"
    scores.write_bytes(scores.read_bytes()[:-5])  # and a torn line
    rest = WrongMeansWrong()
    assert run(settings(world, data), rest) == 0
    assert len(rest.asked) == 204 - 127
    again = WrongMeansWrong()
    assert run(settings(world, data), again) == 0 and not again.asked


def test_scores_of_another_prm_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    sample = PrmSample("?", "?", ("a",))
    ScoreFile(path, {"weights": "1"}).append([sample], [[0.5]])
    assert ScoreFile(path, {"weights": "1"}).rewards == {sample_key(sample): [0.5]}
    with pytest.raises(ValueError, match="holds scores of another PRM"):
        ScoreFile(path, {"weights": "2"})
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(ValueError, match="line 3 is damaged"):
        ScoreFile(path, {"weights": "1"})


@pytest.mark.parametrize("rewards", [[0.5], [0.5, float("nan")]])
def test_unusable_scores_end_the_run(
    world: RandomWorld, data: Path, rewards: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(WrongMeansWrong):
        def score(self, samples: Sequence[PrmSample], /) -> list[list[float]]:
            return [rewards for _ in samples]

    assert run(settings(world, data), Broken()) == EXIT_BAD_SCORES
    assert "expected a finite reward each" in capsys.readouterr().err


def test_the_template_is_what_the_prm_reads(world: RandomWorld, data: Path) -> None:
    scorer = WrongMeansWrong()
    assert run(replace(settings(world, data), input_template="Q: {} A:"), scorer) == 0
    assert {s.prompt == f"Q: {s.question} A:" for s in scorer.asked} == {True}
    bare = WrongMeansWrong()
    assert run(settings(world, data), bare) == 0
    assert len(bare.asked) == len(scorer.asked), "other prompts, other scores"


def test_with_a_real_prm(world: RandomWorld, data: Path) -> None:
    kinds = (str(labelled_steps(data / "kinds")),)
    assert run(replace(settings(world, data), labelled_steps=kinds, max_problems=2)) == 0
    results = json.loads((data / "out" / "prm_report.json").read_text())
    assert results["labelled_steps_together"]["num_solutions"] == 4
    assert results["convention"] == "pure"
    (subset,) = results["process_bench"]["subsets"]
    assert subset["num_erroneous"] + subset["num_correct"] == 2


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_in_a_browser(world: RandomWorld, data: Path) -> None:
    assert run(settings(world, data), WrongMeansWrong()) == 0
    page = data / "out" / "prm_report.html"
    document = browse(page, data / "profile", "--virtual-time-budget=5000", "--dump-dom")
    assert f"<title>{world.prm} · PURE</title>" in document, "a file name was executed"
    body = document[document.index("<main>") : document.index("</main>")]
    assert body.count('class="main-svg"') >= 2 and body.count('class="plot js-plotly-plot"') == 2
    assert "80.0 <small>0.0 to 100.0</small>" in body
    assert "PURE-PRM-7B (published)" in body and "57.5" in body and "62.6" in body
    assert "not comparable with published figures" in body
