"""The warm interpreter: it waits for jobs at a socket and runs each in a locked-down copy of itself.

Started by `worker.py`. It holds nothing that a program could look for: source and input come as descriptors that only
the copy reads, and expected outputs never come. The copy has as descriptors its input (0, read only), output (1) and
errors (2), and for a function call the pipe for the result (3); all are made for this one run. So whatever a program
writes, on whatever descriptor, is output of its own, and how it ended is what the kernel says of it to the warm
interpreter.

A job is one packet `{"memory_bytes": ..., "cpu_seconds": ...}` with the descriptors of job, input, output, errors and
result. The answer is `{"ended": wait status, "cpu_seconds": ..., "max_memory_bytes": ...}`, or `{"broken": why}`
where the lock-down failed and nothing was run. The packet `kill` ends the current run; a closed socket ends all.

The file of the job is JSON: `source`; `function`, which is called with the arguments in the input (a JSON list) and
whose value goes to descriptor 3 as JSON; `checks`, source to run after the program, for evaluation only.
"""

from __future__ import annotations

import _sitebuiltins
import atexit
import builtins
import ctypes
import fcntl
import gc
import importlib
import io
import json
import os
import select
import signal
import socket
import sys
import threading
import types
from typing import Any, NoReturn

from code_sandbox import lockdown

# What programs import: once here instead of in each run.
WARM_MODULES = [
    "array",
    "bisect",
    "cmath",
    "collections",
    "contextlib",
    "copy",
    "datetime",
    "decimal",
    "dataclasses",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "hashlib",
    "io",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "queue",
    "random",
    "re",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "threading",
    "time",
    "traceback",
    "typing",
    "warnings",
]
# What LeetCode's programs find there without importing it.
HEADER = """
import bisect, collections, copy, functools, heapq, itertools, json, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
from operator import itemgetter, attrgetter, xor, or_, and_, mul, add
"""
_HEADER_NAMES: dict[str, Any] = {}
CONTROL, STATUS, RESULT = 64, 4, 3
"""Descriptors: the socket of the warm interpreter; of the copy, the pipe for a failing lock-down, and the result's."""
THREAD_STACK_BYTES = 8 << 20
ASSERTS_PASSED = "asserts passed"


def main(settings: dict[str, Any]) -> None:
    """Run jobs until the socket is closed.

    Args:
        settings: `readable`, files and folders; `landlock`, whether it keeps files away; `packages`, imported from the
            folders `package_folders`.
    """
    control = socket.socket(fileno=CONTROL)
    try:
        readable = [
            *settings["readable"],
            *_import_packages(settings["packages"], settings["package_folders"]),
        ]
        prepared = _prepare(readable, landlock=settings["landlock"])
    except (ImportError, OSError, lockdown.LockdownError) as error:
        control.send(json.dumps({"broken": str(error)}).encode()[:60_000])
        return
    hello = json.dumps({"counts_threads": prepared.thread_listener is not None}).encode()
    if prepared.thread_listener is None:
        control.send(hello)
    else:
        socket.send_fds(control, [hello], [prepared.thread_listener])
        os.close(prepared.thread_listener)
    gc.collect()
    gc.freeze()  # a copy that collects does not have to copy all of our pages first
    while True:
        packet, descriptors, _, _ = socket.recv_fds(control, 65536, 5)
        if not packet:
            return
        if packet != b"kill":  # of a run that has ended meanwhile
            control.send(
                json.dumps(_run(control, json.loads(packet), descriptors, prepared)).encode()
            )


def _prepare(readable: list[str], *, landlock: bool) -> lockdown.Prepared:
    for name in WARM_MODULES:
        importlib.import_module(name)
    libc = ctypes.CDLL(None)
    # glibc gives new threads the main thread's limit: four of them would fill the address space
    attributes = ctypes.create_string_buffer(256)
    libc.pthread_attr_init(attributes)
    libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(THREAD_STACK_BYTES))
    if getattr(libc, "pthread_setattr_default_np", None) is not None:
        libc.pthread_setattr_default_np(attributes)
    os.environ.clear()
    exec(HEADER, _HEADER_NAMES)
    for name in set(dir(builtins)) & _HEADER_NAMES.keys():  # math.pow takes no modulus
        del _HEADER_NAMES[name]
    for name in ("exit", "quit"):  # as `site` does, which is not run
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    sys.set_int_max_str_digits(
        0
    )  # programs for older versions print long numbers; processor time is limited
    return lockdown.prepare(readable, landlock=landlock)


def _import_packages(packages: list[str], folders: list[str]) -> list[str]:
    """Import what the owner allows besides the standard library; the folders that must then be readable."""
    sys.path += folders
    readable = []
    for name in packages:
        importlib.import_module(name)
        for folder in folders:
            readable += [os.path.join(folder, name), os.path.join(folder, f"{name}.libs")]
    del sys.path[len(sys.path) - len(folders) :]
    return readable


