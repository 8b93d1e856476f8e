"""`python -m pure_rlhf.cli.describe_fit > docs/doctor.md`: how memory is estimated, and what fits which machine."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Sequence

from rich.console import Console

from pure_rlhf.cli.doctor import run
from pure_rlhf.cli.train_pure import parse
from pure_rlhf.config import PureConfig
from pure_rlhf.fit.advice import Plan, find_advice
from pure_rlhf.fit.estimate import (
    GB,
    RESIDENT,
    Circumstances,
    Estimate,
    Models,
    disk_of,
    estimate,
)
from pure_rlhf.fit.host import asked_host
from pure_rlhf.fit.shapes import KNOWN_MODELS
from pure_rlhf.fit.verdict import assess

MACHINES = ("1x24", "1x80", "2x80", "4x80", "8x80")
POLICIES = ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-Math-1.5B", "Qwen/Qwen2.5-Math-7B")
PRM = "jinachris/PURE-PRM-7B"
# what train_pure.sh sets on a GPU host, of the flags that memory depends on
RECIPE = (
    *("--ds.adam_offload", "--actor.gradient_checkpointing_enable", "--ckpt.save_hf"),
    *("--vllm.max_num_batched_tokens", "8192"),
)
# An estimate by hand from reading OpenRLHF, DeepSpeed and vLLM: 7 B, 4 + 4 GPUs, flash-attn, GB.
BY_HAND = {
    "log-probabilities": "61",
    "PRM scoring": "54",
    "update": "65 to 68",
    "sync": "52",
    "update without flash-attn": "76",
    "update without --ds.adam_offload": "95",
    "update, shared, without --ds.adam_offload": "66",
    "KV cache of an engine": "55",
    "host memory": "180 to 400",
    "a checkpoint": "107",
    "disk of 500 steps, every _hf folder kept": "715",
}

_INTRODUCTION = """\
# Does it fit? `pure-rlhf-doctor`

Made by `python -m pure_rlhf.cli.describe_fit`; a test fails when it is out of date.

    pure-rlhf-doctor                                           # the published recipe on this machine
    pure-rlhf-doctor --gpus 4x80 --actor.model_name_or_path Qwen/Qwen2.5-Math-1.5B    # on another one

It takes every flag of `pure-rlhf-train` and starts nothing: what this machine is, what each phase of the run needs on
each GPU, in host memory and on disk, a verdict, and what would make it fit. Exit code 0: it fits, or is close; 1: it
does not. `pure-rlhf-train` asks the same before it starts; a run that cannot fit ends there with that advice
(`--memory_check warn` starts it all the same). The shape of a model that is no folder comes from the cache of the hub,
or from a table of known ones.

**Nothing of this was measured on a GPU.** The sizes of tensors were checked on a CPU (below); CUDA's contexts, and the
fragments that its allocator leaves, were not. So *does not fit* says that not even 95 % of the estimate is there,
*fits* that 110 % of it are, *close* is in between.
"""

_FORMULAS = """
## Formulas

P parameters, P' trained ones (those of the adapters with LoRA), V vocabulary, H hidden size, I intermediate size, L
layers, N training GPUs, T tokens of a forward pass (micro batch x longest row). GB is 10^9 bytes (80 GiB: 85).

