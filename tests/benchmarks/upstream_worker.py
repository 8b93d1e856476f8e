"""Upstream's end of its weight transfer inside vLLM's worker, on a CPU host: see `upstream_host.py`.

A module of its own, because it runs in the engine's own process, which no set-up hook of Ray reaches.
"""

from __future__ import annotations

from typing import Any

import openrlhf.utils.distributed_util as distributed_util
import torch
from openrlhf.trainer.ray.vllm_worker_wrap import WorkerWrap

from pure_rlhf.workers.transports import open_group


class BenchmarkWorker(WorkerWrap):
    """Over gloo; what has arrived is not loaded."""

    _model_update_group: Any

    def init_process_group(self, *args: Any, **options: Any) -> None:
        distributed_util.stateless_init_process_group = open_group
        super().init_process_group(*args, **options)

    def update_weight(
        self, name: str, dtype: torch.dtype, shape: Any, empty_cache: bool = False
    ) -> None:
        weight = torch.empty(shape, dtype=dtype)
        self._model_update_group.broadcast(weight, src=0)
