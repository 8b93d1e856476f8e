"""The system calls that a program may make, as seccomp filters: classic BPF put together by hand, no library needed.

What is not named below is answered with EPERM. The lists are for x86-64; another machine has other numbers, and a
filter with wrong numbers protects nothing, so `lockdown.unsupported_reason` refuses there."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

_NUMBERS = {
    # input and output on descriptors that are open
    **{
        "read": 0,
        "write": 1,
        "readv": 19,
        "writev": 20,
        "pread64": 17,
        "lseek": 8,
        "close": 3,
        "close_range": 436,
    },
    **{
        "poll": 7,
        "ppoll": 271,
        "select": 23,
        "pselect6": 270,
        "pipe": 22,
        "dup": 32,
        "dup2": 33,
        "dup3": 292,
    },
    # looking at files; which of them can be opened is Landlock's business, and only for reading
    **{
        "stat": 4,
        "fstat": 5,
        "lstat": 6,
        "newfstatat": 262,
        "statx": 332,
        "access": 21,
        "faccessat": 269,
        "faccessat2": 439,
    },
    **{"readlink": 89, "readlinkat": 267, "getcwd": 79, "getdents64": 217, "fadvise64": 221},
    # memory; RLIMIT_AS bounds it
    **{"mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "madvise": 28},
    # its own signals and clocks
    **{
        "rt_sigaction": 13,
        "rt_sigprocmask": 14,
        "rt_sigreturn": 15,
        "sigaltstack": 131,
        "restart_syscall": 219,
    },
    **{
        "nanosleep": 35,
        "getitimer": 36,
        "alarm": 37,
        "setitimer": 38,
        "gettimeofday": 96,
        "times": 100,
        "time": 201,
    },
    **{"clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230},
    # about itself; limits can only be lowered
    **{
        "getpid": 39,
        "gettid": 186,
        "getppid": 110,
        "getuid": 102,
        "getgid": 104,
        "geteuid": 107,
        "getegid": 108,
    },
    **{
        "uname": 63,
        "getrlimit": 97,
        "setrlimit": 160,
        "getrusage": 98,
        "sysinfo": 99,
        "getrandom": 318,
    },
    # threads, without which neither deep recursion nor hashlib works
    **{
        "futex": 202,
        "sched_yield": 24,
        "sched_getaffinity": 204,
        "set_tid_address": 218,
        "set_robust_list": 273,
    },
    **{"rseq": 334, "membarrier": 324, "arch_prctl": 158, "exit": 60, "exit_group": 231},
}
_CLONE, _CLONE3, _OPEN, _OPENAT, _PIPE2, _IOCTL, _FCNTL = 56, 435, 2, 257, 293, 16, 72
_PRLIMIT, _KILL, _TGKILL = 302, 62, 234

CLONE_THREAD = 0x10000
_CLONE_NEW = 0x7E020000
"""All flags of new name spaces; with CLONE_THREAD the kernel refuses most, and this filter all."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: nothing that another holder of the same open file would notice
_FCNTL_COMMANDS = (0, 1, 2, 3, 1030)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONCLEX, FIOCLEX: questions, and close on exec
_IOCTL_COMMANDS = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451)

_NOTIFICATION_PIPE = 0x80
"""A flag of pipe2: a queue of the kernel's own news instead of a pipe."""

_LOAD, _EQUAL, _GREATER_EQUAL, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _KILL_PROCESS, _NOTIFY = 0x7FFF0000, 0x80000000, 0x7FC00000
_EPERM, _ENOSYS = 0x00050001, 0x00050026
_X86_64 = 0xC000003E
_X32 = 0x40000000
_OWN_PID = -1
"""In a list of values: the process that the filter is for."""


def _step(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value & 0xFFFFFFFF)


def _return(action: int) -> bytes:
    return _step(_RETURN, 0, 0, action)


def _load_argument(index: int) -> bytes:
    """The low word of an argument: all of it for the int arguments that are looked at here."""
    return _step(_LOAD, 0, 0, 16 + 8 * index)


