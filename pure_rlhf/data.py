"""Prompts: from a JSON/JSONL/Parquet file or a Hugging Face data set to records, with errors a person can mend.

A record keeps the bare problem, the rendered prompt, its token ids and the label: the final answer, or the tests of
a problem of code (None where there is none: null, "null" or an empty string, as in PURE's published file, where 7,644
of 8,523 problems have none).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from code_sandbox.problems import Problem, ProblemError, read_problem
from pure_rlhf.grading.final_answer import has_answer, label_fault
from pure_rlhf.types import Tokenizer

Row = dict[str, Any]  # what a data set may hold is checked where it is used
MATH, CODE = "math", "code"
"""The abilities of --data.ability_key, as PRIME's data calls them."""
LOCAL_SUFFIXES = (".json", ".jsonl", ".parquet", ".json.gz", ".jsonl.gz")


@dataclass(frozen=True)
class PromptRecord:
    """One problem, ready for the engines."""

    index: int  # row among the prompts that are kept
    question: str
    prompt: str  # the rendered text
    token_ids: list[int]
    label: str | Problem | None  # the final answer by the data set, or tests; None: not known


@dataclass(frozen=True)
class PromptSet:
    """The problems of one source whose prompts fit the limit, and how many did not."""

    records: list[PromptRecord]
    num_dropped: int


def render_prompt(template: str, question: str) -> str:
    """The prompt text: the first `{}` of the template replaced by the problem.

    Not `str.format`: the published template holds `\\boxed{}`, and problems hold braces.
    """
    return template.replace("{}", question, 1)


def load_rows(source: str, split: str) -> list[Row]:
    """Rows of a local file or of a hub data set.

    Raises:
        ValueError: the file is missing, empty or malformed (with the line), or the data set cannot be loaded.
    """
    path = Path(source)
    if _is_file(path):
        rows = _read_file(path)
    elif source.endswith(LOCAL_SUFFIXES) or path.is_absolute() or source.startswith("."):
        raise ValueError(f"no such file: {source}")
    elif not source.strip():
        raise ValueError("the name is empty; name a file, or a Hugging Face data set")
    else:
        rows = _read_hub_or_explain(source, split)
    if not rows:
        raise ValueError(f"{source} holds no rows")
    return rows


def load_prompts(
    source: str,
    *,
    split: str,
    input_key: str,
    label_key: str,
    render: Callable[[str], str],
    tokenizer: Tokenizer | None,
    max_tokens: int,
    ability_key: str | None = None,
    render_program: Callable[[str], str] | None = None,
    allow_asserts: bool = False,
) -> PromptSet:
    """Read, render and tokenise all problems; prompts longer than `max_tokens` are dropped and counted.

    With `tokenizer=None` (it could not be loaded) the rows are checked all the same, and have no token ids.

    Args:
        ability_key: column that says which rows are problems of code, whose label are tests; None: none is.
        render_program: as `render`, of these; None: as the others.
        allow_asserts: whether their tests may be asserts, which a program can read: where no reward is made of them.

    Raises:
        ValueError: as `load_rows`; or a column is missing or empty; or no prompt fits the limit.
    """
    rows = load_rows(source, split)
    abilities: list[str] = []
    labels: list[str | Problem | None] = []
    for number, row in enumerate(rows, start=1):
        where = f"{source}, row {number}"
        _check_row(row, where, input_key, label_key)
        abilities.append(_ability(row, where, ability_key))
        if abilities[-1] == CODE:
            labels.append(_tests(row[label_key], where, label_key, allow_asserts))
        else:
            labels.append(_final_answer(row[label_key], where, label_key))
    renders = {MATH: render, CODE: render_program or render}
    prompts = [
        renders[ability](row[input_key]) for ability, row in zip(abilities, rows, strict=True)
    ]
    encoded = (
        tokenizer(prompts, add_special_tokens=False)["input_ids"]
        if tokenizer
        else [[] for _ in prompts]
    )
    records: list[PromptRecord] = []
    for row, label, prompt, token_ids in zip(rows, labels, prompts, encoded, strict=True):
        if len(token_ids) <= max_tokens:
            records.append(PromptRecord(len(records), row[input_key], prompt, token_ids, label))
    if not records:
        shortest = min(map(len, encoded))
        raise ValueError(
            f"all {len(rows)} prompts of {source} are longer than --data.prompt_max_len {max_tokens} tokens "
            f"(the shortest has {shortest}); raise the limit"
        )
    return PromptSet(records, len(rows) - len(records))


