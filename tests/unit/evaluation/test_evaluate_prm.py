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
    said = capsys.readouterr().out
    assert "ProcessBench math: F1 80.0 (0.0 to 100.0); by PURE's outcome rule 100.0" in said


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
    assert run(replace(settings(world, data), max_problems=2)) == 0
    results = json.loads((data / "out" / "prm_report.json").read_text())
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
