"""`--profile`: keeps when a step began and ended, and has Ray say what its actors did meanwhile (`step_trace.py`)."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import ray

from pure_rlhf.monitoring.step_trace import actor_spans, trace_events, turn_spans

PROFILED_STEP = 3  # the first two warm up
FLUSH_SECONDS = 3.0  # workers report what they did once a second


class StepProfiler:
    """Writes the trace of one step.

    Args:
        path: of trace.json.
        step: which one, or the last where there are fewer.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.step = step
        self._began = time.time()

    def step_done(self, step: int, turns: Sequence[tuple[str, float]]) -> None:
        """A step has ended now; `turns` were taken in it, with the time of each."""
        began, self._began = self._began, time.time()
        if step != self.step:
            return
        time.sleep(FLUSH_SECONDS)
        ended = self._began
        spans = actor_spans(ray.timeline() or [], start=began, end=ended) + turn_spans(turns, ended)
        events = trace_events(spans, start=began, end=ended)
        self.path.write_text(json.dumps({"traceEvents": events}), encoding="utf-8")
        self._began = time.time()
