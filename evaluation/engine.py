"""The engines: processes with vLLM that answer prompts and hand each one back as soon as it is finished.

One engine a GPU (each is given its own through CUDA_VISIBLE_DEVICES), one in all on a CPU host. The prompts are dealt
out in turn. Plain processes and pipes, no Ray: an engine that dies closes its pipe, and its finished answers have
arrived by then.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pure_rlhf import cpu_host
from pure_rlhf.scratch import name_semaphores, scratch_folder

STOP_TOKENS = ("</s>", "<|im_end|>", "<|endoftext|>")
"""Where the published evaluation stops, besides the model's own end-of-text tokens."""
MAX_WAITING_ANSWERS = 2048
"""Answers that an engine has in hand: more than it computes at once, fewer than would fill the memory."""
JOIN_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt. `temperature=0` is greedy; `seed` counts only when sampling."""

    id: int
    prompt_token_ids: list[int]
    num_answers: int
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One answer as the engine gave it."""

    text: str
    num_tokens: int
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What an engine is built with; `max_model_len` counts prompt and answer tokens."""

    model: str
    max_model_len: int
    dtype: str
    gpu_memory_utilization: float
    enforce_eager: bool
    seed: int


@dataclass(frozen=True, kw_only=True)
class EngineTime:
    """How an engine spent the time from its first to its last token, in seconds."""

    wall_seconds: float
    busy_seconds: float  # inside vLLM's step
    num_tokens: int


class EngineDied(RuntimeError):
    """An engine's process ended before its answers were complete."""

    def __init__(self, engine: int, exit_code: int | None, log: str) -> None:
        super().__init__(engine, exit_code, log)
        self.engine, self.exit_code, self.log = engine, exit_code, log

    def __str__(self) -> str:
        return f"engine {self.engine} died (exit code {self.exit_code}); its log: {self.log}"


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none on a CPU host."""
    if cpu_host.is_cpu_host():
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen:
        return chosen.split(",")
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def generate(
    requests: list[Request], settings: EngineSettings, *, num_engines: int, log_dir: Path
) -> Iterator[list[tuple[int, list[Completion]]] | EngineTime]:
    """Yields batches of (request id, answers) as they are finished, and an `EngineTime` for each engine at its end.

    Raises:
        EngineDied: the answers that were finished before have been yielded.
    """
    with scratch_folder() as temporary:  # vLLM leaves files in TMPDIR
        yield from _generate(requests, settings, num_engines, log_dir, temporary)


def _generate(
    requests: list[Request],
    settings: EngineSettings,
    num_engines: int,
    log_dir: Path,
    temporary: Path,
) -> Iterator[list[tuple[int, list[Completion]]] | EngineTime]:
    context = multiprocessing.get_context("spawn")
    gpus = visible_gpus()
    log_dir.mkdir(parents=True, exist_ok=True)
    engines: dict[Any, tuple[int, Any, Path]] = {}
    try:
        for index in range(min(num_engines, len(requests))):
            ours, theirs = context.Pipe(duplex=False)
            log = log_dir / f"engine-{index}.log"
            shard = requests[index::num_engines]
            process = context.Process(target=_serve, args=(theirs, settings, shard, str(log)))
            changes = {"CUDA_VISIBLE_DEVICES": gpus[index]} if gpus else _cpu_settings()
            with _environment(changes | {"TMPDIR": str(temporary)}):
                process.start()
            theirs.close()  # so that the pipe closes with the engine
            engines[ours] = (index, process, log)
        dead: EngineDied | None = None
        while engines and dead is None:
            batch: list[tuple[int, list[Completion]]] = []
            ready: list[Any] = multiprocessing.connection.wait(list(engines))
            for pipe in ready:
                # all that has arrived, so that nothing is lost when another engine dies
                while True:
                    try:
                        message = pipe.recv()
                    except EOFError:
                        index, process, log = engines[pipe]
                        process.join(JOIN_SECONDS)
                        dead = EngineDied(index, process.exitcode, str(log))
                        break
                    if isinstance(message, EngineTime):
                        engines.pop(pipe)[1].join(JOIN_SECONDS)
                        yield message
                        break
                    batch += message
                    if not pipe.poll():
                        break
            if batch:
                yield batch
        if dead is not None:
            raise dead
    finally:
        for _, process, _ in engines.values():
            process.terminate()
            process.join(JOIN_SECONDS)
            if process.is_alive():
                process.kill()


def _cpu_settings() -> dict[str, str]:
    """The trainer's, but all cores: here one engine has the host for itself."""
    threads = os.environ.get("OMP_NUM_THREADS", str(min(os.cpu_count() or 1, 8)))
    return cpu_host.environment() | {"OMP_NUM_THREADS": threads}


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """What a process started inside finds in its environment (LD_PRELOAD has to be there from its start)."""
    before = {key: os.environ.get(key) for key in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


# ---- in the engine's process -----------------------------------------------------------------


def _serve(pipe: Any, settings: EngineSettings, requests: list[Request], log: str) -> None:
    """Answer all requests, send each one when it is finished, then the time it took."""
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from vllm import LLM

    graphs: dict[str, Any] = {"enforce_eager": settings.enforce_eager}
    # vLLM 0.29 rewinds the random generator of a seeded request whose prompt it reads in parts, which a CPU generator
    # cannot do (vllm/v1/worker/gpu_model_runner.py, _bookkeeping_sync): so prompts are read whole there.
    whole_prompts: dict[str, Any] = {
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(settings.max_model_len, 4096),
    }
    name_semaphores()  # the engine's process has one
    llm = LLM(
        **(whole_prompts if cpu_host.is_cpu_host() else {}),
        model=settings.model,
        max_model_len=settings.max_model_len,
        dtype=settings.dtype,  # pyright: ignore[reportArgumentType]
        gpu_memory_utilization=settings.gpu_memory_utilization,
        enable_prefix_caching=False,
        seed=settings.seed,
        disable_log_stats=True,
        **graphs | cpu_host.engine_arguments(),
    )
    vocabulary = llm.get_tokenizer().get_vocab()
    stop_ids = [vocabulary[token] for token in STOP_TOKENS if token in vocabulary]
    engine, owner = llm.llm_engine, multiprocessing.parent_process()
    assert owner is not None
    todo, num_waiting, num_tokens, busy = list(reversed(requests)), 0, 0, 0.0
    start = time.perf_counter()
    while (todo or num_waiting) and owner.is_alive():
        while todo and num_waiting < MAX_WAITING_ANSWERS:
            num_waiting += _add(engine, todo.pop(), stop_ids)
        step_start = time.perf_counter()
        outputs = engine.step()
        busy += time.perf_counter() - step_start
        finished = [output for output in outputs if output.finished]
        if finished:
            answers = [(int(output.request_id), _completions(output)) for output in finished]
            num_waiting -= sum(len(completions) for _, completions in answers)
            num_tokens += sum(answer.num_tokens for _, group in answers for answer in group)
            pipe.send(answers)
    wall = time.perf_counter() - start
    pipe.send(EngineTime(wall_seconds=wall, busy_seconds=busy, num_tokens=num_tokens))
    pipe.close()


def _add(engine: Any, request: Request, stop_ids: list[int]) -> int:
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt
    from vllm.sampling_params import RequestOutputKind

    greedy = request.temperature == 0
    sampling = SamplingParams(
        n=request.num_answers,
        temperature=request.temperature,
        top_p=1.0 if greedy else request.top_p,
        seed=None if greedy else request.seed,  # the k-th answer is drawn with seed + k
        max_tokens=request.max_new_tokens,
        stop_token_ids=stop_ids,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    prompt = TokensPrompt(prompt_token_ids=request.prompt_token_ids)
    engine.add_request(str(request.id), prompt, sampling)
    return request.num_answers


def _completions(output: Any) -> list[Completion]:
    return [
        Completion(
            text=answer.text,
            num_tokens=len(answer.token_ids),
            truncated=answer.finish_reason == "length",
        )
        for answer in sorted(output.outputs, key=lambda answer: answer.index)
    ]
