"""Imports between the packages go one way, from later layers to earlier ones; only some may import openrlhf."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "pure_rlhf"
MAY_IMPORT_OPENRLHF = {"cpu_host.py", "sft/trainer.py"}
HEAVY = ("ray", "vllm", "openrlhf", "deepspeed", "transformers", "datasets")


def imported_roots(path: Path) -> set[str]:
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            roots.add(node.module.split(".")[0])
    return roots


LAYERS = (
    {"bounds", "checkpoints", "cpu_host", "placement", "scratch", "types", "user_function"},
    {"adapters", "algorithm", "grading", "model_folder", "prompt_styles"},
    {"prm"},
    {"monitoring"},
    {"config", "data", "report"},
    {"fit"},
    {"ray_runtime", "validation"},
    {"workers"},
    {"sft"},
    {"cli"},
)


def sources() -> dict[str, str]:
    """Path below the package -> source, of every module."""
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
        if path.parent != PACKAGE or path.name != "__init__.py"
    }


def imported_packages(source: str) -> set[str]:
    """The packages and loose modules of ours that a module imports, wherever in it."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "pure_rlhf":
            modules |= {f"pure_rlhf.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return {module.split(".")[1] for module in modules if module.startswith("pure_rlhf.")}


def upward_imports(modules: dict[str, str]) -> list[str]:
    """`module imports package` for every import that does not go to an earlier layer or stay in its package."""
    layer_of = {name: number for number, names in enumerate(LAYERS) for name in names}
    return [
        f"{path} imports {target}"
        for path, source in modules.items()
        for own in [path.split("/")[0].removesuffix(".py")]
        for target in imported_packages(source)
        if target != own and not layer_of[target] < layer_of[own]
    ]


def test_imports_go_from_later_layers_to_earlier_ones() -> None:
    modules = sources()
    assert {path.split("/")[0].removesuffix(".py") for path in modules} == set().union(*LAYERS)
    assert upward_imports(modules) == []


@pytest.mark.parametrize(
    ("path", "statement", "target"),
    [
        ("algorithm/advantages.py", "from pure_rlhf.report.page import page_html", "report"),
        ("algorithm/settings.py", "from pure_rlhf import config", "config"),
        ("grading/equality.py", "import pure_rlhf.algorithm.advantages", "algorithm"),
        ("workers/trainer.py", "def late():\n    from pure_rlhf.cli import report", "cli"),
        ("types.py", "from pure_rlhf.algorithm import settings", "algorithm"),
    ],
)
def test_a_planted_violation_is_found(path: str, statement: str, target: str) -> None:
    modules = sources()
    modules[path] += f"\n{statement}\n"
    assert upward_imports(modules) == [f"{path} imports {target}"]


def test_evaluation_and_prm_training_import_neither_workers_nor_the_command_line() -> None:
    for folder in ("evaluation", "prm_training"):
        for path in (PACKAGE.parent / folder).rglob("*.py"):
            found = imported_packages(path.read_text(encoding="utf-8"))
            assert not found & {"workers", "cli"}, path


def test_prm_training_does_not_import_evaluation() -> None:
    """Evaluation reads step-labelled rows as PRM training does; the other way round it would be a circle."""
    for path in (PACKAGE.parent / "prm_training").rglob("*.py"):
        assert "evaluation" not in imported_roots(path), path


def test_only_the_seams_import_openrlhf() -> None:
    offenders = [
        path.relative_to(PACKAGE)
        for path in PACKAGE.rglob("*.py")
        if "openrlhf" in imported_roots(path)
        and path.relative_to(PACKAGE).as_posix() not in MAY_IMPORT_OPENRLHF
        and path.parent.name != "workers"
    ]
    assert offenders == []


def test_algorithm_imports_torch_and_the_standard_library_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"torch", "pure_rlhf"}
    for path in (PACKAGE / "algorithm").glob("*.py"):
        assert imported_roots(path) <= allowed, path.name


def test_grading_imports_neither_torch_nor_the_rest_of_the_package() -> None:
    allowed = set(sys.stdlib_module_names) | {"mpmath", "pebble", "pure_rlhf", "code_sandbox"}
    for path in (PACKAGE / "grading").glob("*.py"):
        assert imported_roots(path) <= allowed, path.name
        own = {
            node.module
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pure_rlhf")
        }
        assert all(
            module == "pure_rlhf.bounds" or module.startswith("pure_rlhf.grading")
            for module in own
            if module
        ), path.name


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
