"""What OpenRLHF 0.11.2 needs to run on a host without a GPU, or without flash-attn; inert where there are both.

OpenRLHF imports five pure-torch helpers from `flash_attn` at import time and speaks to `torch.cuda`
directly (`current_device`, `set_device`, `synchronize`, `empty_cache`, a "cuda" device mesh). `install()`
supplies exactly these, so that the same trainer drives the real DeepSpeed (CPU accelerator, gloo) and the
real vLLM (CPU backend). It runs in the driver and, through Ray's `worker_process_setup_hook`, in every
worker before it loads. vLLM's CPU settings live here too.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.metadata
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RAY_SETUP_HOOK = "pure_rlhf.cpu_host.install"
CORES = "PURE_CORES"
"""Variable: cores of a CPU host, for those who work alone; 0 where the user has chosen the threads."""


def is_cpu_host() -> bool:
    """True where torch sees no CUDA device; PURE_HOST=cpu or gpu says otherwise.

    The latter is for a driver on a node without a GPU that belongs to a cluster with GPUs.
    """
    if os.environ.get("PURE_HOST") in ("cpu", "gpu"):
        return os.environ["PURE_HOST"] == "cpu"
    import torch

    return not torch.cuda.is_available()


def device() -> str:
    """Where this host computes, as torch names it."""
    return "cpu" if is_cpu_host() else "cuda"


def engine_arguments() -> dict[str, Any]:
    """Arguments of vLLM that a CPU host overrides: there is nothing to capture, and no GPU's memory to leave."""
    return {"enforce_eager": True, "enable_sleep_mode": False} if is_cpu_host() else {}


def bfloat16_is_fast() -> bool:
    """Whether this host multiplies bfloat16 in hardware: a GPU from Ampere on, a CPU with AVX512-BF16 or AMX."""
    import torch

    if not is_cpu_host():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def parameter_type(asked: str) -> str:
    """What `auto` means on this host: bf16, or fp32 where bfloat16 would be emulated, some ten times as slow."""
    if asked != "auto":
        return asked
    return "fp32" if is_cpu_host() and not bfloat16_is_fast() else "bf16"


def flash_attn_loads() -> bool:
    """Whether flash-attn itself is installed and fits this torch; the helpers below do not count."""
    try:
        importlib.metadata.version("flash-attn")
        importlib.import_module("flash_attn_2_cuda")
    except (importlib.metadata.PackageNotFoundError, ImportError):
        return False
    return True


def attention_implementation(asked: str) -> str:
    """What `auto` means on this host: flash-attn where it loads, else PyTorch's own."""
    if asked != "auto":
        return asked
    return "flash_attention_2" if not is_cpu_host() and flash_attn_loads() else "sdpa"


def offer_float32() -> None:
    """OpenRLHF, loaded by now, also takes "fp32" where it asks for the type of the weights: DeepSpeed does."""
    import torch
    from openrlhf.utils import utils

    original = utils.convert_to_torch_dtype

    @functools.wraps(original)
    def with_float32(param_dtype: str) -> torch.dtype:
        return torch.float32 if param_dtype == "fp32" else original(param_dtype)

    utils.convert_to_torch_dtype = with_float32


