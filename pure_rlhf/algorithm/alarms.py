"""Alarms on the metrics of a run: the known ways in which a policy collapses or exploits its PRM.

Each detector is a written rule on means over the last `window` steps of `metrics.jsonl`, compared with the first
`window` steps where the rule is about a change. The kinds are those of the paper (arXiv 2504.15275, sections 4
and 5: only thinking, one step, zero step, repetition) and what users of PPO watch (KL, clipped ratios). No
detector reads a metric that a mode does not have: a missing key means that its rule is silent.
"""

from __future__ import annotations

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
    kl_reference: float = 0.5
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
    """Mean over the rows that have the key; None where less than half of them have it."""
    values = [row[key] for row in rows if key in row]
    return sum(values) / len(values) if 2 * len(values) >= max(len(rows), 1) else None


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


def _reward_hacking(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    now = history[-t.window :]
    accuracy, earned = (
        _mean(now, "reward/verifiable_accuracy"),
        _mean(now, "reward/process_return"),
    )
    if accuracy is None or earned is None:
        return None
    best: tuple[float, float] | None = None  # accuracy and return of the best window so far
    for end in range(t.window, len(history) + 1):
        rows = history[end - t.window : end]
        then = _mean(rows, "reward/verifiable_accuracy"), _mean(rows, "reward/process_return")
        if then[0] is not None and then[1] is not None and (best is None or then[0] > best[0]):
            best = (then[0], then[1])
    if best is None or best[0] - accuracy < t.accuracy_drop or earned <= best[1]:
        return None
    return (
        f"verified accuracy fell from {best[0]:.0%} to {accuracy:.0%} while the process return rose from "
        f"{best[1]:.2f} to {earned:.2f}"
    )


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
     "the verified accuracy is `accuracy_drop` below its best window, and the process return is "
     "above what it was there"),
    ("kl", _kl, "size of the KL to the reference >= `kl_reference`"),
    ("ratio", _ratio, "share of clipped tokens >= `clip_ratio`"),
)  # fmt: skip
DETECTORS = tuple(Detector(kind, definition, rule) for kind, rule, definition in _DEFINED)
