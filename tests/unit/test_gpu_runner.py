"""What runs the checks on a GPU host, for real but with small checks: order, limits, reports, and no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pure_rlhf.cli.train_pure import parse
from pure_rlhf.fit.host import asked_host
from tests.gpu import __main__ as program
from tests.gpu import end_to_end
from tests.gpu.end_to_end import RunFailed, judge
from tests.gpu.estimate import compare, estimated_gb
from tests.gpu.models import Setting, with_made_up_words
from tests.gpu.report import report
from tests.gpu.runner import Check, Result, run_checks
from tests.tiny_models import train_tokenizer

ROOT = Path(__file__).parents[2]
WRITE = "import json, os; json.dump({numbers}, open(os.environ['CHECK_RESULT'], 'w'))"


def check(name: str, code: str = "", limit: float = 60, **options: object) -> Check:
    """Runs `code`, then writes a number, in a Python of its own."""
    text = f"{code}\n{WRITE.format(numbers={'tokens/s': 1234.5})}"
    return Check(name, (sys.executable, "-c", text), limit, **options)  # pyright: ignore[reportArgumentType]


def run(checks: list[Check], folder: Path, total_seconds: float = 300) -> dict[str, Result]:
    results = run_checks(
        checks, folder, total_seconds=total_seconds, environment={"GREETING": "hi"}
    )
    return {result.name: result for result in results}


def test_checks_run_in_order_and_what_needs_a_failed_one_is_left_out(tmp_path: Path) -> None:
    order = tmp_path / "order"
    note = f"open({str(order)!r}, 'a').write('{{}} ')"
    results = run(
        [
            check("first", f"import os; {note.format('first')}; print(os.environ['GREETING'])"),
            check(
                "broken",
                "import atexit; atexit.register(print, 'goodbye')\n"
                + note.format("broken")
                + "; raise ValueError('two is not three')",
            ),
            check("after", note.format("after"), needs=("first", "broken")),
            check("free", note.format("free"), needs=("first",)),
            check("two", note.format("two"), left_out="needs two GPUs"),
            check("last", note.format("last"), needs=("after",)),
        ],
        tmp_path,
    )
    assert order.read_text().split() == ["first", "broken", "free"]
    assert {name: result.outcome for name, result in results.items()} == {
        "first": "passed",
        "broken": "failed",
        "after": "not run",
        "free": "passed",
        "two": "not run",
        "last": "not run",
    }
    assert results["broken"].reason == "exit code 1: ValueError: two is not three"
    assert results["after"].reason == "needs broken"
    assert results["two"].reason == "needs two GPUs"
    assert results["first"].numbers == {"tokens/s": 1234.5} and results["first"].seconds > 0
    assert (tmp_path / "first.log").read_text() == "hi\n"


def test_a_check_that_writes_no_numbers_has_failed(tmp_path: Path) -> None:
    silent = Check("silent", (sys.executable, "-c", "pass"), 60)
    assert run([silent], tmp_path)["silent"].reason == "exit code 0: no output"


def test_at_its_limit_a_check_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """One child in the group of the check, one in a group of its own; neither listens to SIGTERM."""
    pids = tmp_path / "pids"
    sleeper = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    code = f"""
