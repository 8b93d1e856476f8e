"""What is asked of the runs of `compare.py`, and the answers, counted from them, in words.

`QUESTIONS` has one entry for each of the `compare_*.sh` in `examples/scripts/`.
"""

# ruff: noqa: E501 (page text)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from examples.small_world.claim import difference, holm
from examples.small_world.compare import PageName, steps_to_reach
from examples.small_world.histories import RunHistory

Histories = dict[str, list[RunHistory]]
Summaries = Sequence[dict[str, Any]]

SIGNIFICANT = 0.05
RIGHT_POINTS, FORGOTTEN = 0.05, 0.03
"""Of a success of a PRM that learns: solutions right at the end within so much of their best, held-out F1 not so far down."""


@dataclass(frozen=True)
class Question:
    """The title of a page, and what its runs say."""

    title: str
    outcome: Callable[[Histories, Summaries], list[str]]


def _said(names: Sequence[str], summaries: Summaries, key: str) -> str:
    parts = []
    for name in names:
        rows = [row for row in summaries if row["setting"] == name]
        hits = [row[key] for row in rows if row[key] is not None]
        at = f" (at step {', '.join(map(str, sorted(hits)))})" if hits else ""
        parts.append(f"{name} {len(hits)} of {len(rows)}{at}")
    return "; ".join(parts) + "."


def rewards_outcome(by_setting: Histories, summaries: Summaries) -> list[str]:
    """Which settings can be told apart, by greedy accuracy and by sampled answers; when each reaches VR's accuracy."""
    measures = (
        ("greedy_after", "Greedy accuracy on held-out problems at the end"),
        ("solutions_right_last", "Sampled answers right in every step, last steps"),
    )
    found = []
    for key, what in measures:
        ends = {
            name: [row[key] for row in summaries if row["setting"] == name] for name in by_setting
        }
        found += [
            (what, first, second, *difference(ends[second], ends[first]))
            for first, second in combinations(ends, 2)
            if min(len(ends[first]), len(ends[second])) >= 2
        ]
    corrected = holm([p for *_, p in found], len(found))
    lines = []
    for _, what in measures:
        parts = [
            f"{second} and {first}: {said}, p {p:.2g}, corrected {held:.2g}, {'told apart' if held <= SIGNIFICANT else 'not told apart'}"
            for (asked, first, second, said, p), held in zip(found, corrected, strict=True)
            if asked == what
        ]
        lines.append(f"<b>{what}</b>: {'; '.join(parts) or 'too few runs'}.")
    lines += _steps_to_vr(by_setting)
    lines.append(
        f"<b>Runs that collapsed</b>: {_said(list(by_setting), summaries, 'collapse_step')}"
    )
    return lines


def _steps_to_vr(by_setting: Histories) -> list[str]:
    """When each setting reaches 95 % of what VR has at the end; nothing where there is no VR."""
    if "VR" not in by_setting:
        return []
    target = 0.95 * fmean([run.smoothed("accuracy")[-1] for run in by_setting["VR"]])
    reached = {name: steps_to_reach(runs, target) for name, runs in by_setting.items()}
    shown = [f"{name} {'not reached' if step is None else step}" for name, step in reached.items()]
    return [
        f"<b>First step whose sampled accuracy (mean over seeds) reaches 95 % of VR's last</b> ({target:.1%}): {', '.join(shown)}."
    ]