def _run(
    control: socket.socket,
    limits: dict[str, int],
    descriptors: list[int],
    prepared: lockdown.Prepared,
) -> dict[str, Any]:
    """Fork, wait for the end, say how it ended."""
    broken, broken_end = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _copy(parent, limits, [*descriptors, broken_end], prepared)
    for descriptor in [*descriptors, broken_end]:
        os.close(descriptor)
    end = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(end, select.POLLIN)
    poll.register(control, select.POLLIN)
    owner_gone = False
    while end not in (ready := dict(poll.poll())):
        if control.fileno() in ready:
            owner_gone = not control.recv(65536)
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so this is still its number
            if owner_gone:
                poll.unregister(control)
    os.close(end)
    _, status, usage = os.wait4(pid, 0)
    why = os.read(broken, 10_000)
    os.close(broken)
    if owner_gone:
        os._exit(0)
    if why:
        return {"broken": why.decode(errors="replace")}
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return {"ended": status, "cpu_seconds": cpu_seconds, "max_memory_bytes": usage.ru_maxrss * 1024}


def _copy(
    parent: int, limits: dict[str, int], descriptors: list[int], prepared: lockdown.Prepared
) -> NoReturn:
    """Runs in the fork: lock down, then be the program. What fails before it starts goes to the status pipe."""
    status = descriptors[5]
    try:
        # first out of the way: what comes here may lie where it has to go
        job, stdin, stdout, stderr, result, status = (
            fcntl.fcntl(d, fcntl.F_DUPFD, 128) for d in descriptors
        )
        with os.fdopen(job, "rb") as file:
            program = json.load(file)
        for place, descriptor in enumerate((stdin, stdout, stderr, result, status)):
            os.dup2(descriptor, place)
        status = STATUS
        keep = STATUS if prepared.ruleset is None else prepared.ruleset
        os.closerange(STATUS + 1, keep)
        os.closerange(keep + 1, 1 << 20)
        lockdown.lock_down(prepared, parent=parent, **limits)
    except BaseException as error:
        os.write(
            status, f"{type(error).__name__}: {error}".encode(errors="replace")[:4000] or b"unknown"
        )
        os._exit(1)
    os.close(STATUS)
    if prepared.ruleset is not None:
        os.close(prepared.ruleset)
    if program["function"] is None and program["checks"] is None:
        os.close(RESULT)
    _be_the_program(program)


def _be_the_program(program: dict[str, Any]) -> NoReturn:
    """As `python program.py` would: streams, `__main__`, the code of the exit, atexit, threads. Does not return."""
    code = 1
    try:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        errors = io.FileIO(2, "w", closefd=False)
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(errors), "utf-8", errors="backslashreplace", line_buffering=True
        )
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
        sys.argv = ["program.py"]
        code = _exit_code(program)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        if not sys.stdout.closed:
            sys.stdout.flush()
    except (
        BaseException
    ):  # the program's own: of its threads' end, of its exit functions, of its full pipe
        code = 1
    os._exit(code)


def _exit_code(program: dict[str, Any]) -> int:
    try:
        main = types.ModuleType("__main__")
        main.__dict__["__builtins__"] = builtins
        sys.modules["__main__"] = main
        if program["function"] is not None:
            main.__dict__.update(_HEADER_NAMES)
        exec(compile(program["source"], "program.py", "exec", dont_inherit=True), main.__dict__)
        if program["function"] is not None:
            _answer(_call(main.__dict__, program["function"]))
        if program["checks"] is not None:
            exec(compile(program["checks"], "checks.py", "exec", dont_inherit=True), main.__dict__)
            _answer(ASSERTS_PASSED)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        sys.stderr.write(f"{error.code}\n")
        return 1
    except BaseException as error:
        shown = (
            error.__traceback__.tb_next if error.__traceback__ is not None else None
        )  # without this function
        sys.excepthook(type(error), error, shown)
        return 1
    return 0


def _call(names: dict[str, Any], function: str) -> object:
    """The value of the function, or of that method of the class `Solution`, for the arguments in the input."""
    with io.open(0, "rb", closefd=False) as file:  # noqa: UP020 - the program may have replaced the builtin
        arguments = json.load(file)
    solution = names.get("Solution")
    if isinstance(solution, type) and hasattr(solution, function):
        return getattr(solution(), function)(*arguments)
    if function not in names:
        raise NameError(f"the program defines no function {function!r}")
    return names[function](*arguments)


def _answer(value: object) -> None:
    text = json.dumps(value, allow_nan=True).encode()
    written = 0
    while written < len(text):
        written += os.write(RESULT, text[written : written + 65536])
