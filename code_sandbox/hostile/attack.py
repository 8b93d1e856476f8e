"""What a hostile program is: its source, what it is for, and how its run has to end.

Every program reports about itself: it prints `BREACH` where what it tried succeeded and `refused` where it did not. So
the suite does not only see that a program was not marked as passed (it cannot be, without the expected output), but
that each single thing was refused. `control=True` says that the same program prints `BREACH` in a plain interpreter on
any Linux host, which a test tries: a program that fails for a reason of its own would prove nothing.

Names between `@` are replaced by what `traps.Traps` has set up, such as `@SECRET_FILE@`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Ending = Literal["refused", "harmless", "limit"]
"""How a run has to end.

refused: each thing that it tried was refused, and it says so.
harmless: what it does is its own affair; it prints neither `BREACH` nor a secret, and does not pass.
limit: it is killed at a limit, or fails at one.
"""

HELPERS = '''
import os, sys
def attempt(what, function, *arguments):
    """Print whether it was possible; an answer of an errno other than "not permitted" is a refusal too."""
    try:
        result = function(*arguments)
    except BaseException as error:
        print("refused", what, type(error).__name__, error)
    else:
        print("BREACH", what, repr(result)[:300])
def system_call(number, *arguments):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    if (result := libc.syscall(ctypes.c_long(number), *words)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def must_be_denied(what, number, *arguments):
    """For calls that fail without privileges in any case: only the filter's own answer (EPERM, ENOSYS) counts."""
    try:
        system_call(number, *arguments)
    except OSError as error:
        if error.errno in (1, 38):
            print("refused", what, error)
            return
    print("BREACH", what, "the kernel was reached")
'''


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One hostile program.

    Args:
        name: unique, in the words of what it tries.
        source: the program, after `HELPERS`; with `plain` without them.
        ending: how its run has to end.
        control: prints `BREACH` in a plain interpreter.
        function: by function call instead of by stdin: this function is called with the argument 7.
        plain: `source` is the whole program.
        statuses: if not empty, the run has one of these statuses (`worker.Status`).
    """

    name: str
    source: str
    ending: Ending = "refused"
    control: bool = False
    function: str | None = None
    plain: bool = False
    statuses: tuple[str, ...] = ()

    def program(self, names: Mapping[str, str]) -> str:
        """The source with the traps in place of their names."""
        source = self.source
        for name, value in names.items():
            source = source.replace(f"@{name}@", value)
        return source if self.plain else HELPERS + source
