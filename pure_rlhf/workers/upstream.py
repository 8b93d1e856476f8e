"""What several workers need of OpenRLHF's internals: version check, undecorated classes, its `args`.

OpenRLHF reads its settings as `args.group.name` from a nested namespace, and writes into it while it runs;
`upstream_args` builds that namespace from our frozen `PureConfig`, with the value that PURE needs for every
setting that we do not offer. A contract test reads OpenRLHF's source and fails when a setting is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import ModuleType, SimpleNamespace
from typing import Any

from pure_rlhf.adapters import ALL_LINEAR
from pure_rlhf.config import PureConfig
from pure_rlhf.cpu_host import attention_implementation, parameter_type
from pure_rlhf.monitoring.records import JsonObject

OPENRLHF_VERSION = "0.11.2"
SELECTION_METRIC = "eval/selection/pass@1"
"""What the best checkpoint is chosen by where there is an --eval.selection_dataset."""

# Settings of OpenRLHF that PURE has no use for, at the value that switches them off. The groups are
# merged into the ones of PureConfig.
_FIXED: JsonObject = {
    "local_rank": -1,
    "use_ms": False,
    "critic": {
        "model_name_or_path": None,
        "freezing_steps": -1,
        "save_value_network": False,
    },
    "actor": {
        "policy_loss_type": "ppo",
        "aux_loss_coef": 0.0,
        "freeze_visual_encoder": False,
        "muon": SimpleNamespace(lr=0.02, momentum=0.95, ns_steps=5, nesterov=True),
        "optim": "adam",
    },
    "reward": {
        "remote_url": None,
        "normalize_enable": False,
        "clip_range": (-1e9, 1e9),
        "overlong_buffer_len": None,
        "overlong_penalty_factor": 1.0,
        "stop_properly_penalty_coef": None,
    },
    "vllm": {"sync_backend": "nccl", "sync_with_ray": False, "enable_sleep": False},
    "rollout": {"vllm_generate_batch_size": None},
    "train": {
        "agent_func_path": None,
        "async_enable": False,
        "async_queue_size": 1,
        "partial_rollout_enable": False,
        "colocate_actor_ref": True,
        "colocate_critic_reward": False,
        "enable_ema": False,
        "ema_beta": 0.992,
    },
    "algo": {
        "dynamic_filtering_enable": False,
        "dynamic_filtering_range": (0.0, 1.0),
        "advantage": {
            "estimator": "rloo",
            "gamma": 1.0,
            "lambd": 1.0,
            "no_std_norm": False,
        },
        "kl": {"use_loss": False, "unbiased_gradient": False},
    },
    "ds": {
        "deepcompile": False,
        "enable_sleep": False,
        "experts_implementation": None,
        "load_in_4bit": False,
        "ring_attn_head_stride": 1,
        "ring_attn_size": 1,
        "tensor_parallel_size": 1,
        "use_universal_ckpt": False,
        "value_head_prefix": "score",
    },
    "data": {
        "prompt_probs": None,
        "image_key": "images",
        "max_images_per_prompt": 0,
        "dataloader_num_workers": 0,
        "disable_fast_tokenizer": False,
        "max_samples": int(1e8),
    },
    "eval": {"n_samples_per_prompt": 1, "temperature": 0.0},
    "ckpt": {"best_metric_key": "none", "max_mem": float("inf")},  # the key: see upstream_args
}


def check_version() -> None:
    """Raise RuntimeError unless the installed OpenRLHF is the one that the seams were written for."""
    installed = version("openrlhf")
    if installed != OPENRLHF_VERSION:
        raise RuntimeError(
            f"openrlhf=={OPENRLHF_VERSION} is required, found {installed}: its internals differ between "
            f"releases; run `pip install openrlhf=={OPENRLHF_VERSION}`"
        )


def undecorated(actor_class: Any) -> type:
    """The plain class under a `@ray.remote` class: Ray refuses to inherit from the decorated one."""
    # modified_class is Ray's own subclass of it; inheriting from that one would show its name in the dashboard.
    return actor_class.__ray_metadata__.modified_class.__ray_actor_class__


def upstream_args(config: PureConfig) -> SimpleNamespace:
    """The nested, mutable namespace that OpenRLHF calls `args`; ours rides along as `args.pure`."""
    values = _merge(dataclasses.asdict(config), _FIXED)
    values["actor"]["eps_clip_low_high"] = (config.actor.eps_clip, config.actor.eps_clip)
    values["rollout"]["vllm_generate_batch_size"] = config.rollout.batch_size
    # As upstream's command line does: its dynamic batches multiply this number.
    if config.rollout.max_tokens_per_gpu is None:
        values["rollout"]["max_tokens_per_gpu"] = config.train.max_tokens_per_gpu
    # The models and the engines on the same GPUs: one forward after the other, and no group for the weights.
    values["train"]["colocate_all"] = config.shares_gpus
    values["ds"]["attn_implementation"] = attention_implementation(config.ds.attn_implementation)
    values["ds"]["param_dtype"] = parameter_type(config.ds.param_dtype)
    # peft takes one name as a word of its own, or a list of names
    lora = config.ds.lora
    values["ds"]["lora"]["target_modules"] = (
        ALL_LINEAR if lora.has_all_linear else list(lora.target_modules)
    )
    # Policy and reference divide their logits by this; the engines sample at `args.pure.rollout.temperature`.
    if config.log_prob_temperature == "one":
        values["rollout"]["temperature"] = 1.0
    if config.eval.selection_dataset is not None:
        values["ckpt"]["best_metric_key"] = SELECTION_METRIC
    # Truthy switches upstream's logger on; the key itself is read from the environment by wandb.
    values["logger"]["wandb"]["key"] = (
        "from the environment" if config.logger.wandb.enable else None
    )
    # -1 means "never": OpenRLHF would write infinity over it itself, at a place that we do not call.
    for group, key in (("eval", "steps"), ("ckpt", "save_steps")):
        if values[group][key] == -1:
            values[group][key] = float("inf")
    args = _namespace(values)
    args.pure = config
    return args


def _merge(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            assert key not in merged, f"{key} is both a setting of PureConfig and fixed"
            merged[key] = value
    return merged


def _namespace(values: Any) -> Any:
    if isinstance(values, dict):
        return SimpleNamespace(**{key: _namespace(value) for key, value in values.items()})
    return values


@contextmanager
def replaced(holder: ModuleType | SimpleNamespace, name: str, value: object) -> Iterator[None]:
    """Rebind a module's global, or a setting, while upstream code runs that names it."""
    original = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, original)
