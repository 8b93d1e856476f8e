"""`python -m pure_rlhf.cli.train_pure`, `pure-rlhf-train`: parse, check, train, print the result.

Nothing heavy is imported before the command line is understood. Exit codes: 0 done; 1 a worker failed;
2 the settings are wrong (all problems are listed, nothing was started); 130 interrupted; 143 stopped after a step by
SIGTERM.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import io
import logging
import os
import secrets
import signal
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console
from rich.table import Table

from pure_rlhf.config import ConfigError, PureConfig, convention_defaults, with_split
from pure_rlhf.monitoring.records import EvaluationRecord
from pure_rlhf.placement import default_split
from pure_rlhf.scratch import leave_scratch, make_scratch
from pure_rlhf.user_function import with_absolute_path

EXIT_WORKER_FAILED = 1
EXIT_BAD_SETTINGS = 2
EXIT_INTERRUPTED = 130
EXIT_STOPPED = 143  # 128 and the number of SIGTERM, as shells have it
RESTARTS = "PURE_RESTARTS"
"""In the environment of a run that was restarted: how often."""

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from pure_rlhf.validation import Inputs


def main() -> None:
    """Entry point."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Train with command-line arguments; returns the exit code."""
    environment = dict(os.environ)
    config, problems = parse(arguments)
    _prepare_environment()
    from pure_rlhf.validation import prepare

    try:
        inputs = prepare(config, problems)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    for warning in inputs.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    print(config.placement_line)
    if config.logger.wandb.enable:
        _prepare_wandb(config)
    scratch, code = make_scratch(), EXIT_WORKER_FAILED
    try:
        code = _train(config, inputs)
    finally:
        leave_scratch(scratch, failed=code == EXIT_WORKER_FAILED)
    if code == EXIT_WORKER_FAILED:
        if scratch:
            print(f"Ray's logs: {scratch}/ray/session_latest/logs", file=sys.stderr)
        _restart(config, arguments, environment)
    return code


def _restart(config: PureConfig, arguments: list[str], environment: dict[str, str]) -> None:
    """Go on from the last checkpoint as a new program in place of this one, or say how, if that was done often enough.

    A new program: what is left of a Ray that failed, and of its libraries, goes with the old one.

    Args:
        environment: of before anything was changed in it.
    """
    from pure_rlhf.checkpoints import checkpoint_tag

    done, tag = int(environment.get(RESTARTS, "0")), checkpoint_tag(config.ckpt.path)
    if tag is None:
        print("There is no checkpoint to go on from.", file=sys.stderr)
        return
    if done >= config.train.max_restarts:
        print(
            f"The same command with --ckpt.load_enable goes on from checkpoint {tag}.",
            file=sys.stderr,
        )
        return
    print(
        f"Restart {done + 1} of --train.max_restarts {config.train.max_restarts}, from checkpoint {tag}.",
        file=sys.stderr,
        flush=True,
    )
    sys.stdout.flush()
    resume = [] if "--ckpt.load_enable" in arguments else ["--ckpt.load_enable"]
    os.execve(
        sys.executable,
        [sys.executable, "-m", "pure_rlhf.cli.train_pure", *arguments, *resume],
        environment | {RESTARTS: str(done + 1)},
    )


def _train(config: PureConfig, inputs: Inputs) -> int:
    """Start Ray, train, print the result; returns the exit code."""
    from ray.exceptions import RayError

    from pure_rlhf import cpu_host
    from pure_rlhf.monitoring.progress import PhaseTimeoutError, StoppedError, StopRequest
    from pure_rlhf.ray_runtime import PlacementError, start_ray

    cpu_host.install()  # before anything imports OpenRLHF
    # Ray's processes and the imports of the driver (DeepSpeed, OpenRLHF) take some ten seconds each: together.
    # Not the other way round: Linux ends Ray's processes with the thread that started them.
    with ThreadPoolExecutor(max_workers=1) as executor:
        launcher = executor.submit(importlib.import_module, "pure_rlhf.workers.launcher")
        start_ray(config)
        train = launcher.result().train
    # schedulers send it some time before they end a job; Ray, which has a handler of its own, would end at once
    stop = StopRequest()
    signal.signal(signal.SIGTERM, stop)
    try:
        evaluations = train(config, inputs, stop)
    except (RayError, PhaseTimeoutError) as error:
        print(
            f"A worker failed; the last checkpoint in {config.ckpt.path} is intact.\n{error}",
            file=sys.stderr,
        )
        # who asked it to stop wants no restart
        return EXIT_STOPPED if stop.is_made else EXIT_WORKER_FAILED
    except PlacementError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    except StoppedError as error:
        print(
            f"Stopped after step {error}, as asked. The same command with --ckpt.load_enable continues."
            if config.ckpt.save_steps > 0
            else f"Stopped after step {error}, as asked; there is no checkpoint (--ckpt.save_steps -1).",
            file=sys.stderr,
        )
        return EXIT_STOPPED
    except KeyboardInterrupt:
        print("Stopped. The same command with --ckpt.load_enable continues.", file=sys.stderr)
        return EXIT_INTERRUPTED
    print_result(config, evaluations)
    return 0


