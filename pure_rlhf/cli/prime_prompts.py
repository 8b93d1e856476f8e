"""`python -m pure_rlhf.cli.prime_prompts --model M --output FILE`: the problems that PRIME was published with.

From Eurus-2-RL-Data (MIT; 455,261 problems of mathematics, 26,758 of code). Its prompts are conversations of a system
and a user message; they are written through the chat template of the model, so the run takes them as they are:
`--data.input_template {} --data.program_template {} --data.ability_key ability`.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

from code_sandbox.problems import ProblemError, read_problem
from pure_rlhf.data import CODE, MATH, load_rows, read_hub
from pure_rlhf.model_folder import load_tokenizer
from pure_rlhf.types import Tokenizer

HUB_NAME = "PRIME-RL/Eurus-2-RL-Data"
COLUMNS = {"prompt", "ability", "reward_model"}


def make_prompts(
    rows: list[Any], tokenizer: Tokenizer, abilities: Sequence[str], dropped: list[str]
) -> Iterator[dict[str, str]]:
    """`question`, the whole prompt as text, `answer` and `ability` of each problem of these abilities.

    Args:
        dropped: gets one sentence for each problem of code whose tests cannot grade a program.

    Raises:
        ValueError: a row lacks a column, or there is no problem of these abilities.
    """
    found = False
    for number, row in enumerate(rows, start=1):
        if missing := COLUMNS - row.keys():
            raise ValueError(
                f"row {number} has no column {sorted(missing)[0]!r}; the columns prompt, ability and reward_model of "
                f"{HUB_NAME} are needed"
            )
        if row["ability"] not in abilities:
            continue
        answer = row["reward_model"]["ground_truth"]
        if row["ability"] == CODE:
            try:
                answer = read_problem(answer, f"row {number}").to_json()
            except ProblemError as error:
                dropped.append(str(error))
                continue
        found = True
        text = tokenizer.apply_chat_template(
            list(row["prompt"]), tokenize=False, add_generation_prompt=True
        )
        yield {"question": text, "answer": str(answer), "ability": row["ability"]}
    if not found:
        raise ValueError(
            f"none of the {len(rows)} rows is a problem of {' or '.join(abilities)} that can be graded"
        )


def main(
    model: str,
    output: Path,
    rows: Path | None = None,
    abilities: tuple[Literal["math", "code"], ...] = (MATH, CODE),
) -> None:
    """Make the prompts; does nothing where the file is there already.

    Args:
        model: the policy, a folder or a hub name, for its chat template.
        output: JSONL file with the columns question, answer and ability.
        rows: a local copy of the training part (.parquet or .jsonl); without it the hub's is loaded.
        abilities: which problems.
    """
    if output.exists():
        return
    dropped: list[str] = []
    try:
        loaded = read_hub(HUB_NAME, "train") if rows is None else load_rows(str(rows), "train")
        prompts = list(make_prompts(loaded, load_tokenizer(model), abilities, dropped))
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
    counts = Counter(prompt["ability"] for prompt in prompts)
    print(
        f"{output}: {counts[MATH]} problems of mathematics and {counts[CODE]} of code of {HUB_NAME}"
    )
    if dropped:
        print(
            f"{len(dropped)} problems of code have no tests that grade a program, such as: {dropped[0]}"
        )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
