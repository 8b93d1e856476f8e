"""What a machine has: GPUs, driver, host memory, shared memory, disk. Read once, then plain data.

Nothing here decides anything; `check.py` and `cli/doctor.py` compare these facts with what a run needs.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pure_rlhf.placement import nvidia_smi

MIB = 2**20
NO_LIMIT = 2**60
"""Control groups without a limit say numbers larger than this."""


@dataclass(frozen=True)
class Gpu:
    """One GPU; `used_bytes` by whoever is on it now."""

    name: str
    total_bytes: int
    used_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine. None: not known (a machine that is asked about, not the one that asks)."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    torch_cuda: str | None = None
    """CUDA of the installed torch, "" for a build without."""
    nvcc: str | None = None
    """Path of the CUDA compiler, "" where there is none."""
    flash_attn: bool = False
    memory_bytes: int | None = None
    """That this process and its children may take: of the machine, or of its control group."""
    shared_memory_bytes: int | None = None
    """Free in /dev/shm."""

    @property
    def smallest_gpu(self) -> int:
        """Bytes of the smallest GPU that are not taken by others; 0 without GPUs."""
        return min((gpu.total_bytes - gpu.used_bytes for gpu in self.gpus), default=0)

    @property
    def kinds(self) -> list[str]:
        """The kinds of GPUs, such as `4 x NVIDIA H100 80GB HBM3 (85.5 GB)`."""
        labels = [f"{gpu.name} ({gpu.total_bytes / 1e9:.1f} GB)" for gpu in self.gpus]
        return [f"{labels.count(label)} x {label}" for label in dict.fromkeys(labels)]


def asked_host(description: str) -> Host:
    """The machine that `4x80` names: 4 GPUs of 80 GB as cards are sold, of which some 99 % of 80 GiB can be used.

    Raises:
        ValueError: it is not COUNTxGB.
    """
    match = re.fullmatch(r"(\d+)x(\d+(?:\.\d+)?)", description)
    if not match or not int(match[1]) or not float(match[2]):
        raise ValueError(f"--gpus {description}: must be COUNTxGB; use for example 4x80")
    gpu = Gpu(f"GPU of {match[2]} GB", int(float(match[2]) * 2**30 * 0.99))
    return Host(gpus=(gpu,) * int(match[1]))


def read_host() -> Host:
    """This machine; GPUs as CUDA would show them."""
    import torch

    from pure_rlhf.cpu_host import flash_attn_loads, is_cpu_host

    rows = nvidia_smi(
        "--query-gpu=uuid,driver_version,memory.total,memory.used,name",
        "--format=csv,noheader,nounits",
    )
    hidden = os.environ.get("PURE_HOST") == "cpu"
    gpus, driver = parse_gpus(rows, "" if hidden else os.environ.get("CUDA_VISIBLE_DEVICES"))
    return Host(
        gpus=gpus,
        driver=driver,
        torch_cuda=torch.version.cuda or "",
        nvcc=_find_nvcc(),
        flash_attn=not is_cpu_host() and flash_attn_loads(),
        memory_bytes=memory_limit(Path("/")),
        shared_memory_bytes=shutil.disk_usage("/dev/shm").free
        if Path("/dev/shm").is_dir()
        else None,
    )


def parse_gpus(rows: list[str], visible: str | None) -> tuple[tuple[Gpu, ...], str]:
    """`uuid, driver, MiB in all, MiB in use, name` -> the GPUs that CUDA_VISIBLE_DEVICES (`visible`) leaves, and the
    driver's version. A row without numbers (a GPU that is cut up, or failing) is left out."""
    found: dict[str, Gpu] = {}
    driver = ""
    order = []
    for row in rows:
        fields = [part.strip() for part in row.split(",", 4)]
        if len(fields) < 5:
            continue
        uuid, driver, total, used, name = fields
        order.append(uuid)
        if total.isdigit():
            taken = int(used) * MIB if used.isdigit() else 0
            found[uuid] = Gpu(name, int(total) * MIB, taken)
    if visible is None:
        return tuple(found.values()), driver
    chosen = []
    for name in filter(None, visible.replace(" ", "").split(",")):
        if name.lstrip("-").isdigit():
            if not 0 <= int(name) < len(order):
                break  # hides itself and all after it
            chosen.append(order[int(name)])
        else:
            chosen += [uuid for uuid in order if uuid.startswith(name)][:1]
    return tuple(found[uuid] for uuid in chosen if uuid in found), driver


def memory_limit(root: Path) -> int | None:
    """Bytes of host memory: the machine's, or the limit of the container where that is less; `root` is `/`."""
    limits = []
    meminfo = root / "proc/meminfo"
    if meminfo.is_file() and (match := re.search(r"MemTotal:\s+(\d+) kB", meminfo.read_text())):
        limits.append(int(match[1]) * 1024)
    for path in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        file = root / path
        if file.is_file() and (text := file.read_text().strip()).isdigit():
            limits.append(int(text))
    return min((limit for limit in limits if limit < NO_LIMIT), default=None)


def _find_nvcc() -> str:
    own = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin/nvcc"
    return shutil.which("nvcc") or (str(own) if own.is_file() else "")


def existing_parent(path: Path) -> Path:
    """The folder itself, or the nearest above it that there is."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