def _prepare_wandb(config: PureConfig) -> None:
    """Without a key Weights & Biases writes into the run directory, to be uploaded later; workers inherit this."""
    os.environ.setdefault("WANDB_DIR", config.output_dir)
    if not os.environ.get("WANDB_API_KEY") and "WANDB_MODE" not in os.environ:
        os.environ["WANDB_MODE"] = "offline"
        print(
            f"No WANDB_API_KEY in the environment: Weights & Biases writes to {config.output_dir}/wandb; "
            f"`wandb sync {config.output_dir}/wandb/offline-run-*` uploads it."
        )


def _prepare_environment() -> None:
    """The libraries' import-time chatter is of no use in the driver's terminal; workers keep theirs in Ray's logs."""
    # vLLM may build kernels at run time, with the `ninja` in PATH, and anew when another version of ninja was the last:
    # so always the one of this environment, activated or not.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # On a busy host the dashboard and the agents need more than the 30 and 60 s that Ray gives them, and the control
    # store more than 5 s, and Ray ends with them. Ray reads these when it is imported, so they are set before anything
    # that imports it.
    os.environ.setdefault("RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT", "300")
    os.environ.setdefault("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "300")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "300000")
    os.environ.setdefault("RAY_gcs_rpc_server_connect_timeout_s", "120")
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "600")
    # vLLM's engine is a child process of Ray's worker, and outlives one that was killed: it would keep its GPU from a
    # run that goes on, and its end of a weight sync open, so that the policy waited for it. Ray ends the whole family.
    os.environ.setdefault("RAY_process_group_cleanup_enabled", "true")
    # Ray would start workers before it is asked for one, and none that has the environment of a run's (`cpu_host`).
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    os.environ.setdefault("RAY_enable_worker_prestart", "0")
    if not os.environ.get("RAY_ADDRESS"):
        # Ray has its workers wait for every other program of the host (nice 15): beside two that were busy a run got
        # hardly any time. They get what the command that starts the run has.
        os.environ.setdefault("RAY_worker_niceness", "0")
        # Its control store declares a node dead that it does not hear for some seconds, and the run with it. With one
        # node there is nobody to go on: what dies is noticed by its own processes, and a busy host is waited for.
        os.environ.setdefault("RAY_health_check_timeout_ms", "60000")
        os.environ.setdefault("RAY_health_check_failure_threshold", "40")
        # When the driver is killed its control store dies with it, and Ray's agents tried for a minute to tell it so.
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "10")
        # Whoever can reach a port of Ray could run code in it: it asks everybody for a token. A cluster has its own.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if not os.environ.get("RAY_AUTH_TOKEN_PATH"):
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="The pynvml package is deprecated")


def parse(arguments: list[str], num_gpus: int | None = None) -> tuple[PureConfig, list[str]]:
    """Arguments -> configuration with paths filled in, and the problems of the flags that were left out of it.

    A flag that tyro refuses is reported and dropped, so that the rest can be checked in the same go. The defaults are
    those of the chosen --convention and --advantage_estimator, and the placement that fits this host, or one with
    `num_gpus` GPUs.
    """
    if "-h" in arguments or "--help" in arguments:
        segments = _segments([a for a in arguments if a not in ("-h", "--help")])
        tyro.cli(
            PureConfig, args=["--help"], default=_defaults(segments, num_gpus), use_underscores=True
        )  # exits
    names = set(_flag_names(PureConfig()))
    good: list[list[str]] = []
    problems: list[str] = []
    for segment in _segments(arguments):
        problem = _check_name(segment[0], names)
        if problem:
            problems.append(problem)
        else:
            good.append(segment)
    defaults = _defaults(good, num_gpus)
    config, refused = _parse_values(good, defaults)
    problems += refused
    if config.placement == "auto":  # said in so many words; the defaults have made up their mind
        config = dataclasses.replace(config, placement=defaults.placement)
    # files of the user's, which workers in other folders read too
    config = dataclasses.replace(
        config,
        credit_assignment=with_absolute_path(config.credit_assignment),
        step_labeller=config.step_labeller and with_absolute_path(config.step_labeller),
    )
    output = Path(config.output_dir)
    if os.environ.get("RAY_ADDRESS"):  # workers on other nodes run in other folders
        output = output.absolute()
        config = dataclasses.replace(config, output_dir=str(output))
    paths = dataclasses.replace(
        config.ckpt,
        path=config.ckpt.path or str(output / "checkpoints"),
        output_dir=config.ckpt.output_dir or str(output / "model"),
    )
    return dataclasses.replace(config, ckpt=paths), problems


def _segments(arguments: list[str]) -> list[list[str]]:
    """`[--a, 1, --b]` -> `[[--a, 1], [--b]]`."""
    segments: list[list[str]] = []
    for argument in arguments:
        if argument.startswith("--") or not segments:
            # --flag=value is one argument, --flag value two
            segments.append(argument.split("=", 1) if argument.startswith("--") else [argument])
        else:
            segments[-1].append(argument)
    return segments


