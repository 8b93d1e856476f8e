"""What `upstream.py` puts into both programs that it compares, and what upstream's needs beside, on a CPU host.

* In both: the engine writes as many tokens for each answer as the benchmark says (`LENGTHS_VARIABLE`), and no end of
  text stops it.
* In upstream's: the helpers of `pure_rlhf.cpu_host` and the lean imports of `pure_rlhf.workers`, which include
  PyTorch's AdamW; float32 where a CPU would emulate bfloat16, as in ours; its group of engines and policy over gloo in
  place of NCCL; received weights are allocated on the CPU, and not loaded (vLLM's CPU engine packs its layers and
  cannot load them one by one): the transfer is timed, the load is a present to upstream.

`python -m tests.benchmarks.upstream_host ours|upstream FLAGS` is one program; upstream writes the seconds of its phases
to TIMES_VARIABLE.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

LENGTHS_VARIABLE = "BENCHMARK_LENGTHS"
"""JSON: tokens of the answers of a step, in the order in which they are asked for; then from the start again."""
TIMES_VARIABLE = "BENCHMARK_TIMES"
HOOK_OURS = "tests.benchmarks.upstream_host.install_ours"
HOOK_UPSTREAM = "tests.benchmarks.upstream_host.install_upstream"
NUM_GPUS = 4  # policy, reference, reward model, engine
PHASES = {
    "generation": "generation",
    "make_experience": "scoring",
    "ppo_train": "update",
    "broadcast": "sync",
}


def install_ours() -> None:
    """Ray's set-up hook in our runs."""
    from pure_rlhf import cpu_host

    cpu_host.install()
    _fix_lengths()


def install_upstream() -> None:
    """Ray's set-up hook in upstream's runs, and the first thing in its driver."""
    from pure_rlhf import cpu_host

    cpu_host.install()
    import openrlhf.trainer.ray.ppo_actor as ppo_actor
    import openrlhf.utils.distributed_util as distributed_util
    import torch

    from pure_rlhf.workers.transports import open_group  # and with it the lean imports

    torch.cuda.current_stream = lambda device=None: None  # pyright: ignore[reportAttributeAccessIssue]
    distributed_util.stateless_init_process_group = open_group
    ppo_actor.stateless_init_process_group = open_group

    _fix_lengths(worker="tests.benchmarks.upstream_worker.BenchmarkWorker")


def _fix_lengths(worker: str | None = None) -> None:
    """Every request that reaches an engine of this process gets the next of the lengths.

    Args:
        worker: extension of vLLM's worker that the engine gets in place of its own.
    """
    from importlib.abc import Loader, MetaPathFinder
    from importlib.machinery import ModuleSpec
    from importlib.util import find_spec

    target = "vllm.v1.engine.async_llm"

    class AfterImport(MetaPathFinder):
        """Patches the engine when it is imported: most processes never do."""

        def find_spec(self, name: str, path: Any = None, module: Any = None) -> ModuleSpec | None:
            if name != target:
                return None
            sys.meta_path.remove(self)
            spec = find_spec(name)
            assert spec is not None and spec.loader is not None
            spec.loader = Patching(spec.loader)
            return spec

    class Patching(Loader):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def create_module(self, spec: ModuleSpec) -> Any:
            return self.inner.create_module(spec)

        def exec_module(self, module: Any) -> None:
            self.inner.exec_module(module)
            _patch_engine(module.AsyncLLM, worker)

    sys.meta_path.insert(0, AfterImport())


