"""OpenRLHF's DeepSpeed strategy: DeepSpeed is loaded lean and compiles nothing, checkpoints are whole or not there.

The driver makes it, and every worker that trains or scores with a model is handed it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openrlhf.utils.deepspeed
from openrlhf.utils.distributed_util import torch_dist_barrier_and_cuda_sync
from openrlhf.utils.utils import get_strategy

from pure_rlhf.adapters import LoraSettings
from pure_rlhf.checkpoints import DRAFT, finish, prune, remove_drafts, tag_to_load
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

    def save_ckpt(
        self,
        model: Any,
        save_dir: str,
        tag: str | None = None,
        max_num: int = 3,
        max_mem: float = 1000,
        client_state: dict[str, Any] | None = None,
        save_latest: bool = True,
        metric_value: float | None = None,
        metric_key: str | None = None,
    ) -> None:
        """Upstream's, but the checkpoint gets its name when it is whole, and only then are older ones deleted.

        Upstream deletes first: a run that is killed while it saves may have none, and with one to keep has none.
        """
        assert tag is not None
        folder = Path(save_dir)
        if self.is_rank_0():
            folder.mkdir(parents=True, exist_ok=True)
            remove_drafts(folder)
        torch_dist_barrier_and_cuda_sync()
        draft = f"{tag}{DRAFT}"
        model.save_checkpoint(
            save_dir, tag=draft, client_state=client_state or {}, save_latest=False
        )
        torch_dist_barrier_and_cuda_sync()
        if self.is_rank_0():
            lora: LoraSettings = self.args.pure.ds.lora  # pyright: ignore[reportOptionalMemberAccess]
            if lora.rank:
                lora.write_note(folder / draft)
            metric: dict[str, object] = {"metric_key": metric_key, "metric_value": metric_value}
            new = finish(folder / draft, metric, becomes_latest=save_latest)
            prune(folder, new, max_num)
        torch_dist_barrier_and_cuda_sync()

    def load_ckpt(self, model: Any, load_dir: str, tag: str | None = None, **options: Any) -> Any:
        """Upstream's, of the newest whole checkpoint where no tag is given.

        Raises:
            RuntimeError: there is none; upstream would begin anew.
        """
        tag = tag or tag_to_load(Path(load_dir))
        if tag is None:
            raise RuntimeError(f"no checkpoint in {load_dir} was written to its end")
        return super().load_ckpt(model, load_dir, tag=tag, **options)


def make_strategy(args: Any) -> Strategy:
    """A strategy of OpenRLHF's `args`."""
    with replaced(openrlhf.utils.deepspeed, "DeepspeedStrategy", Strategy):
        strategy = get_strategy(args)
    assert isinstance(strategy, Strategy)
    return strategy
