"""How much memory and disk a run takes: what lies where, in which phase. Pure arithmetic; bytes, GB = 10^9.

`RESIDENT` says which parts lie on a training GPU in each phase, for both placements; `_training_parts` says how large
each part is. A card of 80 GiB has about 85 GB. Only large tensors are counted, so expect sums to be some ten percent
off; docs/doctor.md has the formulas in words and what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pure_rlhf.config import PureConfig
from pure_rlhf.cpu_host import parameter_type
from pure_rlhf.fit.shapes import ModelShape

GB = 10**9
Placement = Literal["split", "shared"]
Phase = Literal["generation", "log-probabilities", "PRM scoring", "update", "sync", "checkpoint"]
PHASES: tuple[Phase, ...] = (
    "generation",
    "log-probabilities",
    "PRM scoring",
    "update",
    "sync",
    "checkpoint",
)

_POLICY = ("policy", "optimiser", "offload buffer", "contexts")
_STAYS = ("policy", "learning PRM", "contexts")
# Phase -> what lies on each training GPU. In `shared` (workers/gpu_turns.py) the engine sleeps but for generation and
# sync, and what has nothing to do in a phase is in host memory, but for the 16-bit weights of what learns (the policy,
# and "learning PRM" where it does); a sleeping engine keeps its context and its graphs. Checkpoints are written right
# after the sync. A PRM that learns is updated before the policy, so its activations are not beside the policy's.
RESIDENT: dict[Placement, dict[Phase, tuple[str, ...]]] = {
    "split": {
        "generation": (*_POLICY, "reference", "PRM", "PRM optimiser"),
        "log-probabilities": (
            *(*_POLICY, "reference", "PRM", "PRM optimiser"),
            *("forward activations", "forward logits"),
        ),
        "PRM scoring": (*_POLICY, "reference", "PRM", "PRM optimiser", "PRM activations"),
        "update": (
            *(*_POLICY, "reference", "PRM", "PRM optimiser", "PRM gradient buckets"),
            *("gradient buckets", "activations", "logits", "optimiser step"),
        ),
        "sync": (*_POLICY, "reference", "PRM", "PRM optimiser", "bucket"),
        "checkpoint": (*_POLICY, "reference", "PRM", "PRM optimiser"),
    },
    "shared": {
        "generation": ("engine", *_STAYS),
        "log-probabilities": (
            *("policy", "reference", "PRM", "contexts", "sleeping engine"),
            *("forward activations", "forward logits"),
        ),
        "PRM scoring": (
            *("policy", "reference", "PRM", "contexts", "sleeping engine"),
            "PRM activations",
        ),
        "update": (
            *(*_POLICY, "sleeping engine", "learning PRM", "PRM optimiser", "PRM gradient buckets"),
            *("gradient buckets", "activations", "logits", "optimiser step"),
        ),
        "sync": (*_STAYS, "sleeping engine", "engine weights", "bucket"),
        "checkpoint": (*_STAYS, "sleeping engine", "engine weights"),
    },
}

# Bytes a token and layer of transformers' Qwen2 in 16 bits: autograd keeps 8 x intermediate + 22 to 25 x hidden size
# (counted with saved_tensors_hooks, without and with padding); the gradients of one layer take 4 x intermediate, its
# forward pass 6 x. tests/benchmarks/fit_memory.py measures all of them.
SAVED_PER_INNER, SAVED_PER_HIDDEN = 8, 26
GRADIENT_PER_INNER = 4
FORWARD_PER_INNER, FORWARD_PER_HIDDEN = 6, 8
# Bytes an entry of the logits (token x vocabulary). Forward: 16 and 32 bits. Update: both, the gradients of both, and a
# copy; without flash-attn's cross entropy autograd adds up gradients of 32 bits (16.5 bytes in all on a CPU).
FORWARD_LOGITS, UPDATE_LOGITS, UNFUSED_LOGITS, ENTROPY_LOGITS = 6, 14, 4, 8
BUCKET_ELEMENTS = 5 * 10**8  # DeepSpeed's default reduce_bucket_size
LIVE_PARAMETERS = 10**9  # DeepSpeed's default stage3_max_live_parameters
CHECKSUM_BYTES = 2**27  # 2^24 words of 8 bytes (workers/weight_sync.py)
CONTEXT_BYTES = 1.0 * GB  # CUDA context, cuBLAS workspace and NCCL of one process
GRAPH_BYTES = 1.0 * GB  # an engine's CUDA graphs
SLEEPING_BYTES = 1.5 * GB  # what a sleeping engine keeps
# host memory of one worker with CUDA, torch and vLLM loaded
LEAST_PROCESS_BYTES, PROCESS_BYTES = 1.0 * GB, 2.0 * GB
DEFAULT_BATCHED_TOKENS, MOST_SEQUENCES = 2048, 1024
CPU_KV_BYTES = 2**30  # VLLM_CPU_KVCACHE_SPACE of cpu_host.py


@dataclass(frozen=True, kw_only=True)
class Models:
    """Shapes of what a run loads; `prm` is None in mode VR."""

    policy: ModelShape
    prm: ModelShape | None


def placement_of(config: PureConfig) -> Placement:
    """Key of `RESIDENT`."""
    return "shared" if config.shares_gpus else "split"


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What the settings do not say. `gpu_bytes`: of the smallest GPU; 0 on a CPU host."""

    gpu_bytes: float = 0
    fused_cross_entropy: bool = False
    """Whether flash-attn, with its cross entropy, is installed."""


