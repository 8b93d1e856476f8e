"""Stage 6, weight sync: the receiver, mixed into vLLM's own worker; the sender and the layout are `weight_sync.py`."""

from __future__ import annotations

import torch
from openrlhf.trainer.ray.vllm_worker_wrap import WorkerWrap
from torch import nn
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from pure_rlhf.workers.transports import Offer, open_group, open_offer
from pure_rlhf.workers.weight_sync import Slot, checksum, unpack


class EngineWorker(WorkerWrap):
    """Mixed into vLLM's worker (`worker_extension_cls`): receives buckets and loads them."""

    def init_process_group(
        self,
        master_address: str,
        master_port: int,
        rank_offset: int,
        world_size: int,
        group_name: str,
        backend: str = "nccl",
        use_ray: bool = False,
    ) -> None:
        """Join the group over which buckets are broadcast (`--placement split`)."""
        rank = torch.distributed.get_rank() + rank_offset
        self._model_update_group = open_group(
            master_address, master_port, rank, world_size, self.device
        )

    def seed_sampling(self, seed: int) -> None:
        """What is sampled from now on is drawn from this seed."""
        torch.manual_seed(seed)

    def update_weight_bucket(
        self, slots: list[Slot], size: int, offer: Offer | None, first: bool, last: bool
    ) -> int:
        """Receive one bucket, load it into the running model, return its checksum.

        Args:
            slots: layout of the bucket; size: its bytes.
            offer: what opens the bucket on this device, or None when it comes by broadcast.
            first, last: where the bucket stands in the sync.
        """
        model = self.model_runner.model
        on_cpu = self.device.type == "cpu"
        if offer is None:
            buffer = torch.empty(size, dtype=torch.uint8, device=self.device)
            stream = None if on_cpu else torch.cuda.current_stream()
            self._model_update_group.broadcast(buffer, src=0, stream=stream)
        else:
            buffer = open_offer(offer, size, self.device)
        # The CPU backend packs Linear weights after loading and drops the originals, so that a plain
        # load_weights() fails. vLLM's reload session restores them; it must span all buckets, or a layer
        # whose parts come in two of them (q, k and v) would be packed half empty.
        if on_cpu and first:
            initialize_layerwise_reload(model)
        # the session keeps what it is given until a layer is complete, and an offer is filled anew
        weights = buffer.clone() if on_cpu and offer is not None else buffer
        model.load_weights(weights=unpack(weights, slots))
        if on_cpu and last:
            finalize_layerwise_reload(model, self.model_config)
            _repack_output_layers(model)
        return checksum(buffer)  # waits for the copies of load_weights, on a GPU in the same stream


def _repack_output_layers(model: nn.Module) -> None:
    """Pack embeddings and output layer again: vLLM 0.29 forgets an output layer tied to the embedding.

    Its weight is the embedding's, so no weight arrives under its own name, and the packed copy that the CPU
    backend multiplies with stays that of the old weights. Seen in `sync/log_prob_gap`.
    """
    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding):
            module.quant_method.process_weights_after_loading(module)
