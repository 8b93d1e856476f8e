"""Starts Ray, or joins the cluster that RAY_ADDRESS names; imports nothing heavy, so it can go first."""

from __future__ import annotations

import logging
import math
import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import ray
from ray._private import parameter, ray_constants, services, worker
from ray.exceptions import GetTimeoutError, NodeDiedError

from pure_rlhf import cpu_host
from pure_rlhf.config import PureConfig

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.util.placement_group import PlacementGroup

POLL_SECONDS = 1.0
END_SECONDS = 10.0
"""For what Ray leaves to end by itself."""
PLACEMENT_SECONDS = 60.0
TOKEN_FILE = "ray_token"
AGENT_PORTS = (
    "metrics_agent_port",
    "metrics_export_port",
    "dashboard_agent_listen_port",
    "runtime_env_agent_port",
)
AGENT_PORT_RANGE = range(20_000, 32_768)
"""Below the ports that Linux gives to who asks for any, above those of the workers of `ray start`."""


@contextmanager
def _ray_as_needed(config: PureConfig) -> Iterator[None]:
    """Ray starts without the programs that this run does not need, and its agents may be late.

    The autoscaler's monitor could add no node to a Ray of one host; it tells the dashboard what is asked for. The API
    server is started, as a smaller one, even where no dashboard is asked for, and nobody calls it. The log monitor
    brings the workers' output to the driver, for --verbose. Each is a Python program that loads Ray at the start.

    Ray's node waits 15 s for each port that its agents choose, and dies; here the ports are chosen for them.

    The agents are Python programs, which on a busy host or a network file system need longer to load. The limits that
    are settings stand in `train_pure._prepare_environment`. The node program has a flag for each port; Ray's Python
    leaves out the one of `dashboard_agent_listen_port`.
    """
    ray_params, start_process = parameter.RayParams, services.start_ray_process
    start_api_server = services.start_api_server
    ports = dict(zip(AGENT_PORTS, _free_ports(len(AGENT_PORTS)), strict=True))
    programs = {"no_monitor": not config.dashboard, "include_log_monitor": config.verbose}

    def with_ours(*args: Any, **options: Any) -> Any:
        asked = {name: value for name, value in options.items() if value is not None}
        return ray_params(*args, **options | programs | ports | asked)

    def with_flag(command: list[str], process_type: str, *args: Any, **options: Any) -> Any:
        if process_type == ray_constants.PROCESS_TYPE_RAYLET:
            listen = ports["dashboard_agent_listen_port"]
            command = [*command, f"--dashboard_agent_listen_port={listen}"]
        return start_process(command, process_type, *args, **options)

    def no_api_server(*args: Any, **options: Any) -> tuple[None, None]:
        return None, None  # of its address and its process, as where it could not be started

    parameter.RayParams, services.start_ray_process = with_ours, with_flag
    if not config.dashboard:
        services.start_api_server = no_api_server
    try:
        yield
    finally:
        parameter.RayParams, services.start_ray_process = ray_params, start_process
        services.start_api_server = start_api_server


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has, and that nobody gets by chance until the agents take them.

    Linux hands out 32768 and above (`ip_local_port_range`): Ray's node itself was once given the port of its agent.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(AGENT_PORT_RANGE, len(AGENT_PORT_RANGE)):
        if len(found) == count:
            break
        with socket.socket() as candidate:
            try:
                candidate.bind(("", port))
            except OSError:
                continue
        found.append(port)
    assert len(found) == count, "hardly any port is free"
    return found


def start_ray(config: PureConfig) -> None:
    """Start a Ray of our own, its dashboard (unless --no_dashboard) on loopback, or join the cluster of RAY_ADDRESS."""
    environment = {
        "TOKENIZERS_PARALLELISM": "true",
        "NCCL_DEBUG": os.environ.get("NCCL_DEBUG", "WARN"),
        **cpu_host.environment(),
    }
    runtime_env = {
        "env_vars": environment,
        "worker_process_setup_hook": cpu_host.RAY_SETUP_HOOK,  # does nothing on a GPU host
    }
    if os.environ.get("RAY_ADDRESS"):
        # the nodes of a cluster were started elsewhere; this checkout is on a disk that they share
        root = str(Path(__file__).parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, (root, os.environ.get("PYTHONPATH")))
        )
    # Ray would otherwise hide the GPUs from a process that asks for none of them, such as the trainer.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {
        "runtime_env": runtime_env,
        "log_to_driver": config.verbose,
        "logging_level": logging.WARNING,
    }
    if not os.environ.get("RAY_ADDRESS"):
        options |= {
            "address": "local",  # not some cluster that runs on this machine for another purpose
            "include_dashboard": config.dashboard,
            "dashboard_host": "127.0.0.1",
            "num_gpus": config.num_gpus,
        }
        if cpu_host.is_cpu_host():
            needed = config.needed_gpus
            if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
                # Ray refuses to declare GPUs beside an empty list of them; PURE_HOST keeps real ones out of sight.
                del os.environ["CUDA_VISIBLE_DEVICES"]
            options |= {
                "num_gpus": config.num_gpus or needed,
                # CPUs are bookkeeping here: one for each process of a bundle, and some for the trainer.
                "num_cpus": max(os.cpu_count() or 1, needed + 2),
                "object_store_memory": 512 * 2**20,
            }
    with _ray_as_needed(config):
        context = ray.init(**options)
    if not context.dashboard_url:
        print("Ray dashboard: off")
        return
    token = write_token(Path(config.output_dir))
    asks = f" (it asks for the token in {token})" if token else ""
    print(f"Ray dashboard: http://{context.dashboard_url}{asks}")


