"""`python -m pure_rlhf.cli.published_prompts --output FILE`: the prompts that PURE was published with, made from MATH.

The published file (8,523 problems of MATH, 879 of them with their answer) has no licence, so it is not shipped; MATH
(Hendrycks et al. 2021, MIT) is at the hub. `published_prompts.txt` says which of its problems are meant, in the
published order: a hash of the problem without white space, and a 1 where the answer is known. An answer is what the
last box of MATH's solution holds.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tyro

from pure_rlhf.data import load_rows, read_hub
from pure_rlhf.grading.final_answer import extract_answer

CHOICE = Path(__file__).with_name("published_prompts.txt")
HUB_NAME = "DigitalLearningGmbH/MATH-lighteval"
HUB_REVISION = "0530c78699ea5e8eb5530600900e1f328b48acad"
DATA_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")


def problem_hash(problem: str) -> str:
    """16 hexadecimal digits that white space does not change.

    Example: `problem_hash("What is $1 + 1$?")` equals `problem_hash("What is $1+1$?\\n")`.
    """
    return hashlib.sha256("".join(problem.split()).encode()).hexdigest()[:16]


def chosen_problems() -> list[tuple[str, bool]]:
    """(hash, whether the answer is known) of each published problem, in order."""
    rows = (line.split() for line in CHOICE.read_text(encoding="ascii").splitlines())
    return [(row[0], len(row) > 1) for row in rows]


def make_prompts(rows: list[Any]) -> Iterator[dict[str, str | None]]:
    """The published prompts from the rows of MATH (`problem`, `solution`), training and test part together.

    Raises:
        ValueError: problems are missing from `rows`.
    """
    by_hash = {problem_hash(row["problem"]): row for row in rows}
    chosen = chosen_problems()
    missing = sum(key not in by_hash for key, _ in chosen)
    if missing:
        raise ValueError(
            f"{missing} of the {len(chosen)} published problems are not among these {len(rows)} rows; both parts of "
            "MATH are needed (7,500 and 5,000 rows with the columns problem and solution)"
        )
    for key, is_known in chosen:
        row = by_hash[key]
        answer = extract_answer(row["solution"]) if is_known else None
        yield {"question": row["problem"].strip(), "answer": answer}


def load_math(folder: Path | None) -> list[Any]:
    """Both parts of MATH, from the files of a folder or from the hub.

    Raises:
        ValueError: there are none.
    """
    if folder is None:
        return [
            row
            for part in ("train", "test")
            for row in read_hub(HUB_NAME, part, revision=HUB_REVISION)
        ]
    files = [path for path in sorted(folder.rglob("*")) if path.name.endswith(DATA_SUFFIXES)]
    rows = [row for path in files for row in load_rows(str(path), "train")]
    return [row for row in rows if isinstance(row, dict) and {"problem", "solution"} <= row.keys()]


def main(output: Path, math: Path | None = None) -> None:
    """Make the published prompts; does nothing where the file is there already.

    Args:
        output: JSONL file with the columns question and answer (null where it is not known).
        math: folder with a copy of MATH (.jsonl, .json or .parquet, also .gz); without it the hub's is loaded.
    """
    if output.exists():
        return
    try:
        prompts = list(make_prompts(load_math(math)))
    except ValueError as error:
        source = math or f"https://huggingface.co/datasets/{HUB_NAME}"
        sys.exit(
            f"The published prompts cannot be made from {source}: {error}. Without a hub: --math FOLDER with a copy of "
            "MATH; or train on prompts of your own (DATA=FILE, with the columns question and answer)"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f"{output.name}.partial")
    lines = (json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in prompts)
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(output)
    known = sum(prompt["answer"] is not None for prompt in prompts)
    print(f"{output}: {len(prompts)} problems of MATH, {known} with a known answer")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
