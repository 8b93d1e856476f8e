"""`pure-rlhf-doctor`, `python -m pure_rlhf.cli.doctor`: what this machine is, and whether a run fits it.

    pure-rlhf-doctor                                              # the published recipe on this machine
    pure-rlhf-doctor --gpus 4x80 --actor.model_name_or_path Qwen/Qwen2.5-Math-1.5B    # on another one

Takes every flag of `pure-rlhf-train`, and starts nothing. Exit codes: 0 it fits (or is close); 1 it does not, or the
shape of a model is not known; 2 the flags are wrong.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pure_rlhf.cli.train_pure import parse
from pure_rlhf.config import PureConfig
from pure_rlhf.cpu_host import is_cpu_host
from pure_rlhf.fit.advice import Plan, find_advice
from pure_rlhf.fit.check import free_disk, load_models
from pure_rlhf.fit.estimate import GB, Models
from pure_rlhf.fit.host import Host, asked_host, read_host
from pure_rlhf.fit.verdict import Assessment, Need, assess, assess_cpu_host
from pure_rlhf.placement import OLDEST_DRIVER

EXIT_DOES_NOT_FIT = 1
EXIT_BAD_FLAGS = 2
COLOURS = {"fits": "green", "close": "yellow", "does not fit": "red", "not known": "dim"}
OWN_FLAGS = {
    "--gpus": "COUNTxGB: ask about a machine with these GPUs, such as 4x80, in place of this one",
}


def main() -> None:
    """Entry point."""
    sys.exit(run(sys.argv[1:], Console(soft_wrap=True)))


def run(arguments: list[str], console: Console) -> int:
    """Print the diagnosis for command-line arguments; returns the exit code."""
    own, rest = _take_own(arguments)
    if {"-h", "--help"} & set(rest):
        console.print(__doc__, markup=False)
        for flag, meaning in OWN_FLAGS.items():
            console.print(f"  {flag}  {meaning}", markup=False)
        console.print("Every other flag is one of `pure-rlhf-train --help`.", markup=False)
        return 0
    problems = []
    asked = None
    if "--gpus" in own:
        try:
            asked = asked_host(own["--gpus"])
        except ValueError as error:
            problems.append(str(error))
    config, refused = parse(rest, None if asked is None else len(asked.gpus))
    if problems or refused:
        console.print("\n".join([*problems, *refused]), markup=False)
        return EXIT_BAD_FLAGS
    if asked is None:
        asked = read_host()
        disk = free_disk(config)
        _print_host(asked, config, disk, console)
        on_cpu = is_cpu_host()
    else:
        disk, on_cpu = None, False
    return diagnose(config, asked, disk, console, on_cpu=on_cpu)


def diagnose(
    config: PureConfig,
    host: Host,
    disk_free: int | None,
    console: Console,
    *,
    on_cpu: bool,
) -> int:
    """Print the table of a run on a machine, and what would make it fit; returns the exit code."""
    models = load_models(config)
    if models is None:
        names = config.actor.model_name_or_path, config.reward.model_name_or_path
        console.print(
            f"The shape of {names[0]} or of {names[1]} is not known: it is neither a folder, nor in the cache of the "
            "hub, nor in the table of pure_rlhf/fit/shapes.py, or it is no plain transformer. Nothing was estimated.",
            markup=False,
        )
        return EXIT_DOES_NOT_FIT
    if on_cpu:
        assessment = assess_cpu_host(config, models, host, disk_free=disk_free)
    else:
        assessment = assess(config, models, host, disk_free=disk_free)
    console.print(needs_table(title_of(config, models, on_cpu), assessment))
    colour = COLOURS[assessment.verdict]
    console.print(f"[{colour}]{assessment.verdict}[/{colour}]: {summary(assessment)}")
    if assessment.verdict != "does not fit":
        return 0
    if not on_cpu:
        console.print(advice_of(config, models, host), markup=False)
    return EXIT_DOES_NOT_FIT


def title_of(config: PureConfig, models: Models, on_cpu: bool) -> str:
    """What the table is about."""
    size = models.policy.num_parameters / 1e9
    where = "on a CPU host"
    if not on_cpu and config.shares_gpus:
        where = f"GPUs that train and generate: {config.training_gpus}"
    elif not on_cpu:
        where = f"GPUs that train: {config.training_gpus}, that generate: {config.rollout_gpus}"
    prm = (
        f" with {config.reward.model_name_or_path} ({models.prm.num_parameters / 1e9:.1f} B)"
        if models.prm
        else ""
    )
    return f"{config.actor.model_name_or_path} ({size:.1f} B){prm}, {where}"


def needs_table(title: str, assessment: Assessment) -> Table:
    """Needs, what is there, and the verdict of each."""
    table = Table(title=title, title_justify="left")
    for column in ("what", "needs, GB", "has, GB", "verdict", ""):
        table.add_column(
            column, justify="right" if "GB" in column else "left", no_wrap=bool(column)
        )
    for need in assessment.needs:
        colour = COLOURS[need.verdict]
        table.add_row(
            need.what,
            _gigabytes(need.amount),
            "?" if need.have is None else _gigabytes(need.have),
            f"[{colour}]{need.verdict}[/{colour}]",
            need.note,
        )
    return table


def summary(assessment: Assessment) -> str:
    """One line: what fails, else what is close, else the fullest GPU."""
    if assessment.failing:
        return "; ".join(assessment.failing)
    close: list[Need] = [need for need in assessment.needs if need.verdict == "close"]
    if close:
        return "; ".join(need.sentence() for need in close)
    fullest = assessment.fullest
    return f"fullest is {fullest.sentence()}" if fullest else "memory and disk suffice"


def advice_of(config: PureConfig, models: Models, host: Host) -> str:
    """What would make it fit, a line each."""
    found = find_advice(Plan(config=config, models=models), host)
    if not found:
        return (
            "Nothing that was tried makes it fit: more or larger GPUs, or a smaller model or PRM."
        )
    return "\n".join(
        ["Would fit, the cheapest first; add", *(f"  * {each.sentence()}" for each in found)]
    )


def _print_host(host: Host, config: PureConfig, disk_free: int, console: Console) -> None:
    table = Table(title="This machine", title_justify="left", show_header=False)
    for row in host_rows(host, os.cpu_count() or 1):
        table.add_row(*row)
    table.add_row("disk", f"{_gigabytes(disk_free)} GB free for {Path(config.output_dir)}", "")
    console.print(table)


def host_rows(host: Host, num_cores: int) -> list[tuple[str, str, str]]:
    """Fact, value and what it means for a run."""
    number = host.driver.partition(".")[0]
    old = number.isdigit() and int(number) < OLDEST_DRIVER
    rows = [
        (
            "GPUs",
            ", ".join(host.kinds) or "none",
            ""
            if host.gpus
            else "runs on the CPU (the small world); --gpus 4x80 asks about another machine",
        )
    ]
    if len(host.kinds) > 1:
        rows.append(("", "of different kinds", "the smallest sets what fits"))
    if host.gpus or host.driver:
        rows.append(
            (
                "driver",
                host.driver or "?",
                f"too old: CUDA 13 needs {OLDEST_DRIVER} or newer" if old else "",
            )
        )
        rows.append(
            (
                "/dev/shm",
                _bytes(host.shared_memory_bytes),
                "1 GB or more are needed on a GPU host; --shm-size of the container",
            )
        )
    rows += [
        (
            "PyTorch",
            f"CUDA {host.torch_cuda}" if host.torch_cuda else "build for the CPU",
            "" if host.torch_cuda or not host.gpus else "sees no GPU: examples/scripts/setup.sh",
        ),
        (
            "flash-attn",
            "yes" if host.flash_attn else "no",
            "" if host.flash_attn else "no --ds.packing_samples; logits of the update take more",
        ),
        ("nvcc", host.nvcc or "no", "only to build flash-attn"),
        ("host memory", _bytes(host.memory_bytes), f"{num_cores} cores"),
    ]
    return rows


def _take_own(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """The flags that only the doctor has, and the rest."""
    own: dict[str, str] = {}
    rest: list[str] = []
    parts = iter(arguments)
    for part in parts:
        name, equals, value = part.partition("=")
        if name in OWN_FLAGS:
            own[name] = value if equals else next(parts, "")
        else:
            rest.append(part)
    return own, rest


def _gigabytes(count: float) -> str:
    return f"{count / GB:,.1f}"


def _bytes(count: int | None) -> str:
    return "?" if count is None else f"{_gigabytes(count)} GB"


if __name__ == "__main__":
    main()
