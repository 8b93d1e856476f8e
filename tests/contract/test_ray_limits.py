"""Ray reads its limits when it is imported: the command line must have set them by then."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray._private import node, parameter, services, worker

from pure_rlhf import ray_runtime
from pure_rlhf.cli import train_pure
from pure_rlhf.config import PureConfig

RAYLET = Path(ray.__file__).parent / "core/src/ray/raylet/raylet"
PROGRAM = """
import sys
from pure_rlhf.cli import train_pure
assert "ray" not in sys.modules, "ray is imported before its limits are set"
train_pure._prepare_environment()
from ray._private import ray_constants
print(ray_constants.RAY_DASHBOARD_STARTUP_TIMEOUT_S)
"""


def test_the_dashboard_gets_five_minutes() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "300", done.stderr


def test_ray_ends_what_a_killed_worker_had_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes no notice of a setting that it does not know; what it does is in tests/integration/test_async.py."""
    name = "RAY_process_group_cleanup_enabled"
    monkeypatch.setattr(os, "environ", {})
    train_pure._prepare_environment()
    assert os.environ[name] == "true"
    assert name.encode() in RAYLET.read_bytes()


def test_workers_do_not_wait_for_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does is in tests/integration/test_training.py; the nodes of a cluster were started by others."""
    name = "RAY_worker_niceness"
    for environment, expected in (
        ({}, "0"),
        ({name: "5"}, "5"),
        ({"RAY_ADDRESS": "10.0.0.1:6379"}, None),
    ):
        monkeypatch.setattr(os, "environ", dict(environment))
        train_pure._prepare_environment()
        assert os.environ.get(name) == expected
    assert name.encode() in RAYLET.read_bytes()


def test_a_node_that_answers_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control store declared the only node dead, on a busy machine; a cluster keeps what its owner has said."""
    control_store = (RAYLET.parents[1] / "gcs/gcs_server").read_bytes()
    names = {
        "RAY_health_check_timeout_ms",
        "RAY_health_check_failure_threshold",
        "RAY_gcs_rpc_server_reconnect_timeout_s",
    }
    for address, expected in ((None, names), ("10.0.0.1:6379", set())):
        monkeypatch.setattr(os, "environ", {"RAY_ADDRESS": address} if address else {})
        train_pure._prepare_environment()
        assert names & set(os.environ) == expected
    for name in names:
        assert name.encode() in control_store
    name = "RAY_gcs_rpc_server_connect_timeout_s"  # of the control store itself, by whoever connects to it
    assert os.environ[name] == "120" and name.encode() in RAYLET.read_bytes()


@pytest.mark.parametrize("dashboard", [True, False])
def test_ray_is_told_its_agents_ports(monkeypatch: pytest.MonkeyPatch, dashboard: bool) -> None:
    """Else its node waits for each no longer than a constant; names and flag are those of the installed Ray."""
    assert "ray._private.parameter.RayParams(" in inspect.getsource(worker.init)
    assert "start_ray_process(" in inspect.getsource(services.start_raylet)
    programs = inspect.getsource(node.Node)
    for name in ("_ray_params.no_monitor:", "_ray_params.include_log_monitor:"):
        assert name in programs
    assert "self._webui_url, process_info = ray._private.services.start_api_server(" in programs
    assert b"dashboard_agent_listen_port" in RAYLET.read_bytes()
    started = []
    monkeypatch.setattr(
        services, "start_ray_process", lambda command, kind: started.append((kind, command))
    )
    original, original_server = parameter.RayParams, services.start_api_server
    with ray_runtime._ray_as_needed(PureConfig(dashboard=dashboard)):
        chosen = parameter.RayParams(num_cpus=3, metrics_export_port=None)
        for kind in ("raylet", "gcs_server"):
            services.start_ray_process([kind], kind)
        assert (services.start_api_server is original_server) == dashboard
        if not dashboard:
            assert services.start_api_server(False, False) == (None, None)
    assert services.start_api_server is original_server
    assert isinstance(chosen, original) and chosen.num_cpus == 3
    # of the programs beside, the autoscaler's is for the dashboard, the reader of logs for --verbose
    assert chosen.no_monitor == (not dashboard) and chosen.include_log_monitor is False
    ports = {getattr(chosen, name) for name in ray_runtime.AGENT_PORTS}
    assert len(ports) == 4 and ports < set(ray_runtime.AGENT_PORT_RANGE)
    flag = f"--dashboard_agent_listen_port={chosen.dashboard_agent_listen_port}"
    assert started == [("raylet", ["raylet", flag]), ("gcs_server", ["gcs_server"])]
    assert parameter.RayParams is original and original().metrics_agent_port is None


def test_an_agents_port_is_given_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's node asked for any port, was given its agent's, and the run that it was to carry hung."""
    chosen = ray_runtime.AGENT_PORT_RANGE
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert chosen.stop <= lowest, "Linux gives these to who asks for any port"
    with socket.socket() as taken:
        taken.bind(("", 0))
        ours = taken.getsockname()[1]
        monkeypatch.setattr(ray_runtime, "AGENT_PORT_RANGE", range(ours, ours + 30))
        ports = ray_runtime._free_ports(4)
    assert len(set(ports)) == 4 and ours not in ports


def test_ray_starts_no_worker_before_it_is_asked_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    train_pure._prepare_environment()
    node_program = RAYLET.read_bytes()
    for name in ("prestart_worker_first_driver", "enable_worker_prestart"):
        assert os.environ[f"RAY_{name}"] == "0" and name.encode() in node_program
