"""How programs are run and graded: the settings, which need nothing of the verifier to be loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pure_rlhf.bounds import Bounds
from pure_rlhf.grading import MAX_TIMEOUT_SECONDS


@dataclass(frozen=True, kw_only=True)
class ProgramSettings:
    """How programs are run and graded (docs/programs.md); read where --data.ability_key names some."""

    score: Literal["all", "share"] = "all"
    """What a program earns that passes some tests and not all. all: nothing. share: the share that it passes, as PRIME;
    a program that prints the commonest output then earns something too."""
    max_tests: Annotated[int | None, Bounds(low=1, remedy="a program needs a test")] = 10
    """Tests of a problem that are run: the first so many. None: all."""
    wall_seconds: Annotated[
        float, Bounds(above=0, high=MAX_TIMEOUT_SECONDS, remedy="use for example 10")
    ] = 10.0
    """Seconds that a test may take, on a busy host too."""
    cpu_seconds: Annotated[int, Bounds(low=1, high=3600, remedy="use for example 5")] = 5
    """Seconds of processor time that a test may take."""
    memory_mb: Annotated[int, Bounds(low=16, high=2**20, remedy="use for example 1024")] = 1024
    """Memory that a program may add to a bare interpreter's."""
    batch_timeout: Annotated[
        float, Bounds(above=0, high=MAX_TIMEOUT_SECONDS, remedy="use for example 300 seconds")
    ] = 300.0
    """Seconds that the programs of a step may take; what has not run then counts as not passed (and is counted)."""
    workers: Annotated[
        int | None, Bounds(low=1, high=256, remedy="one for each core is enough")
    ] = None
    """Programs that run at once. None: one for each core, at most 16."""
    packages: tuple[str, ...] = ()
    """What programs may import besides the standard library, such as numpy."""
    mechanism: Literal["landlock", "bubblewrap"] = "landlock"
    """What keeps a program from files."""