| part | bytes on each training GPU |
|---|---|
| policy, reference, PRM | 2 P each, the PRM without its output layer; ZeRO-3: 2 P / N, up to 2 GB; LoRA: no reference |
| optimiser | 12 P' / N (32-bit weights, two moments); 0 with `--ds.adam_offload` |
| PRM optimiser, its gradient buckets | with `--prm_update` the same of the PRM, whose weights stay on shared GPUs |
| offload buffer | 2 V H with `--ds.adam_offload` |
| gradient buckets | 2 min(P', 5 10^8), and embedding and output again where they are larger than that; gradients \
without offload 2 P' / N, with ZeRO-1 2 P' |
| optimiser step | without offload 4 P' / N, if that is more than activations and logits |
| forward activations, PRM activations | (6 I + 8 H) T |
| forward logits | 6 V T |
| activations | (4 I + (8 I + 26 H) L) T; with gradient checkpointing (12 I + 26 H + 2 H L) T |
| logits | 14 V T with flash-attn, 18 V T without; 8 V T more with `--actor.entropy_coef` |
| bucket | the larger of `--vllm.sync_bucket_mb` and 2 V H, and 0.13 GB for the checksum |
| contexts | 1 GB a process |
| sleeping engine | 1.5 GB |
| engine | `--vllm.gpu_memory_utilization` of its GPU: 2 P / TP are weights, 2 GB context and graphs, 12 V for \
each response at once, (6 I + 8 H) for each batched token, and the rest the KV cache |

Host memory: with `--ds.adam_offload` 20 P' (weights, moments, gradients, and what they are accumulated in); 1 to 2 GB a
process; up to 2 P for each worker while models load (weights that are loaded in the precision of their file are mapped
from the page cache instead, which all workers share); shared: also the models of all ranks while engines generate.
PyTorch may round page-locked memory up, which is not counted.

Disk: a checkpoint 14 P, its `_hf` folder 2 P; one more than `--ckpt.max_num` are there at a time.

### What lies on a training GPU, and when
"""

_MEASURED = """
## Measured on a CPU

`python -m tests.benchmarks.fit_memory` (2 cores, no GPU; a Qwen2 of random weights and 53 million parameters, 2,048
tokens): the most that a process grew by, beside the formula.

| part | measured, GB | estimated, GB | measured / estimated |
|---|---|---|---|
| weights, gradients, optimiser | 1.075 | 1.062 | 1.01 |
| activations | 0.542 | 0.575 | 0.94 |
| activations, gradient checkpointing | 0.110 | 0.107 | 1.03 |
| forward activations | 0.045 | 0.040 | 1.12 |
| forward logits | 0.210 | 0.197 | 1.07 |
| logits of an update, no flash-attn | 0.540 | 0.590 | 0.92 |
"""


def fit_page() -> str:
    """The page as Markdown."""
    return "".join(
        [
            _INTRODUCTION,
            "\n## What fits\n\n" + _grid(),
            "\n## An example\n\n" + _example(),
            _FORMULAS,
            "\n" + _resident(),
            "\n## Beside an estimate by hand\n\n" + _by_hand(),
            _MEASURED,
        ]
    )


def _grid() -> str:
    rows = []
    for machine in MACHINES:
        for policy in POLICIES:
            rows.append((_gpus(machine), policy.partition("/")[2], *_cells(machine, policy)))
    return (
        "With `PURE-PRM-7B`, no flash-attn, and what `train_pure.sh` sets (Adam offload, gradient checkpointing,\n"
        "micro batches of 4 and 2). Host memory: what must be there, and what may be needed while models load.\n\n"
        + _table(
            ("GPUs", "policy", "placement", "verdict", "fullest GPU", "host, GB", "fits with"),
            rows,
        )
    )


def _cells(machine: str, policy: str) -> tuple[str, ...]:
    host = asked_host(machine)
    num_gpus = len(host.gpus)
    config = _config(num_gpus, policy)
    models = Models(policy=KNOWN_MODELS[policy], prm=KNOWN_MODELS[PRM])
    found = assess(config, models, host, disk_free=None)
    fullest, memory = found.fullest, found.needs[-2]
    assert fullest is not None
    advice = ""
    if found.verdict == "does not fit":
        ways = find_advice(Plan(config=config, models=models), host)
        advice = f"`{' '.join(ways[0].flags)}`" if ways else "nothing that was tried"
        if ways and ways[0].assessment.verdict == "close":
            advice += " (close)"
    where = (
        f"{config.training_gpus} + {config.rollout_gpus}" if not config.shares_gpus else "shared"
    )
    return (
        where,
        found.verdict,
        fullest.sentence().removeprefix("training GPU, "),
        f"{memory.least / GB:,.0f} to {memory.most / GB:,.0f}",
        advice,
    )


def _config(num_gpus: int, policy: str, *flags: str) -> PureConfig:
    arguments = [*RECIPE, "--actor.model_name_or_path", policy, *flags]
    config, problems = parse(arguments, num_gpus)
    assert not problems
    return config


def _gpus(machine: str) -> str:
    return machine.replace("x", " x ") + " GB"


def _example() -> str:
    arguments = ["--gpus", "8x80", *RECIPE]
    return f"    pure-rlhf-doctor {' '.join(arguments)}\n\n" + _indented(doctor_output(arguments))


def doctor_output(arguments: Sequence[str]) -> str:
    """What the doctor prints for these flags, as plain text."""
    text = io.StringIO()
    run([*arguments], Console(file=text, width=110, no_color=True, soft_wrap=False))
    return text.getvalue()


def _indented(text: str) -> str:
    return "".join(f"    {line}".rstrip() + "\n" for line in text.splitlines())


def _resident() -> str:
    names = {part for phases in RESIDENT.values() for parts in phases.values() for part in parts}
    order = [name for name in _parts_of_seven_b() if name in names]
    rows = []
    for placement, phases in RESIDENT.items():
        for phase, parts in phases.items():
            rows.append((placement, phase, ", ".join(name for name in order if name in parts)))
    return _table(("placement", "phase", "parts"), rows)


def _parts_of_seven_b() -> list[str]:
    return list(_by_flags("split", fused=True).parts)


def _by_flags(placement: str, *, fused: bool, offload: bool = True) -> Estimate:
    """The published recipe on 8 GPUs, or shared by 4."""
    num_gpus = 8 if placement == "split" else 4
    config = _config(num_gpus, POLICIES[-1], "--placement", placement)
    ds = dataclasses.replace(config.ds, adam_offload=offload)
    config = dataclasses.replace(config, ds=ds)
    gpu_bytes = asked_host("8x80").smallest_gpu
    return estimate(
        config,
        Models(policy=KNOWN_MODELS[POLICIES[-1]], prm=KNOWN_MODELS[PRM]),
        Circumstances(gpu_bytes=gpu_bytes, fused_cross_entropy=fused),
    )


def by_hand_values() -> dict[str, tuple[float, float]]:
    """Row of BY_HAND -> our least and most, GB."""
    published = _by_flags("split", fused=True)
    config = _config(8, POLICIES[-1])
    disk = disk_of(config, KNOWN_MODELS[POLICIES[-1]].num_parameters)
    hf_folder = disk.model
    kept = 3 * (disk.checkpoint - hf_folder) + 25 * hf_folder + disk.model
    single = {
        "log-probabilities": published.training["log-probabilities"],
        "PRM scoring": published.training["PRM scoring"],
        "update": published.training["update"],
        "sync": published.training["sync"],
        "update without flash-attn": _by_flags("split", fused=False).training["update"],
        "update without --ds.adam_offload": _by_flags("split", fused=True, offload=False).training[
            "update"
        ],
        "update, shared, without --ds.adam_offload": _by_flags(
            "shared", fused=True, offload=False
        ).training["update"],
        "KV cache of an engine": published.engine.kv,
        "a checkpoint": disk.checkpoint - hf_folder,
        "disk of 500 steps, every _hf folder kept": kept,
    }
    values = {name: (value / GB, value / GB) for name, value in single.items()}
    values["host memory"] = (published.host.least / GB, published.host.most / GB)
    return values


def _by_hand() -> str:
    values = by_hand_values()
    rows = []
    for name, by_hand in BY_HAND.items():
        least, most = values[name]
        ours = f"{least:,.0f}" if least == most else f"{least:,.0f} to {most:,.0f}"
        rows.append((name, by_hand, ours))
    text = (
        "An estimate from reading the same libraries line by line, for the published recipe (7 B, 4 + 4 GPUs of\n"
        "80 GB, flash-attn), GB. The last row counts as the code once did; today `_hf` folders go with their\n"
        "checkpoints.\n\n"
    )
    return text + _table(("", "by hand", "doctor"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(fit_page())
