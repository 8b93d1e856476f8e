"""The hostile suite: programs that a policy under reinforcement learning may come to write, and worse.

`ATTACKS` has them all, in the order in which they run; `python -m code_sandbox.check` prints how each ended, and
`tests/unit/code_sandbox/test_hostile.py` asserts it.
"""

from code_sandbox.hostile import (
    data_in_process,
    files,
    kernel,
    network,
    processes,
    resources,
    verdicts,
)
from code_sandbox.hostile.attack import Attack

GROUPS: dict[str, tuple[Attack, ...]] = {
    "data in the process": data_in_process.ATTACKS,
    "files and what outlives a process": files.ATTACKS,
    "network": network.ATTACKS,
    "processes": processes.ATTACKS,
    "kernel": kernel.ATTACKS,
    "resources": resources.ATTACKS,
    "verdicts": verdicts.ATTACKS,
}
ATTACKS: tuple[Attack, ...] = tuple(attack for attacks in GROUPS.values() for attack in attacks)
