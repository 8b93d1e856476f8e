"""Ray lets nobody in without the token of the run: a second program that found its port, with and without."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_ray import ray_folder

pytestmark = pytest.mark.integration

OWNER = """
import os, subprocess, sys
from pathlib import Path
from pure_rlhf.cli import train_pure
train_pure._prepare_environment()
from pure_rlhf.config import PureConfig
from pure_rlhf.ray_runtime import remove_token, start_ray, write_token
folder = Path(sys.argv[1])
start_ray(PureConfig(output_dir=str(folder), dashboard=False, num_gpus=1))
import ray
address = ray.get_runtime_context().gcs_address
stranger = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
stranger["HOME"] = str(folder / "home")
def join(**environment):
    return subprocess.Popen(
        [sys.executable, "-c", sys.argv[2], address],
        env=stranger | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
token = write_token(folder)
print("MODE", oct(token.stat().st_mode & 0o777))
at_once = {
    "STRANGER": join(),
    "GUESS": join(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64),
    "FRIEND": join(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token)),
}
for name, program in at_once.items():
    print(name, "the keys" in program.communicate(timeout=300)[0])
remove_token(folder)
print("LEFT", token.exists())
ray.shutdown()
"""
SECOND = """
import sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR")
print(ray.get(ray.remote(lambda: "the keys").options(num_cpus=0).remote()))
"""


def test_who_has_no_token_is_not_let_in(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with ray_folder() as ray:
        done = subprocess.run(
            [sys.executable, "-c", OWNER, str(tmp_path), SECOND],
            env=environment | {"PURE_HOST": "cpu", "RAY_TMPDIR": ray},
            capture_output=True,
            text=True,
            timeout=500,
        )
    said = dict(
        line.split(" ", 1) for line in done.stdout.splitlines() if line.split(" ")[0].isupper()
    )
    assert said == {
        "STRANGER": "False", "GUESS": "False", "MODE": oct(stat.S_IRUSR | stat.S_IWUSR),
        "FRIEND": "True", "LEFT": "False",
    }, done.stderr[-3000:]  # fmt: skip
