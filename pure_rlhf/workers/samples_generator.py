"""Stage 0, on the driver: sends prompts to the engines and turns answers into OpenRLHF's `Experience`s.

Upstream draws the prompts, waits for the engines and collects the results; this class replaces what is sent
(token ids, one request a prompt, no tokenizer) and what is made of an answer (no invented EOS; truncation
marked; engine log-probabilities kept for the gap that proves the weight sync).
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator, _collect_prompt_batch

from pure_rlhf.algorithm.curriculum import curriculum_metrics, select_groups
from pure_rlhf.data import PromptRecord
from pure_rlhf.grading.pool import verdict_code
from pure_rlhf.grading.verifier import Verifier
from pure_rlhf.types import Completion, Tokenizer
from pure_rlhf.workers.gpu_turns import OwnGpus
from pure_rlhf.workers.rollout_actor import Together
from pure_rlhf.workers.rollout_engines import Request, Requests
from pure_rlhf.workers.rollout_parts import PartsInTheMaking


def collate_prompts(rows: list[PromptRecord]) -> tuple[list, list, list, list]:
    """Upstream's four columns of a batch: data source, prompt, label, image."""
    return [""] * len(rows), rows, [row.label for row in rows], [None] * len(rows)


def answer_texts(batch: Experience, tokenizer: Tokenizer) -> list[str]:
    """The answers of a batch as text, special tokens left out."""
    answers = [
        row[1:][mask.bool()] for row, mask in zip(batch.sequences, batch.action_mask, strict=True)
    ]
    return tokenizer.batch_decode(answers, skip_special_tokens=True)


def rewards_of_codes(codes: torch.Tensor) -> torch.Tensor:
    """The verifiable rewards of `verdict_code`s: in [0, 1], NaN unanswered."""
    return codes.clamp(max=1.0)


def _accuracy(codes_N: torch.Tensor) -> float:
    """Mean verifiable reward of answers from their verdict codes; NaN where no answer is known."""
    return rewards_of_codes(codes_N).mean().item()


def _was_cut_off(group: list[Experience]) -> bool:
    return any(bool(answer.truncated.any()) for answer in group)


Rollout = tuple[list[Experience], float | None, int, bool]
"""Samples, and what upstream's loop asks besides: filter rate, prompts consumed, whether the data is exhausted."""


