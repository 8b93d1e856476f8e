"""From Ray's timeline and the driver's turns to the events of one step."""

from __future__ import annotations

from typing import Any

from pure_rlhf.monitoring.step_trace import Span, actor_spans, trace_events, turn_spans


def task(worker: str, category: str, start: float, end: float) -> dict[str, Any]:
    name = category.rsplit(".", 1)[-1] if "::" in category else category
    return {"cat": category, "name": name, "pid": "node", "tid": worker,
            "ts": start * 1e6, "dur": (end - start) * 1e6, "ph": "X", "args": {}}  # fmt: skip


TIMELINE = [
    task("w1", "task::policy-0:PolicyWorker.__init__", 1, 2),
    task("w1", "task:execute", 1, 2),
    task("w1", "task:deserialize_arguments", 10, 10.5),
    task("w1", "task::PolicyWorker.fit", 10, 12),
    task("w1", "task:execute", 10.5, 12),
    # sent while the first was running: it waits for it
    task("w1", "task::PolicyWorker.forward", 11, 14),
    task("w1", "task:execute", 12, 14),
    task("w2", "task::helper", 10, 11),  # no actor
    task("w2", "task:execute", 10, 11),
    # several at once: the first to begin is the last to end
    task("w3", "task::rollout-0:PureRolloutActor.__init__", 1, 2),
    task("w3", "task::PureRolloutActor.generate_answers", 10.0, 13.01),
    task("w3", "task:execute", 10.1, 13.0),
    task("w3", "task::PureRolloutActor.generate_answers", 10.2, 11.01),
    task("w3", "task:execute", 10.3, 11.0),
]


def test_calls_are_those_that_ran() -> None:
    found = actor_spans(TIMELINE, start=5, end=20)
    assert [(s.actor, s.name, s.start, s.end) for s in found] == [
        ("policy-0", "fit", 10.5, 12),
        ("policy-0", "forward", 12, 14),
        ("rollout-0", "generate_answers", 10.1, 13.0),
        ("rollout-0", "generate_answers", 10.3, 11.0),
    ]


def test_a_turn_lasts_until_the_next() -> None:
    found = turn_spans([("generate", 10.0), ("score", 12.0), ("update", 13.0)], end=15.0)
    assert [(s.name, s.start, s.end) for s in found] == [
        ("generate", 10, 12), ("score", 12, 13), ("update", 13, 15)
    ]  # fmt: skip


def test_events_are_cut_to_the_step_and_overlaps_get_rows_of_their_own() -> None:
    spans = [
        Span(actor="rollout-0", name="generate_answers", start=9.0, end=11.0),
        Span(actor="rollout-0", name="generate_answers", start=10.5, end=12.5),
        Span(actor="rollout-0", name="generate_answers", start=11.5, end=13.0),
        Span(actor="policy-0", name="fit", start=13.0, end=17.0),
        Span(actor="driver", name="generate", start=10.0, end=13.0),
        Span(actor="policy-0", name="forward", start=4.0, end=9.0),
    ]
    events = trace_events(spans, start=10.0, end=15.0)
    names = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert list(names.values()) == ["driver", "policy-0", "rollout-0"]
    found = {
        (names[e["pid"]], e["tid"], e["ts"] / 1e6, (e["ts"] + e["dur"]) / 1e6)
        for e in events
        if e["ph"] == "X"
    }
    assert found == {
        ("driver", 0, 0, 3),
        ("policy-0", 0, 3, 5),
        ("rollout-0", 0, 0, 1),
        ("rollout-0", 1, 0.5, 2.5),
        ("rollout-0", 0, 1.5, 3),
    }
