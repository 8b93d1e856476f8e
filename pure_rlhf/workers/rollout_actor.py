"""Stage 0, the rollout engine: a Ray actor around vLLM that answers one prompt n times in one request.

Differs from OpenRLHF's `RolloutRayActor` in what crosses the wire: token ids in, token ids out, no tokenizer
(upstream pickles a whole one into every call), no text. `EngineWorker` is the part inside vLLM's own worker
that takes new weights, see `engine_worker.py`. vLLM is imported where it is used: the driver loads this module too.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray
from openrlhf.trainer.ray.utils import get_bundle_indices
from openrlhf.trainer.ray.vllm_engine import RolloutRayActor
from ray.actor import ActorHandle
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from pure_rlhf import cpu_host
from pure_rlhf.scratch import name_semaphores
from pure_rlhf.types import Completion
from pure_rlhf.workers.lean_imports import without_collection
from pure_rlhf.workers.upstream import undecorated

LAST_WORDS_SECONDS = 5.0
"""In which the requests of an engine whose process has died may fail with the reason, before its actor ends."""


class Together(NamedTuple):
    """Prompts that an engine begins at the same time, in their order, drawing from a seed.

    What an engine draws and, in the last bits, what it computes for a prompt depends on what shares its batches, and
    what has arrived when it begins is a matter of milliseconds. So only together do the same prompts get the same
    tokens. (Seeds of single requests would not do, and vLLM 0.29 dies of them on a CPU where a prompt is cut in two.)
    """

    place: int  # of this prompt, from 0
    count: int
    seed: int


class PureRolloutActor(undecorated(RolloutRayActor)):
    """vLLM engine of one rollout GPU (or of one CPU process)."""

    asleep = False

    async def __init__(self, *args: Any, **options: Any) -> None:
        name_semaphores()  # the engine's process, which is killed in the end, has one
        with without_collection():  # vLLM is loaded here
            await super().__init__(*args, **options)
        self._gathered: list[tuple[int, Any, asyncio.Future]] = []
        self._watch = asyncio.create_task(self._end_with_the_engine())

    async def _end_with_the_engine(self) -> None:
        """End this actor when the process that computes for it has died, so that nobody waits for it.

        vLLM then ends the requests that it has, but not its other calls (pause, seed, weights; 0.29): they wait for
        ever, and so would the trainer, or the policy that pushes its weights.
        """
        while not self.llm.errored:
            await asyncio.sleep(1)
        await asyncio.sleep(LAST_WORDS_SECONDS)
        sys.stderr.write("The engine's process has died, so its actor ends.\n")
        sys.stderr.flush()
        os._exit(1)

    async def sleep(self, level: int = 1) -> None:
        """Leave the GPU to others; weights wait in host memory."""
        self.asleep = True
        await super().sleep(level)

    async def wake_up(self, tags: Sequence[str] | None = None) -> None:
        """Map the memory of these tags again; the KV cache comes last, and then the engine may generate."""
        await super().wake_up(tags)
        self.asleep = tags is not None and "kv_cache" not in tags

    async def check_health(self) -> None:
        """Does nothing where the engine works.

        Raises:
            vllm.v1.engine.exceptions.EngineDeadError: the process that computes for it has died.
        """
        await self.llm.check_health()

    async def generate_answers(
        self,
        prompt_index: int,
        prompt_token_ids: list[int],
        *,
        num_answers: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        together: Together | None = None,
    ) -> list[Completion]:
        """Sample `num_answers` answers in one request; temperature 0 is greedy.

        `together`: with which prompts it is begun; None: at once.

        Raises:
            RuntimeError: the engine sleeps; it would let the request wait for ever.
        """
        if self.asleep:
            raise RuntimeError(
                "an engine that sleeps was asked for an answer; its turn was not taken"
            )
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt
        from vllm.sampling_params import RequestOutputKind
        from vllm.utils import random_uuid

        sampling = SamplingParams(
            n=num_answers,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_new_tokens,
            min_tokens=1,
            logprobs=0,  # the sampled token's only
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = TokensPrompt(prompt_token_ids=prompt_token_ids)
        if together is None:
            request = await self.llm.add_request(random_uuid(), prompt, sampling)
        else:
            request = await self._add_together(together, prompt, sampling)
        final = await request.get()
        while not final.finished:
            final = await request.get()
        assert len(final.outputs) == num_answers, "engine returned too few answers"
        return [
            Completion(
                prompt_index=prompt_index,
                token_ids=list(answer.token_ids),
                log_probs=[
                    position[token].logprob
                    for token, position in zip(answer.token_ids, answer.logprobs, strict=True)
                ],
                truncated=answer.finish_reason == "length",
            )
            for answer in final.outputs
        ]

    async def _add_together(self, together: Together, *request: Any) -> Any:
        """Add a request when all that belong to it are there; returns what collects its output."""
        added = asyncio.get_running_loop().create_future()
        self._gathered.append((together.place, request, added))
        if len(self._gathered) == together.count:
            gathered = sorted(self._gathered, key=lambda one: one[0])
            self._gathered = []
            await self._begin(gathered, together.seed)
        return await added

    async def _begin(self, gathered: list[tuple[int, Any, asyncio.Future]], seed: int) -> None:
        from vllm.utils import random_uuid

        await self.llm.pause_generation(mode="keep", clear_cache=False)
        try:
            await self.llm.collective_rpc("seed_sampling", args=(seed,))
            for _, request, added in gathered:
                added.set_result(await self.llm.add_request(random_uuid(), *request))
        except Exception as error:
            for _, _, added in gathered:
                if not added.done():
                    added.set_exception(error)
        finally:
            await self.llm.resume_generation()

    async def update_weight_bucket(self, *args: object) -> list[int]:
        """Hand a bucket of weights to every worker of this engine; returns the checksum that each received."""
        return await self.llm.collective_rpc("update_weight_bucket", args=args)


@dataclass(frozen=True, kw_only=True)
class EngineStarter:
    """Starts the engines `rollout-0`, `rollout-1`, ...: one GPU each, or `tensor_parallel_size` GPUs each.

    max_num_seqs: answers that an engine writes at once.
    max_num_batched_tokens: of one forward; None: vLLM's choice, 2,048 on a GPU.
    dtype: the policy's, so that its log-probabilities are those of the engine.
    gpu_share: of each GPU; below 1 the engines share the GPUs of the group with others, and can sleep.
    """

    tensor_parallel_size: int
    model: str
    seed: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int | None
    dtype: str
    gpu_memory_utilization: float
    enforce_eager: bool
    enable_prefix_caching: bool
    full_determinism: bool
    trust_remote_code: bool
    log_probs_at_sampling_temperature: bool
    placement_group: PlacementGroup
    gpu_share: float

    def start(self, number: int, replacement: int = 0) -> ActorHandle:
        """The engine of that number; `replacement`: how many engines of the run were replaced, this one among them."""
        on_this_host = {
            "enforce_eager": self.enforce_eager,
            "enable_sleep_mode": self.gpu_share < 1,
        } | cpu_host.engine_arguments()
        tensor_parallel = self.tensor_parallel_size > 1
        bundles = None
        if tensor_parallel:
            bundles = get_bundle_indices(self.placement_group, number, self.tensor_parallel_size)
        # With tensor parallelism vLLM starts its own Ray workers, which take the GPUs of the bundles.
        gpus = 0 if tensor_parallel else self.gpu_share
        engine = ray.remote(PureRolloutActor).options(
            # the name of one that has just died may still be taken
            name=f"rollout-{number}" + (f" (replacement {replacement})" if replacement else ""),
            num_cpus=gpus,
            num_gpus=gpus,
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                placement_group=self.placement_group,
                placement_group_capture_child_tasks=True,
                placement_group_bundle_index=bundles[0] if bundles else number,
            ),
        )
        return engine.remote(
            model=self.model,
            worker_extension_cls="pure_rlhf.workers.engine_worker.EngineWorker",
            tensor_parallel_size=self.tensor_parallel_size,
            distributed_executor_backend="ray" if tensor_parallel else "uni",
            seed=self.seed + number,
            max_model_len=self.max_model_len,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            dtype=self.dtype,
            enable_prefix_caching=self.enable_prefix_caching,
            gpu_memory_utilization=self.gpu_memory_utilization,
            trust_remote_code=self.trust_remote_code,
            full_determinism=self.full_determinism,
            bundle_indices=bundles,
            num_gpus=self.gpu_share,
            # processed: after temperature and top_p, of the tokens as they were sampled; raw: at temperature 1
            logprobs_mode="processed_logprobs"
            if self.log_probs_at_sampling_temperature
            else "raw_logprobs",
            max_logprobs=1,
            enforce_eager=on_this_host["enforce_eager"],
            enable_sleep_mode=on_this_host["enable_sleep_mode"],
        )
