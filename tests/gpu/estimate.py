"""Memory of a GPU as measured, beside what the project says before a run. The one place to connect the two."""

from __future__ import annotations


def estimated_gb(check: str) -> float | None:
    """What the project's own estimate gives for the fullest GPU in a check, in GB; None: it has none for it.

    There is none yet; the checks `shared` and `split` are for it: `end_to_end.flags` are the flags of those runs.
    """
    return None


def compare(measured_gb: float | None, estimate_gb: float | None) -> str:
    """The cell of the report, such as "9.1 GB; estimate 8.6 (-5 %)"."""
    if measured_gb is None:
        return "-"
    measured = f"{measured_gb:.1f} GB"
    if estimate_gb is None:
        return measured
    return f"{measured}; estimate {estimate_gb:.1f} ({estimate_gb / measured_gb - 1:+.0%})"
