"""What hostile programs are let loose upon, and what they did to it: files, listeners, a neighbour, an environment."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

MARK = "HIDDEN-"
"""Begins every text that no program may come to know."""
VARIABLE = "CODE_SANDBOX_TRAP"
_KEY = "0x005ec4e7"
"""Of the System V objects that `files` tries to make."""


class Traps:
    """A temporary folder with a secret, listeners that nobody may reach, a process that nobody may touch.

    Set up as a context; before the sandbox starts, so that its environment could hold the secret.
    """

    def __init__(self) -> None:
        self.secret = f"{MARK}{secrets.token_hex(8)}"
        self.stdin_expected = f"{MARK}{secrets.token_hex(8)}"
        self.call_expected = f"{MARK}{secrets.token_hex(8)}"

    def __enter__(self) -> Traps:
        with contextlib.ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="traps-")))
            (self._folder / "secret.txt").write_text(self.secret)
            (self._folder / "keep.txt").write_text("kept\n")
            (self._folder / "link").symlink_to("secret.txt")
            (self._folder / "empty").mkdir()
            self._tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            self._udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            self._udp.bind(("127.0.0.1", 0))
            self._unix = stack.enter_context(socket.socket(socket.AF_UNIX))
            self._unix.bind(str(self._folder / "socket"))
            self._abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
            self._abstract_name = f"traps-{secrets.token_hex(8)}"
            self._abstract.bind(f"\0{self._abstract_name}")
            for listener in (self._unix, self._abstract):
                listener.listen()
            for listener in (self._tcp, self._udp, self._unix, self._abstract):
                listener.setblocking(False)
            # it ends with its input, that is with this process at the latest
            wait = [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"]
            self._victim = stack.enter_context(subprocess.Popen(wait, stdin=subprocess.PIPE))
            stack.callback(self._victim.kill)
            os.environ[VARIABLE] = self.secret
            stack.callback(os.environ.pop, VARIABLE, None)
            self._before = self._look()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def names(self) -> dict[str, str]:
        """What stands between `@` in the programs."""
        return {
            "SECRET_FILE": str(self._folder / "secret.txt"),
            "FOLDER": str(self._folder),
            "TCP_PORT": str(self._tcp.getsockname()[1]),
            "UDP_PORT": str(self._udp.getsockname()[1]),
            "UNIX_SOCKET": str(self._folder / "socket"),
            "ABSTRACT_SOCKET": self._abstract_name,
            "VICTIM": str(self._victim.pid),
            "OWNER": str(os.getpid()),
            "PLAIN_EXPECTED": self.stdin_expected,
            "CALL_EXPECTED": f'"{self.call_expected}"',
        }

    def side_effects(self) -> list[str]:
        """What has been done to the traps, in words; empty: nothing."""
        now = self._look()
        found = [
            f"{name}: {self._before[name]} -> {now[name]}"
            for name in now
            if now[name] != self._before[name]
        ]
        for name, listener in (
            ("TCP", self._tcp),
            ("UNIX", self._unix),
            ("abstract", self._abstract),
        ):
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                found.append(f"the {name} listener was reached")
        with contextlib.suppress(BlockingIOError):
            self._udp.recv(10)
            found.append("the UDP listener was reached")
        if self._victim.poll() is not None:
            found.append("the neighbour was killed")
        return found

    def _look(self) -> dict[str, object]:
        pid = self._victim.pid
        alive = self._victim.poll() is None
        left_behind = [
            Path("/dev/shm"),
            Path("/dev/mqueue"),
            Path(tempfile.gettempdir()),
            Path(os.__file__).parent,
        ]
        return {
            "files": {
                path.name: (
                    path.lstat().st_mode,
                    path.lstat().st_mtime,
                    path.lstat().st_size,
                    path.lstat().st_nlink,
                )
                for path in sorted(self._folder.iterdir())
            },
            "left behind": [
                str(path)
                for folder in left_behind
                if folder.exists()
                for path in folder.glob("*code*sandbox*attack*")
            ],
            "System V": [
                line
                for name in ("shm", "msg", "sem")
                for line in _lines(f"/proc/sysvipc/{name}")
                if str(int(_KEY, 16)) in line.split()[:1]
            ],
            "limits of the neighbour": alive and resource.prlimit(pid, resource.RLIMIT_CPU),
            "priority of the neighbour": alive and os.getpriority(os.PRIO_PROCESS, pid),
            "processors of the neighbour": alive and os.sched_getaffinity(pid),
            "scheduling of the neighbour": alive and os.sched_getscheduler(pid),
            "limits of this process": resource.getrlimit(resource.RLIMIT_CPU),
        }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:  # a kernel without System V objects
        return []


def processes_of(sessions: set[int]) -> list[int]:
    """Ids of all processes in these sessions. Every warm interpreter has begun one, which no program can leave."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) in sessions:
                    found.append(int(entry.name))
    return found
