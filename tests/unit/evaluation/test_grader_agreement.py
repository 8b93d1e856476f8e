"""The command that prints the agreement figures, on six pairs; the real pairs are in test_verifier_rates.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation.grader_agreement import agreement, main


def pair(text: str, gold: str, truth: bool | None, variant: str | None = None, **graders: bool):
    return {
        "prediction_text": text,
        "gold": gold,
        "truth": truth,
        "variant": variant,
        "qwen_correct": True,
        "math_verify_correct": True,
        **graders,
    }


PAIRS = [
    pair(r"\boxed{2}", "2", True),
    pair(r"\boxed{3}", "2", None),  # both graders say right, so the verifier is wrong here
    pair(r"\boxed{3}", "2", None, qwen_correct=False),  # they differ and nobody read it: left out
    pair(r"\boxed{0.5}", "1/2", True, "decimal"),
    pair(r"\boxed{200}", "2", False, "times_100"),
    pair(r"\boxed{2\%}", "2", None, "percent"),  # policy: left out
]


def test_agreement() -> None:
    assert agreement(PAIRS, [True, False, False, True, False, True]) == {
        "real outputs, verdict right": (1, 2),
        "variants that must pass, accepted": (1, 1),
        "variants that must fail, accepted": (0, 1),
    }


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    main(str(path), num_answers=20, workers=1)
    said = capsys.readouterr().out
    assert "real outputs, verdict right: 1 of 2 (50.00%)" in said
    assert "20 answers graded in" in said
    path.write_text('{"prediction_text": "1"}\n')
    with pytest.raises(SystemExit):
        main(str(path))
    assert "rows without gold, truth" in capsys.readouterr().err
