"""What the trusted side uses of the kernel by descriptor: files in memory, the listener for new threads."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct

_NOTIFICATION_RECEIVE, _NOTIFICATION_SEND = 0xC0502100, 0xC0182101
_CONTINUE, _EAGAIN = 1, 11


def sealed_file(data: bytes) -> int:
    """A file in memory that nobody can change, opened for reading, from its beginning."""
    file = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        fcntl.fcntl(
            file,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL,
        )
        return os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(file)


def ask_for_thread(listener: int) -> int | None:
    """The number of a new thread that waits for an answer; None: whoever asked has been killed meanwhile."""
    asked = bytearray(80)  # struct seccomp_notif
    try:
        fcntl.ioctl(listener, _NOTIFICATION_RECEIVE, asked)
    except FileNotFoundError:
        return None
    return struct.unpack_from("=Q", asked)[0]


def answer_thread(listener: int, number: int, *, allowed: bool) -> None:
    """Let it be, or fail as if the host had no room for it."""
    error, flags = (0, _CONTINUE) if allowed else (-_EAGAIN, 0)
    with contextlib.suppress(FileNotFoundError):  # killed meanwhile
        fcntl.ioctl(listener, _NOTIFICATION_SEND, struct.pack("=QqiI", number, 0, error, flags))
