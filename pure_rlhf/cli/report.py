"""`pure-rlhf-report RUN [RUN ...]`: write report.html into each run directory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pure_rlhf.report import write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 when a directory does not exist (the others are still written)."""
    parser = argparse.ArgumentParser(
        prog="pure-rlhf-report", description=__doc__, allow_abbrev=False
    )
    parser.add_argument(
        "run", nargs="+", type=Path, help="run directory, as written by pure-rlhf-train"
    )
    code = 0
    for run in parser.parse_args(arguments).run:
        try:
            sys.stdout.write(f"{write_report(run)}\n")
        except ValueError as error:
            sys.stderr.write(f"{error}\n")
            code = 2
    return code


if __name__ == "__main__":
    raise SystemExit(main())