class PureSamplesGenerator(SamplesGenerator):
    """Draws prompts, asks the engines for n answers each, returns one `Experience` per answer.

    Args (besides upstream's):
        max_steps: rollouts after which the data counts as exhausted.
        gpus: asked for the engines' turn before they are sent anything.
        push: brings the policy's weights into the engines.
        revive: puts others, with these weights, into the place of engines that have died.
        seed: of what is sampled, where `--rollout.repeatable`; None: the engines draw as it comes.
        verifier: grades the answers that a curriculum chooses by.
    After each rollout under a curriculum, `metrics` holds what it did. `unfilled` says why a batch could not be
    filled, which ends the run; it is None until then. `begin_rollout`, where it is set, gives what takes the groups of
    a rollout as they are written.
    """

    def __init__(
        self,
        *args: Any,
        max_steps: int,
        verifier: Verifier,
        gpus: OwnGpus,
        push: Callable[[], None],
        revive: Callable[[], None],
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.gpus = gpus
        self.push = push
        self.revive = revive
        self.max_steps = self.steps_left = max_steps
        self.seed = seed
        self._num_sendings = 0  # of this rollout
        self.verifier = verifier
        self.curriculum = self.args.pure.curriculum
        self.metrics: dict[str, float] = {}
        self.unfilled: str | None = None
        self.begin_rollout: Callable[[], PartsInTheMaking] | None = None
        self._in_flight: dict[int, PromptRecord] = {}
        self._parts: PartsInTheMaking | None = None
        # index of a prompt -> its responses so far
        self._arriving: dict[int, list[Experience]] = {}
        # what a curriculum draws from
        self._rows: Iterator[tuple[list, list, list, list]] = iter(())

    def weights_changed(self) -> None:
        """The policy was updated, or is another one."""
        self.push()

    def settle(self) -> None:
        """See to it that the engines hold the policy's weights and do nothing."""

    def discard(self) -> None:
        """The policy was rolled back."""
        self.weights_changed()

    def stop(self) -> None:
        """No batch after this one."""
        self.steps_left = 0

    def skip_steps(self, count: int) -> None:
        """As many steps are done already."""
        self.steps_left -= count

    def data_state(self) -> dict[str, Any]:
        """Where a run that is resumed goes on in the data."""
        return self.prompts_dataloader.state_dict()

    def go_back(self, data_state: dict[str, Any], steps_left: int) -> None:
        """Take back the last rollout: draw its prompts again, and count it as not written."""
        self.prompts_dataloader.load_state_dict(data_state)
        self._dataloader_iter = (
            None  # upstream's, and a curriculum's: both begin where the data stands
        )
        self._rows = iter(())
        self.steps_left, self.unfilled = steps_left, None

    def generate_samples(self, **generate_kwargs: object) -> Rollout:
        """One rollout; `([], None, 0, True)` when the run is over. An incomplete last batch is dropped."""
        if self.steps_left <= 0:
            return [], None, 0, True
        self._num_sendings = 0
        if self.curriculum.selects:
            return self._generate_chosen()
        self._arriving.clear()
        samples, rate, consumed, exhausted = super().generate_samples(**generate_kwargs)
        if len(samples) < self.args.rollout.batch_size * self.args.rollout.n_samples_per_prompt:
            return [], rate, consumed, exhausted
        self.steps_left -= 1
        # as they were drawn, not as they were finished: what the update draws is then the same for the same responses
        place = {prompt.prompt: place for place, prompt in enumerate(self._in_flight.values())}
        samples.sort(key=lambda sample: place[sample.prompts[0]])
        return samples, rate, consumed, exhausted or self.steps_left == 0

    def _generate_chosen(self) -> Rollout:
        """Sample in rounds until the groups that the curriculum keeps fill the batch; data begins anew at its end."""
        size = self.args.rollout.batch_size
        parts = None
        if self.begin_rollout is not None and self.curriculum.decides_alone:
            parts = self.begin_rollout()
        groups: list[list[Experience]] = []
        accuracies: list[float] = []
        num_kept = 0
        for num_rounds in range(1, self.curriculum.max_rounds + 1):
            prompts = self._draw(math.ceil((size - num_kept) * self.curriculum.over_sampling))
            for group, accuracy in self._graded(prompts, parts, first=len(groups)):
                groups.append(group)
                accuracies.append(accuracy)
            accuracy_P = torch.tensor(accuracies)
            truncated_P = torch.tensor([_was_cut_off(group) for group in groups])
            keep_P = select_groups(accuracy_P, truncated_P, self.curriculum)
            self.metrics = curriculum_metrics(accuracy_P, truncated_P, keep_P, num_rounds)
            num_kept = int(keep_P.sum())
            if num_kept >= size:
                chosen = keep_P.nonzero().flatten()[:size].tolist()
                self.steps_left -= 1
                samples = [answer for index in chosen for answer in groups[index]]
                return samples, None, len(groups), self.steps_left == 0
        self.steps_left = 0
        accuracy = self.metrics.get("curriculum/group_accuracy_sampled", 0.0)
        cut_off = self.metrics["curriculum/truncated_group_frac"]
        truncation = (
            f"{cut_off:.0%} of the prompts have an answer that was cut off (--curriculum.drop_truncated; a larger "
            f"--rollout.max_new_tokens cuts off fewer), "
        ) * self.curriculum.drop_truncated
        self.unfilled = (
            f"--curriculum.method {self.curriculum.method} kept {num_kept} of {len(groups)} prompts in "
            f"--curriculum.max_rounds {self.curriculum.max_rounds} rounds, and --rollout.batch_size {size} are needed; "
            f"{truncation}{accuracy:.0%} of their answers are right: use prompts of another difficulty, wider bounds, "
            f"more answers a prompt, or a larger --curriculum.over_sampling"
        )
        return [], None, len(groups), True

    def _graded(
        self, prompts: list[PromptRecord], parts: PartsInTheMaking | None, *, first: int
    ) -> list[tuple[list[Experience], float]]:
        """The groups of these prompts, drawn as number `first` and on, with their accuracy; what is kept goes on."""
        requests = self._ask(prompts)
        # one by one where they go on at once, else together: the verifier works on several responses at a time
        together = [list(enumerate(requests.in_order()))] if parts is None else None
        found: dict[int, tuple[list[Experience], float]] = {}
        for arrived in together or ([one] for one in requests.as_they_come()):
            groups = [
                [self._process_response_into_experience(answer) for answer in answers]
                for _, answers in arrived
            ]
            for (place, _), group, accuracy in zip(
                arrived, groups, self._grade(groups), strict=True
            ):
                found[place] = group, accuracy
                if parts is not None:
                    is_kept = select_groups(
                        torch.tensor([accuracy]),
                        torch.tensor([_was_cut_off(group)]),
                        self.curriculum,
                    )
                    parts.decide(first + place, group if is_kept else None)
        return [found[place] for place in sorted(found)]

    def _draw(self, count: int) -> list[PromptRecord]:
        prompts: list[PromptRecord] = []
        while len(prompts) < count:
            try:
                prompts += [
                    prompt
                    for prompt in next(self._rows)[1]
                    if self.curriculum.keep_unlabelled or prompt.label is not None
                ]
            except StopIteration:
                self._rows = iter(self.prompts_dataloader)
        return prompts[:count]

    def _grade(self, groups: list[list[Experience]]) -> list[float]:
        """Accuracy of each group, NaN where no answer is known; `scores` of an `Experience` is its `verdict_code`."""
        answers = [answer for group in groups for answer in group]
        texts = [text for answer in answers for text in answer_texts(answer, self.tokenizer)]
        grades = self.verifier.grade_batch(texts, [answer.labels[0] for answer in answers])
        for answer, grade in zip(answers, grades, strict=True):
            answer.scores = torch.tensor([verdict_code(grade)])
        return [_accuracy(torch.cat([answer.scores for answer in group])) for group in groups]

    def generate(self, prompts: Sequence[PromptRecord], temperature: float) -> list[Completion]:
        """One answer to each prompt, in their order (for evaluation)."""
        requests = self._send(prompts, num_answers=1, temperature=temperature)
        return [answers[0] for answers in requests.in_order()]

    def _generate_vllm(
        self,
        dataloader_iter: Iterator[tuple[list, list, list, list]],
        num_prompts: int,
        dynamic_filtering: bool,
        **generate_kwargs: object,
    ) -> tuple[list[Experience], int, bool]:
        """Upstream's hook: the responses to the next prompts, how many prompts there were, and whether that was all."""
        assert not dynamic_filtering, "a curriculum does that"
        prompts, _, _, exhausted = _collect_prompt_batch(dataloader_iter, num_prompts)
        samples = [
            self._process_response_into_experience(answer)
            for _, answers in self._ask(prompts).as_they_come()
            for answer in answers
        ]
        return samples, len(prompts), exhausted

    def _ask(self, prompts: list[PromptRecord]) -> Requests:
        """Send the prompts of a rollout, or of a round of one."""
        self._in_flight = {prompt.index: prompt for prompt in prompts}
        self._parts = None
        if (
            self.begin_rollout is not None
            and not self.curriculum.selects
            and len(prompts) == self.args.rollout.batch_size  # else the rollout is dropped
        ):
            self._parts = self.begin_rollout()
        return self._send(
            prompts,
            num_answers=self.args.rollout.n_samples_per_prompt,
            temperature=self.args.pure.rollout.temperature,
        )

    def _send(
        self, prompts: Sequence[PromptRecord], *, num_answers: int, temperature: float
    ) -> Requests:
        """One request per prompt, to the engine with the fewest answers waiting."""
        self.gpus.take("generate")
        load = [(0, index) for index in range(len(self.vllm_engines))]
        chosen = []
        for _ in prompts:
            count, index = heapq.heappop(load)
            heapq.heappush(load, (count + num_answers, index))
            chosen.append(index)
        requests = [
            Request(
                engine,
                (prompt.index, prompt.token_ids),
                {
                    "num_answers": num_answers,
                    "max_new_tokens": min(
                        self.args.rollout.max_new_tokens,
                        self.args.data.max_len - len(prompt.token_ids),
                    ),
                    "temperature": temperature,
                    "top_p": self.args.rollout.top_p,
                    "together": beside,
                },
            )
            for prompt, engine, beside in zip(prompts, chosen, self._together(chosen), strict=True)
        ]
        return Requests(requests, self.vllm_engines, self.revive)

    def _together(self, engines: Sequence[int]) -> list[Together | None]:
        """For each prompt that is sent now, by its engine, what that engine has to begin with it."""
        if self.seed is None:
            return [None] * len(engines)
        # from the run's seed and the step alone, so that a resumed run has it too
        text = f"{self.seed} {self.max_steps - self.steps_left} {self._num_sendings}"
        self._num_sendings += 1
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest())
        places = dict.fromkeys(engines, 0)
        counts = Counter(engines)
        together: list[Together | None] = []
        for engine in engines:
            together.append(Together(places[engine], counts[engine], seed + engine))
            places[engine] += 1
        return together

    def _process_response_into_experience(
        self, response: Completion, **generate_kwargs: object
    ) -> Experience:
        prompt = self._in_flight[response.prompt_index]
        num_prompt, num_answer = len(prompt.token_ids), len(response.token_ids)
        total = num_prompt + num_answer
        action_mask = torch.zeros(1, total - 1, dtype=torch.long)
        action_mask[:, num_prompt - 1 :] = 1
        rollout_log_probs = torch.zeros(1, total - 1)
        rollout_log_probs[:, num_prompt - 1 :] = torch.tensor(response.log_probs)
        # upstream annotates LongTensor, BoolTensor and list[str]; plain tensors and None labels are what it handles
        experience = Experience(
            sequences=torch.tensor([prompt.token_ids + response.token_ids]),
            attention_mask=torch.ones(1, total, dtype=torch.long),  # pyright: ignore[reportArgumentType]
            action_mask=action_mask,  # pyright: ignore[reportArgumentType]
            rollout_log_probs=rollout_log_probs,
            prompts=[prompt.prompt],
            labels=[prompt.label],  # pyright: ignore[reportArgumentType]
            rewards=torch.zeros(1),  # not None: upstream would ask a scalar reward model
            response_length=torch.tensor([float(num_answer)]),
            truncated=torch.tensor([response.truncated]),
            total_length=torch.tensor([float(total)]),
        )
        if self._parts is not None:
            self._hand_on(prompt, experience)
        return experience

    def _hand_on(self, prompt: PromptRecord, response: Experience) -> None:
        """A group is handed on when all of it is there."""
        assert self._parts is not None
        group = self._arriving.setdefault(prompt.index, [])
        group.append(response)
        if len(group) == self.args.rollout.n_samples_per_prompt:
            self._parts.add(
                list(self._in_flight).index(prompt.index), self._arriving.pop(prompt.index)
            )
