"""`python -m tests.adversarial`: the long form of the attacks; prints the tables of docs/verifier.md.

Exit code 1 where something was found that pays and should not.
"""

from __future__ import annotations

import json
import os
import sys
import time

import tyro

from tests.adversarial.candidates import candidates
from tests.adversarial.constant_answers import best_constant_answers, find, paid
from tests.adversarial.holes import HOLES, hole
from tests.adversarial.labels import distinct_labels, label_sets
from tests.adversarial.search import search


def main(
    num_gradings: int = 200_000,
    num_candidates: int | None = None,
    seed: int = 0,
    processes: int = os.cpu_count() or 1,
) -> int:
    """Try everything against every label; returns 1 where a hole was found.

    Args:
        num_gradings: Budget of the evolutionary search; a tenth of it for each old hole that is put back.
        num_candidates: Constant answers to try; default all.
        seed: Of the search.
        processes: For the constant answers.
    """
    start = time.monotonic()
    labels = distinct_labels()
    tried = candidates(labels)[:num_candidates]
    accepted = paid(tried, labels, processes)
    findings = [finding for entry in accepted.items() if (finding := find(*entry))]
    print(
        f"{len(tried):,} constant answers x {len(labels):,} labels = {len(tried) * len(labels):,} gradings: "
        f"{len(findings)} paid for labels that differ",
        flush=True,
    )
    for finding in findings[:20]:
        print(f"  {finding}")
    print(
        "\n| labels | rows | best constant that is no label | paid | most frequent label | paid |"
    )
    print("|---|---|---|---|---|---|")
    for name, answer, share, label, label_share in best_constant_answers(accepted):
        print(
            f"| {name} | {len(label_sets()[name]):,} | `{answer:.40}` | {share:.2%} | `{label}` | {label_share:.2%} |"
        )
    best = search(labels, num_gradings, seed)
    print(
        f"\nSearch, {best.num_gradings:,} gradings: best score {best.score:.4f} {best.text!r} {best.labels}"
    )
    for name in HOLES:
        with hole(name):
            found = search(labels, num_gradings // 10, seed)
        print(
            f"With the old hole {name} put back, {found.num_gradings:,} gradings: {found.score:.4f} {found.text!r} "
            f"for {found.labels}"
        )
    print(f"{time.monotonic() - start:.0f} s")
    print(
        json.dumps(
            {
                "candidates": len(tried),
                "labels": len(labels),
                "findings": len(findings),
                "search_score": best.score,
            }
        )
    )
    return int(bool(findings) or best.score > 0)


if __name__ == "__main__":
    sys.exit(tyro.cli(main, use_underscores=True))
