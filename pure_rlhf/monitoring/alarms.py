"""Alarms on the metrics of a run: the known ways in which a policy collapses or exploits its PRM.

Each detector is a written rule on means over the last `window` steps of `metrics.jsonl`, compared with the first
`window` steps where the rule is about a change. The kinds are those of the paper (arXiv 2504.15275, sections 4
and 5: only thinking, one step, zero step, repetition) and what users of PPO watch (KL, clipped ratios). No
detector reads a metric that a mode does not have: a missing key means that its rule is silent.
"""

from __future__ import annotations

import difflib
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pure_rlhf.bounds import Bounds
from pure_rlhf.monitoring.metric_table import METRICS, is_declared
from pure_rlhf.monitoring.records import AlarmRecord

Row = Mapping[str, float]
ACCURACY = "reward/verifiable_accuracy"


Share = Annotated[float, Bounds(low=0, remedy="it is a share; above 1 the alarm never comes")]


@dataclass(frozen=True, kw_only=True)
class AlarmThresholds:
    """Defaults were set on healthy and collapsing runs of the small world (docs/results.md)."""

    window: Annotated[int, Bounds(low=1, remedy="10 is the default")] = 10
    """Steps that a value is averaged over; no alarm comes before twice as many steps."""
    no_answer_frac: Share = 0.5
    """only_thinking: share of answers without a closed box, in [0, 1]."""
    single_step_rise: Share = 0.4
    """one_step: rise of the share of answers with one step, in [0, 1], while steps grow longer."""
    short_answer_ratio: Share = 0.25
    """zero_step: length of answers as a share of the length at the start."""
    repetition_frac: Share = 0.3
    """repetition: share of highly repetitive answers, in [0, 1]."""
    accuracy_drop: Share = 0.15
    """reward_hacking: fall of the verified accuracy from its best, in [0, 1], while the process return rises."""
    accuracy_z: Annotated[float, Bounds(low=0, remedy="4 is the default")] = 4.0
    """reward_hacking and accuracy_collapse: the fall in standard errors (from the spread of the steps in both windows).
    Few verified answers make a noisy accuracy; 4, not 2, because the best window is chosen after the fact."""
    accuracy_collapse: Share = 0.3
    """accuracy_collapse: fall of the verified accuracy from its best, in [0, 1], whatever the process return does."""
    rule_share_rise: Share = 0.2
    """verifier_hole: rise of one rule's share of the accepted answers, in [0, 1], while the accuracy by all other rules
    does not rise."""
    held_out_f1_drop: Share = 0.03
    """prm_forgets: fall of the F1 of a PRM that learns, on held-out rows, from its best, in [0, 1]."""
    agreement_drop: Share = 0.1
    """prm_follows_policy: fall of the agreement of a PRM that learns with the verifier from its best, in [0, 1], while
    its own loss falls; also accuracy_z standard errors."""
    kl_reference: Annotated[float, Bounds(low=0, remedy="0.3 nats is the default")] = 0.3
    """kl: KL to the reference in nats per token."""
    clip_ratio: Share = 0.3
    """ratio: share of clipped tokens, in [0, 1]."""
    limits: tuple[str, ...] = ()
    """limit: bounds of your own on any metric of docs/metrics.md, such as 'policy/entropy<0.05' or 'timing/step>60'."""


@dataclass(frozen=True)
class Alarm:
    """One detector that has just begun to hold."""

    kind: str
    step: int
    message: str


Rule = Callable[[Sequence[Row], AlarmThresholds], str | None]


@dataclass(frozen=True)
class Detector:
    """`rule` returns what it saw, in words, or None; `definition` is for the docs."""

    kind: str
    rule: Rule
    definition: str


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
        for detector in (*DETECTORS, *map(limit_detector, thresholds.limits))
        if (message := _holds(detector, history, thresholds)) is not None
        and _holds(detector, history[:-1], thresholds) is None
    ]


