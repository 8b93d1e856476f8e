"""The run in progress of a warm interpreter: what has come out of it so far, and in the end its record."""

from __future__ import annotations

import os
import signal
import time

from code_sandbox.jobs import Limits, Run, Status


class ActiveRun:
    """Begins when it is made.

    Args:
        limits: of it.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.started = time.monotonic()
        self.streams: dict[int, bytearray] = {}
        """By descriptor, those that are open."""
        self.stopped: Status | None = None
        """Why it was killed, if it was."""
        self.killed_at: float | None = None
        self.num_threads = 0
        self._names: dict[int, str] = {}
        self._output: dict[str, bytes] = {}

    def open_streams(self) -> list[int]:
        """Make the pipes; their ends for the program: output, errors, result."""
        writers = []
        for name in ("stdout", "stderr", "result"):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reader, False)
            self.streams[reader], self._names[reader] = bytearray(), name
            writers.append(writer)
        return writers

    def read(self, descriptor: int) -> bool:
        """Take what is there, and close it at its end. False: it is more than allowed, and no more is read."""
        kept = self.streams[descriptor]
        try:
            while len(kept) <= self.limits.output_bytes:
                data = os.read(descriptor, 65536)
                if not data:
                    self._close(descriptor)
                    return True
                kept += data
        except BlockingIOError:
            return True
        self._close(descriptor)
        return False

    def close_streams(self) -> None:
        """Close what is open, and keep what has come."""
        for descriptor in list(self.streams):
            self._close(descriptor)

    def end(self, report: dict[str, float] | None) -> Run:
        """Its record.

        Args:
            report: of the warm interpreter: `ended`, a wait status, and `cpu_seconds`. None: it died.
        """
        wall_seconds = time.monotonic() - self.started
        for descriptor in list(self.streams):
            if not self.read(descriptor):
                self.stopped = self.stopped or "output"
        self.close_streams()
        if report is None:
            return Run(status="lost", wall_seconds=wall_seconds, num_threads=self.num_threads)
        code = os.waitstatus_to_exitcode(int(report["ended"]))
        return Run(
            status=self._status(code, report["cpu_seconds"]),
            exit_code=code if code >= 0 else None,
            wall_seconds=wall_seconds,
            cpu_seconds=report["cpu_seconds"],
            num_threads=self.num_threads,
            **self._output,  # type: ignore[arg-type]
        )

    def _status(self, code: int, cpu_seconds: float) -> Status:
        if self.stopped is not None:
            return self.stopped
        if code >= 0:
            return "error" if code else "ok"
        # the kernel counts in ticks for its limit, exactly for its report: on a busy host they differ
        used_up = -code == signal.SIGKILL and cpu_seconds >= self.limits.cpu_seconds - 0.1
        return "cpu" if used_up or -code == signal.SIGXCPU else "killed"

    def _close(self, descriptor: int) -> None:
        self._output[self._names[descriptor]] = bytes(self.streams.pop(descriptor))
        os.close(descriptor)
