"""A headless Chromium for tests of HTML pages, where there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def browse(page: Path, profile: Path, *options: str) -> str:
    """Open a page and return what the browser prints (`--dump-dom`), or "" (`--screenshot=FILE`).

    `profile` is a folder of this call alone. The time-out is for a browser that hangs, not for a slow host.
    """
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
        *options,
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=True).stdout
