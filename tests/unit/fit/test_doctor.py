"""The command: its table, its exit code, its page."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from pure_rlhf.cli import doctor
from pure_rlhf.cli.describe_fit import doctor_output, fit_page
from pure_rlhf.fit.host import Gpu, Host
from tests.conftest import RandomWorld

RECIPE = ("--ds.adam_offload", "--actor.gradient_checkpointing_enable")


def ask(*arguments: str) -> tuple[int, str]:
    text = io.StringIO()
    return doctor.run([*arguments], Console(file=text, width=160, no_color=True)), text.getvalue()


def test_the_page_is_what_the_command_makes() -> None:
    page = Path(__file__).parents[3] / "docs/doctor.md"
    assert page.read_text(encoding="utf-8") == fit_page(), (
        "run: python -m pure_rlhf.cli.describe_fit > docs/doctor.md"
    )


def test_what_fits_and_what_does_not() -> None:
    code, text = ask("--gpus", "8x80", *RECIPE)
    assert code == 0 and "fits: fullest is training GPU, update: 72 of 85 GB" in text
    code, text = ask("--gpus=4x80")
    assert code == 1 and "Would fit, the cheapest first" in text
    assert "* --ds.adam_offload --actor.gradient_checkpointing_enable" in text
    assert doctor_output(["--gpus", "8x80", *RECIPE]).count("fits") >= 8


def test_the_split_is_that_of_the_machine_asked_about() -> None:
    assert "GPUs that train: 2, that generate: 2" in ask("--gpus", "4x80")[1]
    assert "GPUs that train: 4, that generate: 1" in ask(
        "--gpus", "8x80", "--vllm.num_engines", "1"
    )[1]  # fmt: skip
    assert "GPUs that train and generate: 4" in ask("--gpus", "5x80", "--placement", "shared")[1]


def test_mistakes_are_listed() -> None:
    code, text = ask("--gpus", "many", "--placement", "both", "--no_such", "1")
    assert code == 2
    assert "--gpus many: must be COUNTxGB" in text
    assert "--placement both" in text
    assert "--no_such: no such flag" in text


def test_a_model_that_nobody_knows() -> None:
    code, text = ask("--gpus", "8x80", "--actor.model_name_or_path", "some/model")
    assert code == 1 and "is not known" in text and "Nothing was estimated" in text


def test_this_machine(world: RandomWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURE_HOST", "cpu")
    code, text = ask(*world.flags(tmp_path / "run"))
    assert code == 0 and "This machine" in text and "host memory" in text and "disk" in text


def test_help() -> None:
    code, text = ask("--help")
    assert code == 0 and "--gpus" in text and "pure-rlhf-train --help" in text


def test_what_is_said_of_a_machine() -> None:
    old = Host(gpus=(Gpu("A", 10**10), Gpu("B", 10**10)), driver="570.86", torch_cuda="13.0")
    rows = {fact: (value, remark) for fact, value, remark in doctor.host_rows(old, 8)}
    assert rows["driver"] == ("570.86", "too old: CUDA 13 needs 580 or newer")
    assert rows["GPUs"][0] == "1 x A (10.0 GB), 1 x B (10.0 GB)"
    assert rows[""] == ("of different kinds", "the smallest sets what fits")
    none = {fact: value for fact, value, _ in doctor.host_rows(Host(), 8)}
    assert none["GPUs"] == "none" and "driver" not in none