def _rule(number: int, body: Sequence[bytes]) -> list[bytes]:
    """A body that returns in any case, for one system call."""
    return [_step(_EQUAL, 0, len(body), number), *body]


def _one_of(argument: int, values: Sequence[int]) -> list[bytes]:
    """Allowed where the argument is one of the values."""
    tests = [step for value in values for step in (_step(_EQUAL, 0, 1, value), _return(_ALLOW))]
    return [_load_argument(argument), *tests, _return(_EPERM)]


def _masked(argument: int, mask: int, value: int) -> list[bytes]:
    """Allowed where `argument & mask == value`."""
    check = [_step(_AND, 0, 0, mask), _step(_EQUAL, 0, 1, value), _return(_ALLOW), _return(_EPERM)]
    return [_load_argument(argument), *check]


def _own_architecture() -> list[bytes]:
    """32-bit calls and those of x32 have other numbers: the process is killed."""
    return [
        _step(_LOAD, 0, 0, 4),
        _step(_EQUAL, 1, 0, _X86_64),
        _return(_KILL_PROCESS),
        _step(_LOAD, 0, 0, 0),
        _step(_GREATER_EQUAL, 0, 1, _X32),
        _return(_KILL_PROCESS),
    ]


class ProgramFilter:
    """The filter of a program; made once, and then only its own process id is put in."""

    def __init__(self) -> None:
        steps = _own_architecture()
        for number in _NUMBERS.values():
            steps += [_step(_EQUAL, 0, 1, number), _return(_ALLOW)]
        # glibc falls back to clone, whose flags a filter can see
        steps += [_step(_EQUAL, 0, 1, _CLONE3), _return(_ENOSYS)]
        steps += _rule(_CLONE, _masked(0, CLONE_THREAD | _CLONE_NEW, CLONE_THREAD))
        steps += _rule(_OPENAT, _masked(2, _WRITING, 0))
        steps += _rule(_OPEN, _masked(1, _WRITING, 0))
        steps += _rule(_PIPE2, _masked(1, _NOTIFICATION_PIPE, 0))
        steps += _rule(_FCNTL, _one_of(1, _FCNTL_COMMANDS))
        steps += _rule(_IOCTL, _one_of(1, _IOCTL_COMMANDS))
        # By pid, not by "the pointer to new limits is null": a filter sees a pointer in two halves, and one with a zero
        # low half can be had.
        self._own_pid_at: list[int] = []
        for number, values in (
            (_PRLIMIT, (0, _OWN_PID)),
            (_KILL, (_OWN_PID,)),
            (_TGKILL, (_OWN_PID,)),
        ):
            body = _one_of(0, values)
            own = len(steps) + 1 + body.index(_step(_EQUAL, 0, 1, _OWN_PID))
            self._own_pid_at.append(8 * own + 4)
            steps += _rule(number, body)
        steps.append(_return(_EPERM))
        self._steps = bytearray(b"".join(steps))

    def for_process(self, pid: int) -> bytes:
        """The filter as the kernel takes it, 8 bytes a step, for the process with this id."""
        for offset in self._own_pid_at:
            struct.pack_into("=I", self._steps, offset, pid)
        return bytes(self._steps)


def thread_filter() -> bytes:
    """Every new thread is asked for at a listener (`SECCOMP_RET_USER_NOTIF`); all else is as it was."""
    steps = [
        _step(_LOAD, 0, 0, 4),
        _step(_EQUAL, 1, 0, _X86_64),
        _return(_ALLOW),
        _step(_LOAD, 0, 0, 0),
        *_rule(
            _CLONE,
            [
                _load_argument(0),
                _step(_AND, 0, 0, CLONE_THREAD),
                _step(_EQUAL, 0, 1, 0),
                _return(_ALLOW),
                _return(_NOTIFY),
            ],
        ),
        _return(_ALLOW),
    ]
    return b"".join(steps)
