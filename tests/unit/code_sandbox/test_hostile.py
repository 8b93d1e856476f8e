"""Every hostile program is held: it does not pass, gets at nothing, leaves nothing; without the sandbox many do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from code_sandbox.hostile import ATTACKS, GROUPS
from code_sandbox.hostile.attack import Attack
from code_sandbox.hostile.suite import run_attack, run_one
from code_sandbox.hostile.traps import Traps, processes_of
from code_sandbox.jobs import Job, Limits
from code_sandbox.worker import Worker


@pytest.fixture(scope="module")
def traps() -> Iterator[Traps]:
    with Traps() as set_up:
        yield set_up


@pytest.fixture(scope="module")
def worker(traps: Traps) -> Iterator[Worker]:
    del (
        traps
    )  # set up before the interpreter starts, which could inherit the secret of the environment
    started = Worker().wait_ready()
    yield started
    session = started.process.pid
    started.close()
    assert processes_of({session}) == []


def test_the_suite_is_large_and_its_names_are_unique() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(names) >= 150 and len(names) == len(set(names))
    assert all(GROUPS.values())


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_an_attack_is_held(attack: Attack, worker: Worker, traps: Traps) -> None:
    held = run_attack(worker, attack, traps)
    assert held.problem == ""
    # and the interpreter that ran it is as before
    run = run_one(
        worker, Job(source="print(int(input()) * 7)", stdin=b"6\n"), Limits(wall_seconds=60.0)
    )
    assert (run.status, run.stdout, run.stderr) == ("ok", b"42\n", b"")


CONTROLS = [attack for attack in ATTACKS if attack.control]


@pytest.mark.parametrize("attack", CONTROLS, ids=[attack.name for attack in CONTROLS])
def test_the_same_program_succeeds_in_a_plain_interpreter(attack: Attack) -> None:
    """Else it would be refused for a reason of its own, and prove nothing."""
    with Traps() as open_traps:
        plain = subprocess.run(
            [sys.executable, "-S", "-c", attack.program(open_traps.names())],
            input="7\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "BREACH" in plain.stdout


def test_what_is_not_stopped_is_as_the_documentation_says(worker: Worker, traps: Traps) -> None:
    """Metadata of files can be seen, and facts of the host. If a kernel stops this one day, the page can say so."""
    names = traps.names()
    source = f"""
import os, platform
print(os.path.exists({names["SECRET_FILE"]!r}), os.stat({names["SECRET_FILE"]!r}).st_size, os.readlink({names["FOLDER"]!r} + "/link"))
print(platform.node() != "", os.getppid() > 0, os.cpu_count() > 0, os.getloadavg()[0] >= 0)
"""
    run = run_one(worker, Job(source=source), Limits(wall_seconds=60.0))
    first, second = run.stdout.decode().splitlines() + [""] * (2 - len(run.stdout.splitlines()))
    assert first == f"True {len(traps.secret)} secret.txt"
    assert second == "True True True True", run.stderr