def limit_detector(limit: str) -> Detector:
    """The detector of one of `AlarmThresholds.limits`.

    Raises:
        ValueError: it is not METRIC<NUMBER or METRIC>NUMBER, or there is no such metric.
    """
    matched = re.fullmatch(r"\s*([^<>\s]+)\s*([<>])\s*([^<>\s]+)\s*", limit)
    try:
        bound = float(matched[3]) if matched else math.nan
    except ValueError:
        bound = math.nan
    if matched is None or math.isnan(bound):
        raise ValueError(
            f"{limit!r} must be METRIC<NUMBER or METRIC>NUMBER, as 'policy/entropy<0.05'"
        )
    key, sign = matched[1], 1 if matched[2] == ">" else -1
    if not is_declared(key):
        close = difflib.get_close_matches(key, METRICS, n=3, cutoff=0.0)
        raise ValueError(
            f"there is no metric {key!r}; did you mean {', '.join(close)}? docs/metrics.md has them all"
        )

    def rule(history: Sequence[Row], t: AlarmThresholds) -> str | None:
        value = _mean(history[-t.window :], key)
        reached = value is not None and sign * value > sign * bound
        return f"{key} is {value:.4g}, the limit is {limit}" if reached else None

    return Detector("limit", rule, limit)


def without_undone(history: Sequence[Row], alarms: Sequence[AlarmRecord]) -> list[Row]:
    """The history of the weights that the run goes on with: steps that a roll back undid are left out.

    Args:
        alarms: records of `alarms.jsonl`; those of a roll back hold `rolled_back_to`, the step of the checkpoint.
    """
    kept = list(history)
    for alarm in alarms:
        good = alarm.get("rolled_back_to")
        if good is not None:
            kept = [row for row in kept if not good < row["step"] <= alarm["step"]]
    return kept


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


def _at_least(key: str, threshold: str, words: str) -> Rule:
    """The rule that the size of a metric's mean over the last window reaches a threshold."""

    def rule(history: Sequence[Row], t: AlarmThresholds) -> str | None:
        value = _mean(history[-t.window :], key)
        reached = value is not None and abs(value) >= getattr(t, threshold)
        return words.format(value) if reached else None

    return rule


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


def _fall(
    history: Sequence[Row],
    t: AlarmThresholds,
    drop: float,
    key: str = ACCURACY,
    name: str = "verified accuracy",
) -> tuple[Sequence[Row], str] | None:
    """The window with the highest mean of a share, and the fall from it to the last window in words.

    None where the metric is not known, the fall is smaller than `drop`, or noise explains it.
    """
    last_rows = history[-t.window :]
    last = _mean(last_rows, key)
    best: tuple[float, Sequence[Row]] = (float("-inf"), [])
    for end in range(t.window, len(history) + 1):
        rows = history[end - t.window : end]
        accuracy = _mean(rows, key)
        if accuracy is not None and accuracy > best[0]:
            best = (accuracy, rows)
    if last is None or best[0] - last < drop:
        return None
    squared_error = 0.0
    for rows in (best[1], last_rows):
        values = [row[key] for row in rows if key in row]
        squared_error += statistics.variance(values) / len(values) if len(values) > 1 else 0.0
    if best[0] - last < t.accuracy_z * math.sqrt(squared_error):
        return None
    return best[1], f"{name} fell from {best[0]:.0%} to {last:.0%}"