def prepare_deepspeed() -> None:
    """What DeepSpeed 0.19.6 needs before it makes or loads a model on a CPU host.

    It would compile a collective for inference, which nothing here calls. And where ZeRO-3 gathers several parameters
    at once it waits for the last gather only. On a CUDA stream that is enough; gloo may end an earlier one after its
    weight has been read, or loaded from a file (DeepSpeed's pull request 8539, in no release that OpenRLHF allows). So
    each is waited for.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if is_cpu_host():
        from deepspeed.runtime.zero.partition_parameters import Init

        @functools.wraps(Init._allgather_params_coalesced)
        def gather_one_by_one(self, param_list, hierarchy=0, quantize=False):
            return self._allgather_params_sequential(param_list, hierarchy)

        Init._allgather_params_coalesced = gather_one_by_one


def environment() -> dict[str, str]:
    """Environment of a run's processes, which tells them the kind of host; what the user has set wins on a CPU host.

    A process that loads a model must not ask CUDA for it before OpenRLHF has chosen its GPU. On a CPU host one OpenMP
    thread a process: the processes of a run share few cores, and a pool each makes them wait for one another. Where one
    works alone it gets more (`all_cores`), and threads that have nothing to do sleep at once. `VLLM_*` and
    `TORCH_COMPILE_DISABLE` are what vLLM's CPU backend needs to start quickly and to leave memory to the others.
    """
    if not is_cpu_host():
        # FlashInfer's sampler, which vLLM takes for unprocessed log-probabilities, is compiled by nvcc at its first use
        return {
            "PURE_HOST": "gpu",
            "VLLM_USE_FLASHINFER_SAMPLER": os.environ.get("VLLM_USE_FLASHINFER_SAMPLER", "0"),
        }
    defaults = {
        "PURE_HOST": "cpu",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        CORES: "0" if "OMP_NUM_THREADS" in os.environ else str(len(os.sched_getaffinity(0))),
        "TORCH_COMPILE_DISABLE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "DS_ACCELERATOR": "cpu",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    openmp = Path(sys.prefix) / "lib" / "libiomp5.so"
    if openmp.exists():
        defaults["LD_PRELOAD"] = str(openmp)
    return {key: os.environ.get(key, value) for key, value in defaults.items()}


@contextmanager
def all_cores(processes: int) -> Iterator[None]:
    """As many OpenMP threads as fall to one of `processes` that work at once; no effect on a GPU host."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(before, int(os.environ.get(CORES, "0")) // processes))
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _CpuDevice(str):
    """`torch.cuda.current_device()` on a CPU host.

    `tensor.to(...)` reads it as the device "cpu"; inside OpenRLHF's f"cuda:{...}" (replay buffer, a device
    that is never used) it reads as an index, because `torch.device("cuda:0")` is legal anywhere.
    """

    def __format__(self, spec: str) -> str:
        return "0"


def install() -> None:
    """Make this process able to import and run OpenRLHF without a GPU. Idempotent."""
    if not is_cpu_host() or "flash_attn" in sys.modules:
        return
    import torch

    supply_flash_attn_helpers()
    torch.cuda.is_available = lambda: False  # also where PURE_HOST=cpu hides a GPU that is there
    torch.cuda.current_device = lambda: _CpuDevice("cpu")
    torch.cuda.set_device = lambda device: None
    torch.cuda.synchronize = lambda device=None: None
    torch.cuda.empty_cache = lambda: None

    import torch.distributed.device_mesh as device_mesh

    init_device_mesh = device_mesh.init_device_mesh

    def init_cpu_mesh(device_type, *args, **kwargs):
        return init_device_mesh("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    device_mesh.init_device_mesh = init_cpu_mesh


def supply_flash_attn_helpers() -> None:
    """Register modules with the five functions that OpenRLHF imports from flash_attn (all unrelated to attention).

    Needed wherever flash-attn is not installed, with a GPU or without; transformers does not take them for flash-attn.
    """
    import torch
    from einops import rearrange

    def index_first_axis(values, indices):
        return values[indices]

    def unpad_input(hidden_states, attention_mask):
        lengths = attention_mask.sum(dim=-1, dtype=torch.int32)
        indices = attention_mask.flatten().nonzero().flatten()
        cumulative = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
        return (
            hidden_states.flatten(0, 1)[indices],
            indices,
            cumulative,
            int(lengths.max()),
            lengths,
        )

    def pad_input(hidden_states, indices, batch, seqlen):
        output = hidden_states.new_zeros(batch * seqlen, *hidden_states.shape[1:])
        output[indices] = hidden_states
        return output.unflatten(0, (batch, seqlen))

    def all_gather(tensor, group):
        world_size = torch.distributed.get_world_size(group)
        parts = [torch.empty_like(tensor) for _ in range(world_size)]
        torch.distributed.all_gather(parts, tensor, group=group)
        return torch.cat(parts)

    helpers = {
        "flash_attn": {},
        "flash_attn.bert_padding": {
            "index_first_axis": index_first_axis,
            "pad_input": pad_input,
            "unpad_input": unpad_input,
            "rearrange": rearrange,
        },
        "flash_attn.utils": {},
        "flash_attn.utils.distributed": {"all_gather": all_gather},
    }
    for name, functions in helpers.items():
        module = types.ModuleType(name)
        # find_spec() raises for a module without a spec; transformers and vLLM ask it.
        module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None, is_package=True)
        module.__path__ = []
        module.__dict__.update(functions)
        sys.modules[name] = module
