"""How close a run that was stopped and continued comes to one that was not: `python -m tests.benchmarks.repeatability`.

With one engine and one process of each worker on a CPU the two are the same to the last digit (`docs/running.md`).
Here the same is tried where nothing is promised: several ranks, several engines, asynchronous training. Each set-up is
run in the small world without a stop, and again with a SIGTERM after its second step; both with the same seed. Prints,
per set-up, up to which step all responses are the same, how many are in the last step, and how far apart the runs end.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from tests.integration.runs import (
    Run,
    kept_responses,
    largest_change,
    metrics,
    small_world_flags,
    without_machine,
)

RANKS: dict[str, object] = {
    "actor__num_gpus_per_node": 2,
    "ref__num_gpus_per_node": 2,
    "reward__num_gpus_per_node": 2,
    "rollout__micro_batch_size": 4,
    "train__micro_batch_size": 4,
}
SET_UPS: dict[str, dict[str, object]] = {
    "one of each": {},
    "two ranks": RANKS,
    "two engines": {"vllm__num_engines": 2},
    "asynchronous": {"train__async_steps": 1},
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The command line."""

    set_ups: tuple[str, ...] = tuple(SET_UPS)
    """Which of them."""
    steps: int = 5
    """Of each run."""


def make_runs(folder: Path, changes: dict[str, object]) -> tuple[Path, Path]:
    """The run folders of an undisturbed run, and of one that was stopped after its second step."""
    undisturbed, stopped = folder / "undisturbed", folder / "stopped"
    with Run(small_world_flags(undisturbed, folder / "problems", **changes)) as run:
        assert run.wait() == 0, run.text[-4000:]
    flags = small_world_flags(stopped, folder / "problems", **changes)
    with Run(flags) as run:
        run.wait_for(
            lambda: (stopped / "metrics.jsonl").exists() and len(metrics(stopped)) >= 2, "step 2"
        )
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 143, run.text[-4000:]
    with Run([*flags, "--ckpt.load_enable"]) as run:
        assert run.wait() == 0, run.text[-4000:]
    return undisturbed, stopped


def compare(undisturbed: Path, stopped: Path) -> list[str]:
    """The cells of a row of the table."""
    rows = [metrics(folder) for folder in (undisturbed, stopped)]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    same, last_share, same_metrics = 0, 0.0, 0
    for one, other in zip(*rows, strict=True):
        step = int(one["step"])
        texts = [
            [(answer["prompt"], answer["text"]) for answer in kept_responses(folder, step)]
            for folder in (undisturbed, stopped)
        ]
        pairs = list(zip(*texts, strict=True))
        last_share = sum(a == b for a, b in pairs) / len(pairs)
        if last_share == 1 and same == step - 1:
            same = step
        if without_machine(one) == without_machine(other) and same_metrics == step - 1:
            same_metrics = step
    gaps = [
        abs(rows[0][-1][name] - rows[1][-1][name])
        for name in ("reward/verifiable_accuracy", "policy/kl_reference")
    ]
    change = largest_change(undisturbed / "model", stopped / "model")
    return [
        f"{same} of {len(rows[0])}",
        f"{same_metrics} of {len(rows[0])}",
        f"{last_share:.0%}",
        f"{100 * gaps[0]:.1f} points",
        f"{gaps[1]:.2g}",
        f"{change:.2g}",
    ]


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__, use_underscores=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # its run ends with it
    header = [
        "set-up", "steps with the same responses", "with the same metrics", "same responses in the last step",
        "apart in accuracy", "in KL to the reference", "in a weight, at most",
    ]  # fmt: skip
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|", flush=True)
    for name in settings.set_ups:
        changes = SET_UPS[name] | {
            "max_steps": settings.steps,
            "ckpt__save_steps": 1,
            "rollouts_per_step": 16,
        }
        with tempfile.TemporaryDirectory() as folder:
            cells = compare(*make_runs(Path(folder), changes))
        print("| " + " | ".join([name, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