def _check_name(flag: str, names: set[str]) -> str | None:
    """What is wrong with the name of one flag, or None."""
    if not flag.startswith("--"):
        return f"{flag}: not a flag; every setting is --name value"
    name = flag[2:].replace("-", "_")
    if name in names:
        return None
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"; did you mean --{near[0]}?" if near else ""
    return f"--{name}: no such flag (names must be written out){hint}"


def _defaults(segments: list[list[str]], num_gpus: int | None = None) -> PureConfig:
    """The settings where no flag is given; a convention that does not exist is refused later, with all the rest."""
    chosen = {segment[0][2:]: segment[-1] for segment in segments}
    try:
        config = convention_defaults(
            chosen.get("convention", "openrlhf"), chosen.get("advantage_estimator", "rloo")
        )
    except ValueError:
        config = PureConfig()
    if chosen.get("process_reward") == "implicit":  # it starts as the policy's own model
        model = chosen.get("actor.model_name_or_path", config.actor.model_name_or_path)
        reward = dataclasses.replace(config.reward, model_name_or_path=model)
        config = dataclasses.replace(config, reward=reward)
    if chosen.get("train.async_steps", "0") != "0":  # responses of an older policy
        correction = dataclasses.replace(config.algo.advantage, is_correction_level="token")
        config = dataclasses.replace(
            config, algo=dataclasses.replace(config.algo, advantage=correction)
        )
    placement = chosen.get("placement")
    return with_split(
        config,
        default_split(
            placement if placement in ("split", "shared") else "auto",
            training=_count(chosen.get("actor.num_gpus_per_node")),
            gpus_per_engine=_count(chosen.get("vllm.tensor_parallel_size")) or 1,
            prm_engines=int(chosen.get("reward.backend") == "vllm"),
            num_gpus=num_gpus,
        ),
    )


def _count(value: str | None) -> int | None:
    """A positive whole number; None for anything else, which is refused with the rest."""
    return int(value) if value is not None and value.isdecimal() and int(value) else None


def _parse_values(segments: list[list[str]], defaults: PureConfig) -> tuple[PureConfig, list[str]]:
    """All flags at once; only where tyro refuses them, one by one, to say which and go on with the rest."""
    config, problem = _try_parse([part for segment in segments for part in segment], defaults)
    if config is not None:
        return config, []
    reasons = {index: _try_parse(segment, defaults)[1] for index, segment in enumerate(segments)}
    bad = {index: reason for index, reason in reasons.items() if reason}
    if not bad:
        return defaults, [problem or "the flags contradict each other"]
    rest = [part for index, segment in enumerate(segments) if index not in bad for part in segment]
    return tyro.cli(PureConfig, args=rest, default=defaults, use_underscores=True), [
        f"{' '.join(segments[index])}: {reason}" for index, reason in bad.items()
    ]


def _try_parse(arguments: list[str], defaults: PureConfig) -> tuple[PureConfig | None, str | None]:
    """The configuration, or tyro's words for why not."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
            config, unknown = tyro.cli(
                PureConfig,
                args=arguments,
                default=defaults,
                use_underscores=True,
                return_unknown_args=True,
            )
    except SystemExit:
        lines = [line.strip("│─╭╮╰╯- ") for line in output.getvalue().splitlines()[1:]]
        words = " ".join(
            line for line in lines if line and not line.startswith("For full helptext")
        )
        return None, words.split("─")[0].strip()
    return (None, f"takes no value {' '.join(map(repr, unknown))}") if unknown else (config, None)


def _flag_names(config: DataclassInstance | type[DataclassInstance], prefix: str = "") -> list[str]:
    """All dotted names, with tyro's `group.no_name` for switches."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            names += _flag_names(value, f"{prefix}{field.name}.")
        else:
            names.append(f"{prefix}{field.name}")
            if isinstance(value, bool):
                names.append(f"{prefix}no_{field.name}")
    return names


def print_result(config: PureConfig, evaluations: dict[str, EvaluationRecord]) -> None:
    """The table at the end: before, after, and where everything lies."""
    console = Console()
    if {"before", "after"} <= evaluations.keys():
        table = Table(
            title=f"Greedy pass@1 on {evaluations['after']['n']} held-out problems ({config.reward_mode})"
        )
        for column in ("", "pass@1", "95 % interval", "mean tokens", "no answer"):
            table.add_column(column, justify="right")
        for when in ("before", "after"):
            result = evaluations[when]
            low, high = result["ci95"]
            table.add_row(
                when,
                f"{result['pass@1']:.1%}",
                f"{low:.1%} to {high:.1%}",
                f"{result['mean_tokens']:.0f}",
                f"{result['no_answer']:.1%}",
            )
        console.print(table)
        gain = evaluations["after"]["pass@1"] - evaluations["before"]["pass@1"]
        console.print(f"Gain: {100 * gain:+.1f} points")
    console.print(
        f"Report: {config.output_dir}/report.html   model: {config.ckpt.output_dir}", soft_wrap=True
    )


if __name__ == "__main__":
    main()
