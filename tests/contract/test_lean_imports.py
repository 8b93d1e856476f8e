"""What `workers/lean_imports.py` assumes of those whose modules it defers or leaves out."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openrlhf
import pytest
import torch

from pure_rlhf.workers import lean_imports

FILES = sorted(Path(openrlhf.__file__).parent.rglob("*.py"))
PROGRAM = """
import sys, torch
compile_now = torch.compile
import pure_rlhf.workers.policy_worker
from openrlhf.utils.deepspeed import deepspeed, deepspeed_utils
assert "deepspeed" not in sys.modules
assert deepspeed.deepspeed.__version__  # a use, before anybody has asked for it
left = {"mlflow", "datasets", "scipy", "torch._inductor.lowering", "torch.distributed.elastic.agent"}
assert not left & sys.modules.keys(), left & sys.modules.keys()
import deepspeed.ops
from deepspeed.elasticity import elasticity_enabled
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
assert deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] is False
assert deepspeed_utils.ZeroParamStatus.NOT_AVAILABLE is ZeroParamStatus.NOT_AVAILABLE
assert torch.compile is compile_now
import functorch.compile, torch._inductor.lowering  # they can be had afterwards
from deepspeed.runtime.zero.muon.original_muon import zeropower_via_newtonschulz5
assert zeropower_via_newtonschulz5(torch.eye(2), 5).shape == (2, 2)
import scipy.optimize, datasets, transformers.trainer
assert transformers.trainer.Trainer and scipy.optimize.minimize and datasets.Dataset
"""


def imported(path: Path) -> Iterator[tuple[str, str | None]]:
    """Module and name of every import at the head of a file, as far as they are deferred ones."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from ((node.module, alias.name) for alias in node.names)


def test_all_that_openrlhf_takes_from_a_deferred_package_is_known() -> None:
    roots = {"vllm", "deepspeed", "datasets"}
    taken = {
        (module, name)
        for path in FILES
        if "cli" not in path.parts  # its own programs, which no run executes
        for module, name in imported(path)
        if module.split(".")[0] in roots or module == "transformers.trainer"
    }
    assert ("deepspeed", None) in taken and ("vllm", None) in taken
    for module, name in taken:
        assert module in lean_imports.NAMES
        assert name is None or name in lean_imports.NAMES[module], f"{module}.{name}"


def test_a_name_has_one_meaning_in_both_of_its_modules() -> None:
    from transformers import optimization, trainer

    assert lean_imports.SOURCES == {"transformers.trainer": "transformers.optimization"}
    assert trainer.get_scheduler is optimization.get_scheduler


def test_a_use_of_deepspeed_loads_it_without_what_no_run_uses() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ
        | {"PURE_HOST": "cpu", "TORCH_COMPILE_DISABLE": "1", "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_warm_up_needs_no_flash_attn_and_has_a_lean_openrlhf_too() -> None:
    program = """
import sys
from pure_rlhf.sft import trainer
assert not {"deepspeed", "vllm", "datasets"} & sys.modules.keys()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PURE_HOST": "gpu"},  # where nothing stands in for flash-attn at once
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("disabled", ["0", "1"])
def test_a_decorated_function_is_compiled_at_its_first_call(
    monkeypatch: pytest.MonkeyPatch, disabled: str
) -> None:
    compiled = []

    def compile_now(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        compiled.append((function.__name__, options))
        return functools.partial(function, 10)

    monkeypatch.setattr(torch, "compile", compile_now)
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", disabled)
    with lean_imports._compiled_later():

        @torch.compile
        def plain(*values: int) -> int:
            return sum(values)

        @torch.compile(dynamic=True)
        def with_options(*values: int) -> int:
            return sum(values)

    assert torch.compile is compile_now and compiled == []
    found = [plain(1, 2), plain(3), with_options(4), with_options(5, 6)]
    if disabled == "1":
        assert found == [3, 3, 4, 11] and compiled == []
    else:
        assert found == [13, 13, 14, 21]
        assert compiled == [("plain", {}), ("with_options", {"dynamic": True})]