import subprocess, sys, time
children = [subprocess.Popen([sys.executable, "-c", {sleeper!r}], start_new_session=own) for own in (0, 1)]
open({str(pids)!r}, "w").write(" ".join(str(child.pid) for child in children))
time.sleep(300)
"""
    start = time.monotonic()
    results = run([check("slow", code, limit=8), check("next")], tmp_path)
    assert (results["slow"].outcome, results["slow"].reason) == ("timed out", "after 8 s")
    assert time.monotonic() - start < 200
    assert results["next"].outcome == "passed"
    for pid in map(int, pids.read_text().split()):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_no_check_starts_when_the_time_of_all_is_over(tmp_path: Path) -> None:
    results = run([check("one"), check("two")], tmp_path, total_seconds=0)
    assert {result.reason for result in results.values()} == {"the 0 s of all were over"}


def test_the_page_is_written_and_the_exit_code_says_whether_all_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    assert program.run([check("one")], tmp_path, page, {}) == 0
    assert "| one | passed |" in page.read_text() and "tokens/s 1,234" in page.read_text()
    bad = [check("one"), check("two", "raise ValueError('a|b')")]
    assert program.run(bad, tmp_path, page, {}) == 1
    assert "| two | **failed**: exit code 1: ValueError: a/b |" in page.read_text()
    assert f"two: not passed; their output is in {tmp_path}" in capsys.readouterr().err


def test_the_page_has_hardware_memory_and_phases() -> None:
    phases = {"generation": 1.25, "policy_update": 120.4}
    results = [
        Result("shared", "passed", seconds=61.2, gpu_gb=9.06, numbers={"phases": phases}),
        Result("split", "not run", "needs two GPUs"),
    ]
    text = report(results, ["* GPU 0: H100"])
    assert "* GPU 0: H100" in text
    assert "| shared | passed | 61 | 9.1 GB |  |" in text
    assert "| split | **not run**: needs two GPUs | - | - |  |" in text
    assert "| phase | shared |" in text and "| policy_update | 120 |" in text
    assert "| generation | 1.25 |" in text


def test_the_doctor_has_an_estimate_of_the_whole_runs() -> None:
    """Sharing, the engine's part of the GPU (0.35 of 85 GB) and the policy's weights (1 GB) are most of it."""
    shared, split = (
        estimated_gb("shared", asked_host("1x80")),
        estimated_gb("split", asked_host("2x80")),
    )
    assert shared is not None and 0.35 * 85 + 1 < shared < 40
    assert split is not None and 3 < split < 25  # three models of 1 GB, optimiser, logits
    assert estimated_gb("zero2", asked_host("2x80")) is None


def test_measured_memory_stands_beside_the_estimate() -> None:
    assert compare(None, 8.0) == "-"
    assert compare(10.0, None) == "10.0 GB"
    assert compare(10.0, 9.0) == "10.0 GB; estimate 9.0 (-10%)"


def test_without_a_gpu_nothing_is_run(tmp_path: Path) -> None:
    """Also not installed, where run.sh is asked; the report of another host stays."""
    before = (ROOT / "docs/gpu_report.md").read_bytes()
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PURE_VENV": str(tmp_path / "venv")}
    env.pop("PURE_HOST", None)
    for command, words in (
        (["bash", str(ROOT / "tests/run.sh"), "--gpu"], "nothing was installed, nothing was run"),
        ([sys.executable, "-m", "tests.gpu"], "nothing was run, no report was written"),
    ):
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 3, done
        assert words in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []
    assert (ROOT / "docs/gpu_report.md").read_bytes() == before


def test_the_list_of_checks_fits_its_host(tmp_path: Path) -> None:
    from tests.gpu.checks import CHECKS

    for device, num_gpus in (("cuda", 1), ("cuda", 2), ("cpu", 0)):
        checks = program.checks(device, tmp_path, num_gpus)
        names = [each.name for each in checks]
        for number, each in enumerate(checks):
            assert set(each.needs) <= set(names[:number]), "needs come first"
            assert each.command[3] in CHECKS
        left_out = {each.name for each in checks if each.left_out}
        assert (
            left_out
            == {
                ("cuda", 1): {"split"},
                ("cuda", 2): set(),
                ("cpu", 0): {"engine_graphs"},
            }[device, num_gpus]
        )
    chosen = program.chosen(checks, ["zero3_offload"])
    assert [each.name for each in chosen] == ["install", "models", "zero3", "zero3_offload"]
    assert program.chosen(checks, []) == checks


@pytest.mark.parametrize("placement", ["shared", "split"])
def test_the_flags_of_the_whole_runs_are_ours(
    placement: end_to_end.Placement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting("cuda", tmp_path)
    config, problems = parse(end_to_end.flags(setting, placement, tmp_path / "run"))
    assert problems == []
    answers = config.rollout.batch_size * config.rollout.n_samples_per_prompt
    assert answers % config.train.batch_size == 0
    assert config.data.prompt_max_len + config.rollout.max_new_tokens <= config.data.max_len
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3,2")
    visible = end_to_end.environment(setting, placement)["CUDA_VISIBLE_DEVICES"]
    assert visible == {"shared": "5", "split": "5,3"}[placement]


def row(step: int, **changes: float) -> dict[str, float]:
    values: dict[str, float] = {
        "step": step,
        "sync/log_prob_gap": 0.01,
        "sync/buckets": 2,
        "policy/grad_norm": 1.0,
        "policy/kl_reference": 0.1 * step,
        "rollout/num_answers": 32,
        "rollout/response_length": 100,
        "timing/generation": 10.0 / step,
        "timing/step": 40.0,
        "timing/generation_per_kilotoken": 1.0,
    }
    return values | {name.replace("__", "/"): value for name, value in changes.items()}


def test_a_run_is_judged_by_its_metrics() -> None:
    numbers = judge([row(1), row(2), row(3)])
    # 3,200 tokens a step; generation 5 s and 10/3 s after the first step
    assert numbers["tokens/s of generation"] == pytest.approx((3200 / 5 + 3200 / (10 / 3)) / 2)
    assert numbers["tokens/s"] == pytest.approx(80)
    assert numbers["phases"] == {"generation": pytest.approx((5 + 10 / 3) / 2), "step": 40.0}
    assert numbers["KL to the reference at last"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(1), row(2)], "steps"),
        ([row(1), row(2), row(3, sync__log_prob_gap=0.2)], "the weights did not arrive"),
        ([row(1), row(2), row(3, sync__log_prob_gap=float("nan"))], "the weights did not arrive"),
        ([row(1), row(2, policy__grad_norm=0.0), row(3)], "gradients"),
        ([row(1, sync__buckets=0), row(2), row(3)], "no weights were sent"),
    ],
)
def test_a_run_that_proves_nothing_is_refused(rows: list[dict[str, float]], words: str) -> None:
    with pytest.raises(RunFailed, match=words):
        judge(rows)


def test_a_random_policy_writes_words_and_steps() -> None:
    small = train_tokenizer(["some words"])
    tokenizer = with_made_up_words(small, 2000)
    assert len(tokenizer) == 2000
    assert tokenizer.decode([1999]) == " word1999" and tokenizer.decode([1960]) == " word1960\n\n"
    text = "What is 3 + 10?"
    assert tokenizer.encode(text) == small.encode(text)
    assert with_made_up_words(small, len(small)).get_vocab() == small.get_vocab()