@dataclass(frozen=True, kw_only=True)
class HostMemory:
    """Of one node. `least` must be there; `most` adds what may or may not be there at the same time.

    Weights that are loaded in the precision of their file are mapped from the page cache, which all workers share;
    where they are converted, each worker has a copy of its own.
    """

    loading: float
    """Copies of the weights, one for each worker, before they go to the GPUs."""
    training: float
    """What lies in host memory while the run goes on."""
    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class EngineMemory:
    """Of one GPU of a rollout engine that takes `budget` bytes, of which `kv` are left for the KV cache."""

    budget: float
    weights: float
    working: float
    responses_at_once: float
    """Responses of full length whose KV cache fits."""
    responses: int
    """Responses of a step that one engine writes."""
    outside: float
    """What weight sync needs beside the budget."""

    @property
    def kv(self) -> float:
        return self.budget - self.weights - self.working


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What a run writes: `kept` checkpoints (one more than are kept, while the oldest is still there) and the model."""

    checkpoint: float
    kept: int
    model: float

    @property
    def total(self) -> float:
        return self.kept * self.checkpoint + self.model


@dataclass(frozen=True, kw_only=True)
class Estimate:
    parts: Mapping[str, float]
    """Part of RESIDENT -> bytes on a training GPU."""
    training: Mapping[Phase, float]
    """Phase -> bytes on the fullest training GPU."""
    engine: EngineMemory
    host: HostMemory
    disk: Disk


def estimate(config: PureConfig, models: Models, circumstances: Circumstances) -> Estimate:
    """Bytes on a training GPU and an engine GPU, in host memory and on disk."""
    engine = _engine(config, models, circumstances)
    parts = _training_parts(config, models, circumstances, engine)
    resident = RESIDENT[placement_of(config)]
    return Estimate(
        parts=parts,
        training={phase: sum(parts[name] for name in resident[phase]) for phase in PHASES},
        engine=engine,
        host=_host(config, models, circumstances, engine),
        disk=disk_of(config, models.policy.num_parameters),
    )


def trainable_parameters(config: PureConfig, policy: ModelShape) -> int:
    rank = config.ds.lora.rank
    return policy.adapter_parameters(rank) if rank else policy.num_parameters


def longest_row(config: PureConfig) -> int:
    """Tokens of the longest prompt and response."""
    return min(config.data.max_len, config.data.prompt_max_len + config.rollout.max_new_tokens)


def _training_parts(
    c: PureConfig, models: Models, circumstances: Circumstances, engine: EngineMemory
) -> dict[str, float]:
    policy, prm = models.policy, models.prm
    trained = trainable_parameters(c, policy)
    base = 2.0 * policy.num_parameters
    cut = c.training_gpus if c.ds.zero_stage == 3 else 1
    gathered = 2.0 * min(policy.num_parameters, LIVE_PARAMETERS) if cut > 1 else 0.0
    lora = c.ds.lora.rank > 0
    prm_here = prm is not None and not c.prm_gpus
    forward_tokens, update_tokens = _tokens(c)
    parts = {
        "policy": base / cut + gathered + 2.0 * trained * lora,
        "reference": 0.0
        if lora or not c.uses_reference or (c.ref.offload and cut > 1)
        else base / cut,
        "PRM": 2.0 * prm.num_parameters / cut
        if prm is not None and prm_here and not (c.reward.offload and cut > 1)
        else 0.0,
        "offload buffer": 2.0 * min(policy.vocab_matrix, trained) if c.ds.adam_offload else 0.0,
        "contexts": CONTEXT_BYTES * (1 + (c.uses_reference and not lora) + prm_here),
        "bucket": max(c.vllm.sync_bucket_mb * 2.0**20, 2.0 * policy.vocab_matrix) + CHECKSUM_BYTES,
        "PRM activations": _forward(prm, c.reward.max_tokens_per_batch)
        if prm is not None and prm_here
        else 0.0,
        "forward activations": _forward(policy, forward_tokens),
        "forward logits": float(FORWARD_LOGITS * forward_tokens * policy.vocab_size),
        "activations": _activations(c, policy, update_tokens),
        "logits": float(_update_logits(c, circumstances) * update_tokens * policy.vocab_size),
        "engine": engine.budget,
        "engine weights": engine.weights,
        "sleeping engine": SLEEPING_BYTES,
    }
    parts |= _learning_prm_parts(c, prm, parts["PRM"])
    return parts | _optimiser_parts(c, policy, trained, parts["activations"] + parts["logits"])


def _learning_prm_parts(c: PureConfig, prm: ModelShape | None, weights: float) -> dict[str, float]:
    """What a PRM that learns (`--prm_update`) takes besides its weights; 0 of a frozen one."""
    if prm is None or not c.learns_prm:
        return dict.fromkeys(("learning PRM", "PRM optimiser", "PRM gradient buckets"), 0.0)
    share = prm.num_parameters / c.training_gpus
    return {
        "learning PRM": weights,
        "PRM optimiser": 0.0 if c.ds.adam_offload else 12.0 * share,
        "PRM gradient buckets": 2.0 * min(BUCKET_ELEMENTS, prm.num_parameters)
        + (0.0 if c.ds.adam_offload else 2.0 * share),
    }


def _tokens(c: PureConfig) -> tuple[int, int]:
    """Tokens of one forward of policy or reference, and of one forward and backward of the update."""
    if c.train.dynamic_batch_enable:
        return (
            c.rollout.max_tokens_per_gpu or c.train.max_tokens_per_gpu,
            c.train.max_tokens_per_gpu,
        )
    row = longest_row(c)
    return c.rollout.micro_batch_size * row, c.train.micro_batch_size * row


def _forward(shape: ModelShape, tokens: int) -> float:
    """Without gradients one layer at a time is alive."""
    per_token = FORWARD_PER_INNER * shape.intermediate_size + FORWARD_PER_HIDDEN * shape.hidden_size
    return float(per_token * tokens)


def _activations(c: PureConfig, shape: ModelShape, tokens: int) -> float:
    """What the backward pass needs: of all layers, or of one and the inputs of the others (checkpointing)."""
    saved = SAVED_PER_INNER * shape.intermediate_size + SAVED_PER_HIDDEN * shape.hidden_size
    gradients = GRADIENT_PER_INNER * shape.intermediate_size
    if c.actor.gradient_checkpointing_enable:
        saved += 2 * shape.hidden_size * shape.num_layers
    else:
        saved *= shape.num_layers
    return float((saved + gradients) * tokens)


def _update_logits(c: PureConfig, circumstances: Circumstances) -> int:
    per_entry = UPDATE_LOGITS
    if not circumstances.fused_cross_entropy:
        per_entry += UNFUSED_LOGITS
    if c.actor.entropy_coef is not None:
        per_entry += ENTROPY_LOGITS
    return per_entry


def _optimiser_parts(
    c: PureConfig, policy: ModelShape, trained: int, update: float
) -> dict[str, float]:
    """32-bit weights and two moments (12 bytes a parameter) and the accumulated gradients, cut over the ranks."""
    share = trained / c.training_gpus
    gradient = 4.0 if c.ds.grad_accum_dtype == "fp32" else 2.0
    whole = trained if c.ds.zero_stage == 1 else share
    buckets = 2.0 * min(BUCKET_ELEMENTS, trained)
    if trained == policy.num_parameters and policy.vocab_matrix > BUCKET_ELEMENTS:
        buckets += 2.0 * policy.num_vocab_matrices * policy.vocab_matrix  # do not fit in the bucket
    if c.ds.adam_offload:
        held = gradient * whole if c.ds.zero_stage == 1 else 0.0
        return {"optimiser": 0.0, "gradient buckets": buckets + held, "optimiser step": 0.0}
    return {
        "optimiser": 12.0 * share,
        "gradient buckets": buckets + gradient * whole,
        # 32-bit gradients, when activations and logits are gone
        "optimiser step": max(0.0, 4.0 * share - update),
    }


def _engine(c: PureConfig, models: Models, circumstances: Circumstances) -> EngineMemory:
    shape, ways = models.policy, c.vllm.tensor_parallel_size
    batched = c.vllm.max_num_batched_tokens or DEFAULT_BATCHED_TOKENS
    sequences = c.vllm.max_num_seqs or min(max(c.answers_per_engine, 128), MOST_SEQUENCES)
    working = CONTEXT_BYTES + GRAPH_BYTES * (not c.vllm.enforce_eager)
    working += _forward(shape, batched) / ways + 12.0 * sequences * shape.vocab_size
    budget = c.vllm.gpu_memory_utilization * circumstances.gpu_bytes
    weights = 2.0 * shape.num_parameters / ways
    per_response = longest_row(c) * shape.kv_bytes_per_token / ways
    return EngineMemory(
        budget=budget,
        weights=weights,
        working=working,
        responses_at_once=max(0.0, budget - weights - working) / per_response,
        responses=c.answers_per_engine,
        outside=max(c.vllm.sync_bucket_mb * 2.0**20, 2.0 * shape.vocab_matrix) + CHECKSUM_BYTES,
    )


def _host(
    c: PureConfig, models: Models, circumstances: Circumstances, engine: EngineMemory
) -> HostMemory:
    """Of one node with its share of the training GPUs."""
    policy, prm = models.policy, models.prm
    trained = trainable_parameters(c, policy)
    ranks = c.actor.num_gpus_per_node
    lora = c.ds.lora.rank > 0
    base = 2.0 * policy.num_parameters
    reference = base if c.uses_reference and not lora else 0.0
    scoring = 2.0 * prm.num_parameters if prm is not None and not c.prm_gpus else 0.0
    copies = ranks * (base + reference + scoring)
    learning = trained + (prm.num_parameters if prm is not None and c.learns_prm else 0)
    # 32-bit weights, moments, gradients, and what gradients are accumulated in: 20 bytes, page-locked
    training = 20.0 * learning / c.actor.num_nodes if c.ds.adam_offload else 0.0
    workers = ranks * (1 + (reference > 0) + (scoring > 0))
    processes = 1 + workers + c.rollout_gpus / c.actor.num_nodes
    if c.shares_gpus:
        # reference and PRM keep a page-locked copy, the optimiser its room; the engines' weights, while they sleep
        optimiser = 0.0 if c.ds.adam_offload else 12.0 * learning / c.actor.num_nodes
        asleep = engine.weights * c.rollout_gpus / c.actor.num_nodes
        frozen = reference + scoring * (not c.learns_prm)
        training += ranks * frozen + optimiser + asleep
    return HostMemory(
        loading=copies,
        training=training,
        least=training + LEAST_PROCESS_BYTES * processes,
        most=copies + training + PROCESS_BYTES * processes,
    )


def _weight_bytes(c: PureConfig) -> float:
    """Of one weight as it is computed with: 2, or 4 where a CPU host takes fp32."""
    return 4.0 if parameter_type(c.ds.param_dtype) == "fp32" else 2.0


def cpu_host_memory(c: PureConfig, models: Models) -> HostMemory:
    """Of a run on a CPU host, where everything lies in host memory: models, optimiser, gradients, KV caches.

    The workers themselves, activations and logits count in `most` only.
    """
    policy, prm = models.policy, models.prm
    ranks, per_weight = c.training_gpus, _weight_bytes(c)
    base = per_weight * policy.num_parameters
    weights = ranks * (base + base * c.uses_reference)
    if prm is not None:
        weights += (c.prm_gpus or ranks) * per_weight * prm.num_parameters
    forward_tokens, update_tokens = _tokens(c)
    per_entry = max(
        FORWARD_LOGITS * forward_tokens,
        (_update_logits(c, Circumstances()) - FORWARD_LOGITS) * update_tokens,
    )
    working = ranks * (_activations(c, policy, update_tokens) + per_entry * policy.vocab_size)
    states = (12.0 + per_weight * ranks) * policy.num_parameters
    engines = c.vllm.num_engines * (base + CPU_KV_BYTES)
    processes = LEAST_PROCESS_BYTES * (1 + ranks * 3 + c.rollout_gpus)
    training = weights + states + engines
    return HostMemory(
        loading=weights, training=training, least=training, most=training + processes + working
    )


def disk_of(c: PureConfig, num_parameters: int) -> Disk:
    """A checkpoint has 16-bit weights, and weights and two moments of what is trained in 32 bits: 14 bytes a parameter.

    Of LoRA's adapters that is next to nothing. A PRM that learns has its own, counted as large as the policy.
    `--ckpt.save_hf` adds a folder of 2 bytes a parameter to each; both go together.
    """
    weights = 2.0 * num_parameters
    states = weights * (1 if c.ds.lora.rank else 7) + 7 * weights * c.learns_prm
    checkpoint = (0.0 if c.ckpt.disable_ds else states) + weights * c.ckpt.save_hf
    written = c.max_steps // c.ckpt.save_steps if c.ckpt.save_steps > 0 else 0
    kept = min(written, c.ckpt.max_num + 1)  # a new one is there before the oldest goes
    return Disk(checkpoint=checkpoint, kept=kept, model=weights * (1 + c.learns_prm))
