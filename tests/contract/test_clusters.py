"""Containers and clusters, as far as no cluster shows it: they parse, their flags are ours, their files are there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from pure_rlhf.cli.train_pure import parse
from tests.command_lines import as_flags

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "examples/clusters"
SCRIPTS = sorted(CLUSTERS.glob("*.sh"))
TRAIN = ROOT / "examples/scripts/train_pure.sh"


def ignored() -> list[str]:
    """What .gitignore names, and the history."""
    lines = (ROOT / ".gitignore").read_text().splitlines()
    return [*(line for line in lines if line and not line.startswith("#")), "/.git/"]


def rayjob() -> dict[str, Any]:
    return yaml.safe_load((CLUSTERS / "rayjob.yaml").read_text())


def stand_in_environment(folder: Path) -> Path:
    """A virtual environment that setup.sh takes for finished; its programs write down how they were called.

    `folder/ray` and `folder/python` get a line for each argument, and RAY_ADDRESS before them.
    """
    venv = folder / "venv"
    for name in ("ray", "python"):
        write_program(
            venv / "bin" / name, f'printf "%s\\n" "RAY_ADDRESS=$RAY_ADDRESS" "$@" >>{folder / name}'
        )
    setup = ROOT / "examples/scripts/setup.sh"
    key = re.search(r"^key_of\(\).*?^key=.*?$", setup.read_text(), re.MULTILINE | re.DOTALL)
    assert key
    lines = [
        f'root={ROOT} host=gpu flash_attn= locks=("{ROOT}/requirements/gpu.lock")',
        key[0].replace("${BASH_SOURCE[0]}", str(setup)),
        f'echo "$key" >{venv / ".pure-setup"}',
    ]
    subprocess.run(["bash", "-c", "\n".join(lines)], check=True)
    return venv


def write_program(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own settings would change what the flags mean."""
    for name in ("RAY_ADDRESS", "PURE_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_parse(script: Path) -> None:
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_flags_of_the_slurm_script_are_ours(no_variables: None) -> None:
    text = (CLUSTERS / "slurm.sh").read_text()
    block = re.search(r"\nflags=\(\n(.*?)\n\)", text, re.DOTALL)
    assert block
    names = re.findall(r"--([a-z_.]+)", block[1])
    config, problems = parse(as_flags(dict.fromkeys(names, 2)))
    assert problems == []
    assert (config.training_gpus, config.rollout_gpus) == (4, 2)


def test_the_slurm_script_starts_a_ray_on_all_nodes_and_trains_on_it(tmp_path: Path) -> None:
    """Three nodes of four GPUs, with a stand-in for srun that runs its command here."""
    venv = stand_in_environment(tmp_path)
    write_program(
        tmp_path / "bin/srun",
        f'echo "$@" >>{tmp_path / "srun"}',
        'until [ "${1##*/}" = ray ]; do shift; done',
        'exec "$@"',
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith("PURE_")}
    env |= {
        "PATH": f"{tmp_path / 'bin'}:{env['PATH']}",
        "PURE_VENV": str(venv),
        "RUN_DIR": "/shared/run",
        "DATA": "some/data_set",
        "RAY_ADDRESS": "",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SLURM_JOB_NUM_NODES": "3",
        "SLURMD_NODENAME": "node7",
        "SLURM_GPUS_ON_NODE": "4",
        "SLURM_CPUS_PER_TASK": "16",
    }
    subprocess.run(
        ["bash", str(CLUSTERS / "slurm.sh"), "--max_steps", "7"], env=env, check=True, timeout=60
    )
    # the two steps run beside the script, which may be done before they have written
    deadline = time.monotonic() + 60
    while len(steps := (tmp_path / "srun").read_text().splitlines()) < 2:
        assert time.monotonic() < deadline, steps
        time.sleep(0.1)
    head, workers = sorted(steps, key=lambda step: "--exclude" in step)
    assert "--nodes 1 --ntasks 1 --nodelist node7" in head and "start --head --block" in head
    assert "--nodes 2 --ntasks 2 --exclude node7" in workers and "start --block" in workers
    assert all("--gpus-per-node 4 --cpus-per-task 16" in step for step in (head, workers))
    calls = (tmp_path / "python").read_text().splitlines()
    training = calls[calls.index("pure_rlhf.cli.train_pure") - 2 :]
    assert re.fullmatch(r"RAY_ADDRESS=[\d.]+:6379", training[0])
    assert training[-2:] == ["--max_steps", "7"]
    config, problems = parse(training[3:])
    assert problems == [] and config.output_dir == "/shared/run"
    assert (config.training_gpus, config.vllm.num_engines) == (6, 6)
    assert (config.reward.num_nodes, config.ref.num_gpus_per_node) == (3, 2)


@pytest.mark.parametrize(
    ("script", "variables"),
    [
        ("slurm.sh", ("SLURM_SUBMIT_DIR",)),
        ("ray_job.sh", ("OUTPUT_DIR",)),
    ],
)
def test_what_must_be_said_is_asked_for_before_anything_starts(
    script: str, variables: tuple[str, ...]
) -> None:
    kept = {key: value for key, value in os.environ.items() if key not in variables}
    done = subprocess.run(
        ["bash", str(CLUSTERS / script)], capture_output=True, text=True, env=kept
    )
    assert done.returncode != 0 and done.stdout == ""
    assert all(name in done.stderr for name in variables)


def test_a_job_leaves_at_home_what_git_does(tmp_path: Path) -> None:
    """The command that the script gives to Ray, written down by a program of that name."""
    recorded = tmp_path / "ray"
    venv = stand_in_environment(tmp_path)
    env = {key: value for key, value in os.environ.items() if not key.startswith("PURE_")}
    env |= {"PURE_VENV": str(venv), "OUTPUT_DIR": "/shared/a b", "reward_mode": "VR"}
    subprocess.run(["bash", str(CLUSTERS / "ray_job.sh"), "--max_steps", "7"], env=env, check=True)
    arguments = recorded.read_text().splitlines()[1:]
    assert arguments[:2] == ["job", "submit"]
    assert arguments[arguments.index("--working-dir") + 1] == str(ROOT)
    runtime_env = json.loads(arguments[arguments.index("--runtime-env-json") + 1])
    assert sorted(runtime_env["excludes"]) == sorted(ignored())
    job = arguments[arguments.index("--") + 1 :]
    assert job[0] == "env" and "PURE_HOST=gpu" in job and f"PURE_VENV={venv}" in job
    assert "OUTPUT_DIR=/shared/a b" in job and "reward_mode=VR" in job
    assert job[-4:] == ["bash", "examples/scripts/train_pure.sh", "--max_steps", "7"]


def test_the_rayjob_runs_our_script_with_our_flags(no_variables: None) -> None:
    spec = rayjob()["spec"]
    program, script, *flags = shlex.split(spec["entrypoint"])
    assert program == "bash" and script == f"/opt/pure/{TRAIN.relative_to(ROOT)}"
    config, problems = parse(flags)
    assert problems == []
    (workers,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    (worker,) = workers["template"]["spec"]["containers"]
    gpus = workers["replicas"] * int(worker["resources"]["limits"]["nvidia.com/gpu"])
    assert config.training_gpus + config.rollout_gpus + config.prm_gpus == gpus
    assert config.train.batch_size % (config.training_gpus * config.train.micro_batch_size) == 0


def test_the_rayjob_fits_the_image_and_the_lock() -> None:
    cluster = rayjob()["spec"]["rayClusterSpec"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    (ray,) = [Requirement(line) for line in lines if line.startswith("ray[")]
    assert ray.specifier.contains(cluster["rayVersion"])
    dockerfile = (ROOT / "docker/Dockerfile").read_text()
    assert "WORKDIR /opt/pure" in dockerfile
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in (each["template"]["spec"] for each in pods):
        (container,) = pod["containers"]
        assert {"name": "PURE_HOST", "value": "gpu"} in container["env"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    text = (CLUSTERS / "rayjob.yaml").read_text()
    for placeholder in ("REGISTRY/pure-rlhf:TAG", "pure-shared"):
        assert text.index(f"{placeholder},") < text.index("apiVersion"), "said at the top"


def test_the_image_has_the_files_it_needs_and_no_others() -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()[1:]
    in_dockers_words = [
        pattern.strip("/") if pattern.startswith("/") else f"**/{pattern.strip('/')}"
        for pattern in ignored()
    ]
    assert sorted(patterns) == sorted(in_dockers_words)
    dockerfile = (ROOT / "docker/Dockerfile").read_text()
    for script in re.findall(r"bash (\S+\.sh)", dockerfile):
        assert (ROOT / script).is_file(), script
    (base,) = re.findall(r"^FROM (\S+)$", dockerfile, re.MULTILINE)
    lock = (ROOT / "requirements/gpu.lock").read_text()
    cuda = re.search(r"^cuda-toolkit==(\d+)", lock, re.MULTILINE)
    assert cuda and base.startswith(f"nvidia/cuda:{cuda[1]}.")