def online_outcome(by_setting: Histories, summaries: Summaries) -> list[str]:
    """Which settings did not collapse, which are a success by the definition of docs/online_pure.md, and the control."""
    lines = [
        f"<b>Runs that collapsed</b>: {_said(list(by_setting), summaries, 'collapse_step')}",
        f"<b>Runs that exploited the PRM</b>: {_said(list(by_setting), summaries, 'exploitation_step')}",
    ]
    kept, words = [], []
    for name in by_setting:
        rows = [row for row in summaries if row["setting"] == name]
        held_out = [
            row["held_out_f1_last"] - row["held_out_f1_first"]
            for row in rows
            if "held_out_f1_last" in row
        ]
        failures = []
        if any(row["collapse_step"] is not None for row in rows):
            failures.append("collapses")
        if any(
            row["solutions_right_best"] - row["solutions_right_last"] > RIGHT_POINTS for row in rows
        ):
            failures.append(f"loses more than {100 * RIGHT_POINTS:.0f} points of right solutions")
        if held_out and min(held_out) < -FORGOTTEN:
            failures.append(f"forgets more than {FORGOTTEN} of its held-out F1")
        if failures:
            words.append(f"{name}: {', '.join(failures)}")
        else:
            kept.append(name)
    lines.append(
        f"<b>Success as defined before the first run</b> (no seed collapses, solutions right at the end within {100 * RIGHT_POINTS:.0f} points of "
        f"their best, held-out F1 not more than {FORGOTTEN} down): {', '.join(kept) or 'no setting'}. {'; '.join(words)}."
    )
    last = {
        name: fmean([row["solutions_right_last"] for row in summaries if row["setting"] == name])
        for name in by_setting
    }
    lines.append(
        "<b>Share of solutions right in every step, last steps</b>: "
        + ", ".join(f"{name} {value:.1%}" for name, value in last.items())
        + f". Highest: {max(last, key=lambda name: last[name])}."
    )
    return lines


def prime_outcome(by_setting: Histories, summaries: Summaries) -> list[str]:
    """Accuracy at the end and the way there, against VR; whether the implicit PRM learns to rank answers."""
    lines = []
    for key, what in (
        ("greedy_after", "Greedy accuracy on held-out problems at the end"),
        ("solutions_right_last", "Solutions right in every step, last steps"),
    ):
        shown = []
        for name in by_setting:
            values = [row[key] for row in summaries if row["setting"] == name]
            spread = f" ({min(values):.1%} to {max(values):.1%})" if len(values) > 1 else ""
            shown.append(f"{name} {fmean(values):.1%}{spread}")
        lines.append(f"<b>{what}</b>: {'; '.join(shown)}.")
    lines += _steps_to_vr(by_setting)
    pairs = []
    for name in by_setting:
        rows = [row for row in summaries if row["setting"] == name and "pair_accuracy_last" in row]
        if rows:
            first, last = (
                fmean([row[f"pair_accuracy_{end}"] for row in rows]) for end in ("first", "last")
            )
            pairs.append(f"{name} {first:.1%} → {last:.1%}")
    if pairs:
        lines.append(
            f"<b>Pairs of answers that the PRM ranks as the verifier does</b> (half is chance), first to last steps: {', '.join(pairs)}."
        )
    lines.append(
        f"<b>Runs that collapsed</b>: {_said(list(by_setting), summaries, 'collapse_step')}"
    )
    return lines


def async_outcome(by_setting: Histories, summaries: Summaries) -> list[str]:
    """Whether the ends of the settings lie within each other's seeds, and the time that each took."""
    lines = []
    for key, what in (
        ("greedy_after", "Greedy accuracy on held-out problems at the end"),
        ("accuracy_last", "Sampled answers with a right final answer, last steps"),
        ("solutions_right_last", "Solutions right in every step, last steps"),
    ):
        spans = {
            name: sorted(row[key] for row in summaries if row["setting"] == name)
            for name in by_setting
        }
        shown = [
            f"{name} {fmean(values):.1%} ({values[0]:.1%} to {values[-1]:.1%})"
            for name, values in spans.items()
        ]
        overlap = max(values[0] for values in spans.values()) <= min(
            values[-1] for values in spans.values()
        )
        verdict = "the seeds overlap" if overlap else "the seeds do not overlap"
        lines.append(f"<b>{what}</b>: {'; '.join(shown)}: {verdict}.")
    seconds = {
        name: fmean([run.wall_clock()[-1] for run in runs]) for name, runs in by_setting.items()
    }
    first = next(iter(seconds.values()))
    shown = [f"{name} {value:.0f} s ({value / first:.2f})" for name, value in seconds.items()]
    lines.append(
        f"<b>Seconds of training, evaluations left out</b> (in brackets: of the first setting's): {', '.join(shown)}."
    )
    return lines


QUESTIONS: dict[PageName, Question] = {
    "rewards": Question("Reward modes compared", rewards_outcome),
    "online_prm": Question("A PRM that learns, against reward hacking", online_outcome),
    "async": Question("Training one step behind", async_outcome),
    "prime": Question("PRIME, outcomes alone, and PURE", prime_outcome),
}
