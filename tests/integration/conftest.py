"""Every test of this folder starts real processes, so all of them ask whether the host is fast enough."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def real_runs_need_a_fast_host(host_is_fast_enough: None) -> None:
    pass
