"""One request per prompt for all its answers, token ids only; what becomes of an answer."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.algorithm.curriculum import CurriculumSettings  # noqa: E402
from pure_rlhf.config import PureConfig, RolloutConfig  # noqa: E402
from pure_rlhf.data import PromptRecord  # noqa: E402
from pure_rlhf.grading.pool import VerifierPool  # noqa: E402
from pure_rlhf.types import Completion  # noqa: E402
from pure_rlhf.workers.gpu_turns import OwnGpus  # noqa: E402
from pure_rlhf.workers.samples_generator import (  # noqa: E402
    PureSamplesGenerator,
    collate_prompts,
)
from pure_rlhf.workers.upstream import upstream_args  # noqa: E402


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


def make_generator(
    engines: list[RecordingEngine], config: PureConfig, seed: int | None = None
) -> PureSamplesGenerator:
    strategy = SimpleNamespace(args=upstream_args(config))
    return PureSamplesGenerator(
        strategy,
        None,
        None,
        None,
        engines,
        max_steps=2,
        verifier=None,
        gpus=OwnGpus(),
        push=lambda: None,
        revive=lambda: None,
        seed=seed,
    )


@pytest.fixture
def generator(engines: list[RecordingEngine]) -> PureSamplesGenerator:
    return make_generator(engines, PureConfig())


def prompts(count: int) -> list[PromptRecord]:
    return [
        PromptRecord(n, f"q{n}", f"<q{n}>", [7, 8, n], str(n) if n else None) for n in range(count)
    ]


def test_one_small_request_per_prompt(
    generator: PureSamplesGenerator, engines: list[RecordingEngine]
) -> None:
    generator._ask(prompts(6))
    calls = [call for engine in engines for call in engine.calls]
    assert len(calls) == 6
    assert [len(engine.calls) for engine in engines] == [3, 3]  # the load is shared
    for args, kwargs in calls:
        assert kwargs["num_answers"] == 4 and kwargs["temperature"] == 0.5
        assert (
            len(pickle.dumps((args, kwargs))) < 1000
        )  # a tokenizer would be a thousand times that


def test_what_is_begun_together_follows_from_seed_and_step(
    engines: list[RecordingEngine], generator: PureSamplesGenerator
) -> None:
    def sent(generator: PureSamplesGenerator, *, first_of_a_rollout: bool = False) -> list[Any]:
        generator._num_sendings = 0 if first_of_a_rollout else generator._num_sendings
        for engine in engines:
            engine.calls.clear()
        generator._ask(prompts(5))
        return [[kwargs["together"] for _, kwargs in engine.calls] for engine in engines]

    assert sent(generator) == [[None] * 3, [None] * 2]
    seeded = make_generator(engines, PureConfig(), seed=42)
    first, other_engine = sent(seeded)
    assert [(one.place, one.count) for one in first] == [(0, 3), (1, 3), (2, 3)]
    assert [(one.place, one.count) for one in other_engine] == [(0, 2), (1, 2)]
    seeds = {one.seed for one in (*first, *other_engine)}
    assert len(seeds) == 2, "one an engine"
    second_round, _ = sent(seeded)
    assert second_round[0].seed not in seeds, "a curriculum's second round draws anew"
    # a run that is resumed after one step has the seeds of the second
    seeded.skip_steps(1)
    second_step, _ = sent(seeded, first_of_a_rollout=True)
    resumed = make_generator(engines, PureConfig(), seed=42)
    resumed.skip_steps(1)
    assert sent(resumed)[0] == second_step != first
    assert sent(make_generator(engines, PureConfig(), seed=43))[0] != first


def test_log_probabilities_at_one_leave_sampling_as_it_is(engines: list[RecordingEngine]) -> None:
    generator = make_generator(engines, PureConfig(log_prob_temperature="one"))
    generator._ask(prompts(1))
    (call,) = (call for engine in engines for call in engine.calls)
    assert call[1]["temperature"] == 0.5
    assert generator.args.rollout.temperature == 1.0  # what policy and reference divide by


def test_an_answer_keeps_its_tokens_and_its_truncation(generator: PureSamplesGenerator) -> None:
    generator._ask(prompts(2))
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
    generator._ask(prompts(1))
    assert engines[0].calls[0][1]["max_new_tokens"] == 7


class ScriptedEngine:
    """Answers prompt n with the final answers that the script holds for it: "n" is right, "n..." was cut off."""

    def __init__(self, script: dict[int, list[str]]) -> None:
        self.script, self.asked = script, []
        self.generate_answers = SimpleNamespace(remote=self._remote)

    def _remote(self, index: int, token_ids: list[int], **kwargs: Any) -> Any:
        self.asked.append(index)
        answers = [
            Completion(
                index,
                [int(answer.rstrip("."))],
                log_probs=[-1.0],
                truncated=answer.endswith("..."),
            )
            for answer in self.script[index]
        ]
        return lambda: answers


class Ray:
    """What an engine answers is there at once, and the last that was asked is ready first."""

    @staticmethod
    def get(reference: Any) -> Any:
        return reference()

    @staticmethod
    def wait(references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return [references[-1]], references[:-1]


class DigitTokenizer:
    """Token n is the boxed answer n."""

    def batch_decode(self, rows: list[Any], skip_special_tokens: bool) -> list[str]:
        return [f"\\boxed{{{int(row[0])}}}" for row in rows]


def curriculum_generator(
    script: dict[int, list[str]], monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> tuple[PureSamplesGenerator, ScriptedEngine]:
    config = PureConfig(
        curriculum=CurriculumSettings(**({"method": "remove_extreme"} | settings)),
        rollout=RolloutConfig(batch_size=2, n_samples_per_prompt=2),
    )
    engine = ScriptedEngine(script)
    loader = [collate_prompts([prompt]) for prompt in prompts(len(script))]
    generator = PureSamplesGenerator(
        SimpleNamespace(args=upstream_args(config)),
        loader,
        None,
        DigitTokenizer(),
        [engine],
        max_steps=2,
        verifier=VerifierPool(1),
        gpus=OwnGpus(),
        push=lambda: None,
        revive=lambda: None,
    )
    monkeypatch.setattr("pure_rlhf.workers.rollout_engines.ray", Ray)
    return generator, engine


def test_a_curriculum_refills_what_it_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    # prompt 0 has no known answer and is kept; 1 is too easy, 2 too hard, 3 is the one to learn from
    script = {0: ["5", "5"], 1: ["1", "1"], 2: ["9", "9"], 3: ["3", "9"]}
    generator, engine = curriculum_generator(script, monkeypatch)
    samples, _, consumed, exhausted = generator.generate_samples()
    assert engine.asked == [0, 1, 2, 3] and consumed == 4 and not exhausted
    assert [sample.prompts[0] for sample in samples] == ["<q0>", "<q0>", "<q3>", "<q3>"]
    verdicts = torch.cat([sample.scores for sample in samples]).tolist()
    assert verdicts[2:] == [1, 0] and all(verdict != verdict for verdict in verdicts[:2])
    assert generator.metrics["curriculum/rounds"] == 3  # two prompts, then one, then one
    assert generator.metrics["curriculum/yield"] == 0.5
    _, _, _, exhausted = generator.generate_samples()  # the data begins anew
    assert engine.asked[4:] == [0, 1, 2, 3] and exhausted


def test_a_batch_that_cannot_be_filled_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    script = {1: ["1", "1"], 2: ["2", "2"], 0: ["0", "0"]}
    generator, engine = curriculum_generator(script, monkeypatch, max_rounds=4)
    generator.prompts_dataloader = [collate_prompts([prompt]) for prompt in prompts(3)[1:]]
    assert generator.generate_samples() == ([], None, 8, True)
    assert len(engine.asked) == 8  # four rounds of two
    assert generator.unfilled is not None and "kept 0 of 8 prompts" in generator.unfilled
    assert "100% of their answers are right" in generator.unfilled
    assert generator.generate_samples() == ([], None, 0, True)


def test_over_sampling_saves_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    script = {0: ["5", "5"], 1: ["1", "1"], 2: ["9", "9"], 3: ["3", "9"]}
    generator, engine = curriculum_generator(script, monkeypatch, over_sampling=2.0)
    generator.generate_samples()
    assert engine.asked == [0, 1, 2, 3] and generator.metrics["curriculum/rounds"] == 1


def test_prompts_with_an_answer_that_was_cut_off_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = {0: ["5", "5"], 1: ["1", "9..."], 2: ["2...", "2..."], 3: ["3", "9"]}
    generator, _ = curriculum_generator(script, monkeypatch, method="off", drop_truncated=True)
    samples, *_ = generator.generate_samples()
    assert [sample.prompts[0] for sample in samples] == ["<q0>", "<q0>", "<q3>", "<q3>"]
    assert generator.metrics["curriculum/truncated_group_frac"] == 0.5
    assert generator.metrics["curriculum/yield"] == 0.5
    generator.prompts_dataloader = [collate_prompts([prompts(3)[2]])]
    assert generator.generate_samples()[0] == []
    assert "100% of the prompts have an answer that was cut off" in str(generator.unfilled)
    assert "--rollout.max_new_tokens" in str(generator.unfilled)


def test_prompts_without_a_label_are_not_even_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    script = {0: ["5", "5"], 1: ["1", "9"], 2: ["9", "9"]}  # prompt 0 has no label
    generator, engine = curriculum_generator(
        script, monkeypatch, method="off", keep_unlabelled=False
    )
    samples, *_ = generator.generate_samples()
    assert engine.asked == [1, 2]
    assert torch.cat([sample.scores for sample in samples]).tolist() == [1, 0, 0, 0]


def test_responses_come_in_the_order_of_their_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the order in which they were finished, which differs between two runs of one seed."""
    script = {n: [str(n), "9"] for n in range(4)}
    generator, _ = curriculum_generator(script, monkeypatch, method="off")

    def last_first(references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return [references[-1]], references[:-1]

    monkeypatch.setattr("openrlhf.trainer.ppo_utils.samples_generator.ray.wait", last_first)
    samples, *_ = generator.generate_samples()
    assert [sample.prompts[0] for sample in samples] == ["<q0>", "<q0>", "<q1>", "<q1>"]


@pytest.mark.parametrize("method", ["off", "remove_extreme"])
def test_a_batch_that_is_taken_back_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """In the shuffled order of the real loader, and then the data goes on behind it."""
    generator, engine = curriculum_generator(
        {n: [str(n), "9"] for n in range(1, 7)}, monkeypatch, method=method
    )
    loader = StatefulDataLoader(
        prompts(7)[1:], batch_size=1, shuffle=True, collate_fn=collate_prompts, drop_last=True
    )
    generator.prompts_dataloader, generator.steps_left = loader, 3
    generator.generate_samples()
    start = generator.data_state(), generator.steps_left
    generator.generate_samples()
    generator.go_back(*start)
    generator.generate_samples()
    _, _, _, exhausted = generator.generate_samples()
    first, second, again, third = (engine.asked[at : at + 2] for at in range(0, 8, 2))
    assert second == again and exhausted
    assert sorted(first + again + third) == [1, 2, 3, 4, 5, 6]


class Parts:
    """Writes down what is handed on."""

    def __init__(self) -> None:
        self.added: dict[int, list[str]] = {}
        self.decided: dict[int, list[str] | None] = {}

    def add(self, place: int, group: list[Any]) -> None:
        self.added[place] = [sample.prompts[0] for sample in group]

    def decide(self, draw: int, group: list[Any] | None) -> None:
        assert draw not in self.decided
        self.decided[draw] = group and [sample.prompts[0] for sample in group]


def test_groups_are_handed_on_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    script = {n: [str(n), "9"] for n in range(3)}
    generator, _ = curriculum_generator(script, monkeypatch, method="off")
    begun: list[Parts] = []

    def begin() -> Any:
        begun.append(Parts())
        return begun[-1]

    generator.begin_rollout = begin
    generator.generate_samples()
    assert list(begun[0].added.items()) == [(1, ["<q1>", "<q1>"]), (0, ["<q0>", "<q0>"])]
    samples, *_ = generator.generate_samples()
    assert samples == [] and len(begun) == 1, "one prompt is no batch: it is dropped, so not scored"


@pytest.mark.parametrize("method", ["remove_extreme", "interquartile"])
def test_only_groups_that_are_kept_are_handed_on(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = {0: ["5", "5"], 1: ["1", "1"], 2: ["9", "9"], 3: ["3", "9"]}
    generator, _ = curriculum_generator(script, monkeypatch, method=method)
    parts: Any = Parts()
    generator.begin_rollout = lambda: parts
    generator.generate_samples()
    kept = {0: ["<q0>"] * 2, 1: None, 2: None, 3: ["<q3>"] * 2}
    # quartiles are those of all groups, so nothing is known before the last
    assert parts.decided == (kept if method == "remove_extreme" else {}) and not parts.added