def _check_row(row: Any, where: str, input_key: str, label_key: str) -> None:
    if not isinstance(row, dict):
        raise ValueError(f"{where} is a {type(row).__name__}; expected an object with columns")
    missing = [key for key in (input_key, label_key) if key not in row]
    if missing:
        raise ValueError(
            f"{where} has no column {' and '.join(map(repr, missing))}; its columns are "
            f"{', '.join(map(repr, row))}: name the right ones with --data.input_key and --data.label_key"
        )
    for key in (input_key, label_key):
        if isinstance(row[key], str) and not _is_unicode(row[key]):
            raise ValueError(
                f"{where}: column {key!r} holds half of a surrogate pair, which is no text"
            )
    if not isinstance(row[input_key], str) or not row[input_key].strip():
        raise ValueError(
            f"{where}: column {input_key!r} must be a non-empty text, got {row[input_key]!r}"
        )


def _ability(row: Row, where: str, ability_key: str | None) -> str:
    if ability_key is None:
        return MATH
    if ability_key not in row:
        raise ValueError(
            f"{where} has no column {ability_key!r}; its columns are {', '.join(map(repr, row))}: name the right one "
            f"with --data.ability_key, or drop that for problems of mathematics alone"
        )
    if row[ability_key] not in (MATH, CODE):
        raise ValueError(
            f"{where}: column {ability_key!r} must be {MATH!r} or {CODE!r}, got {row[ability_key]!r}"
        )
    return row[ability_key]


def _final_answer(label: Any, where: str, label_key: str) -> str | None:
    fault = label_fault(label)
    if fault:
        raise ValueError(f"{where}: column {label_key!r} {fault}")
    return str(label) if has_answer(label) else None


def _tests(label: Any, where: str, label_key: str, allow_asserts: bool) -> Problem | None:
    """None where there are none, and where several outputs are right: nothing here can grade those."""
    if not isinstance(label, Mapping) and not has_answer(label):
        return None
    where = f"{where}, column {label_key!r}"
    try:
        problem = read_problem(label, where)
    except ProblemError as error:
        raise ValueError(str(error)) from error
    if problem.special_checker:
        return None
    if problem.kind == "asserts" and not allow_asserts:
        raise ValueError(
            f"{where}: tests made of asserts can be read by the program that they test, so no reward is made of them; "
            f"use them for --eval.dataset, and train on tests by standard input or by call"
        )
    return problem


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def prompt_renderer(
    template: str,
    apply_chat_template: bool,
    tokenizer: Tokenizer | None,
    *,
    system_prompt: str | None = None,
) -> Callable[[str], str]:
    """Problem -> prompt text, through the template and, where asked for, the tokenizer's chat template.

    The system prompt is a message of its own there, and else stands before the problem.
    """

    def render(question: str) -> str:
        text = render_prompt(template, question)
        if tokenizer is None or not apply_chat_template:
            return text if system_prompt is None else f"{system_prompt}\n\n{text}"
        messages = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
        return tokenizer.apply_chat_template(
            [*messages, {"role": "user", "content": text}],
            tokenize=False,
            add_generation_prompt=True,
        )

    return render


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a null byte
        raise ValueError(f"{str(path)[:100]!r} is no name of a file: {error}") from error


def _read_file(path: Path) -> list[Any]:
    try:
        return _read_parquet(path) if path.suffix == ".parquet" else _read_json(path)
    except (EOFError, zlib.error, OSError) as error:  # a damaged or cut-off file
        what = str(error).split("\n")[0] or type(error).__name__
        raise ValueError(f"{path} cannot be read: {what}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error
    except ValueError as error:
        if str(path) in str(error):
            raise
        # not UTF-8, or a number of thousands of digits
        raise ValueError(f"{path} cannot be read: {error}") from error


def _open_text(path: Path) -> TextIO:
    return (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8")
    )


def _read_json(path: Path) -> list[Any]:
    """A JSON array, or one JSON object a line; the line of the first error is named."""
    with _open_text(path) as file:
        text = file.read()
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
            ) from error
    return list(_parse_lines(text, path))


def _parse_lines(text: str, path: Path) -> Iterator[Any]:
    # Not splitlines(): it also breaks at U+2028, which is legal inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path} is not JSON: line {number}, column {error.colno}: {error.msg}"
                ) from error


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise OSError(str(error)) from error


def read_hub(
    name: str, split: str, *, config: str | None = None, revision: str | None = None
) -> list[Row]:
    """The rows of a data set of the Hugging Face hub.

    Raises:
        ValueError: it cannot be loaded; says why in one line.
    """
    from datasets import load_dataset

    try:
        return [dict(row) for row in load_dataset(name, config, split=split, revision=revision)]
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(str(error).split("\n")[0] or type(error).__name__) from error


def _read_hub_or_explain(name: str, split: str) -> list[Row]:
    try:
        return read_hub(name, split)
    except ValueError as error:
        raise ValueError(
            f"no file of the name {name!r} here, and as a Hugging Face data set (split {split!r}) it cannot be "
            f"loaded: {error}"
        ) from error
