"""The comparisons in the small world: their definitions on hand-made histories, and the page in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from examples.small_world.compare import (
    collapse_index,
    exploitation_index,
    lowest_after_a_fall,
    read_histories,
    run_summary,
    steps_to_reach,
)
from examples.small_world.compare_page import prm_section, render_comparison
from examples.small_world.compare_questions import (
    Histories,
    async_outcome,
    online_outcome,
    prime_outcome,
    rewards_outcome,
)
from examples.small_world.histories import (
    CheckedAnswer,
    RunHistory,
    check_answer,
    label_quality,
    load_history,
    prm_quality,
    read_history,
    running_mean,
    true_quality,
    write_history,
)
from tests.browser import CHROMIUM, browse

PROMPT = "Compute 47+5-8.\n\nPlease reason."


def written(*parts: str) -> list[str]:
    """Steps as they stand in rollouts/: separators at their ends, the end of text at the last."""
    return [f"{part}\n\n" for part in parts[:-1]] + [f"{parts[-1]}<|endoftext|>"]


RIGHT = written("47+5=52.", "52-8=44.", "The answer is \\boxed{44}.")
SLIP = written("47+5=53.", "53-8=45.", "The answer is \\boxed{45}.")
GUESS = written("The answer is \\boxed{44}.")
FACTS = {
    "page": "rewards",
    "note": "a note",
    "steps": 10,
    "learning_rate": 2e-5,
    "world": {
        "policy_parameters": 804480,
        "settings": {"seed": 0, "answered_frac": 0.1},
        "versions": {"torch": "2"},
    },
}


def answer(
    steps: list[str], rewards: list[float] | None = None, verdict: int | None = None
) -> dict[str, Any]:
    text = "".join(steps).removesuffix("<|endoftext|>")
    return {
        "prompt": PROMPT,
        "text": text,
        "steps": steps,
        "step_rewards": rewards,
        "verifiable_reward": verdict,
    }


def checked(*answers: dict[str, Any]) -> list[CheckedAnswer]:
    return [check_answer(found) for found in answers]


def history(setting: str, accuracy: list[float], returns: list[float], seed: int = 1) -> RunHistory:
    rows = [
        {"step": float(n), "accuracy": a, "solutions_right": a, "steps_right": a, "process_return": r,
         "step_reward": r, "steps_per_answer": 4.0, "response_length": 40.0}
        for n, (a, r) in enumerate(zip(accuracy, returns, strict=True), start=1)
    ]  # fmt: skip
    if setting == "VR":
        rows = [
            {k: v for k, v in row.items() if k not in ("process_return", "step_reward")}
            for row in rows
        ]
    return RunHistory(setting, seed, rows, [(0, 0.4), (len(rows), accuracy[-1])], 500)


def test_running_mean() -> None:
    assert running_mean([1.0, 3.0, 5.0, 7.0], 2) == [1.0, 2.0, 4.0, 6.0]
    assert running_mean([2.0, 4.0]) == [2.0, 3.0]


def test_a_collapse_lasts_to_the_end() -> None:
    assert collapse_index([0.3, 0.9, 0.65, 0.9, 0.6, 0.5]) == 4
    assert collapse_index([0.3, 0.9, 0.6, 0.5, 0.75]) is None  # recovered
    assert collapse_index([0.5, 0.45, 0.31]) is None  # 19 points
    assert collapse_index([0.5, 0.45, 0.30]) == 2  # 20 points
    assert collapse_index([]) is None


def test_how_deep_a_run_falls() -> None:
    assert lowest_after_a_fall([0.3, 0.9, 0.65, 0.9, 0.8]) == 0.65
    assert lowest_after_a_fall([0.3, 0.9, 0.65, 0.9, 0.1]) == 0.1
    assert lowest_after_a_fall([0.3, 0.5]) == 0.3


def test_exploitation_needs_a_rising_return_and_a_falling_accuracy() -> None:
    assert exploitation_index([0.3, 0.8, 0.7, 0.6], [0.0, 0.2, 0.3, 0.4]) == 1
    assert exploitation_index([0.3, 0.8, 0.7, 0.6], [0.0, 0.2, 0.1, 0.1]) is None  # return fell too
    assert exploitation_index([0.3, 0.8, 0.75], [0.0, 0.2, 0.9]) is None  # 5 points


def test_true_quality_by_hand() -> None:
    # right: 3 of 3 steps; slip: none of 3; guess: right by luck, but no step is
    found = true_quality(checked(answer(RIGHT), answer(SLIP), answer(GUESS)))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["solutions_right"] == pytest.approx(1 / 3)
    assert found["steps_right"] == pytest.approx(3 / 7)


def test_prm_quality_by_hand() -> None:
    """Labels: right 1 1 1; slip 0 and no more; omission 1 0. Called wrong: the slip, and a right step."""
    omission = written("47+5=52.", "The answer is \\boxed{52}.")
    found = prm_quality(
        checked(
            answer(RIGHT, [0.9, -0.1, 0.9]),
            answer(SLIP, [-0.5, -0.9, -0.9]),
            answer(omission, [0.9, 0.7]),
        )
    )
    # one of two wrong steps found, two called: precision 1/2, recall 1/2
    assert found["prm_f1"] == pytest.approx(0.5)
    assert found["wrong_step_reward"] == pytest.approx((-0.5 + 0.7) / 2)
    # four right steps: -0.5 is below all; 0.7 is above one of them
    assert found["prm_auc"] == pytest.approx((4 + 3) / 8)
    assert (found["seen wrong operation"], found["caught wrong operation"]) == (1, 1)
    assert (found["seen omission"], found["caught omission"], found["seen guess"]) == (1, 0, 0)
    assert (found["right steps"], found["right steps called wrong"]) == (4, 1)
    assert (found["right ends"], found["right ends called wrong"]) == (1, 0)
    suspicious = prm_quality(checked(answer(RIGHT, [0.9, 0.9, -0.1])))
    assert suspicious["right ends called wrong"] == 1
    assert prm_quality(checked(answer(RIGHT))) == {}, "mode VR"
    assert "prm_f1" not in prm_quality(checked(answer(RIGHT, [0.9] * 3)))


def test_what_outcomes_would_teach() -> None:
    lucky = written("47+5=53.", "53-8=44.", "The answer is \\boxed{44}.")
    found = label_quality(
        checked(
            answer(SLIP, [-0.5, 0.9, 0.9], 0),  # the lowest is the first wrong one
            answer(SLIP, [0.5, -0.9, 0.9], 0),
            answer(RIGHT, [0.9] * 3, 1),
            answer(lucky, [0.9] * 3, 1),
            answer(SLIP, [0.9] * 3),  # no verdict
        )
    )
    assert found == {
        "wrong verdicts": 2, "pushed is first wrong": 1, "random is first wrong": pytest.approx(2 / 3),
        "right verdicts": 2, "all right": 1,
    }  # fmt: skip


def test_read_history_of_a_run_directory(tmp_path: Path) -> None:
    run = tmp_path / "PRM-sum-seed3"
    (run / "rollouts").mkdir(parents=True)
    lines = []
    for step in (1, 2):
        text = json.dumps(answer(RIGHT if step == 2 else SLIP)) + "\n"
        (run / "rollouts" / f"step_{step:06d}.jsonl").write_text(text)
        lines.append(json.dumps({"step": step, "reward/process_return": float(step)}) + "\n")
    (run / "metrics.jsonl").write_text("".join(lines))
    evaluation = {
        "before": {"pass@1": 0.4, "n": 500},
        "step 1": {"pass@1": 0.5},
        "after": {"pass@1": 0.9},
    }
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    (run / "alarms.jsonl").write_text('{"kind": "reward_hacking", "step": 2}\n')
    found = read_history(run, "PRM sum")
    assert (found.setting, found.seed, found.num_greedy) == ("PRM sum", 3, 500)
    assert found.first_alarm == ("reward_hacking", 2)
    assert found.column("accuracy") == [0.0, 1.0] and found.column("process_return") == [1.0, 2.0]
    assert found.greedy == [(0, 0.4), (1, 0.5), (2, 0.9)]
    assert found.column("seen wrong operation") == [1.0, 0.0]
    assert [row["reward/process_return"] for row in found.alarm_metrics] == [1.0, 2.0]

    kept = tmp_path / "kept"
    write_history(found, kept / "PRM-sum-seed3.json.gz")
    write_history(found, kept / "PRM-sum-too-seed3.json.gz")
    assert load_history(kept / "PRM-sum-seed3.json.gz") == found
    assert [run.seed for run in read_histories(kept, ["VR", "PRM sum"], 2)] == [3]
    with pytest.raises(AssertionError, match="other length"):
        read_histories(kept, ["PRM sum"], 3)


def test_a_history_keeps_what_some_steps_lack(tmp_path: Path) -> None:
    run = history("VR", [1 / 3, 0.5], [0.0, 0.0])
    run.rows[1]["held_out_f1"] = 0.896
    for name in ("a", "b"):
        write_history(run, tmp_path / f"{name}.json.gz")
    rows = load_history(tmp_path / "a.json.gz").rows
    assert rows[0]["accuracy"] == 0.33333 and "held_out_f1" not in rows[0]
    assert rows[1]["held_out_f1"] == 0.896
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_summary_and_steps_to_reach() -> None:
    run = history("PRM sum", [0.5] * 5 + [0.9] * 10 + [0.2] * 10, list(range(25)))
    summary = run_summary(run)
    assert summary["accuracy_peak"] == pytest.approx(0.9) and summary["accuracy_peak_step"] == 10
    # the mean of the last five first falls 20 points below 0.9 with two steps at 0.2: step 17
    assert summary["collapse_step"] == 17 and summary["exploitation_step"] == 10
    assert steps_to_reach([run], 0.89) == 10 and steps_to_reach([run], 0.95) is None


def test_reward_modes_are_told_apart_where_the_exact_test_says_so() -> None:
    """Greedy five points apart with no overlap of five seeds; the sampled answers are those of VR in another order."""
    ends = {"VR": (0.80, 0.81, 0.82, 0.83, 0.84), "PRM": (0.85, 0.86, 0.87, 0.88, 0.89)}
    runs: Histories = {
        name: [
            history(name, [0.5] * 5 + [0.9 + seed / 100] * 10, [0.0] * 15, seed)
            for seed in range(1, 6)
        ]
        for name in ends
    }
    summaries = [
        run_summary(run) | {"greedy_after": end}
        for name, group in runs.items()
        for run, end in zip(group, ends[name], strict=True)
    ]
    lines = rewards_outcome(runs, summaries)
    # 2 of the 252 ways to part ten runs in two are at least as far apart; two comparisons are made
    assert "PRM and VR: 87.0% against 82.0%, difference +5.0 points" in lines[0]
    assert "p 0.0079, corrected 0.016, told apart" in lines[0]
    assert "p 1, corrected 1, not told apart" in lines[1]
    # the means of five that end at steps 9 and 10 are 84 % and 93 %; asked is 95 % of 93 %
    assert "(88.3%): VR 10, PRM 10" in lines[2]
    assert rewards_outcome({"PRM": runs["PRM"]}, summaries[5:])[0].endswith("too few runs.")


def test_a_success_is_what_was_defined_before() -> None:
    """A run that collapses, one that loses six points, one that forgets, and one that holds."""
    histories = {
        "none": [history("none", [0.9] * 10 + [0.2] * 10, [0.1] * 20)],
        "fades": [history("fades", [0.9] * 10 + [0.84] * 10, [0.1] * 20)],
        "forgets": [history("forgets", [0.9] * 20, [0.1] * 20)],
        "holds": [history("holds", [0.9] * 20, [0.1] * 20)],
    }
    for name, last in (("forgets", 0.86), ("holds", 0.88)):
        for step, f1 in ((0, 0.896), (19, last)):
            histories[name][0].rows[step]["held_out_f1"] = f1
    lines = online_outcome(histories, [run_summary(runs[0]) for runs in histories.values()])
    assert "none 1 of 1 (at step 12); fades 0 of 1" in lines[0]
    assert "0.03 down): holds. none: collapses, loses more" in lines[2]
    assert "fades: loses more than 5 points of right solutions; forgets: forgets more" in lines[2]


def test_prime_is_compared_with_its_control() -> None:
    prime = history("PRIME", [0.5] * 5 + [0.9] * 15, [0.0] * 20)
    for row in prime.rows:
        row["pair_accuracy"] = 0.5 + row["step"] / 100
    vr = history("VR", [0.5] * 10 + [0.9] * 10, [0.0] * 20)
    lines = prime_outcome({"PRIME": [prime], "VR": [vr]}, [run_summary(prime), run_summary(vr)])
    assert "PRIME 90.0%; VR 90.0%" in lines[0]
    assert "(85.5%): PRIME 10, VR 15" in lines[2]
    assert "PRIME 53.0% → 68.0%" in lines[3]


def test_asynchronous_runs_are_compared_by_their_ends_and_their_time() -> None:
    histories: dict[str, list[RunHistory]] = {}
    for setting, ends, seconds in (
        ("0 steps ahead", (0.90, 0.94), 4.0),
        ("1 steps ahead", (0.93, 0.97), 3.0),
        ("9 steps ahead", (0.10, 0.20), 3.0),
    ):
        for seed, end in enumerate(ends):
            run = history(setting, [0.5] * 5 + [end] * 10, [0.0] * 15, seed)
            for row in run.rows:
                row["step_seconds"] = seconds
            histories.setdefault(setting, []).append(run)
    summaries = [run_summary(run) for runs in histories.values() for run in runs]
    far = histories.pop("9 steps ahead")
    lines = async_outcome(histories, summaries)
    assert (
        "0 steps ahead 92.0% (90.0% to 94.0%); 1 steps ahead 95.0% (93.0% to 97.0%): the seeds overlap"
        in lines[0]
    )
    assert "0 steps ahead 60 s (1.00), 1 steps ahead 45 s (0.75)" in lines[-1]
    lines = async_outcome({**histories, "9 steps ahead": far}, summaries)
    assert "the seeds do not overlap" in lines[0]


def test_the_table_of_defects() -> None:
    run = history("PRM softmin none", [0.9] * 30, [0.1] * 30)
    for row in run.rows:
        row |= {"seen guess": 2.0, "caught guess": 1.0, "prm_f1": 0.5}
        row |= {"wrong verdicts": 4, "pushed is first wrong": 1, "random is first wrong": 2}
    text = prm_section({run.setting: [run]}, [run_summary(run)])
    assert "<td>20 of 40</td>" in text, "of the last 20 steps"
    assert "<td>25% (50%)</td><td>-</td>" in text
    assert prm_section({"VR": [history("VR", [0.9] * 3, [0.0] * 3)]}, []) == ""


def test_the_page_of_asynchronous_runs_has_their_wall_clock() -> None:
    runs = [history(f"{ahead} steps ahead", [0.5, 0.8, 0.9], [0.0] * 3) for ahead in (0, 1)]
    for seconds, run in zip((4.0, 3.0), runs, strict=True):
        for row in run.rows:
            row["step_seconds"] = seconds
    assert runs[1].wall_clock() == [3.0, 6.0, 9.0]
    page = render_comparison(runs, [run_summary(run) for run in runs], {**FACTS, "page": "async"})
    assert "Accuracy of sampled answers by wall clock" in page
    assert "by wall clock" not in render_comparison(runs, [run_summary(run) for run in runs], FACTS)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_page_draws_in_a_browser(tmp_path: Path) -> None:
    runs = [
        history(name, [0.5] * 5 + [0.8] * 5, [0.1 * n for n in range(10)], seed)
        for name in ("PRM softmin", "PRM sum", "VR")
        for seed in (1, 2)
    ]
    runs[0].greedy.insert(1, (5, 0.7))  # an evaluation that the second seed lacks
    page = tmp_path / "comparison.html"
    page.write_text(
        render_comparison(runs, [run_summary(run) for run in runs], FACTS), encoding="utf-8"
    )
    document = browse(page, tmp_path / "profile", "--virtual-time-budget=8000", "--dump-dom")
    # five curves, and a picture of belief for each setting with a PRM
    assert document.count('class="main-svg"') >= 7
    assert "PRM sum: what the PRM sees" in document
