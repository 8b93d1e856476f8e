"""Locks the calling process down, for good: Landlock, seccomp, limits, no privileges. Linux only, no root needed.

Two steps. `prepare` is for the warm interpreter: no new privileges, files readable only where a program needs them.
`lock_down` is for the copy of it that is to run a program: after it the process can compute, read the standard
library, and use the descriptors that it has. Neither can be undone.

What each part is for:

* Landlock (kernel 5.13): which files can be opened; from later versions on also TCP, signals, abstract sockets.
* seccomp (`bpf`): no new process, no socket, no writing by path, nothing that a computation does not need.
* limits: address space, processor time, descriptors, no file may grow, no core.
* a listener for new threads, where the trusted side counts them: they cost memory of the kernel, which no limit counts.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from code_sandbox.bpf import ProgramFilter, thread_filter

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_LIBC.syscall.argtypes = [ctypes.c_long] * 7
_LIBC.syscall.restype = ctypes.c_long

_SECCOMP, _CAPSET = 317, 126
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_ABI_TCP, _ABI_SCOPES, _ABI_LOG = 4, 6, 7
_RIGHTS_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_RIGHTS_NOW = (1 << 16) - 1
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = (
    1,
    4,
    22,
    24,
    38,
)
_SECCOMP_MODE_FILTER, _SECCOMP_SET_MODE_FILTER, _SECCOMP_NEW_LISTENER = 2, 1, 8
_CAPABILITY_VERSION_3 = 0x20080522
NUM_DESCRIPTORS = 64
"""Files that a program may have open."""


class LockdownError(RuntimeError):
    """A part of the protection is not to be had; nothing may be run."""


@dataclass(frozen=True)
class Prepared:
    """What `lock_down` needs of `prepare`.

    Args:
        ruleset: descriptor of the Landlock rules, None without Landlock.
        program_filter: of seccomp.
        thread_listener: descriptor at which new threads are asked for; None where another listener is above us.
        mapped_bytes: address space of the warm interpreter, to which a program's own comes.
    """

    ruleset: int | None
    program_filter: ProgramFilter
    thread_listener: int | None
    mapped_bytes: int


def unsupported_reason(*, landlock: bool = True) -> str | None:
    """Why no program can be run safely on this host, with what to do; None: it can.

    Args:
        landlock: it is needed; False where another mechanism keeps files away.
    """
    if sys.platform != "linux":
        return f"the sandbox needs Linux, this is {sys.platform}: grade programs on a Linux host"
    if platform.machine() != "x86_64":
        return (
            f"the sandbox knows the system calls of x86_64, this is {platform.machine()}: "
            "grade programs on an x86_64 host"
        )
    if not landlock:
        return None
    abi = _landlock_abi()
    if abi < 0:
        why = {
            38: "this kernel has no Landlock (it came with 5.13; CONFIG_SECURITY_LANDLOCK=y)",
            95: "Landlock is switched off on this kernel (add landlock to the boot parameter lsm=)",
            1: "Landlock's system calls are forbidden here (the seccomp profile of the container)",
        }.get(-abi, f"Landlock does not answer: {os.strerror(-abi)}")
        return f"{why}: mend that, or choose another mechanism by name, mechanism='bubblewrap'"
    return None


def landlock_abi() -> int:
    """The version of Landlock on this kernel, 0 for none."""
    return max(0, _landlock_abi())


def prepare(readable: Sequence[str], *, landlock: bool) -> Prepared:
    """Take from the calling process, and all it will fork, what no program may have.

    Args:
        readable: files, and folders with all below them, that programs may read. What is not there is left out.
        landlock: with Landlock; False where another mechanism keeps files away.

    Raises:
        LockdownError: a part of the protection is missing.
    """
    reason = unsupported_reason(landlock=landlock)
    if reason is not None:
        raise LockdownError(reason)
    mapped_bytes = _mapped_bytes()  # /proc is out of reach afterwards
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _drop_capabilities()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ruleset = _make_ruleset(readable) if landlock else None
    if ruleset is not None:
        _restrict(ruleset)
    return Prepared(ruleset, ProgramFilter(), _listen_for_threads(), mapped_bytes)


def lock_down(prepared: Prepared, *, parent: int, memory_bytes: int, cpu_seconds: int) -> None:
    """Lock the calling process, a fork of the one that prepared, down. Descriptors are the caller's to close.

    Args:
        parent: process id of that one; at its death the calling process dies.
        memory_bytes: address space beyond that of the warm interpreter.
        cpu_seconds: processor time of all threads together.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had died before
        os._exit(1)
    _prctl(_PR_SET_DUMPABLE, 0)
    if prepared.ruleset is not None:
        _restrict(
            prepared.ruleset
        )  # again: nested rules keep its parent's signals and memory away from it
    for limit, value in (
        (resource.RLIMIT_AS, prepared.mapped_bytes + memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, NUM_DESCRIPTORS),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        _lower(limit, value)
    code = prepared.program_filter.for_process(os.getpid())
    buffer, program = _filter_program(code)
    if _LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0):
        raise _error("seccomp filters cannot be set (CONFIG_SECCOMP_FILTER)")
    del buffer


