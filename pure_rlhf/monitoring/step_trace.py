"""`--profile`: what every process did in one step, as a trace for https://ui.perfetto.dev (OUTPUT_DIR/trace.json).

Ray keeps when each call of an actor was running, on one clock; the trainer adds whose turn it was. This module makes
one JSON of both, in Chrome's trace event format: a process for each actor, a row for each of its calls that overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DRIVER = "driver"
FIRST_LANES = (DRIVER, "policy", "reference", "prm", "rollout")


@dataclass(frozen=True, kw_only=True)
class Span:
    """Something that a process did; seconds since the epoch."""

    actor: str
    name: str
    start: float
    end: float


def actor_spans(timeline: Sequence[Mapping[str, Any]], *, start: float, end: float) -> list[Span]:
    """The calls of all actors in what `ray.timeline()` gives that ran between two times.

    A call of an actor is in it twice: as `task::NAME:CLASS.METHOD`, from when its arguments were asked for, and as
    `task:execute`, while it ran; the name of an actor is with its constructor only.
    """
    actors: dict[str, str] = {}  # worker -> name
    for event in timeline:
        what = event["cat"].removeprefix("task::")
        if event["cat"].startswith("task::") and what.endswith(".__init__") and ":" in what:
            actors[event["tid"]] = what.split(":")[0]
    of_step = [e for e in timeline if e["ts"] < 1e6 * end and e["ts"] + e["dur"] > 1e6 * start]
    running: dict[str, list[Mapping[str, Any]]] = {}
    for event in of_step:
        if event["cat"] == "task:execute":
            running.setdefault(event["tid"], []).append(event)
    found = []
    for event in of_step:
        if not event["cat"].startswith("task::") or event["tid"] not in actors:
            continue
        ended = event["ts"] + event["dur"] + 1
        inside = (
            run
            for run in running.get(event["tid"], ())
            if event["ts"] <= run["ts"] and run["ts"] + run["dur"] <= ended
        )
        # the last to end: a call that waits for its arguments spans those before it, one of several at once the shorter
        run = max(inside, key=lambda run: run["ts"] + run["dur"], default=event)
        found.append(
            Span(
                actor=actors[event["tid"]],
                name=event["name"].rsplit(".", 1)[-1],
                start=run["ts"] / 1e6,
                end=(run["ts"] + run["dur"]) / 1e6,
            )
        )
    return found


def turn_spans(turns: Sequence[tuple[str, float]], end: float) -> list[Span]:
    """Whose turn it was, from when each was taken to when the next was; `end`: of the step."""
    ends = [start for _, start in turns[1:]] + [end]
    return [
        Span(actor=DRIVER, name=name, start=start, end=stop)
        for (name, start), stop in zip(turns, ends, strict=True)
    ]


def trace_events(spans: Iterable[Span], *, start: float, end: float) -> list[dict[str, Any]]:
    """Chrome's trace events of what falls into a step, in microseconds from its start."""
    inside = [span for span in spans if span.end > start and span.start < end]

    def place(actor: str) -> tuple[int, str]:
        kinds = [kind for kind in FIRST_LANES if actor.startswith(kind)]
        return (FIRST_LANES.index(kinds[0]) if kinds else len(FIRST_LANES), actor)

    events: list[dict[str, Any]] = []
    for number, actor in enumerate(sorted({span.actor for span in inside}, key=place)):
        events.append({"ph": "M", "name": "process_name", "pid": number, "args": {"name": actor}})
        row_ends: list[float] = []
        for span in sorted(
            (s for s in inside if s.actor == actor), key=lambda s: (s.start, -s.end)
        ):
            row = next(
                (r for r, ended in enumerate(row_ends) if ended <= span.start), len(row_ends)
            )
            row_ends[row:] = [span.end, *row_ends[row + 1 :]]
            events.append(
                {
                    "ph": "X",
                    "name": span.name,
                    "pid": number,
                    "tid": row,
                    "ts": round(1e6 * (max(span.start, start) - start), 1),
                    "dur": round(1e6 * (min(span.end, end) - max(span.start, start)), 1),
                }
            )
    return events
