"""`python -m pure_rlhf.cli.prime_prompts --model M --output FILE`: the mathematics that PRIME was published with.

From Eurus-2-RL-Data (MIT; 455,261 problems of mathematics among its 482,019). Its prompts are conversations of a system
and a user message; they are written through the chat template of the model, so the run takes them as they are:
`--data.input_template {}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tyro

from pure_rlhf.data import load_rows, read_hub
from pure_rlhf.model_folder import load_tokenizer
from pure_rlhf.types import Tokenizer

HUB_NAME = "PRIME-RL/Eurus-2-RL-Data"
COLUMNS = {"prompt", "ability", "reward_model"}


def make_prompts(rows: list[Any], tokenizer: Tokenizer) -> Iterator[dict[str, str]]:
    """`question`, the whole prompt as text, and `answer` of each problem of mathematics.

    Raises:
        ValueError: a row lacks a column, or there is no problem of mathematics.
    """
    found = False
    for number, row in enumerate(rows, start=1):
        if missing := COLUMNS - row.keys():
            raise ValueError(
                f"row {number} has no column {sorted(missing)[0]!r}; the columns prompt, ability and reward_model of "
                f"{HUB_NAME} are needed"
            )
        if row["ability"] == "math":
            found = True
            text = tokenizer.apply_chat_template(
                list(row["prompt"]), tokenize=False, add_generation_prompt=True
            )
            yield {"question": text, "answer": str(row["reward_model"]["ground_truth"])}
    if not found:
        raise ValueError(f"none of the {len(rows)} rows has the ability 'math'")


def main(model: str, output: Path, rows: Path | None = None) -> None:
    """Make the prompts; does nothing where the file is there already.

    Args:
        model: the policy, a folder or a hub name, for its chat template.
        output: JSONL file with the columns question and answer.
        rows: a local copy of the training part (.parquet or .jsonl); without it the hub's is loaded.
    """
    if output.exists():
        return
    try:
        loaded = read_hub(HUB_NAME, "train") if rows is None else load_rows(str(rows), "train")
        prompts = list(make_prompts(loaded, load_tokenizer(model)))
    except ValueError as error:
        sys.exit(
            f"PRIME's prompts cannot be made from {rows or HUB_NAME}: {error}. Without a hub: --rows FILE; or train on "
            "prompts of your own (DATA=FILE, with the columns question and answer)"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f"{output.name}.partial")
    lines = (json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in prompts)
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(output)
    print(f"{output}: {len(prompts)} problems of mathematics of {HUB_NAME}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
