"""From the settings to training and held-out rows, with everything that is wrong found before anything is trained."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import (
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from prm_training.data import (
    NUM_BAD_ROWS_SHOWN,
    BadRow,
    LoadedSource,
    PrmDataset,
    describe_bad_rows,
    exclude_problems,
    load_problem_keys,
    load_solutions,
)
from prm_training.selection import (
    IGNORED,
    StepLabelledRow,
    label_balance,
    label_neutral_steps,
    neutral_effect,
    problem_key,
    select_labels,
    split_off_problems,
)
from prm_training.settings import PrmTrainingSettings
from prm_training.sources import HAVE_NEUTRAL_STEPS
from pure_rlhf.model_folder import load_model_config
from pure_rlhf.prm.conventions import PureConvention, has_rotary_positions
from pure_rlhf.prm.token_inputs import single_separator_id

BAD_ROWS_FILE = "bad_rows.jsonl"
REMOVED_FILE = "removed_problems.json"


class PrmInputError(ValueError):
    """Everything that keeps a run from starting, one text each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(problems)
        self.problems = list(problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


@dataclass(frozen=True)
class PreparedData:
    """What is trained on and measured on, tokenised."""

    tokenizer: PreTrainedTokenizerBase
    train: PrmDataset
    held_out: PrmDataset | None


def prepare(settings: PrmTrainingSettings) -> PreparedData:
    """Load and check the model's configuration, its tokenizer and all rows; say what was found and selected.

    Raises PrmInputError with everything that is wrong.
    """
    problems = settings.problems()
    config = _load_config(settings, problems)
    tokenizer = _load_tokenizer(settings, problems)
    excluded = _load_excluded(settings, problems)
    train_source = _load_source(settings.train_data, settings.train_split, settings, problems)
    held_out_source = None
    if settings.eval_data is not None:
        held_out_source = _load_source(settings.eval_data, settings.eval_split, settings, problems)
    sources = [source for source in (train_source, held_out_source) if source is not None]

    rows = None if train_source is None else _select(train_source, settings)
    held_out_rows = None if held_out_source is None else _select(held_out_source, settings)
    removed: list[dict[str, Any]] = []
    if rows is not None and settings.exclude_problems:
        num_rows = len(rows)
        rows, removed = exclude_problems(rows, excluded)
        _say(
            f"{len(removed)} evaluation problems of {len(excluded)} were among the training rows: "
            f"{num_rows - len(rows)} rows removed, {len(rows)} left ({REMOVED_FILE})"
        )
    if rows and settings.held_out_frac:
        rows, held_out_rows = split_off_problems(rows, settings.held_out_frac, settings.seed)
        _say(f"held out: {label_balance(held_out_rows)}; trained on: {label_balance(rows)}")
    elif rows and held_out_rows:
        _warn_of_shared_problems(rows, held_out_rows)

    bad_rows = [bad for source in sources for bad in source.bad_rows]
    train = held_out = None
    if tokenizer is not None and config is not None:
        if rows is not None:
            train = PrmDataset(rows, tokenizer, settings.separator)
            bad_rows += _drop_long_rows(train, settings.train_data, settings, config)
        if held_out_rows is not None:
            held_out = PrmDataset(held_out_rows, tokenizer, settings.separator)
            source = settings.eval_data or settings.train_data
            bad_rows += _drop_long_rows(held_out, source, settings, config)
    if bad_rows and not settings.skip_bad_rows:
        problems += describe_bad_rows(
            bad_rows, {source.source: source.num_rows for source in sources}
        )
        if len(bad_rows) > NUM_BAD_ROWS_SHOWN:
            problems.append(f"all {len(bad_rows)} bad rows: {_write_bad_rows(settings, bad_rows)}")
    for name, dataset in (("training", train), ("held-out", held_out)):
        if dataset is not None and not len(dataset):
            first = f"; {bad_rows[0].source}, row {bad_rows[0].row}: {bad_rows[0].reason}"
            problems.append(f"no {name} row is left{first if bad_rows else ''}")
    if problems:
        raise PrmInputError(problems)
    assert tokenizer is not None and train is not None
    if bad_rows:
        _say(
            f"{len(bad_rows)} bad rows left out (--skip_bad_rows): {_write_bad_rows(settings, bad_rows)}"
        )
    if settings.exclude_problems:
        _write(settings.output_dir / REMOVED_FILE, json.dumps(removed, indent=1) + "\n")
    return PreparedData(tokenizer, train, held_out)


def _drop_long_rows(
    dataset: PrmDataset, source: str, settings: PrmTrainingSettings, config: PretrainedConfig
) -> list[BadRow]:
    """Rows above --max_length are bad rows. Without it, rotary positions go on beyond the configured number: such rows
    are kept, as in the published training, and counted; learned positions end there."""
    if settings.max_length is not None:
        return dataset.drop_longer(settings.max_length, source)
    limit = config.max_position_embeddings
    if not has_rotary_positions(config):
        return dataset.drop_longer(limit, source)
    longer = [length for length in dataset.lengths if length > limit]
    if longer:
        _say(
            f"Warning: {len(longer)} of {len(dataset)} rows of {source} are longer than the {limit} positions that the "
            f"model was made for (the longest has {max(longer)} tokens); they are kept, as in the published training. "
            f"--max_length {limit} --skip_bad_rows leaves them out"
        )
    return []


def _load_config(settings: PrmTrainingSettings, problems: list[str]) -> PretrainedConfig | None:
    try:
        config = load_model_config(settings.model)
    except ValueError as error:
        problems.append(f"--model {error}")
        return None
    architectures = " ".join(config.architectures or [])
    if settings.stage == 2 and "TokenClassification" not in architectures:
        problems.append(
            f"--model {settings.model} is no token-classification model ({architectures or 'unknown'}): "
            "stage 2 goes on from the output folder of stage 1"
        )
    try:
        PureConvention.require_two_labels(settings.model, config.num_labels)
    except ValueError as error:
        problems.append(f"--model {error}; stage 1 puts one on a causal language model")
    return config


def _load_tokenizer(
    settings: PrmTrainingSettings, problems: list[str]
) -> PreTrainedTokenizerBase | None:
    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.model)
        single_separator_id(tokenizer, settings.separator)
    except (OSError, ValueError) as error:
        problems.append(f"the tokenizer of --model {settings.model}: {error}")
        return None
    return tokenizer


