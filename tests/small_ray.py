"""A Ray of one's own for tests and benchmarks in this process: on loopback, one CPU, no dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any


def ray_folder() -> TemporaryDirectory[str]:
    """For a Ray's files; not below pytest's temporary folder, since the paths of Unix sockets are short."""
    return TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)


@contextmanager
def small_ray(object_store_bytes: int = 100 * 2**20, **options: Any) -> Iterator[None]:
    """Started here, shut down at the end, with its folder removed; `options` go to `ray.init`."""
    import ray

    with ray_folder() as folder:
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            object_store_memory=object_store_bytes,
            log_to_driver=False,
            _temp_dir=folder,
            **options,
        )
        try:
            yield
        finally:
            ray.shutdown()
