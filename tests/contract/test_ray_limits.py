"""Ray reads its limits when it is imported: the command line must have set them by then."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest
from ray._private import node, services

from pure_rlhf import ray_runtime

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


def test_the_node_gets_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own limit is a constant in a loop around `services.get_node`, which waits while a Ray is started."""
    assert "ray._private.services.get_node(" in inspect.getsource(node.Node.__init__)
    asked = []

    def get_node(*args: object) -> str:
        asked.append(args)
        if len(asked) < 3:
            raise RuntimeError("no such node yet")
        return "the node"

    monkeypatch.setattr(services, "get_node", get_node)
    with ray_runtime._time_to_start():
        assert services.get_node("address", "id") == "the node"
    assert asked == [("address", "id")] * 3 and services.get_node is get_node
