"""Makes the locks of this folder: every package that a host gets, with its version and the hashes of its files.

    python requirements/make_locks.py            only what the inputs changed; else the versions stay
    python requirements/make_locks.py --upgrade  the newest versions that the inputs allow

`cpu.lock` and `gpu.lock` are complete; `tests.lock` holds what the tests need besides either. Needs uv (`pip install
uv`), PyPI, and PyTorch's index of CPU builds or UV_FIND_LINKS, a folder with such a build. A lock is made for x86-64
Linux and Python 3.11. Resolved for 3.12 the versions are the same, and the hashes of a version are those of all its
files, so Python 3.12 and aarch64 install from the same lock.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
HOSTS = ("cpu", "gpu")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
# PyTorch's index of CPU builds is not PyPI: its files for Linux, Python 3.11 and 3.12, x86-64 and aarch64.
TORCH_CPU = {
    "2.13.0+cpu": [
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
        "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
        "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",
        "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604",
    ]
}
ONLY_X86 = ("intel-openmp", "intel-cmplr-lib-ur")


def resolve(host: str, inputs: list[str], known: str, options: list[str]) -> dict[str, str]:
    """Package -> its lines of a lock, sorted. Versions that `known`, the text of a lock, has are kept if they may."""
    command = ["uv", "pip", "compile", *inputs, "--override", f"{host}-overrides.txt"]
    command += ["--constraint", "constraints.txt"]
    command += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
    command += ["--generate-hashes", "--no-annotate", "--no-header", "--quiet", *options]
    environment = dict(os.environ)
    if host == "gpu":
        environment.pop("UV_FIND_LINKS", None)  # a CPU build of torch may lie there
    elif "UV_FIND_LINKS" not in environment:
        command += ["--index", TORCH_INDEX]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lock.txt"
        output.write_text(known, encoding="utf-8")
        command += ["--output-file", str(output)]
        subprocess.run(command, cwd=FOLDER, env=environment, check=True)
        text = output.read_text(encoding="utf-8")
    blocks = re.findall(r"(?m)^\S.*\n(?:    .*\n)*", text)
    packages = {re.split(r"[=\[ ]", block, maxsplit=1)[0]: block for block in blocks}
    if host == "cpu":
        packages["torch"] = _torch_with_all_hashes(packages["torch"])
        for name in ONLY_X86:
            packages[name] = packages[name].replace(
                " \\\n", ' ; platform_machine == "x86_64" \\\n', 1
            )
    return packages


def _torch_with_all_hashes(block: str) -> str:
    version = block.split()[0].removeprefix("torch==")
    if version not in TORCH_CPU:
        sys.exit(f"torch {version}: add the hashes of its CPU builds ({TORCH_INDEX}) to {__file__}")
    hashes = [f"    --hash=sha256:{value}" for value in TORCH_CPU[version]]
    return " \\\n".join([f"torch=={version}", *hashes]) + "\n"


def write(name: str, packages: dict[str, str]) -> None:
    text = "# Made by requirements/make_locks.py. Do not edit.\n" + "".join(packages.values())
    (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{name}: {len(packages)} packages")


def main() -> None:
    tests: dict[str, dict[str, str]] = {}
    tests_lock = FOLDER / "tests.lock"
    known_tests = tests_lock.read_text(encoding="utf-8") if tests_lock.is_file() else ""
    if "--upgrade" in sys.argv:
        known_tests = ""
    for host in HOSTS:
        path = FOLDER / f"{host}.lock"
        inputs = ["../requirements.txt", f"{host}.in"]
        known = path.read_text(encoding="utf-8") if path.is_file() else ""
        packages = resolve(host, inputs, known, sys.argv[1:])
        write(path.name, packages)
        known = path.read_text(encoding="utf-8") + known_tests
        with_tests = resolve(host, [*inputs, "tests.in"], known, [])
        changed = [name for name in packages if with_tests.get(name) != packages[name]]
        if changed:
            sys.exit(f"tests.in asks for other versions than {path.name}: {changed}")
        tests[host] = {name: block for name, block in with_tests.items() if name not in packages}
    # what one kind of host has by itself, the other may need for its tests
    for host, other in (HOSTS, HOSTS[::-1]):
        lacking = [name for name in tests[host] if name not in tests[other]]
        if lacking:
            sys.exit(
                f"needed by the tests on {host} alone: {lacking}; name them in requirements.txt"
            )
    write("tests.lock", tests[HOSTS[0]])


if __name__ == "__main__":
    main()
