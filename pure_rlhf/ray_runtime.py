"""Starts Ray, or joins the cluster that RAY_ADDRESS names; imports nothing heavy, so it can go first."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import services

from pure_rlhf import cpu_host
from pure_rlhf.config import PureConfig

START_SECONDS = 300
"""For each part of Ray to start: a busy host, or one whose packages lie on a network, needs more than Ray's 30 s."""


@contextmanager
def _time_to_start() -> Iterator[None]:
    """Ray asks for its new node during 30 s, a constant of `Node.__init__` (ray/_private/node.py); one asking waits.

    The limits that are settings are in `train_pure._prepare_environment`.
    """
    get_node = services.get_node

    def wait_for_node(*args: Any) -> Any:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return get_node(*args)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    services.get_node = wait_for_node
    try:
        yield
    finally:
        services.get_node = get_node


def start_ray(config: PureConfig) -> None:
    """Start a Ray of our own with the dashboard on loopback, or join the cluster that RAY_ADDRESS names."""
    environment = {
        "TOKENIZERS_PARALLELISM": "true",
        "NCCL_DEBUG": os.environ.get("NCCL_DEBUG", "WARN"),
        "PYTORCH_CUDA_ALLOC_CONF": os.environ.get(
            "PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"
        ),
    }
    runtime_env: dict[str, Any] = {"env_vars": environment}
    if cpu_host.is_cpu_host():
        environment |= cpu_host.environment()
        runtime_env["worker_process_setup_hook"] = cpu_host.RAY_SETUP_HOOK
    # Ray would otherwise hide the GPUs from a process that asks for none of them, such as the trainer.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {
        "runtime_env": runtime_env,
        "log_to_driver": config.verbose,
        "logging_level": logging.WARNING,
    }
    if cpu_host.is_cpu_host() and os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        # Ray refuses to declare GPUs beside an empty list of them; PURE_HOST keeps real ones out of sight.
        del os.environ["CUDA_VISIBLE_DEVICES"]
    if not os.environ.get("RAY_ADDRESS"):
        options |= {
            "address": "local",  # not some cluster that runs on this machine for another purpose
            "include_dashboard": True,
            "dashboard_host": "127.0.0.1",
            "num_gpus": config.num_gpus,
        }
        if cpu_host.is_cpu_host():
            needed = config.needed_gpus
            options |= {
                "num_gpus": config.num_gpus or needed,
                # CPUs are bookkeeping here: one for each process of a bundle, and some for the trainer.
                "num_cpus": max(os.cpu_count() or 1, needed + 2),
                "object_store_memory": 512 * 2**20,
            }
    with _time_to_start():
        context = ray.init(**options)
    print(
        f"Ray dashboard: http://{context.dashboard_url}"
        if context.dashboard_url
        else "Ray dashboard: off"
    )
