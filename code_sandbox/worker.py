"""One warm interpreter, seen from the trusted side: start it, give it a job, collect what comes out, end it in time.

Everything here treats what comes through the pipes of a run as arbitrary bytes, and reads at most as many as are
allowed. How a run ended comes over a socket of the warm interpreter that no program has."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import time

from code_sandbox import inside, lockdown
from code_sandbox.active_run import ActiveRun
from code_sandbox.jobs import Job, Limits, Run, Status
from code_sandbox.kernel_files import answer_thread, ask_for_thread, sealed_file
from code_sandbox.launch import ENVIRONMENT, START_SECONDS, Mechanism, SandboxError, command

KILL_SECONDS = 10.0
"""A killed run whose end is not reported by then: the warm interpreter is replaced."""
_PROBE = """
import os, socket
refused = 0
for attempt in (os.fork, socket.socket, lambda: open("/etc/passwd"),
                lambda: open("/dev/null", "w"), lambda: os.kill(os.getppid(), 0)):
    try:
        attempt()
    except OSError:
        refused += 1
print(refused, input())
"""


class Worker:
    """A warm interpreter; one run at a time, after `wait_ready`. Not safe to use from two threads at once.

    Args:
        python: the interpreter's executable.
        mechanism: what keeps files away.
        packages: names of packages of this environment that programs may import.

    Raises:
        SandboxError: the sandbox is not to be had on this host.
    """

    def __init__(
        self,
        *,
        python: str | None = None,
        mechanism: Mechanism = "landlock",
        packages: tuple[str, ...] = (),
    ) -> None:
        self.python = os.path.realpath(python or sys.executable)
        self.mechanism: Mechanism = mechanism
        self.packages = packages
        self.active: ActiveRun | None = None
        self.listener: int | None = None
        self._closed = False
        self._start()

    @property
    def counts_threads(self) -> bool:
        return self.listener is not None

    def _start(self) -> None:
        reason = lockdown.unsupported_reason(landlock=self.mechanism == "landlock")
        if reason is not None:
            raise SandboxError(reason)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control = ours
        self._log: int = os.memfd_create("code_sandbox", os.MFD_CLOEXEC)
        try:
            self.process = self._popen(theirs)
        except BaseException:
            ours.close()
            os.close(self._log)
            raise
        finally:
            theirs.close()

    def _popen(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        # a number of its own, so that what is given to a run cannot lie there
        there = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, inside.CONTROL)
        try:
            return subprocess.Popen(
                command(
                    self.python, control=there, mechanism=self.mechanism, packages=self.packages
                ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                pass_fds=(there,),
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"{self.python} does not start: {error}") from error
        finally:
            os.close(there)

    def wait_ready(self) -> Worker:
        """Wait for its start, and try whether it holds.

        Raises:
            SandboxError: it does not start, or what must be refused is not.
        """
        self._hello()
        self._probe()
        return self

    def _hello(self) -> None:
        self.control.settimeout(START_SECONDS)
        try:
            packet, descriptors, _, _ = socket.recv_fds(self.control, 65536, 1)
        except OSError:  # too late, or dead
            packet, descriptors = b"", []
        self.control.settimeout(None)
        hello = (
            json.loads(packet) if packet else {"broken": f"it does not start: {self._last_words()}"}
        )
        if "broken" in hello:
            self.close()
            raise SandboxError(f"the sandbox cannot be used with {self.python}: {hello['broken']}")
        self.listener = descriptors[0] if descriptors else None

    def _last_words(self) -> str:
        lines = os.pread(self._log, 10_000, 0).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"no answer within {START_SECONDS:g} s"

    def _probe(self) -> None:
        """Believe nothing: what must be refused is tried once in every new interpreter."""
        self.submit(Job(source=_PROBE, stdin=b"works\n"), Limits(wall_seconds=START_SECONDS))
        run = None
        while run is None:
            run = self.wait(START_SECONDS)
        if run.stdout != b"5 works\n":
            self.close()
            said = (run.stdout + run.stderr).decode(errors="replace").strip()[-300:]
            raise SandboxError(
                "the sandbox does not hold on this host: of 5 things that must be refused, and then 'works', "
                f"a trial printed {said!r} "
                f"({run.status}); run `python -m code_sandbox.check` and do not grade programs here"
            )

    def submit(self, job: Job, limits: Limits) -> None:
        """Start a run; the worker must have none."""
        assert self.active is None
        program = {"source": job.source, "function": job.function, "checks": job.checks}
        active = ActiveRun(limits)
        given = [sealed_file(json.dumps(program).encode()), sealed_file(job.stdin)]
        given += active.open_streams()
        packet = {"memory_bytes": limits.memory_bytes, "cpu_seconds": limits.cpu_seconds}
        try:
            socket.send_fds(self.control, [json.dumps(packet).encode()], given)
        except OSError:
            pass  # it is dead: the socket says so at the next look
        finally:
            for descriptor in given:
                os.close(descriptor)
        self.active = active

    def descriptors(self) -> list[int]:
        """What to wait for until `look` has something to do."""
        listener = [] if self.listener is None else [self.listener]
        streams = [] if self.active is None else list(self.active.streams)
        return [self.control.fileno(), *listener, *streams]

    def time_left(self) -> float:
        """Seconds until `look` has something to do in any case."""
        assert self.active is not None
        if self.active.killed_at is not None:
            return self.active.killed_at + KILL_SECONDS - time.monotonic()
        return self.active.started + self.active.limits.wall_seconds - time.monotonic()

    def wait(self, seconds: float) -> Run | None:
        """Wait for the end of the run, at most that long."""
        poll = select.poll()
        for descriptor in self.descriptors():
            poll.register(descriptor, select.POLLIN)
        events = poll.poll(1000 * max(0.0, min(seconds, self.time_left())))
        return self.look(dict(events))

    def look(self, events: dict[int, int]) -> Run | None:
        """Do what there is to do; the run, if it has ended.

        Args:
            events: of `poll`, by descriptor.
        """
        active = self.active
        assert active is not None
        if self.listener is not None and events.get(self.listener, 0) & select.POLLIN:
            self._answer_thread(self.listener, active)
        for descriptor in [d for d in active.streams if d in events]:
            if not active.read(descriptor):
                self.kill("output")
        if self.control.fileno() in events:
            return self._end(active)
        if active.killed_at is None and self.time_left() <= 0:
            self.kill("time")
        elif active.killed_at is not None and self.time_left() <= 0:
            self.process.kill()  # it does not answer; the socket will close
        return None

    def kill(self, status: Status) -> None:
        """End the run; its status is this one, unless it was ended before."""
        assert self.active is not None
        if self.active.killed_at is None:
            self.active.stopped, self.active.killed_at = status, time.monotonic()
            with contextlib.suppress(OSError):  # it is dead, and the run with it
                self.control.send(b"kill")

    def close(self) -> None:
        """End the interpreter and what it runs, and wait for it. Once is enough, more does no harm."""
        if self._closed:
            return
        self._closed = True
        if self.active is not None:
            self.active.close_streams()
            self.active = None
        self.control.close()
        if self.listener is not None:
            os.close(self.listener)
            self.listener = None
        try:
            self.process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._log)

    def _answer_thread(self, listener: int, active: ActiveRun) -> None:
        """Let a new thread be, or not."""
        asked = ask_for_thread(listener)
        if asked is not None:
            active.num_threads += 1
            answer_thread(listener, asked, allowed=active.num_threads <= active.limits.num_threads)

    def _end(self, active: ActiveRun) -> Run:
        """Read the report of the end; where there is none, the interpreter itself is gone."""
        try:
            packet = self.control.recv(65536)
        except ConnectionError:
            packet = b""
        self.active = None
        report = json.loads(packet) if packet else None
        if report is not None and "broken" in report:
            active.close_streams()
            raise SandboxError(
                f"the sandbox could not lock a program down, which was not run: {report['broken']}"
            )
        return active.end(report)
