"""Facts of a machine from what its tools print."""

from __future__ import annotations

from pathlib import Path

import pytest

from pure_rlhf.fit.host import Gpu, Host, asked_host, existing_parent, memory_limit, parse_gpus

ROWS = [
    "GPU-aa, 580.95.05, 81559, 4, NVIDIA H100 80GB HBM3",
    "GPU-bb, 580.95.05, 81559, 40000, NVIDIA H100 80GB HBM3",
    "GPU-cc, 580.95.05, 24564, 0, NVIDIA GeForce RTX 4090",
]


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["aa", "bb", "cc"]),
        ("", []),
        ("2, 0", ["cc", "aa"]),
        ("1,-1,0", ["bb"]),
        ("GPU-c", ["cc"]),
        ("7", []),
    ],
)
def test_what_cuda_would_show(visible: str | None, names: list[str]) -> None:
    sizes = {"aa": (81559, 4), "bb": (81559, 40000), "cc": (24564, 0)}
    gpus, driver = parse_gpus(ROWS, visible)
    assert driver == "580.95.05"
    assert [(gpu.total_bytes, gpu.used_bytes) for gpu in gpus] == [
        (sizes[name][0] * 2**20, sizes[name][1] * 2**20) for name in names
    ]


def test_rows_without_numbers_are_left_out() -> None:
    assert parse_gpus(["GPU-aa, 580, [N/A], [N/A], odd", "a message"], None) == ((), "580")


def test_the_smallest_counts_without_what_others_hold() -> None:
    host = Host(gpus=(Gpu("A", 100), Gpu("A", 100, 70), Gpu("B", 50)))
    assert host.smallest_gpu == 30
    assert host.kinds == ["2 x A (0.0 GB)", "1 x B (0.0 GB)"]
    assert Host().smallest_gpu == 0


def test_another_machine() -> None:
    host = asked_host("4x80")
    assert len(host.gpus) == 4 and host.smallest_gpu == int(80 * 2**30 * 0.99)
    assert host.memory_bytes is None
    for wrong in ("80", "0x80", "4x0", "4by80", ""):
        with pytest.raises(ValueError, match="must be COUNTxGB"):
            asked_host(wrong)


@pytest.mark.parametrize(
    ("limit", "bytes_there"),
    [("max", 4096 * 1024), ("1000000", 1_000_000), ("9223372036854771712", 4096 * 1024)],
)
def test_memory_of_a_container(tmp_path: Path, limit: str, bytes_there: int) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:       4096 kB\nMemFree: 1 kB\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text(f"{limit}\n")
    assert memory_limit(tmp_path) == bytes_there


def test_memory_that_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) is None


def test_the_folder_above_what_is_not_there_yet(tmp_path: Path) -> None:
    assert existing_parent(tmp_path / "a/b") == tmp_path
    assert existing_parent(Path("no/such")) == Path.cwd()
