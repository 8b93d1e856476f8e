"""Measures what the doctor estimates and a CPU can show, and prints both and their ratio.

    python -m tests.benchmarks.fit_memory            # some minutes on 2 cores, 3 GB

Each case is a process of its own, whose largest resident size counts (Linux, VmHWM): states of the optimiser,
activations with and without gradient checkpointing, logits of a forward pass and of an update without flash-attn. The
table of docs/doctor.md is this output; contexts, NCCL and the allocator of a GPU are not in it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pure_rlhf.config import ActorConfig, PureConfig
from pure_rlhf.fit.estimate import (
    FORWARD_LOGITS,
    UNFUSED_LOGITS,
    UPDATE_LOGITS,
    _activations,
    _forward,
)
from pure_rlhf.fit.shapes import shape_from_config

SIZES = {
    "model_type": "qwen2",
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 2560,
    "vocab_size": 16000,
    "tie_word_embeddings": False,
}
SHAPE = shape_from_config(SIZES)
assert SHAPE is not None
ROWS, LENGTH = 2, 1024
TOKENS = ROWS * LENGTH


def _resident_peak(work: Callable[[], object]) -> int:
    """Bytes that the process grew by, at most, during `work`."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    kept = work()
    peak = _status("VmHWM")
    del kept
    return peak - before


def _status(key: str) -> int:
    match = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024


def _model() -> Any:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(**{key: value for key, value in SIZES.items() if key != "model_type"})
    config._attn_implementation = "sdpa"
    model = Qwen2ForCausalLM(config).to(torch.bfloat16).train()
    model.config.use_cache = False
    return model


def _warm_up(model: Any) -> None:
    import torch

    model(torch.zeros(1, 8, dtype=torch.long)).logits.sum().backward()


def states() -> tuple[int, float]:
    """16-bit weights and gradients, 32-bit weights, moments and gradients: 2 + 2 + 12 + 4 bytes a parameter."""
    import torch

    _warm_up(_model())  # libraries and their threads are not what is measured

    def work() -> object:
        model = _model()
        masters = [parameter.detach().float() for parameter in model.parameters()]
        optimiser = torch.optim.AdamW(masters, lr=1e-4, fused=True)
        ids = torch.randint(0, 100, (1, 16))
        model(ids).logits.float().sum().backward()
        for master, parameter in zip(masters, model.parameters(), strict=True):
            master.grad = parameter.grad.float()
        optimiser.step()
        return model, optimiser

    return _resident_peak(work), 20.0 * SHAPE.num_parameters


def activations(checkpointing: bool) -> tuple[int, float]:
    """Forward and backward through the layers, without the output layer."""
    import torch

    model = _model()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.randint(0, SHAPE.vocab_size, (ROWS, LENGTH))
    mask = torch.ones_like(ids)

    def work() -> None:
        model.model(ids, attention_mask=mask).last_hidden_state.sum().backward()

    _warm_up(model)  # gradients are there, as in a run
    actor = ActorConfig(gradient_checkpointing_enable=checkpointing)
    return _resident_peak(work), _activations(PureConfig(actor=actor), SHAPE, TOKENS)


def forward() -> tuple[int, float]:
    """The same without gradients."""
    import torch

    model = _model()
    _warm_up(model)
    ids = torch.randint(0, SHAPE.vocab_size, (ROWS, LENGTH))

    @torch.no_grad()
    def work() -> None:
        model.model(ids, attention_mask=torch.ones_like(ids))

    return _resident_peak(work), _forward(SHAPE, TOKENS)


def _upstream_utilities() -> Any:
    """OpenRLHF's models/utils.py without the rest of it, which takes a minute to load here."""
    package = importlib.util.find_spec("openrlhf")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "models/utils.py"
    spec = importlib.util.spec_from_file_location("openrlhf_models_utils", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def logits(train: bool) -> tuple[int, float]:
    """From hidden states to log-probabilities as OpenRLHF computes them, and back."""
    import torch

    log_probs_from_logits = _upstream_utilities().log_probs_from_logits
    output_layer = torch.nn.Linear(64, SHAPE.vocab_size, bias=False, dtype=torch.bfloat16)
    hidden = torch.randn(ROWS, LENGTH, 64, dtype=torch.bfloat16, requires_grad=True)
    labels = torch.randint(0, SHAPE.vocab_size, (ROWS, LENGTH))

    def work() -> None:
        with torch.set_grad_enabled(train):
            output = SimpleNamespace(logits=output_layer(hidden))
            output.logits = output.logits.to(torch.float32)
            output.logits.div_(0.5)
            log_probs = log_probs_from_logits(output.logits, labels)
        if train:
            log_probs.sum().backward()

    per_entry = UPDATE_LOGITS + UNFUSED_LOGITS if train else FORWARD_LOGITS
    return _resident_peak(work), float(per_entry * TOKENS * SHAPE.vocab_size)


CASES: dict[str, Callable[[], tuple[int, float]]] = {
    "weights, gradients, optimiser": states,
    "activations": lambda: activations(False),
    "activations, gradient checkpointing": lambda: activations(True),
    "forward activations": forward,
    "forward logits": lambda: logits(False),
    "logits of an update, no flash-attn": lambda: logits(True),
}


def main() -> None:
    if len(sys.argv) > 1:
        measured, estimated = CASES[sys.argv[1]]()
        print(f"{measured} {estimated}")
        return
    print("| part | measured, GB | estimated, GB | measured / estimated |")
    print("|---|---|---|---|")
    # large blocks go back to the system at once, so that the resident size is what is in use
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1048576"}
    environment |= {"PURE_HOST": "cpu", "TORCH_COMPILE_DISABLE": "1"}
    for name in CASES:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.fit_memory", name],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        measured, estimated = map(float, done.stdout.split()[-2:])
        print(
            f"| {name} | {measured / 1e9:.3f} | {estimated / 1e9:.3f} | {measured / estimated:.2f} |"
        )


if __name__ == "__main__":
    main()