def _patch_engine(engine: Any, worker: str | None) -> None:
    from openrlhf.utils.utils import convert_to_torch_dtype

    from pure_rlhf import cpu_host

    make = engine.__init__

    def with_worker(self: Any, vllm_config: Any, *args: Any, **options: Any) -> None:
        if worker is not None:
            vllm_config.parallel_config.worker_extension_cls = worker
            # upstream asks for bfloat16, which a CPU may have to emulate
            vllm_config.model_config.dtype = convert_to_torch_dtype(cpu_host.parameter_type("auto"))
        make(self, vllm_config, *args, **options)

    engine.__init__ = with_worker
    lengths = itertools.cycle(json.loads(os.environ[LENGTHS_VARIABLE]))
    original = engine._add_request

    async def with_length(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        request.sampling_params = copy.copy(request.sampling_params)
        request.sampling_params.max_tokens = next(lengths)
        request.sampling_params.ignore_eos = True
        # the engine has put the model's ends of text there, whatever ignore_eos says by now
        request.sampling_params._eos_token_id = None
        request.sampling_params.stop_token_ids = []
        return await original(self, request, *args, **options)

    engine._add_request = with_length


def run_ours(arguments: list[str]) -> int:
    """Our command line, with the hook."""
    from pure_rlhf import cpu_host
    from pure_rlhf.cli.train_pure import run

    cpu_host.RAY_SETUP_HOOK = HOOK_OURS
    return run(arguments)


def run_upstream(arguments: list[str]) -> int:
    """Upstream's command line, with the hook, a Ray with as many GPUs as it asks for, and the times written down."""
    from pure_rlhf.cli.train_pure import _prepare_environment

    _prepare_environment()
    install_upstream()
    import ray

    from pure_rlhf import cpu_host

    variables = {
        **cpu_host.environment(),
        **{name: os.environ[name] for name in (LENGTHS_VARIABLE, TIMES_VARIABLE, "PYTHONPATH")},
    }
    ray.init(
        address="local",
        num_gpus=NUM_GPUS,
        num_cpus=NUM_GPUS + 2,
        include_dashboard=False,
        object_store_memory=512 * 2**20,
        log_to_driver=bool(os.environ.get("BENCHMARK_VERBOSE")),
        runtime_env={"env_vars": variables, "worker_process_setup_hook": HOOK_UPSTREAM},
    )
    import openrlhf.trainer.ppo_trainer as ppo_trainer

    ppo_trainer.PPOTrainer = ray.remote(_timed_trainer(ppo_trainer))
    sys.argv = ["train_ppo_ray", *arguments]
    _offer_float32_as_a_choice()
    try:
        runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__")
    finally:
        ray.shutdown()
    return 0


def _offer_float32_as_a_choice() -> None:
    """Upstream's command line takes two types; its code, with the helpers of `cpu_host`, a third."""
    original = argparse.ArgumentParser.add_argument

    def add(parser: Any, *names: Any, **options: Any) -> Any:
        if names == ("--ds.param_dtype",):
            options["choices"] = [*options["choices"], "fp32"]
        return original(parser, *names, **options)

    argparse.ArgumentParser.add_argument = add


def _timed_trainer(ppo_trainer: Any) -> type:
    from pure_rlhf.workers.upstream import undecorated

    class TimedTrainer(undecorated(ppo_trainer.PPOTrainer)):
        """Upstream's trainer; each step leaves its times in a file."""

        last = 0.0

        def fit(self, *args: Any, **options: Any) -> None:
            self.last = time.perf_counter()
            super().fit(*args, **options)

        def save_logs_and_checkpoints(
            self, global_step: int, logs_dict: Any = None, *rest: Any
        ) -> None:
            now = time.perf_counter()
            row = {name: logs_dict[f"timing/{theirs}"] for theirs, name in PHASES.items()}
            row |= {
                "step": now - self.last,
                "tokens": float(logs_dict["rollout/response_length_mean"]),
            }
            with Path(os.environ[TIMES_VARIABLE]).open("a") as file:
                file.write(json.dumps(row) + "\n")
            super().save_logs_and_checkpoints(global_step, logs_dict, *rest)
            self.last = time.perf_counter()

    return TimedTrainer


if __name__ == "__main__":
    program, *flags = sys.argv[1:]
    sys.exit({"ours": run_ours, "upstream": run_upstream}[program](flags))
