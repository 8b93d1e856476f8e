"""OpenRLHF's DeepSpeed strategy, with a DeepSpeed that is loaded lean and compiles nothing.

The driver makes it, and every worker that trains or scores with a model is handed it.
"""

from __future__ import annotations

from typing import Any

import openrlhf.utils.deepspeed
from openrlhf.utils.utils import get_strategy

from pure_rlhf.workers.lean_imports import load_deepspeed
from pure_rlhf.workers.upstream import replaced


class Strategy(openrlhf.utils.deepspeed.DeepspeedStrategy):
    """One process' access to DeepSpeed."""

    def setup_distributed(self, *args: Any, **options: Any) -> None:
        load_deepspeed()  # every worker's first use of it
        super().setup_distributed(*args, **options)

    def get_ds_train_config(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Upstream's, with PyTorch's fused AdamW in place of DeepSpeed's.

        DeepSpeed's optimisers are C++ and CUDA, built for minutes with a compiler, on a GPU host with one exact nvcc.
        The other makes the same update, rounded otherwise, on GPUs, on a CPU and with --ds.adam_offload.
        """
        config = super().get_ds_train_config(*args, **options)
        optimizer = config.get("optimizer")
        if optimizer is not None and optimizer["type"] == "AdamW":
            # `torch_adam` is DeepSpeed's switch; it hands `fused` on
            params = optimizer["params"] | {"torch_adam": True, "fused": True}
            config["optimizer"] = {**optimizer, "params": params}
        return config


def make_strategy(args: Any) -> Strategy:
    """A strategy of OpenRLHF's `args`."""
    with replaced(openrlhf.utils.deepspeed, "DeepspeedStrategy", Strategy):
        strategy = get_strategy(args)
    assert isinstance(strategy, Strategy)
    return strategy
