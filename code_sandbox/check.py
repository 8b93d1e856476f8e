"""Tries the sandbox on this host: every hostile program and how it ended, how fast a test is, what is left behind.

    python -m code_sandbox.check                   all of it: some minutes on two idle cores
    python -m code_sandbox.check --rounds 0        the hostile programs only: a minute

Exit code 0: all were held and nothing was left behind; 1: not so; 2: the sandbox is not to be had here, and why.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

from code_sandbox.hostile import GROUPS
from code_sandbox.hostile.suite import Held, run_attack
from code_sandbox.hostile.traps import Traps, processes_of
from code_sandbox.jobs import Limits
from code_sandbox.launch import MECHANISMS, Mechanism, SandboxError
from code_sandbox.lockdown import landlock_abi
from code_sandbox.problems import Case, Problem
from code_sandbox.runner import SandboxPool
from code_sandbox.worker import Worker

NUM_RESPONSES, NUM_TESTS = 256, 10
LONGEST_REASON = 70
PATIENT = Limits(wall_seconds=120.0, cpu_seconds=30)
"""The figures are to be right on a busy host too, where a run waits for its turn."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m code_sandbox.check", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=4,
        help=f"batches of {NUM_RESPONSES} x {NUM_TESTS} tests; 4 are more than 10,000 runs; 0: no figures",
    )
    parser.add_argument("--workers", type=int, default=2, help="interpreters of the batches")
    parser.add_argument("--mechanism", choices=MECHANISMS, default="landlock")
    settings = parser.parse_args(arguments)
    if settings.rounds < 0 or settings.workers < 1:
        parser.error("--rounds must be >= 0 and --workers >= 1")
    try:
        _print_host(settings.mechanism)
        failed = _print_suite(settings.mechanism)
        if settings.rounds:
            _print_median(settings.mechanism)
            failed |= _print_batches(settings.rounds, settings.workers, settings.mechanism)
    except SandboxError as error:
        print(f"no program can be graded here: {error}", file=sys.stderr)
        return 2
    return int(failed)


def _print_host(mechanism: Mechanism) -> None:
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    print(
        f"Linux {platform.release()}, Landlock {landlock_abi()}, {mechanism}, Python {platform.python_version()}, "
        f"{cores} cores, load {load:.1f}, nice {os.getpriority(os.PRIO_PROCESS, 0)}"
    )


def _print_suite(mechanism: Mechanism) -> bool:
    """The table of the hostile programs; whether one was not held."""
    begin = time.monotonic()
    all_held: list[Held] = []
    with Traps() as traps:
        worker = Worker(mechanism=mechanism).wait_ready()
        try:
            for group, attacks in GROUPS.items():
                print(f"\n{group}")
                for attack in attacks:
                    held = run_attack(worker, attack, traps)
                    all_held.append(held)
                    print(
                        f"  {'held' if not held.problem else 'NOT HELD':8} {held.verdict.status:7} {attack.name}"
                    )
                    if held.problem:
                        print(f"           {held.problem}")
            counted = (
                ""
                if worker.counts_threads
                else "; threads are not counted: somebody listens already"
            )
        finally:
            worker.close()
    num_held = sum(not held.problem for held in all_held)
    seconds = time.monotonic() - begin
    print(f"\n{num_held} of {len(all_held)} hostile programs held in {seconds:.0f} s{counted}")
    return num_held < len(all_held)


def _print_median(mechanism: Mechanism) -> None:
    """Of single tests, one after the other in one interpreter."""
    problem = Problem(kind="stdin", tests=tuple(Case(f"{n}\n", f"{2 * n}\n") for n in range(500)))
    call = Problem(
        kind="call", function="f", tests=tuple(Case(f"[{n}]", f"{2 * n}") for n in range(500))
    )
    begin = time.monotonic()
    with SandboxPool(1, PATIENT, mechanism=mechanism) as pool:
        pool.grade_batch(
            [("print(2 * int(input()))", Problem(kind="stdin", tests=problem.tests[:20]))]
        )
        print(f"start of an interpreter and 20 tests: {time.monotonic() - begin:.2f} s")
        for name, source, what in (
            ("stdin", "print(2 * int(input()))", problem),
            ("call", "def f(n):\n    return 2 * n", call),
        ):
            (verdict,) = pool.grade_batch([(source, what)], deadline_seconds=3600)
            wall = sorted(1000 * test.wall_seconds for test in verdict.tests)
            cpu = statistics.median(1000 * test.cpu_seconds for test in verdict.tests)
            print(
                f"one test ({name}): median {statistics.median(wall):.1f} ms, 95th percentile "
                f"{wall[int(0.95 * len(wall))]:.1f} ms, of it {cpu:.1f} ms processor time of the program's process"
            )


def _print_batches(rounds: int, num_workers: int, mechanism: Mechanism) -> bool:
    """Batches as of a training step, and what they leave behind; whether something was wrong."""
    tests = tuple(Case(f"{n}\n", f"{2 * n}\n") for n in range(NUM_TESTS))
    problem = Problem(kind="stdin", tests=tests)
    before = _left_over()
    wrong = False
    pool = SandboxPool(num_workers, PATIENT, mechanism=mechanism)
    try:
        pool.grade_batch([("print(2 * int(input()))", problem)])
        sessions = {worker.process.pid for worker in pool._workers}
        for number in range(rounds):
            programs = [
                (f"print(2 * int(input()))  # {number} {n}", problem) for n in range(NUM_RESPONSES)
            ]
            begin, own, theirs = time.monotonic(), time.process_time(), _processor_seconds(sessions)
            verdicts = pool.grade_batch(programs, deadline_seconds=3600)
            seconds, own = time.monotonic() - begin, time.process_time() - own
            used = own + _processor_seconds(sessions) - theirs
            num_right = sum(verdict.passed for verdict in verdicts)
            wrong |= num_right < NUM_RESPONSES
            print(
                f"{NUM_RESPONSES} responses x {NUM_TESTS} tests, {num_workers} interpreters: {seconds:.1f} s, "
                f"{num_right} right; processor time {used:.1f} s ({used / num_workers:.1f} s on each of {num_workers} "
                f"cores), of it this process {own:.1f} s"
            )
    finally:
        pool.close()
    left = [f"process {pid}" for pid in processes_of(sessions)]
    left += sorted(_left_over() - before)
    num_runs = rounds * NUM_RESPONSES * NUM_TESTS
    print(f"left behind after {num_runs:,} runs: {', '.join(left) or 'nothing'}")
    return wrong or bool(left)


def _processor_seconds(interpreters: set[int]) -> float:
    """Of these processes and of all their programs."""
    ticks = 0
    for pid in interpreters:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _left_over() -> set[str]:
    """What a run could leave: descriptors of this process, its children, shared memory, temporary files of ours."""
    found = {f"descriptor {entry}" for entry in os.listdir("/proc/self/fd")}
    children = Path(f"/proc/self/task/{os.getpid()}/children")  # not on every kernel
    found |= {f"child {pid}" for pid in (children.read_text().split() if children.exists() else [])}
    for folder in (Path("/dev/shm"), Path(tempfile.gettempdir())):
        found |= {str(path) for path in folder.glob("*code*sandbox*")} if folder.exists() else set()
    return found


if __name__ == "__main__":
    sys.exit(main())
