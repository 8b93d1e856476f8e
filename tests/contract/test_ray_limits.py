"""Ray reads its limits when it is imported: the command line must have set them by then."""

from __future__ import annotations

import os
import subprocess
import sys

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
