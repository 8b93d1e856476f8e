"""A Ray of one's own for tests and benchmarks in this process: on loopback, one CPU, no dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def small_ray(object_store_bytes: int = 100 * 2**20, **options: Any) -> Iterator[None]:
    """Started here, shut down at the end; `options` go to `ray.init`."""
    import ray

    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=object_store_bytes,
        log_to_driver=False,
        **options,
    )
    try:
        yield
    finally:
        ray.shutdown()