def stop_ray() -> None:
    """Shut Ray down, and end what is left of the one that `start_ray` started.

    Where the control store died, workers go on for a minute, and a rollout engine's process for ever.
    """
    node: Any = worker._global_node
    family: list[psutil.Process] = []
    for started in (one for each in node.all_processes.values() for one in each) if node else ():
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(started.process.pid)
            family += [process, *process.children(recursive=True)]
    ray.shutdown()
    _, left = psutil.wait_procs(family, timeout=END_SECONDS)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=END_SECONDS)


def write_token(folder: Path) -> Path | None:
    """Write the token of this run's Ray where only its user can read it; None where there is none of its own.

    It is deleted when the run ends (`remove_token`).
    """
    token = os.environ.get("RAY_AUTH_TOKEN")
    if os.environ.get("RAY_ADDRESS") or os.environ.get("RAY_AUTH_MODE") != "token" or not token:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    remove_token(folder)
    path = folder / TOKEN_FILE
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return path


def remove_token(folder: Path) -> None:
    """Delete what `write_token` wrote."""
    (folder / TOKEN_FILE).unlink(missing_ok=True)


def require_ray() -> None:
    """Ask whether the Ray of `start_ray` still runs: without it some calls would wait for ever.

    Where a node dies Ray waits for another one to come, and goes on for a while without its control store. The
    processes of a cluster that RAY_ADDRESS names are not ours to watch.

    Raises:
        ray.exceptions.NodeDiedError: a process of it has ended.
    """
    node: Any = worker._global_node
    dead = {name for name, _ in node.dead_processes()} if node else set[str]()
    names = {
        ray_constants.PROCESS_TYPE_RAYLET: "node (raylet)",
        ray_constants.PROCESS_TYPE_GCS_SERVER: "control store (gcs_server)",
    }
    if found := [text for name, text in names.items() if name in dead]:
        raise NodeDiedError(f"Ray's {' and '.join(found)} ended; its logs may say why")


def wait_for(references: list[ObjectRef], limit_seconds: float = math.inf) -> None:
    """Until what was begun is done, also where Ray itself dies meanwhile, for which `ray.get` would wait.

    Raises:
        ray.exceptions.GetTimeoutError: it took longer.
        ray.exceptions.RayError: what was begun failed, or Ray did.
    """
    end, left = time.monotonic() + limit_seconds, references
    while left:
        done, left = ray.wait(left, num_returns=len(left), timeout=POLL_SECONDS)
        ray.get(done)  # the first that fails ends this
        if left:
            require_ray()
            if time.monotonic() > end:
                raise GetTimeoutError(f"not done within {limit_seconds:g} s")


class PlacementError(RuntimeError):
    """The cluster cannot give what the run asks for."""


def require_resources(config: PureConfig) -> None:
    """Ask whether Ray's cluster is large enough, which waiting would not tell.

    Raises:
        PlacementError: it is not.
    """
    there = ray.cluster_resources()
    # a CPU for each GPU, and one for the trainer
    needed = {"GPU": config.needed_gpus, "CPU": config.needed_gpus + 1}
    missing = [
        f"{count} {kind}s are needed and Ray has {there.get(kind, 0):g}"
        for kind, count in needed.items()
        if there.get(kind, 0) < count
    ]
    if missing:
        raise PlacementError(
            f"{'; '.join(missing)}: {config.training_gpus} GPUs for policy, reference and PRM, {config.rollout_gpus} "
            f"for rollouts, {config.prm_gpus} for a PRM with its own. Ask for fewer (--actor.num_gpus_per_node, "
            "--ref.num_gpus_per_node and --reward.num_gpus_per_node; --vllm.num_engines), or add nodes to the cluster"
        )


def place(num_gpus: int) -> PlacementGroup:
    """A placement group of bundles of one GPU, packed on as few nodes as possible.

    Raises:
        PlacementError: the GPUs are not free within PLACEMENT_SECONDS.
        ray.exceptions.NodeDiedError: there is no Ray any more.
    """
    from ray.util.placement_group import placement_group

    group = placement_group([{"GPU": 1, "CPU": 1}] * num_gpus, strategy="PACK")
    if not group.wait(PLACEMENT_SECONDS):
        require_ray()
        free = ray.available_resources()
        raise PlacementError(
            f"{num_gpus} GPUs with a CPU each were not free within {PLACEMENT_SECONDS:g} s: {free.get('GPU', 0):g} "
            f"GPUs and {free.get('CPU', 0):g} CPUs are; other jobs of this Ray cluster hold the rest (`ray status`)"
        )
    return group
