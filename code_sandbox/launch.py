"""How a warm interpreter is started: its command line, what it may read, which mechanism keeps files away from it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Literal

from code_sandbox import inside

Mechanism = Literal["landlock", "bubblewrap"]
MECHANISMS: tuple[Mechanism, ...] = ("landlock", "bubblewrap")

START_SECONDS = 60.0
"""A warm interpreter that has not said hello by then is not coming: a start takes 0.1 s of processor time."""
MAIN_STACK_BYTES = 256 << 20
"""Stack of the main thread, for recursion through C (`lru_cache`); it counts only once it is used."""
_SHARED_LIBRARIES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
# The same program gives the same output every time. One arena of memory: else 20 threads fill the address space.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class SandboxError(RuntimeError):
    """The sandbox cannot be used on this host, or not any more; the message says why and what to do."""


def command(
    python: str,
    *,
    control: int,
    mechanism: Mechanism,
    packages: tuple[str, ...],
) -> list[str]:
    """The command line of a warm interpreter.

    Args:
        python: its executable, without symbolic links: the one of an environment would find its packages.
        control: descriptor of the socket, which it inherits.
        mechanism: what keeps files away.
        packages: names of packages of this environment that programs may import.

    Raises:
        SandboxError: it cannot be started like this.
    """
    root = str(Path(__file__).resolve().parents[1])
    folders = _package_folders() if packages else ()
    settings = {
        "readable": [*_standard_library(python), *_SHARED_LIBRARIES, *_DEVICES],
        "landlock": mechanism == "landlock",
        "packages": packages,
        "package_folders": folders,
    }
    flags = ["-S", "-P", "-s", "-B", "-X", "utf8"]
    load = f"import sys; sys.path.insert(0, {root!r}); from code_sandbox import inside; del sys.path[0]; "
    move = f"import os; os.dup2({control}, inside.CONTROL); "
    if control != inside.CONTROL:
        move += f"os.close({control}); "
    second = [python, *flags, "-c", f"{load}{move}inside.main({settings!r})"]
    # How large the main thread's stack can become is decided when a program starts, so it starts twice.
    stack = "import os, resource; most = resource.getrlimit(resource.RLIMIT_STACK)[1]; "
    size = f"size = {MAIN_STACK_BYTES} if most < 0 else min({MAIN_STACK_BYTES}, most); "
    start = (
        f"resource.setrlimit(resource.RLIMIT_STACK, (size, most)); os.execv({python!r}, {second!r})"
    )
    first = [python, *flags, "-c", stack + size + start]
    return first if mechanism == "landlock" else [*_bubblewrap(root, python, folders), *first]


def _package_folders() -> tuple[str, ...]:
    return tuple(dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib")))


@functools.cache
def _standard_library(python: str) -> list[str]:
    """What of the interpreter's folders programs may read: all but the packages that are installed there."""
    library, prefix = os.path.dirname(os.__file__), sys.base_prefix
    if python != os.path.realpath(sys.executable):
        ask = [
            python,
            "-S",
            "-P",
            "-s",
            "-E",
            "-c",
            "import os, sys; print(os.path.dirname(os.__file__)); print(sys.base_prefix)",
        ]
        try:
            answer = subprocess.run(
                ask, capture_output=True, text=True, check=True, timeout=START_SECONDS
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise SandboxError(f"{python} does not start: {error}") from error
        library, prefix = answer.stdout.splitlines()
    kept_out = {"site-packages", "dist-packages"}
    readable = [str(path) for path in sorted(Path(library).iterdir()) if path.name not in kept_out]
    return [*readable, *(str(path) for path in sorted(Path(prefix, "lib").glob("*.so*")))]


def _bubblewrap(root: str, python: str, package_folders: tuple[str, ...]) -> list[str]:
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxError(
            "mechanism='bubblewrap': there is no program bwrap here; install the package bubblewrap, or use 'landlock'"
        )
    prefix = str(Path(python).parents[1])
    folders = [*_SHARED_LIBRARIES, "/usr", prefix, root, *package_folders]
    binds = [word for folder in folders for word in ("--ro-bind-try", folder, folder)]
    return [
        program,
        "--unshare-all",
        "--die-with-parent",
        "--cap-drop",
        "ALL",
        *binds,
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--",
    ]
