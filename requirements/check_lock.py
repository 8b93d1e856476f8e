"""Says whether the environment that runs this holds what the locks say: nothing else, nothing less, no other version.

    .venv-cpu/bin/python requirements/check_lock.py requirements/cpu.lock requirements/tests.lock

Exit code 0, or 1 and a line for each difference. The project itself and what an environment is made with (pip, uv) are
not looked at.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.markers import Marker

NOT_LOCKED = {"pure-rlhf", "pip", "uv"}


def locked_versions(paths: list[Path]) -> dict[str, str]:
    versions = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            match = re.match(r"([\w.-]+)==([^\s;]+)\s*(?:;\s*(.*?))?\s*\\?$", line)
            if match and (not match[3] or Marker(match[3]).evaluate()):
                versions[_normal(match[1])] = match[2]
    return versions


def installed_versions() -> dict[str, str]:
    return {_normal(each.metadata["Name"]): each.version for each in distributions()}


def differences(locked: dict[str, str], installed: dict[str, str]) -> list[str]:
    found = []
    for name in sorted(locked.keys() | installed.keys()):
        here, there = installed.get(name), locked.get(name)
        if name not in NOT_LOCKED and here != there:
            found.append(f"{name}: {here or 'not'} installed, {there or 'not'} locked")
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    locked = locked_versions([Path(path) for path in sys.argv[1:]])
    found = differences(locked, installed_versions())
    for line in found:
        print(line)
    if not found:
        print(f"{sys.prefix}: {len(locked)} packages, as locked")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
