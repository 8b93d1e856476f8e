"""Where the kernel lacks a part of the protection, nothing is run and one sentence says why; and nothing heavy is imported."""

from __future__ import annotations

import ast
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import code_sandbox
from code_sandbox import bpf, lockdown
from code_sandbox.launch import SandboxError
from code_sandbox.problems import Case, Problem
from code_sandbox.runner import SandboxPool

PACKAGE = Path(code_sandbox.__file__).parent
ECHO = Problem(kind="stdin", tests=(Case("1", "1"),))

WITHOUT = """
import ctypes, struct, sys
sys.path.insert(0, {root!r})
libc = ctypes.CDLL(None, use_errno=True)
step = lambda code, t, f, k: struct.pack("=HBBI", code, t, f, k)
# one system call of this process and all it starts is answered with this errno, as on a kernel without it
code = step(0x20, 0, 0, 0) + step(0x15, 0, 1, {number}) + step(0x06, 0, 0, 0x50000 | {errno}) + step(0x06, 0, 0, 0x7FFF0000)
buffer = ctypes.create_string_buffer(code, len(code))
program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, program, 0, 0) == 0
from code_sandbox.launch import SandboxError
from code_sandbox.problems import Problem, Case
from code_sandbox.runner import SandboxPool
try:
    print(SandboxPool(1).grade_batch([("print(input())", Problem(kind="stdin", tests=(Case("1", "1"),)))]))
except SandboxError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    ("number", "errno", "message"),
    [
        (
            444,
            38,
            "this kernel has no Landlock (it came with 5.13; CONFIG_SECURITY_LANDLOCK=y): mend that, or choose",
        ),
        (
            444,
            95,
            "Landlock is switched off on this kernel (add landlock to the boot parameter lsm=)",
        ),
        (
            444,
            1,
            "Landlock's system calls are forbidden here (the seccomp profile of the container)",
        ),
        (446, 1, "landlock_restrict_self: Operation not permitted"),
        (317, 22, "seccomp has no listeners"),
    ],
)
def test_a_kernel_without_a_part_of_it_is_refused_in_one_sentence(
    number: int, errno: int, message: str
) -> None:
    source = WITHOUT.format(root=str(PACKAGE.parent), number=number, errno=errno)
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.startswith("refused: ") and message in done.stdout, done.stdout + done.stderr


def test_without_a_listener_for_threads_it_runs_and_says_so() -> None:
    """Where whoever runs the container listens already (EBUSY), threads are not counted; all else holds."""
    source = WITHOUT.format(root=str(PACKAGE.parent), number=317, errno=16).replace(
        "print(SandboxPool(1)", "print(SandboxPool(1).counts_threads, SandboxPool(1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.startswith("False [Verdict(tests=(CaseVerdict(passed=True"), (
        done.stdout + done.stderr
    )


def test_this_host_has_what_it_needs() -> None:
    assert lockdown.unsupported_reason() is None
    assert lockdown.landlock_abi() >= 1
    with SandboxPool(1) as pool:
        assert pool.counts_threads


@pytest.mark.skipif(shutil.which("bwrap") is not None, reason="bubblewrap is installed")
def test_bubblewrap_that_is_not_there_is_named() -> None:
    with pytest.raises(
        SandboxError, match="there is no program bwrap here; install the package bubblewrap"
    ):
        SandboxPool(1, mechanism="bubblewrap").grade_batch([("print(input())", ECHO)])


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_bubblewrap_where_it_works() -> None:
    with SandboxPool(1, mechanism="bubblewrap") as pool:
        assert pool.grade_batch([("print(input())", ECHO)])[0].passed


def run_filter(code: bytes, number: int, *arguments: int, architecture: int = 0xC000003E) -> int:
    """What a filter answers: classic BPF, interpreted."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *(word & (1 << 64) - 1 for word in words))
    accumulator = place = 0
    while True:
        operation, if_true, if_false, value = struct.unpack_from("=HBBI", code, 8 * place)
        place += 1
        if operation == 0x06:
            return value
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif operation == 0x54:
            accumulator &= value
        else:
            place += (
                if_true
                if (accumulator == value if operation == 0x15 else accumulator >= value)
                else if_false
            )


ALLOW, EPERM, ENOSYS, KILL, NOTIFY = 0x7FFF0000, 0x50001, 0x50026, 0x80000000, 0x7FC00000
THREAD = 0x3D0F00  # the flags of pthread_create


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ((0, 0), ALLOW),  # read
        ((41, 2, 1), EPERM),  # socket
        ((57,), EPERM),  # fork
        ((56, THREAD), ALLOW),
        ((56, 17), EPERM),  # a process
        ((56, THREAD | 0x10000000), EPERM),  # with a name space
        ((435,), ENOSYS),  # clone3
        ((257, -100, 0, 0), ALLOW),  # openat for reading
        ((257, -100, 0, 1), EPERM),
        ((257, -100, 0, 2), EPERM),
        ((257, -100, 0, 0o100), EPERM),
        ((257, -100, 0, 0o1000), EPERM),
        ((2, 0, 0o2000000), ALLOW),  # open with close-on-exec
        ((2, 0, 0o1), EPERM),
        ((62, 4242, 9), ALLOW),  # kill itself
        ((62, -4242, 9), EPERM),
        ((62, 1, 9), EPERM),
        ((62, 0, 9), EPERM),
        ((234, 4242, 4243, 9), ALLOW),
        ((234, 1, 1, 9), EPERM),
        ((302, 0, 7, 1 << 32, 0), ALLOW),  # limits of its own
        ((302, 4242, 7, 0, 0), ALLOW),
        ((302, 1, 7, 1 << 32, 0), EPERM),
        ((16, 0, 0x5401), ALLOW),
        ((16, 0, 0x5412), EPERM),  # TIOCSTI
        ((72, 0, 3), ALLOW),
        ((72, 0, 1031), EPERM),  # F_SETPIPE_SZ
        ((293, 0, 0o2000000), ALLOW),
        ((293, 0, 0x80), EPERM),
        ((601,), EPERM),  # of a kernel to come
        ((0x40000000,), KILL),  # x32
        ((0xFFFFFFFF,), KILL),
    ],
)
def test_what_the_filter_answers(call: tuple[int, ...], answer: int) -> None:
    code = bpf.ProgramFilter().for_process(4242)
    assert run_filter(code, *call) == answer


def test_the_filter_is_for_one_process_and_one_architecture() -> None:
    made = bpf.ProgramFilter()
    made.for_process(4242)
    code = made.for_process(7)
    assert run_filter(code, 62, 7, 9) == ALLOW and run_filter(code, 62, 4242, 9) == EPERM
    assert run_filter(code, 0, architecture=0x40000003) == KILL
    assert len(code) % 8 == 0 and len(code) // 8 < 4096


def test_threads_are_asked_for_and_processes_are_left_to_the_other_filter() -> None:
    code = bpf.thread_filter()
    assert run_filter(code, 56, THREAD) == NOTIFY
    assert run_filter(code, 56, 17) == ALLOW and run_filter(code, 0) == ALLOW


def test_the_package_imports_the_standard_library_only() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module or ""]
            roots = {name.split(".")[0] for name in names}
            assert roots <= set(sys.stdlib_module_names) | {"code_sandbox", "_sitebuiltins"}, path
