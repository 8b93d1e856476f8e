"""Scores answers with a process reward model outside of RL: `PrmScorer("Qwen/Qwen2.5-Math-PRM-7B").score(samples)`.

Answers go through the model in token-budget batches, longest together, so that little of a batch is padding; with
flash-attention a batch is one packed row and has none. Or they go through vLLM's pooling engine, for a PRM that has a
GPU to itself. Rewards are r in [-1, 1] whatever the model's convention.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from pure_rlhf import cpu_host
from pure_rlhf.model_folder import load_model_config, load_tokenizer
from pure_rlhf.prm.batching import plan_batches
from pure_rlhf.prm.conventions import (
    CONVENTIONS,
    PrmConvention,
    PrmLayout,
    PrmSample,
    PureConvention,
    QwenConvention,
    pad_layouts,
    recognise_convention,
)
from pure_rlhf.scratch import name_semaphores
from pure_rlhf.types import Tokenizer

VLLM_CONVENTIONS = (PureConvention.name, QwenConvention.name)


class PrmScorer:
    """A process reward model that is ready to score; a context manager that gives its memory back.

    Args:
        model: folder or hub name.
        convention: one of CONVENTIONS or its name; None: recognised from the checkpoint.
        max_tokens_per_batch: rows times the longest row, of the batches that the model sees.
        backend: "vllm" is for the conventions pure and qwen.
        trust_remote_code: for backbones that transformers does not have; no convention needs it.
        dtype: None: bfloat16 where the hardware is quick at it, else float32.
        attn_implementation: as in transformers; "flash_attention_2" packs.

    Raises:
        ValueError: the model cannot be loaded, its convention is unknown, or it does not fit the convention.
    """

    def __init__(
        self,
        model: str,
        *,
        convention: str | PrmConvention | None = None,
        max_tokens_per_batch: int = 16384,
        backend: Literal["transformers", "vllm"] = "transformers",
        trust_remote_code: bool = False,
        dtype: torch.dtype | None = None,
        attn_implementation: str | None = None,
    ) -> None:
        self.convention, self.tokenizer = load_convention(
            model, convention, trust_remote_code=trust_remote_code
        )
        options = {
            "max_tokens": max_tokens_per_batch,
            "dtype": dtype or (torch.bfloat16 if cpu_host.bfloat16_is_fast() else torch.float32),
            "trust_remote_code": trust_remote_code,
        }
        self._backend: _Backend
        if backend == "vllm":
            self._backend = VllmBackend(model, self.convention, **options)
        else:
            self._backend = _TransformersBackend(
                model, self.convention, attn_implementation=attn_implementation, **options
            )

    def score(self, samples: Sequence[PrmSample]) -> list[list[float]]:
        """Returns for each sample, in their order, the reward in [-1, 1] of each of its steps."""
        if not samples:
            return []
        layouts = [self.convention.lay_out(sample, self.tokenizer) for sample in samples]
        outputs = self._backend.read(layouts)
        rewards = self.convention.step_rewards(torch.cat(outputs)).tolist()
        iterator = iter(rewards)
        return [[next(iterator) for _ in sample.steps] for sample in samples]

    def close(self) -> None:
        self._backend.close()

    def __enter__(self) -> PrmScorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load_convention(
    model: str, convention: str | PrmConvention | None, *, trust_remote_code: bool = False
) -> tuple[PrmConvention, Tokenizer]:
    """Returns the convention of a checkpoint (recognised where it is None) and its tokenizer, having tried them.

    Raises:
        ValueError: the checkpoint cannot be loaded, there is no such convention, or it does not fit the tokenizer.
    """
    config = load_model_config(model, trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(model, trust_remote_code=trust_remote_code)
    if convention is None:
        convention = recognise_convention(config, tokenizer.get_vocab())
    if isinstance(convention, str):
        if convention not in CONVENTIONS:
            raise ValueError(
                f"--prm_convention is one of {', '.join(CONVENTIONS)}, got {convention!r}"
            )
        convention = CONVENTIONS[convention]
    if convention.name == PureConvention.name:
        PureConvention.require_two_labels(model, config.num_labels)
    try:
        convention.lay_out(PrmSample("1+1?", "1+1?", ("2", "3")), tokenizer)
        convention.label_token_ids(tokenizer)
    except ValueError as error:
        raise ValueError(f"{model}, convention {convention.name!r}: {error}") from error
    return convention, tokenizer


class _Backend(Protocol):
    def read(self, layouts: Sequence[PrmLayout]) -> list[Tensor]:
        """What the model gives at the read positions: for each layout (steps, C), in float32 on the CPU."""
        ...

    def close(self) -> None: ...


class _TransformersBackend:
    def __init__(
        self,
        model: str,
        convention: PrmConvention,
        *,
        max_tokens: int,
        dtype: torch.dtype,
        attn_implementation: str | None,
        trust_remote_code: bool,
    ) -> None:
        from pure_rlhf.prm.models import load_prm

        self.device = cpu_host.device()
        self.max_tokens = max_tokens
        self.packs = attn_implementation == "flash_attention_2"
        self.model: Any = load_prm(
            model,
            convention,
            dtype=dtype,
            attn_implementation=attn_implementation,
            trust_remote_code=trust_remote_code,
        )
        self.model.to(self.device)

    @torch.inference_mode()
    def read(self, layouts: Sequence[PrmLayout]) -> list[Tensor]:
        lengths = [len(layout.input_ids) for layout in layouts]
        outputs: list[Tensor] = [torch.empty(0)] * len(layouts)
        for rows in plan_batches(lengths, max_tokens=self.max_tokens):
            batch = [layouts[row] for row in rows]
            read = self._read_packed if self.packs else self._read_padded
            counts = [len(layout.read_positions) for layout in batch]
            for row, output in zip(rows, read(batch).float().cpu().split(counts), strict=True):
                outputs[row] = output
        return outputs

    def _read_padded(self, batch: Sequence[PrmLayout]) -> Tensor:
        inputs = pad_layouts(batch, pad_token_id=0)  # any id: the mask hides it
        logits_BUC = self.model(
            input_ids=inputs.input_ids_BU.to(self.device),
            attention_mask=inputs.attention_mask_BU.to(self.device),
        ).logits
        row = [number for number, layout in enumerate(batch) for _ in layout.read_positions]
        return logits_BUC[row, [index for layout in batch for index in layout.read_positions]]

    def _read_packed(self, batch: Sequence[PrmLayout]) -> Tensor:
        """One row of all answers; attention stays inside each where the positions start again at 0."""
        input_ids, position_ids, read_index = [], [], []
        for layout in batch:
            read_index += [len(input_ids) + index for index in layout.read_positions]
            input_ids += layout.input_ids
            position_ids += range(len(layout.input_ids))
        logits_1UC = self.model(
            input_ids=torch.tensor([input_ids], device=self.device),
            position_ids=torch.tensor([position_ids], device=self.device),
        ).logits
        return logits_1UC[0, read_index]

    def close(self) -> None:
        self.model = None
        if self.device == "cuda":
            torch.cuda.empty_cache()


class VllmBackend:
    """vLLM gives the two logits of every token; they are read here.

    Its STEP pooling would return those of the separators only, but vLLM 0.29 ignores it for a token-classification
    model (vLLM PR #55307), and a step that spells a separator would shift the numbers.
    """

    def __init__(
        self,
        model: str,
        convention: PrmConvention,
        *,
        max_tokens: int,
        dtype: torch.dtype,
        trust_remote_code: bool,
    ) -> None:
        if convention.name not in VLLM_CONVENTIONS:
            raise ValueError(
                f"vLLM has no two-logit output for a PRM of the convention {convention.name!r} ({model}): it is for "
                f"{' and '.join(VLLM_CONVENTIONS)}; use the backend transformers"
            )
        for key, value in cpu_host.environment().items():
            os.environ.setdefault(key, value)
        name_semaphores()  # the engine's process has one
        from vllm import LLM
        from vllm.config import PoolerConfig

        self.engine: Any = LLM(
            model=model,
            runner="pooling",
            pooler_config=PoolerConfig(task="token_classify", tok_pooling_type="ALL"),
            dtype=str(dtype).removeprefix("torch."),  # pyright: ignore[reportArgumentType]
            trust_remote_code=trust_remote_code,
            max_num_batched_tokens=max_tokens,
            disable_log_stats=True,
            **cpu_host.engine_arguments(),
        )

    def read(self, layouts: Sequence[PrmLayout]) -> list[Tensor]:
        from vllm import PoolingParams
        from vllm.inputs import TokensPrompt

        answers = self.engine.encode(
            [TokensPrompt(prompt_token_ids=layout.input_ids) for layout in layouts],
            pooling_params=PoolingParams(use_activation=False),
            pooling_task="token_classify",
            use_tqdm=False,
        )
        return [
            answer.outputs.data[layout.read_positions].float().cpu()
            for answer, layout in zip(answers, layouts, strict=True)
        ]

    def close(self) -> None:
        self.engine.llm_engine.engine_core.shutdown()
