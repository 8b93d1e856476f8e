"""Asynchronous training: who writes which batch with which weights, and what happens between two batches."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.cli.train_pure import parse  # noqa: E402
from pure_rlhf.workers.generation_ahead import GenerationAhead  # noqa: E402
from pure_rlhf.workers.samples_generator import PureSamplesGenerator  # noqa: E402


class Inner:
    """Writes batches of one sample, `batch N`, and notes with which weights; a batch may be held up by a test.

    Args:
        steps: rollouts of the run. batches: that the data has.
    """

    def __init__(self, steps: int, batches: int) -> None:
        self.steps_left = steps
        self.batches = batches
        self.events: list[str] = []
        self.metrics: dict[str, float] = {}
        self.unfilled = None
        self.weights = 0
        self.drawn = 0
        self.may_write = threading.Event()
        self.may_write.set()
        self.fails = False

    def generate_samples(self, **kwargs: Any) -> Any:
        if self.steps_left <= 0:
            return [], None, 0, True
        if self.drawn == self.batches:  # an episode ends with a batch that is empty
            self.drawn = 0
            return [], None, 0, True
        self.drawn += 1
        number = self.drawn
        self.events.append(f"begin {number} with {self.weights}")
        self.may_write.wait(10)
        if self.fails:
            raise RuntimeError("an engine died")
        self.steps_left -= 1
        self.metrics = {"curriculum/rounds": float(number)}
        self.events.append(f"end {number}")
        return [f"batch {number}"], None, 1, self.steps_left == 0

    def push(self) -> None:
        self.weights += 1
        self.events.append(f"push {self.weights}")

    def generate(self, prompts: Any, temperature: float) -> Any:
        self.events.append("evaluate")
        return []

    def skip_steps(self, count: int) -> None:
        self.steps_left -= count

    def go_back(self, data_state: dict[str, int], steps_left: int) -> None:
        self.drawn, self.steps_left = data_state["drawn"], steps_left

    def stop(self) -> None:
        self.steps_left = 0

    def data_state(self) -> dict[str, int]:
        return {"drawn": self.drawn}


def make(steps: int, batches: int = 100) -> tuple[GenerationAhead, Inner]:
    inner: Any = Inner(steps, batches)
    return GenerationAhead(inner), inner


def train(ahead: GenerationAhead, inner: Inner, name: str) -> None:
    inner.events.append(f"train {name}")
    ahead.weights_changed()


def test_the_next_batch_is_written_while_this_one_is_trained_on() -> None:
    ahead, inner = make(3)
    inner.may_write.set()
    assert ahead.generate_samples()[0] == ["batch 1"]
    assert ahead.metrics["async/staleness"] == 0
    # batch 2 is under way already, with the weights of before the update
    assert ahead._next is not None
    ahead._next.result(10)
    train(ahead, inner, "batch 1")
    samples, _, _, exhausted = ahead.generate_samples()
    assert samples == ["batch 2"] and not exhausted and ahead.metrics["async/staleness"] == 1
    train(ahead, inner, "batch 2")
    samples, _, _, exhausted = ahead.generate_samples()
    assert samples == ["batch 3"] and exhausted and ahead.metrics["async/staleness"] == 1
    assert ahead._next is None, "nothing is written that nobody trains on"
    assert inner.drawn == 3
    order = inner.events
    assert order.index("begin 2 with 0") < order.index("train batch 1") < order.index("push 1")
    assert order.index("end 2") < order.index("push 1") < order.index("begin 3 with 1")
    assert ahead.metrics["curriculum/rounds"] == 3 and ahead.metrics["timing/generation"] >= 0


def test_a_batch_is_never_written_by_two_versions() -> None:
    ahead, inner = make(3)
    ahead.generate_samples()
    ahead._next.result(10)  # type: ignore[union-attr]
    train(ahead, inner, "batch 1")
    inner.may_write.clear()
    threading.Timer(0.3, inner.may_write.set).start()
    ahead.generate_samples()  # pushes, begins batch 3
    train(ahead, inner, "batch 2")
    ahead.generate_samples()  # waits for batch 3
    events = inner.events
    begin, end = events.index("begin 3 with 1"), events.index("end 3")
    assert not any(event.startswith("push") for event in events[begin:end])


def test_an_evaluation_sees_the_policy_and_keeps_the_batch() -> None:
    ahead, inner = make(3)
    ahead.generate_samples()
    train(ahead, inner, "batch 1")
    ahead.settle()
    assert inner.events[-1] == "push 1" and ahead.generate([], 0.0) == []
    assert ahead.data_state() == {"drawn": 1}, "batch 2 is ready, and not trained on yet"
    assert ahead.generate_samples()[0] == ["batch 2"]
    assert ahead.metrics["async/staleness"] == 1, "written before the update"
    assert inner.events.count("push 1") == 1, "the engines have the weights already"


def test_a_roll_back_drops_what_was_written_and_loses_no_step_and_no_prompt() -> None:
    ahead, inner = make(3)
    ahead.generate_samples()
    train(ahead, inner, "batch 1")
    ahead.discard()
    assert inner.steps_left == 2
    assert ahead.generate_samples()[0] == ["batch 2"]
    assert ahead.metrics["async/staleness"] == 0
    begun = [event for event in inner.events if event.startswith("begin 2")]
    assert begun == ["begin 2 with 0", "begin 2 with 1"], "written again, by the other policy"
    assert ahead.generate_samples()[:1] + ahead.generate_samples()[:1] == (["batch 3"], [])


def test_a_roll_back_at_the_end_of_the_data_adds_no_step() -> None:
    """What was written ahead is then the empty batch that ends the episode: it still does."""
    ahead, inner = make(9, batches=2)
    ahead.generate_samples()
    ahead.generate_samples()
    train(ahead, inner, "batch 2")
    ahead.discard()
    assert inner.steps_left == 7
    assert ahead.generate_samples() == ([], None, 0, True)
    assert ahead.generate_samples()[0] == ["batch 1"], "of the next episode"


def test_the_data_is_where_a_resumed_run_must_begin() -> None:
    ahead, inner = make(4)
    assert ahead.data_state() == {"drawn": 0}
    ahead.generate_samples()
    ahead._next.result(10)  # type: ignore[union-attr]
    assert inner.drawn == 2 and ahead.data_state() == {"drawn": 1}, "batch 2 is not trained on yet"
    ahead.skip_steps(1)
    assert inner.steps_left == 1


def test_a_stop_ends_the_run_after_this_batch() -> None:
    ahead, inner = make(5)
    ahead.generate_samples()
    ahead.stop()
    inner.steps_left = 3  # as the batch that ends meanwhile may leave it
    assert ahead.generate_samples() == ahead.generate_samples() == ([], None, 0, True)
    assert ahead._next is None and inner.drawn == 2, "the one that was being written is the last"


def test_a_dead_engine_is_not_swallowed() -> None:
    ahead, inner = make(5)
    ahead.generate_samples()
    ahead._next.result(10)  # type: ignore[union-attr]
    inner.fails = True
    ahead.generate_samples()
    with pytest.raises(RuntimeError, match="an engine died"):
        ahead.generate_samples()


def test_what_a_generator_in_step_answers_to_the_same_questions() -> None:
    inner: Any = object.__new__(PureSamplesGenerator)
    pushed = []
    inner.push, inner.steps_left = lambda: pushed.append(1), 5
    inner.weights_changed()
    inner.settle()
    inner.discard()
    assert len(pushed) == 2, "after an update, and after a roll back"
    inner.skip_steps(2)
    assert inner.steps_left == 3
    inner.stop()
    assert inner.steps_left == 0


def test_old_responses_are_corrected_for_unless_it_is_said_otherwise() -> None:
    config, problems = parse(["--train.async_steps", "1"])
    assert not problems and config.algo.advantage.is_correction_level == "token"
    assert parse([])[0].algo.advantage.is_correction_level == "off"
    said = ["--train.async_steps", "1", "--algo.advantage.is_correction_level", "off"]
    assert parse(said)[0].algo.advantage.is_correction_level == "off"
