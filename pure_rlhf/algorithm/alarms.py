"""Alarms on the metrics of a run: the known ways in which a policy collapses or exploits its PRM.

Each detector is a written rule on means over the last `window` steps of `metrics.jsonl`, compared with the first
`window` steps where the rule is about a change. The kinds are those of the paper (arXiv 2504.15275, sections 4
and 5: only thinking, one step, zero step, repetition) and what users of PPO watch (KL, clipped ratios). No
detector reads a metric that a mode does not have: a missing key means that its rule is silent.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Row = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class AlarmThresholds:
    """Defaults were set on healthy and collapsing runs of the small world (README)."""

    window: int = 10
    """Steps that a value is averaged over; no alarm comes before twice as many steps."""
    no_answer_frac: float = 0.5
    """only_thinking: share of answers without a closed box, in [0, 1]."""
    single_step_rise: float = 0.4
    """one_step: rise of the share of answers with one step, in [0, 1], while steps grow longer."""
    short_answer_ratio: float = 0.25
    """zero_step: length of answers as a share of the length at the start."""
    repetition_frac: float = 0.3
    """repetition: share of highly repetitive answers, in [0, 1]."""
    accuracy_drop: float = 0.15
    """reward_hacking: fall of the verified accuracy from its best, in [0, 1], while the process return rises."""
    accuracy_z: float = 4.0
    """reward_hacking and accuracy_collapse: the fall in standard errors (from the spread of the steps in both windows).
    Few verified answers make a noisy accuracy; 4, not 2, because the best window is chosen after the fact."""
    accuracy_collapse: float = 0.3
    """accuracy_collapse: fall of the verified accuracy from its best, in [0, 1], whatever the process return does."""
    kl_reference: float = 0.3
    """kl: KL to the reference in nats per token."""
    clip_ratio: float = 0.3
    """ratio: share of clipped tokens, in [0, 1]."""


@dataclass(frozen=True)
class Alarm:
    """One detector that has just begun to hold."""

    kind: str
    step: int
    message: str


@dataclass(frozen=True)
class Detector:
    """`rule` returns what it saw, in words, or None; `definition` is for the docs."""

    kind: str
    definition: str
    rule: Callable[[Sequence[Row], AlarmThresholds], str | None]


def find_alarms(history: Sequence[Row], thresholds: AlarmThresholds) -> list[Alarm]:
    """The alarms that begin at the last row of the history (they did not hold one row before).

    Args:
        history: rows of `metrics.jsonl` from the first step on; only the keys that a rule needs are read.
    """
    if not history:
        return []
    step = int(history[-1]["step"])
    return [
        Alarm(detector.kind, step, message)
        for detector in DETECTORS
        if (message := _holds(detector, history, thresholds)) is not None
        and _holds(detector, history[:-1], thresholds) is None
    ]


def _holds(detector: Detector, history: Sequence[Row], t: AlarmThresholds) -> str | None:
    return None if len(history) < 2 * t.window else detector.rule(history, t)


def _mean(rows: Sequence[Row], key: str) -> float | None:
    """Mean over the rows that have the key; None where less than half of them have it, or there is none."""
    values = [row[key] for row in rows if key in row]
    return sum(values) / len(values) if values and 2 * len(values) >= len(rows) else None


def _first_and_last(
    history: Sequence[Row], key: str, window: int
) -> tuple[float, float] | tuple[None, None]:
    first, last = _mean(history[:window], key), _mean(history[-window:], key)
    return (None, None) if first is None or last is None else (first, last)


def _only_thinking(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    share = _mean(history[-t.window :], "reward/no_answer_frac")
    if share is None or share < t.no_answer_frac:
        return None
    return f"{share:.0%} of the answers have no closed box"


def _one_step(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    first, last = _first_and_last(history, "pure/single_step_frac", t.window)
    short, long = _first_and_last(history, "pure/tokens_per_step", t.window)
    if first is None or last is None or short is None or long is None:
        return None
    if last - first < t.single_step_rise or long <= short:
        return None
    return f"answers with one step rose from {first:.0%} to {last:.0%}, tokens per step from {short:.0f} to {long:.0f}"


def _zero_step(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    first, last = _first_and_last(history, "rollout/response_length", t.window)
    if first is None or last is None or last > t.short_answer_ratio * first:
        return None
    return f"answers shrank from {first:.0f} to {last:.0f} tokens"


def _repetition(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    share = _mean(history[-t.window :], "rollout/high_repetition_frac")
    if share is None or share < t.repetition_frac:
        return None
    return f"{share:.0%} of the answers repeat themselves"


def _best_window(history: Sequence[Row], window: int) -> Sequence[Row]:
    """The window with the highest verified accuracy; empty where none has one."""
    best: tuple[float, Sequence[Row]] = (float("-inf"), [])
    for end in range(window, len(history) + 1):
        rows = history[end - window : end]
        accuracy = _mean(rows, "reward/verifiable_accuracy")
        if accuracy is not None and accuracy > best[0]:
            best = (accuracy, rows)
    return best[1]


def _fall(history: Sequence[Row], t: AlarmThresholds) -> tuple[float, float] | None:
    """Verified accuracy in its best window and in the last one; None where none is known, or noise explains it."""
    key = "reward/verifiable_accuracy"
    windows = (_best_window(history, t.window), history[-t.window :])
    best, last = (_mean(rows, key) for rows in windows)
    if best is None or last is None:
        return None
    squared_error = 0.0
    for rows in windows:
        values = [row[key] for row in rows if key in row]
        squared_error += statistics.variance(values) / len(values) if len(values) > 1 else 0.0
    return (best, last) if best - last >= t.accuracy_z * math.sqrt(squared_error) else None


def _reward_hacking(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    fall = _fall(history, t)
    then = _mean(_best_window(history, t.window), "reward/process_return")
    now = _mean(history[-t.window :], "reward/process_return")
    if fall is None or then is None or now is None:
        return None
    if fall[0] - fall[1] < t.accuracy_drop or now <= then:
        return None
    return (
        f"verified accuracy fell from {fall[0]:.0%} to {fall[1]:.0%} while the process return rose from "
        f"{then:.2f} to {now:.2f}"
    )


def _accuracy_collapse(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    fall = _fall(history, t)
    if fall is None or fall[0] - fall[1] < t.accuracy_collapse:
        return None
    return f"verified accuracy fell from {fall[0]:.0%} to {fall[1]:.0%}"


def _kl(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    value = _mean(history[-t.window :], "policy/kl_reference")
    if value is None or abs(value) < t.kl_reference:
        return None
    return f"KL to the reference is {value:.2f} nats per token"


def _ratio(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    value = _mean(history[-t.window :], "policy/clip_ratio")
    if value is None or value < t.clip_ratio:
        return None
    return f"{value:.0%} of the tokens are clipped"


_DEFINED: tuple[tuple[str, Callable[[Sequence[Row], AlarmThresholds], str | None], str], ...] = (
    ("only_thinking", _only_thinking, "share of answers without a closed box >= `no_answer_frac`"),
    ("one_step", _one_step,
     "the share of answers with one step rose by `single_step_rise` since the first window, and "
     "steps are longer than then"),
    ("zero_step", _zero_step,
     "answers are at most `short_answer_ratio` times as long as in the first window"),
    ("repetition", _repetition, "share of highly repetitive answers >= `repetition_frac`"),
    ("reward_hacking", _reward_hacking,
     "the verified accuracy is `accuracy_drop` and `accuracy_z` standard errors below its best "
     "window, and the process return is above what it was there"),
    ("accuracy_collapse", _accuracy_collapse,
     "the verified accuracy is `accuracy_collapse` and `accuracy_z` standard errors below its best "
     "window"),
    ("kl", _kl, "size of the KL to the reference >= `kl_reference`"),
    ("ratio", _ratio, "share of clipped tokens >= `clip_ratio`"),
)  # fmt: skip
DETECTORS = tuple(Detector(kind, definition, rule) for kind, rule, definition in _DEFINED)
