"""Problems that the values alone show."""

from __future__ import annotations

from collections.abc import Iterator

from pure_rlhf import cpu_host
from pure_rlhf.adapters import find_lora_problems
from pure_rlhf.algorithm.curriculum import find_curriculum_problems
from pure_rlhf.algorithm.settings import find_setting_problems
from pure_rlhf.config import PureConfig
from pure_rlhf.monitoring.alarms import limit_detector
from pure_rlhf.monitoring.sinks import find_mlflow_problems
from pure_rlhf.validation.gpus import check_gpus, check_placement
from pure_rlhf.validation.prm import check_prm_values, unread_settings_problem

_FLASH_ATTN = (
    ", or build flash-attn (nvcc is needed): PURE_FLASH_ATTN=1 bash examples/scripts/setup.sh"
)


def check_values(config: PureConfig) -> Iterator[str]:
    """Problems that the values alone show."""
    c = config
    # the bounds of all groups, and what of the algorithm's settings is at odds
    yield from find_setting_problems(c, max_response_tokens=c.rollout.max_new_tokens)
    yield from find_curriculum_problems(c.curriculum)
    yield from _check_alarms(c)
    yield from find_mlflow_problems(c.logger.mlflow_experiment)
    yield from check_prm_values(c)
    if (unread := unread_settings_problem(c)) is not None:
        yield unread
    yield from _check_batches(c)
    yield from check_gpus()
    yield from check_placement(c)
    yield from find_lora_problems(c.ds.lora)
    if c.data.prompt_max_len + c.rollout.max_new_tokens > c.data.max_len:
        yield (
            f"--data.max_len {c.data.max_len}: must hold --data.prompt_max_len {c.data.prompt_max_len} + "
            f"--rollout.max_new_tokens {c.rollout.max_new_tokens}; raise it to "
            f"{c.data.prompt_max_len + c.rollout.max_new_tokens}"
        )
    if c.train.async_steps and c.shares_gpus:
        yield (
            f"--train.async_steps {c.train.async_steps} with --placement shared: they take turns there, "
            "so nothing can go on at once; use --placement split, or --train.async_steps 0"
        )
    low, high = c.algo.advantage.is_correction_threshold
    if low >= high:
        yield (
            f"--algo.advantage.is_correction_threshold {low} {high}: the lower one must come first and be smaller; use "
            "for example 0.5 5.0"
        )
    for flag, template in (
        ("--data.input_template", c.data.input_template),
        ("--data.program_template", c.data.program_template),
    ):
        if "{}" not in template:
            yield f"{flag} {template!r}: must contain {{}}, where the problem goes"
    if c.train.dynamic_batch_enable and not c.ds.packing_samples:
        yield "--train.dynamic_batch_enable: needs packing; add --ds.packing_samples"
    if c.ds.param_dtype == "fp32" and not cpu_host.is_cpu_host():
        yield "--ds.param_dtype fp32: for a host without GPUs, where bfloat16 may be slow; use bf16 on GPUs"
    attention = cpu_host.attention_implementation(c.ds.attn_implementation)
    if c.ds.packing_samples and attention != "flash_attention_2":
        yield (
            f"--ds.packing_samples with --ds.attn_implementation {c.ds.attn_implementation}, here {attention}: packing "
            f"needs flash-attn, or answers would attend to one another; drop it{_FLASH_ATTN}"
        )
    if attention == "flash_attention_2" and cpu_host.is_cpu_host():
        yield (
            f"--ds.attn_implementation {attention}: there is no GPU here and flash attention has no CPU version; use "
            f"--ds.attn_implementation sdpa"
        )
    elif attention == "flash_attention_2" and not cpu_host.flash_attn_loads():
        yield (
            f"--ds.attn_implementation {attention}: flash-attn is not installed, or was built for another torch; use "
            f"sdpa{_FLASH_ATTN}"
        )


def _check_alarms(c: PureConfig) -> Iterator[str]:
    for limit in c.alarm.limits:
        try:
            limit_detector(limit)
        except ValueError as error:
            yield f"--alarm.limits: {error}"
    if c.alarm.action != "rollback":
        return
    age = c.alarm.safe_age
    if c.ckpt.disable_ds or c.ckpt.save_steps < 1:
        yield (
            "--alarm.action rollback: needs checkpoints to go back to; drop --ckpt.disable_ds and set "
            f"--ckpt.save_steps, for example to {c.alarm.window}"
        )
    elif c.ckpt.save_steps * (c.ckpt.max_num - 1) < age:
        yield (
            f"--alarm.action rollback: goes back at least {age} steps (two --alarm.window), but --ckpt.max_num "
            f"{c.ckpt.max_num} checkpoints every --ckpt.save_steps {c.ckpt.save_steps} steps reach less far; keep "
            f"{-(-age // c.ckpt.save_steps) + 1}"
        )


def _check_batches(c: PureConfig) -> Iterator[str]:
    answers = c.rollout.batch_size * c.rollout.n_samples_per_prompt
    made = f"--rollout.batch_size {c.rollout.batch_size} x --rollout.n_samples_per_prompt = {answers} answers"
    if c.train.batch_size > 0 and answers % c.train.batch_size:
        yield f"--train.batch_size {c.train.batch_size}: must divide {made} of a step; use {answers}"
    ranks = c.training_gpus
    share = ranks * c.train.micro_batch_size
    if share > 0 and c.train.batch_size % share:
        yield (
            f"--train.batch_size {c.train.batch_size}: must be a multiple of {ranks} policy ranks x "
            f"--train.micro_batch_size {c.train.micro_batch_size} = {share}"
        )
    per_forward = c.rollout.micro_batch_size * ranks
    if per_forward > 0 and answers % per_forward:
        yield (
            f"--rollout.micro_batch_size {c.rollout.micro_batch_size}: {made} must be a multiple of "
            f"{ranks} ranks x micro batch = {per_forward}"
        )