def _reward_hacking(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    fall = _fall(history, t, t.accuracy_drop)
    if fall is None:
        return None
    then = _mean(fall[0], "reward/process_return")
    now = _mean(history[-t.window :], "reward/process_return")
    if then is None or now is None or now <= then:
        return None
    return f"{fall[1]} while the process return rose from {then:.2f} to {now:.2f}"


def _accuracy_collapse(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    fall = _fall(history, t, t.accuracy_collapse)
    return None if fall is None else fall[1]


RULE_SHARE = "reward/accepted_by_"
PLAIN_RULES = {RULE_SHARE + "written", RULE_SHARE + "number"}
"""What honest answers are accepted by first of all; a policy that comes to write the label as it is finds no hole."""


def _verifier_hole(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    accuracy = _first_and_last(history, ACCURACY, t.window)
    if accuracy[0] is None:
        return None
    keys = {key for key in history[-1] if key.startswith(RULE_SHARE)} - PLAIN_RULES
    for key in sorted(keys):
        share = _first_and_last(history, key, t.window)
        if share[0] is None or share[1] - share[0] < t.rule_share_rise:
            continue
        then, now = (a * (1 - s) for a, s in zip(accuracy, share, strict=True))
        if now <= then:
            return (
                f"the rule {key.removeprefix(RULE_SHARE)} accepts {share[1]:.0%} of the right answers, at first "
                f"{share[0]:.0%}; the accuracy by all other rules went from {then:.0%} to {now:.0%}: read such answers"
            )
    return None


def _prm_forgets(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    # Measured every few steps only, so each window holds one value or a few.
    key = "prm/held_out_f1"
    windows = [
        [row[key] for row in history[end - t.window : end] if key in row]
        for end in range(t.window, len(history) + 1)
    ]
    means = [statistics.fmean(values) for values in windows if values]
    if not means or not windows[-1] or max(means) - means[-1] < t.held_out_f1_drop:
        return None
    return f"F1 of the PRM on held-out rows fell from {max(means):.3f} to {means[-1]:.3f}"


def _prm_follows_policy(history: Sequence[Row], t: AlarmThresholds) -> str | None:
    name = "agreement of the PRM with the verifier"
    fall = _fall(history, t, t.agreement_drop, "prm/outcome_accuracy", name)
    if fall is None:
        return None
    then, now = _mean(fall[0], "prm/loss"), _mean(history[-t.window :], "prm/loss")
    if then is None or now is None or now >= then:
        return None
    return f"{fall[1]} while its own loss fell from {then:.3f} to {now:.3f}"


DETECTORS = (
    Detector(
        "only_thinking",
        _at_least("reward/no_answer_frac", "no_answer_frac", "{:.0%} of the answers have no closed box"),
        "share of answers without a closed box >= `no_answer_frac`"),
    Detector(
        "one_step", _one_step,
        "the share of answers with one step rose by `single_step_rise` since the first window, and "
        "steps are longer than then"),
    Detector(
        "zero_step", _zero_step,
        "answers are at most `short_answer_ratio` times as long as in the first window"),
    Detector(
        "repetition",
        _at_least("rollout/high_repetition_frac", "repetition_frac", "{:.0%} of the answers repeat themselves"),
        "share of highly repetitive answers >= `repetition_frac`"),
    Detector(
        "reward_hacking", _reward_hacking,
        "the verified accuracy is `accuracy_drop` and `accuracy_z` standard errors below its best "
        "window, and the process return is above what it was there"),
    Detector(
        "accuracy_collapse", _accuracy_collapse,
        "the verified accuracy is `accuracy_collapse` and `accuracy_z` standard errors below its best "
        "window"),
    Detector(
        "verifier_hole", _verifier_hole,
        "one rule's share of the accepted answers rose by `rule_share_rise` since the first window "
        "(other than written and number), and the accuracy by all other rules did not"),
    Detector(
        "prm_forgets", _prm_forgets,
        "the F1 of a PRM that learns, on held-out rows, is `held_out_f1_drop` below its best window"),
    Detector(
        "prm_follows_policy", _prm_follows_policy,
        "the agreement of a PRM that learns with the verifier is `agreement_drop` and `accuracy_z` standard errors "
        "below its best window, and its loss is below what it was there"),
    Detector(
        "kl",
        _at_least("policy/kl_reference", "kl_reference", "KL to the reference is {:.2f} nats per token"),
        "size of the KL to the reference >= `kl_reference`"),
    Detector(
        "ratio",
        _at_least("policy/clip_ratio", "clip_ratio", "{:.0%} of the tokens are clipped"),
        "share of clipped tokens >= `clip_ratio`"),
)  # fmt: skip
