"""One request per prompt for all its answers, token ids only; what becomes of an answer."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.config import PureConfig  # noqa: E402
from pure_rlhf.data import PromptRecord  # noqa: E402
from pure_rlhf.upstream import upstream_args  # noqa: E402
from pure_rlhf.workers.rollout_actor import Completion  # noqa: E402
from pure_rlhf.workers.samples_generator import PureSamplesGenerator  # noqa: E402


class RecordingEngine:
    """Stands where an engine's actor handle does and keeps what it is sent."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple, dict[str, Any]]] = []
        self.generate_answers = SimpleNamespace(remote=self._remote)

    def _remote(self, *args: Any, **kwargs: Any) -> str:
        self.calls.append((args, kwargs))
        return f"reference {len(self.calls)}"


@pytest.fixture
def engines() -> list[RecordingEngine]:
    return [RecordingEngine(), RecordingEngine()]


@pytest.fixture
def generator(engines: list[RecordingEngine]) -> PureSamplesGenerator:
    strategy = SimpleNamespace(args=upstream_args(PureConfig()))
    return PureSamplesGenerator(strategy, None, None, None, engines, max_steps=2)


def prompts(count: int) -> list[PromptRecord]:
    return [
        PromptRecord(n, f"q{n}", f"<q{n}>", [7, 8, n], str(n) if n else None) for n in range(count)
    ]


def test_one_small_request_per_prompt(
    generator: PureSamplesGenerator, engines: list[RecordingEngine]
) -> None:
    generator._dispatch_prompts_to_vllm(prompts(6), [])
    calls = [call for engine in engines for call in engine.calls]
    assert len(calls) == 6
    assert [len(engine.calls) for engine in engines] == [3, 3]  # the load is shared
    for args, kwargs in calls:
        assert kwargs["num_answers"] == 4 and kwargs["temperature"] == 0.5
        assert (
            len(pickle.dumps((args, kwargs))) < 1000
        )  # a tokenizer would be a thousand times that


def test_log_probabilities_at_one_leave_sampling_as_it_is(engines: list[RecordingEngine]) -> None:
    strategy = SimpleNamespace(args=upstream_args(PureConfig(log_prob_temperature="one")))
    generator = PureSamplesGenerator(strategy, None, None, None, engines, max_steps=2)
    generator._dispatch_prompts_to_vllm(prompts(1), [])
    (call,) = (call for engine in engines for call in engine.calls)
    assert call[1]["temperature"] == 0.5
    assert strategy.args.rollout.temperature == 1.0  # what policy and reference divide by


def test_an_answer_keeps_its_tokens_and_its_truncation(generator: PureSamplesGenerator) -> None:
    generator._dispatch_prompts_to_vllm(prompts(2), [])
    experience = generator._process_response_into_experience(
        Completion(prompt_index=1, token_ids=[4, 5], log_probs=[-0.5, -1.5], truncated=True)
    )
    assert experience.sequences.tolist() == [[7, 8, 1, 4, 5]]  # no EOS is invented
    assert experience.action_mask.tolist() == [[0, 0, 1, 1]]
    assert experience.rollout_log_probs.tolist() == [[0, 0, -0.5, -1.5]]
    assert experience.truncated.tolist() == [True]
    assert experience.labels == ["1"] and experience.prompts == ["<q1>"]
    assert experience.response_length.tolist() == [2] and experience.total_length.tolist() == [5]


def test_a_long_prompt_leaves_less_room_for_the_answer(
    generator: PureSamplesGenerator, engines: list[RecordingEngine]
) -> None:
    generator.args.data.max_len = 10
    generator._dispatch_prompts_to_vllm(prompts(1), [])
    assert engines[0].calls[0][1]["max_new_tokens"] == 7