def _load_excluded(settings: PrmTrainingSettings, problems: list[str]) -> dict[str, str]:
    excluded: dict[str, str] = {}
    for source in settings.exclude_problems:
        try:
            excluded |= load_problem_keys(source, settings.eval_split)
        except ValueError as error:
            problems.append(str(error))
    return excluded


def _load_source(
    source: str, split: str, settings: PrmTrainingSettings, problems: list[str]
) -> LoadedSource | None:
    try:
        return load_solutions(
            source,
            split,
            separator=settings.separator,
            separator_in_steps=settings.separator_in_steps,
        )
    except ValueError as error:
        problems.append(str(error))
        return None


def _select(source: LoadedSource, settings: PrmTrainingSettings) -> list[StepLabelledRow]:
    """The rows with the labels that the settings ask for; says what they were before and after."""
    rows = label_neutral_steps(source.solutions, settings.neutral)
    forms = ", ".join(source.forms)
    _say(f"{source.source} (form: {forms or 'unknown'}): {label_balance(rows)}")
    if any(form in HAVE_NEUTRAL_STEPS for form in source.forms):
        _say(f"  {neutral_effect(source.solutions, settings.neutral)}")
    elif settings.neutral != "wrong":
        _say(f"  --neutral {settings.neutral} changes nothing: its labels are right or wrong only")
    selected = select_labels(rows, settings.prefixes)
    if settings.prefixes != "as_is":
        _say(f"  --prefixes {settings.prefixes}: {label_balance(selected)}")
    if len({label for row in selected for label in row.labels if label != IGNORED}) == 1:
        _say("  note: all labels are the same, which teaches nothing: try other --prefixes")
    return selected


def _warn_of_shared_problems(
    rows: Sequence[StepLabelledRow], held_out_rows: Sequence[StepLabelledRow]
) -> None:
    train_problems = {problem_key(prompt) for prompt in {row.prompt for row in rows}}
    held_out_problems = {problem_key(prompt) for prompt in {row.prompt for row in held_out_rows}}
    if shared := len(train_problems & held_out_problems):
        _say(
            f"note: {shared} of {len(held_out_problems)} held-out problems are also trained on; "
            "--exclude_problems with the held-out file removes them"
        )


def _write_bad_rows(settings: PrmTrainingSettings, bad_rows: Sequence[BadRow]) -> Path:
    file = settings.output_dir / BAD_ROWS_FILE
    _write(file, "".join(json.dumps(asdict(bad), ensure_ascii=False) + "\n" for bad in bad_rows))
    return file


def _write(file: Path, text: str) -> None:
    if _is_first_rank():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _is_first_rank() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _say(text: str) -> None:
    if _is_first_rank():
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