def _lower(limit: int, value: int) -> None:
    """Set a limit, but never above what the host allows."""
    _, most = resource.getrlimit(limit)
    # a program that uses up its processor time gets SIGXCPU, which says why it ended; what catches it, SIGKILL
    highest = value + 1 if limit == resource.RLIMIT_CPU else value
    if most != resource.RLIM_INFINITY:
        value, highest = min(value, most), min(highest, most)
    resource.setrlimit(limit, (value, highest))


def _mapped_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _landlock_abi() -> int:
    """The version, or minus the number of the error."""
    version = _LIBC.syscall(_LANDLOCK_CREATE_RULESET, 0, 0, 1, 0, 0, 0)
    return version if version >= 0 else -ctypes.get_errno()


def _make_ruleset(readable: Sequence[str]) -> int:
    """Descriptor of rules by which files can be read below `readable`, and nothing else can be done to files."""
    abi = _landlock_abi()
    rights = _RIGHTS_OF_ABI.get(abi, _RIGHTS_NOW)
    tcp = 3 if abi >= _ABI_TCP else 0  # bind, connect
    scopes = 3 if abi >= _ABI_SCOPES else 0  # abstract sockets, signals
    size = 24 if abi >= _ABI_SCOPES else 16 if abi >= _ABI_TCP else 8
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", rights, tcp, scopes))
    ruleset = _LIBC.syscall(
        _LANDLOCK_CREATE_RULESET, ctypes.addressof(attributes), size, 0, 0, 0, 0
    )
    if ruleset < 0:
        raise _error("landlock_create_ruleset")
    for path in readable:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # a folder that this distribution does not have: it cannot be read then
        allowed = _READ_FILE | _READ_DIR if os.path.isdir(path) else _READ_FILE
        rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, descriptor))
        failed = _LIBC.syscall(_LANDLOCK_ADD_RULE, ruleset, 1, ctypes.addressof(rule), 0, 0, 0)
        os.close(descriptor)
        if failed:
            raise _error(f"landlock_add_rule {path}")
    high = fcntl.fcntl(
        ruleset, fcntl.F_DUPFD_CLOEXEC, 100
    )  # the low numbers are for a program's descriptors
    os.close(ruleset)
    return high


def _restrict(ruleset: int) -> None:
    # The kernel's log of refusals is off: a program could fill it.
    flags = 1 if _landlock_abi() >= _ABI_LOG else 0
    if _LIBC.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, flags, 0, 0, 0, 0):
        raise _error("landlock_restrict_self")


def _drop_capabilities() -> None:
    """Root keeps its number, which files of its own need to be read, and none of its powers."""
    if os.geteuid() == 0:
        for capability in range(64):
            _LIBC.prctl(
                _PR_CAPBSET_DROP, capability, 0, 0, 0
            )  # beyond the last one it is an error, of no matter
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    none = ctypes.create_string_buffer(struct.pack("=6I", 0, 0, 0, 0, 0, 0))
    if _LIBC.syscall(_CAPSET, ctypes.addressof(header), ctypes.addressof(none), 0, 0, 0, 0):
        raise _error("capset")


def _listen_for_threads() -> int | None:
    buffer, program = _filter_program(thread_filter())
    address = ctypes.addressof(program)
    listener = _LIBC.syscall(
        _SECCOMP, _SECCOMP_SET_MODE_FILTER, _SECCOMP_NEW_LISTENER, address, 0, 0, 0
    )
    del buffer
    if listener >= 0:
        return listener
    if (
        ctypes.get_errno() == 16
    ):  # EBUSY: whoever runs this container listens already, and there can be one
        return None
    raise _error("seccomp has no listeners (they came with kernel 5.0; CONFIG_SECCOMP_FILTER)")


def _filter_program(code: bytes) -> tuple[ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]]:
    """The steps, which must stay alive, and the structure that points to them."""
    buffer = ctypes.create_string_buffer(code, len(code))
    return buffer, ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    )


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0):
        raise _error(f"prctl {option}")


def _error(what: str) -> LockdownError:
    return LockdownError(f"{what}: {os.strerror(ctypes.get_errno())}")
