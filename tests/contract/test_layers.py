"""Imports point one way: cli -> workers -> algorithm, grading -> types; only some may import openrlhf."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "pure_rlhf"
MAY_IMPORT_OPENRLHF = {"cpu_host.py"}
HEAVY = ("ray", "vllm", "openrlhf", "deepspeed", "transformers", "datasets")


def imported_roots(path: Path) -> set[str]:
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            roots.add(node.module.split(".")[0])
    return roots


def test_only_the_seams_import_openrlhf() -> None:
    offenders = [
        path.relative_to(PACKAGE)
        for path in PACKAGE.rglob("*.py")
        if "openrlhf" in imported_roots(path)
        and path.name not in MAY_IMPORT_OPENRLHF
        and path.parent.name != "workers"
    ]
    assert offenders == []


def test_algorithm_imports_torch_and_the_standard_library_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"torch", "pure_rlhf"}
    for path in (PACKAGE / "algorithm").glob("*.py"):
        assert imported_roots(path) <= allowed, path.name


def test_grading_imports_neither_torch_nor_the_rest_of_the_package() -> None:
    allowed = set(sys.stdlib_module_names) | {"mpmath", "pebble", "pure_rlhf"}
    for path in (PACKAGE / "grading").glob("*.py"):
        assert imported_roots(path) <= allowed, path.name
        own = {
            node.module
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pure_rlhf")
        }
        assert all(module.startswith("pure_rlhf.grading.") for module in own if module), path.name


def test_importing_the_algorithm_and_the_command_line_loads_nothing_heavy() -> None:
    modules = [f"pure_rlhf.algorithm.{path.stem}" for path in (PACKAGE / "algorithm").glob("*.py")]
    modules += [
        "pure_rlhf",
        "pure_rlhf.config",
        "pure_rlhf.types",
        "pure_rlhf.cli.train_pure",
        "pure_rlhf.cpu_host",
    ]
    code = f"import sys, {', '.join(modules)}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
