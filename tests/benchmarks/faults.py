"""Each kind of process of a run is killed in each phase of a step: `python -m tests.benchmarks.faults`.

One run in the small world on the CPU host, with all that has state (a PRM that learns, a curriculum, an adaptive KL
penalty, evaluations, a best checkpoint), is hit again and again, each time after it has made a step. It restarts by
itself (--train.max_restarts), replaces its engine, or is started again where the driver was killed. In the
end its metrics, responses, evaluations and weights must be those of a run that nothing happened to, to the last digit.
Prints a table: for every fault the seconds until the next step was made, and the steps that had to be made again.
A fault that the run does not survive is named, and the run is started again for the next one.
"""

from __future__ import annotations

import json
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import tyro

from pure_rlhf.checkpoints import checkpoint_tag
from tests.integration.runs import Run, assert_same_run, metrics, small_world_flags

Victim = Literal[
    "policy",
    "reference",
    "PRM",
    "engine's actor",
    "engine",
    "trainer",
    "driver",
    "Ray's node",
    "Ray's control store",
]
Phase = Literal[
    "generation", "scoring", "the update", "the weight sync", "the evaluation", "the checkpoint"
]
VICTIMS: tuple[Victim, ...] = (
    "policy", "reference", "PRM", "engine's actor", "engine", "trainer", "driver", "Ray's node", "Ray's control store"
)  # fmt: skip
PHASES: tuple[Phase, ...] = (
    "generation", "scoring", "the update", "the weight sync", "the evaluation", "the checkpoint"
)  # fmt: skip
TITLES = {
    "policy": "ray::PolicyWorker",
    "reference": "ray::ReferenceWorker",
    "PRM": "ray::LearningPrmWorker",
    "engine's actor": "ray::PureRolloutActor",
    "engine": "VLLM::EngineCore",
    "trainer": "ray::PureTrainer",
    "Ray's node": "raylet",
    "Ray's control store": "gcs_server",
}
HANGS_AFTER_SECONDS = 300
NOT_SURVIVED = "not survived"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The command line."""

    victims: tuple[Victim, ...] = VICTIMS
    """What is killed, by SIGKILL."""
    phases: tuple[Phase, ...] = PHASES
    """When."""


@dataclass(frozen=True)
class Outcome:
    """What a fault cost."""

    victim: Victim
    phase: Phase
    seconds: float  # until the next step was made
    steps_lost: int
    way: str  # replaced, restarted, started again; not survived

    @property
    def survived(self) -> bool:
        return self.way != NOT_SURVIVED


class Campaign:
    """The run that is hit, over all its programs."""

    def __init__(self, folder: Path, flags: list[str]) -> None:
        self.folder = folder
        self.flags = flags
        self.run = Run(flags)
        self.read = 0  # characters of the output that were looked at

    def progress(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"phase": "", "activity": "", "step": 0}

    def step(self) -> int:
        rows = metrics(self.folder) if (self.folder / "metrics.jsonl").exists() else []
        return int(rows[-1]["step"]) if rows else 0

    def watch(self, what: str, pause: float = 0.2) -> Iterator[None]:
        """Until the caller has seen what it waits for."""
        deadline = time.monotonic() + HANGS_AFTER_SECONDS
        while time.monotonic() < deadline:
            code = self.run.process.poll()
            assert code is None, (
                f"the run ended with {code} before {what}:\n{self.run.text[-4000:]}"
            )
            yield
            time.sleep(pause)
        raise AssertionError(f"it hangs: no {what}\n{self.run.text[-4000:]}")

    def hit(self, victim: Victim, phase: Phase) -> Outcome:
        before = self.step()
        for _ in self.watch("a step between two faults"):
            if self.step() > before and self.progress()["phase"] == "training":
                break
        target = self.run.process if victim == "driver" else self._process(TITLES[victim])
        for _ in self.watch(phase, pause=0.005):
            if self.progress()["activity"] == phase:
                break
        target.kill()
        start = time.monotonic()
        try:
            way, made, back_to = self._start_again() if victim == "driver" else self._recover()
            for _ in self.watch(f"step {made + 1} after {victim} was killed in {phase}"):
                if self.step() > made:
                    break
        except AssertionError as error:
            print(f"{victim} in {phase}: {error}", flush=True)
            self.run.process.kill()
            _, made, back_to = self._start_again(error)
            way = NOT_SURVIVED
        return Outcome(victim, phase, time.monotonic() - start, made - back_to, way)

    def _start_again(self, error: Exception | None = None) -> tuple[str, int, int]:
        """As `_recover`, for a run whose driver is dead. Nothing of it may be left, unless it failed (`error`)."""
        self.run.wait()
        self.run.__exit__(type(error) if error else None, error, None)
        tag = checkpoint_tag(str(self.folder / "checkpoints"))
        assert tag is not None
        made = self.step()
        self.run, self.read = Run([*self.flags, "--ckpt.load_enable"]), 0
        return "started again", made, int(tag.rpartition("step")[2])

    def _recover(self) -> tuple[str, int, int]:
        """How the run does it by itself, the last step that it had made, and the one that it goes back to."""
        made = 0  # more than before the kill, where the dead one was not needed at once
        for _ in self.watch("a restart or a replacement"):
            text = self.run.text[self.read :]
            restart = re.search(r"Restart \d+ of .*from checkpoint \w*global_step(\d+)", text)
            replacement = re.search(r"another engine takes its place", text)
            found = restart or replacement
            made = max(made, self.step())
            if found:
                self.read += found.end()
                return ("restarted", made, int(restart[1])) if restart else ("replaced", made, made)
        raise AssertionError

    def _process(self, title: str) -> psutil.Process:
        for _ in self.watch(f"a process {title}"):
            if found := self.run.processes(title):
                return found[0]
        raise AssertionError


def print_table(outcomes: list[Outcome], settings: Settings) -> None:
    found = {(outcome.victim, outcome.phase): outcome for outcome in outcomes}
    print("\nseconds until the next step was made (steps made again)\n")
    print("| killed | " + " | ".join(settings.phases) + " | how it went on |")
    print("|---" * (len(settings.phases) + 2) + "|")
    for victim in settings.victims:
        cells = [
            (f"{one.seconds:.0f} ({one.steps_lost})" if one.survived else one.way)
            if (one := found.get((victim, phase)))
            else ""
            for phase in settings.phases
        ]
        ways = sorted({one.way for one in outcomes if one.victim == victim and one.survived})
        print(f"| {victim} | " + " | ".join(cells) + f" | {', '.join(ways)} |")
    survived = [outcome for outcome in outcomes if outcome.survived]
    if not survived:
        return
    seconds = [outcome.seconds for outcome in survived]
    print(
        f"\n{len(outcomes)} faults injected, {len(survived)} survived; seconds to the next step: median "
        f"{statistics.median(seconds):.0f}, most {max(seconds):.0f}; steps made again: "
        f"{sum(outcome.steps_lost for outcome in survived)}, at most {max(o.steps_lost for o in survived)} a fault"
    )


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__, use_underscores=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # its run ends with it
    faults: list[tuple[Victim, Phase]] = [
        (victim, phase) for phase in settings.phases for victim in settings.victims
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes = {
            # two steps a fault, since every second one has an evaluation; more go by while the next is waited for
            "max_steps": 3 * len(faults) + 8,
            "ckpt__save_steps": 1,
            "train__max_restarts": len(faults),
            "vllm__max_replacements": len(faults),
        }
        flags = {
            run: small_world_flags(folder / run, folder / "problems", **changes)
            for run in ("undisturbed", "hit")
        }
        campaign = Campaign(folder / "hit", flags["hit"])
        outcomes: list[Outcome] = []
        try:
            for victim, phase in faults:
                outcome = campaign.hit(victim, phase)
                outcomes.append(outcome)
                print(
                    f"{victim} in {phase}: {outcome.way}, {outcome.seconds:.0f} s, "
                    f"{outcome.steps_lost} steps made again",
                    flush=True,
                )
            assert campaign.run.wait() == 0, campaign.run.text[-4000:]
        finally:
            campaign.run.__exit__(*sys.exc_info())
            print_table(outcomes, settings)
        with Run(flags["undisturbed"]) as run:
            assert run.wait() == 0, run.text[-4000:]
        assert_same_run(folder / "hit", folder / "undisturbed")
    print("steps, metrics, responses, evaluations and weights are those of an undisturbed run")


if __name__ == "__main__":
    main()
