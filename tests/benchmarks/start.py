"""What a worker saves at its start by loading only what it needs: `python -m tests.benchmarks.start [N]`.

Loads what a policy worker needs N times (default 3) as it is, and N times with vLLM and DeepSpeed loaded first as
OpenRLHF does, in turn. Prints the medians of CPU time and of the largest memory, and their ratios.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

FORMS = {"lean": "", "as upstream": "import vllm, deepspeed, transformers.trainer"}
PROGRAM = """
import resource
from pure_rlhf import cpu_host
cpu_host.install()
{first}
import pure_rlhf.workers.policy_worker
from pure_rlhf.workers.lean_imports import load_deepspeed
load_deepspeed()
usage = resource.getrusage(resource.RUSAGE_SELF)
print("measured", usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""


def measure(first: str) -> tuple[float, float]:
    """CPU seconds and MiB of one start."""
    program = PROGRAM.format(first=first)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("measured "))
    _, seconds, memory = line.split()
    return float(seconds), float(memory)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in FORMS}
    for _ in range(repeats):
        for name, first in FORMS.items():
            found[name].append(measure(first))
    medians = {
        name: [statistics.median(values) for values in zip(*rows, strict=True)]
        for name, rows in found.items()
    }
    for name, (seconds, memory) in medians.items():
        print(f"{name:14s} {seconds:6.1f} s of CPU time   {memory:6.0f} MiB")
    ratios = [a / b for a, b in zip(*medians.values(), strict=True)]
    print(f"ratio          {ratios[0]:6.2f}                 {ratios[1]:6.2f}")


if __name__ == "__main__":
    main()
