"""What the processes of a run import or compile without need is left out, so that a run starts sooner.

OpenRLHF imports vLLM and DeepSpeed at the head of modules that every process loads. Only the engines call vLLM, only
policy, reference and PRM call DeepSpeed; each is as much code as all the rest of OpenRLHF. So they are loaded where
they are used first, and so are three smaller ones (`tests/benchmarks/start.py` measures what it saves). DeepSpeed
itself is loaded without its autotuner, its elastic agent and its compiler, which a run does not use, and which import
MLflow, torch's elastic launcher and torch's inductor.
"""

from __future__ import annotations

import functools
import gc
import importlib
import importlib.machinery
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

from pure_rlhf import cpu_host

# the modules that OpenRLHF imports, with the names that it takes from them; none is subclassed or used in an import
NAMES: dict[str, tuple[str, ...]] = {
    "vllm": ("SamplingParams",),
    "vllm.inputs": ("TokensPrompt",),
    "vllm.utils": ("random_uuid",),
    "deepspeed": (),
    "deepspeed.runtime": (),
    "deepspeed.runtime.zero": (),
    "deepspeed.runtime.zero.partition_parameters": ("ZeroParamStatus",),
    # transformers' whole trainer, with datasets and pandas
    "transformers.trainer": ("get_scheduler",),
    # by transformers' losses of object detection
    "scipy.optimize": ("linear_sum_assignment",),
    # by OpenRLHF's readers of data sets, where ours is another (`data.py`)
    "datasets": ("Dataset", "interleave_datasets", "load_dataset", "load_from_disk"),
}
SOURCES = {"transformers.trainer": "transformers.optimization"}
"""Where the names of a module come from, if that is quicker to load."""
PACKAGES = ("vllm", "deepspeed", "transformers.trainer", "scipy.optimize", "datasets")
LEFT_OUT = {
    "deepspeed.autotuning.autotuner": "Autotuner",
    "deepspeed.elasticity.elastic_agent": "DSElasticAgent",
}
"""Modules of DeepSpeed that no run uses, with the one name that DeepSpeed takes from each and does not call."""
COMPILER = ("functorch.compile", "torch._inductor.lowering")
"""What DeepSpeed's compiler (`--ds.deepcompile` of OpenRLHF, off here) imports where it is there."""


class _DeferredModule(ModuleType):
    """Stands for a module in what was imported meanwhile; a use afterwards imports the real one."""

    def __getattr__(self, name: str) -> Any:
        if name in NAMES[self.__name__]:
            return _DeferredName(self.__name__, name)
        if (name.startswith("__") and name != "__version__") or sys.modules.get(
            self.__name__
        ) is self:
            raise AttributeError(name)
        return getattr(load(self.__name__), name)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        """Ray sends an engine's class by value, with what its methods name, also to those who only call the engine."""
        return _loaded_or_deferred, (self.__name__,)


def _loaded_or_deferred(name: str) -> ModuleType:
    return sys.modules.get(name) or _DeferredModule(name)


class _DeferredName:
    """Stands for a function or class of a deferred module: a call or an attribute imports it."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def _real(self) -> Any:
        module, name = self._place
        return getattr(load(SOURCES.get(module, module)), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._real(), name)


def load(name: str) -> ModuleType:
    """The real module; DeepSpeed's without what no run uses."""
    if name.partition(".")[0] == "deepspeed":
        load_deepspeed()
    return importlib.import_module(name)


def load_deepspeed() -> None:
    """Import DeepSpeed without what no run uses, so that it compiles nothing; no effect where it is loaded."""
    if "deepspeed" in sys.modules:
        return
    for name, attribute in LEFT_OUT.items():
        module = ModuleType(name, "Left out by pure_rlhf.workers.lean_imports.")
        module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
        setattr(module, attribute, None)
        sys.modules[name] = module
    with (
        without_collection(),
        deferred("scipy.optimize"),
        _compiled_later(),
        _missing(COMPILER),
    ):
        importlib.import_module("deepspeed")
    cpu_host.prepare_deepspeed()


@contextmanager
def _compiled_later() -> Iterator[None]:
    """What is imported in this context compiles what it decorates at the first call.

    torch.compile loads inductor when it decorates. DeepSpeed decorates functions of Muon and of its experts, OpenRLHF
    the entropy.
    """
    compile_now = torch.compile

    def compile_at_call(function: Callable[..., Any] | None = None, **options: Any) -> Any:
        if function is None:
            return lambda function: compile_at_call(function, **options)
        if os.environ.get("TORCH_COMPILE_DISABLE") == "1":
            return function  # torch would load inductor, and then not use it
        compiled = functools.cache(lambda: compile_now(function, **options))
        return functools.wraps(function)(lambda *args, **kwargs: compiled()(*args, **kwargs))

    torch.compile = compile_at_call
    try:
        yield
    finally:
        torch.compile = compile_now


@contextmanager
def _missing(names: Sequence[str]) -> Iterator[None]:
    """To import these fails in this context; no effect on what is loaded."""
    missing: dict[str, Any] = {name: None for name in names if name not in sys.modules}
    sys.modules.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection meanwhile: imports make a million objects that stay, and it would look at each often."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def deferred(*packages: str) -> Iterator[None]:
    """What is imported in this context gets modules of these packages that are loaded at their first use.

    No effect on a package that is loaded, or deferred already.
    """
    names = [
        name
        for package in packages
        if package not in sys.modules
        for name in NAMES
        if name == package or name.startswith(f"{package}.")
    ]
    for name in names:
        module = _DeferredModule(name)
        # `find_spec`, by which other libraries ask whether it is there, raises for a module without a spec
        module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None, is_package=True)
        module.__path__ = []
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


class _LeanLoader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        with without_collection(), deferred(*PACKAGES), _compiled_later():
            super().exec_module(module)


class LeanOpenRlhf(importlib.machinery.PathFinder):
    """Finds the modules of OpenRLHF, and lets them be executed with vLLM and DeepSpeed deferred."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] != "openrlhf":
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _LeanLoader(fullname, spec.loader.path)
        return spec
