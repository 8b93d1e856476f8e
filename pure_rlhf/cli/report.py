"""`pure-rlhf-report RUN [RUN ...]`: write report.html into a run directory, or comparison.html of several runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pure_rlhf.report.comparison import write_comparison
from pure_rlhf.report.run import write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 when a run directory or the folder of the output does not exist."""
    parser = argparse.ArgumentParser(
        prog="pure-rlhf-report", description=__doc__, allow_abbrev=False
    )
    parser.add_argument(
        "run", nargs="+", type=Path, help="run directory, as written by pure-rlhf-train"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="the page to write; default: RUN/report.html, or comparison.html here for several runs",
    )
    options = parser.parse_args(arguments)
    try:
        if options.output is not None and not options.output.parent.is_dir():
            raise ValueError(
                f"--output {options.output}: there is no directory {options.output.parent}; make it first"
            )
        if len(options.run) == 1:
            page = write_report(options.run[0], options.output)
        else:
            page = write_comparison(options.run, options.output or Path("comparison.html"))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{page}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
