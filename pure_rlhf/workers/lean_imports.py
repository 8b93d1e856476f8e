"""What the processes of a run import or compile without need is left out, so that a run starts sooner.

OpenRLHF imports vLLM at the head of two modules that policy, reference, PRM and trainer load too; they never call it.
It is as much code as all the rest of OpenRLHF. DeepSpeed's autotuner, which a run does not use, imports MLflow where it
is installed: a fifth of what is left (`tests/benchmarks/start.py` measures both). And DeepSpeed would compile C++
extensions when a run starts: without them nobody needs a compiler, or waits for one.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from pure_rlhf import cpu_host

# the modules of vLLM that OpenRLHF imports, with the names that it takes from them; all are called, none is subclassed
NAMES: dict[str, tuple[str, ...]] = {
    "vllm": ("SamplingParams",),
    "vllm.inputs": ("TokensPrompt",),
    "vllm.utils": ("random_uuid",),
}


class _DeferredModule(ModuleType):
    """Stands for a module in what was imported meanwhile; a use afterwards imports the real one."""

    def __getattr__(self, name: str) -> Any:
        if name in NAMES[self.__name__]:
            return _deferred_call(self.__name__, name)
        if (name.startswith("__") and name != "__version__") or sys.modules.get(
            self.__name__
        ) is self:
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        """Ray sends an engine's class by value, with what its methods name: there it is the real module."""
        return importlib.import_module, (self.__name__,)


def _deferred_call(module: str, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return call


def leave_out_autotuner() -> None:
    """DeepSpeed, when it is imported after this, has no autotuner; no effect where it is loaded already."""
    name = "deepspeed.autotuning.autotuner"
    module = ModuleType(name, "Left out by pure_rlhf.workers.lean_imports: no run autotunes.")
    module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
    module.Autotuner = None  # all that deepspeed.autotuning takes from it
    sys.modules.setdefault(name, module)


def leave_out_compiled_extensions() -> None:
    """DeepSpeed, loaded by now, compiles nothing when a run starts.

    Its optimisers are C++ and CUDA, built for minutes with a compiler, on a GPU host with one exact nvcc; PyTorch's
    fused AdamW stands in for them: the same update, rounded otherwise, on GPUs, on a CPU and with --ds.adam_offload.
    """
    from openrlhf.utils.deepspeed.deepspeed import DeepspeedStrategy

    cpu_host.prepare_deepspeed()
    original = DeepspeedStrategy.get_ds_train_config

    def with_pytorchs_adam(self: Any, *args: Any, **options: Any) -> dict[str, Any]:
        config = original(self, *args, **options)
        optimizer = config.get("optimizer")
        if optimizer is not None and optimizer["type"] == "AdamW":
            # `torch_adam` is DeepSpeed's switch; it hands `fused` on
            params = optimizer["params"] | {"torch_adam": True, "fused": True}
            config["optimizer"] = {**optimizer, "params": params}
        return config

    DeepspeedStrategy.get_ds_train_config = with_pytorchs_adam


@contextmanager
def deferred_vllm() -> Iterator[None]:
    """What is imported in this context gets a vLLM that is loaded at its first use; no effect where it is loaded."""
    if "vllm" in sys.modules:
        yield
        return
    for name in NAMES:
        module = _DeferredModule(name)
        # `find_spec`, by which other libraries ask whether vLLM is there, raises for a module without a spec
        module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None, is_package=True)
        module.__path__ = []
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in NAMES:
            del sys.modules[name]
