"""The tables from answers, by hand; the page in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from evaluation.answers import Answer
from evaluation.plan import EvaluationSettings, prepare
from evaluation.report import build_results, markdown, summarise, write_report
from tests.conftest import RandomWorld
from tests.unit.report.test_page import CHROMIUM, browse

HOSTILE = "</script><script>document.title='hacked'</script><b id=injected>bold</b>"


def answer(correct: bool, text: str = "", extracted: str | None = "7", **changes: object) -> Answer:
    values = {"num_tokens": 10, "truncated": False, **changes}
    return Answer(text=text, correct=correct, extracted=extracted, **values)  # pyright: ignore[reportArgumentType]


def test_summary_of_greedy_answers() -> None:
    groups = [
        [answer(True)],
        [answer(False, extracted=None, truncated=True, num_tokens=30)],
        [answer(False)],
        [answer(True)],
    ]
    summary = summarise(groups, "greedy")
    assert summary["score"] == 0.5 and summary["num_correct"] == 2
    assert (summary["truncated"], summary["no_answer"], summary["mean_tokens"]) == (0.25, 0.25, 15)
    assert summary["interval"] == pytest.approx((0.15, 0.85), abs=0.001)


def test_summary_of_sampled_answers() -> None:
    groups = [
        [answer(True, vote=0), answer(False, vote=1), answer(False, vote=2), answer(True, vote=0)],
        [answer(False, vote=1), answer(False, vote=1), answer(True, vote=0), answer(False, vote=2)],
    ]
    summary = summarise(groups, "sampled")
    assert summary["score"] == pytest.approx((2 / 4 + 1 / 4) / 2)
    # pass@2: 1 - C(2,2)/6 = 5/6 and 1 - C(3,2)/6 = 1/2
    assert summary["pass_at_k"] == pytest.approx({"1": 0.375, "2": (5 / 6 + 1 / 2) / 2, "4": 1.0})
    assert summary["majority"] == 0.5


def test_comparison_and_average() -> None:
    def model(*flags: bool) -> list[list[Answer]]:
        return [[answer(flag)] for flag in flags]

    results = build_results({
        "greedy": {
            "old": {"a": model(False, False, True), "b": model(True)},
            "new": {"a": model(True, True, True), "b": model(True)},
        }
    })  # fmt: skip
    assert results["averages"]["greedy"]["old"]["score"] == pytest.approx((1 / 3 + 1) / 2)
    by_name = {row["benchmark"]: row for row in results["comparisons"]}
    assert by_name["a"]["p_value"] == by_name["all problems"]["p_value"] == 0.5
    assert by_name["all problems"]["difference"] == pytest.approx(0.5)
    assert (by_name["b"]["difference"], by_name["b"]["p_value"]) == (0, 1)


def write(world: RandomWorld, folder: Path, *, published: bool = False) -> str:
    """A report on two of the world's problems, one solved, one answered with hostile text."""
    settings = EvaluationSettings(
        models=(str(world.policy),),
        benchmarks=(str(world.test),),
        output_dir=folder,
        max_problems=2,
        published=published,
    )
    plan = prepare(settings)
    plan.tasks[0].file.append("0", [answer(True, text="so \\boxed{7}")])
    plan.tasks[0].file.append("1", [answer(False, text=HOSTILE, extracted=None)])
    return write_report(plan, settings)


def test_files(world: RandomWorld, tmp_path: Path) -> None:
    text = write(world, tmp_path)
    assert (tmp_path / "results.md").read_text() == text
    assert "| world0/policy | 50.0 (9.5 to 90.5) |" in text
    assert "only the first 2 of 8 problems" in text
    results = json.loads((tmp_path / "results.json").read_text())
    summary = results["scores"]["greedy"]["world0/policy"][f"file:{world.folder.name}/test"]
    assert summary["score"] == 0.5 and summary["no_answer"] == 0.5
    page = (tmp_path / "evaluation_report.html").read_text()
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=[^>]*>", page) == []
    assert "</script><script>document.title" not in page


def test_published_figures_stand_beside_the_users() -> None:
    from evaluation.benchmarks import FIVE
    from evaluation.report import load_published

    results = build_results({"greedy": {"mine": {name: [[answer(True)]] for name in FIVE}}})
    rows = [
        {
            "name": name,
            "num_problems": 1,
            "num_used": 1,
            "source": "x",
            "licence": "MIT",
            "notes": (),
        }
        for name in FIVE
    ]
    text = markdown(results | {"benchmarks": rows, "published": load_published()})
    line = "| PURE-PRM, Qwen2.5-Math-7B (published) | 81.8 | 38.2 | 44.7 | 16.7 | 60.0 | 48.3* |"
    assert line in text and "prints an average of 49.3" in text
    assert "| mine | 100.0 (20.7 to 100.0) |" in text
    both = {"published": load_published(), "published_prime": load_published("published_prime")}
    text = markdown(results | {"benchmarks": rows} | both)
    # amc23 is not PRIME's AMC, so there is no figure and no average
    assert (
        line in text
        and "| PRIME, step 592, Eurus-2-7B-SFT (published) | 79.2 | 38.6 | 42.1 | 26.7 |  |  |"
        in text
    )
    assert "prints an average of 36.9" in text


def test_programs_have_no_majority() -> None:
    groups = [[answer(True), answer(False)], [answer(False), answer(False)]]
    assert summarise(groups, "sampled")["majority"] is None
    text = markdown(
        build_results({"sampled": {"mine": {"humaneval": groups}}})
        | {"benchmarks": [{"name": "humaneval", "num_problems": 2, "num_used": 2, "source": "x",
                           "licence": "MIT", "notes": ()}], "num_samples": 2}
    )  # fmt: skip
    assert "| mine | humaneval | 25.0 | 50.0 |  |" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_in_a_browser(world: RandomWorld, tmp_path: Path) -> None:
    write(world, tmp_path)
    page = tmp_path / "evaluation_report.html"

    def rendered(fragment: str) -> str:
        copy = tmp_path / f"page-{fragment}.html"
        # a file address cannot carry the fragment through `as_uri`
        copy.write_text(page.read_text().replace("location.hash.slice(1)", f"'{fragment}'"))
        document = browse(copy, tmp_path / "profile", "--dump-dom")
        assert "<title>world0/policy · PURE</title>" in document, "an answer was executed"
        return document[document.index("<main>") : document.index("</main>")]

    everything = rendered("")
    assert everything.count('class="answer"') == 2 and ">2 answers<" in everything
    assert "&lt;b id=injected&gt;" in everything and "<b id=injected>" not in everything
    solved = rendered("verdict=correct")
    assert solved.count('class="answer"') == 1 and "so \\boxed{7}" in solved
    assert '<span class="extracted">7</span>' in solved
    missing = rendered("verdict=none")
    assert missing.count('class="answer"') == 1 and "(nothing)" in missing
    assert rendered("benchmark=&verdict=cut").count('class="answer"') == 0
