"""`python -m pure_rlhf.cli.train_sft`: supervised fine-tuning, the warm-up before RL (docs/sft.md).

One process for each GPU (`torchrun`), or one without GPUs; `examples/scripts/train_sft.sh` starts it and writes the
report afterwards.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tyro

from pure_rlhf import cpu_host
from pure_rlhf.adapters import find_lora_problems
from pure_rlhf.bounds import find_bound_problems
from pure_rlhf.config import ConfigError
from pure_rlhf.model_folder import load_model_config, load_tokenizer
from pure_rlhf.prompt_styles import read_system_prompt
from pure_rlhf.sft.rows import SftRows, read_rows
from pure_rlhf.sft.settings import SftConfig
from pure_rlhf.types import Tokenizer

CONFIG_FILE = "config.json"


def prepare(config: SftConfig) -> tuple[SftRows, Tokenizer]:
    """Check everything, and read the rows.

    Raises:
        ConfigError: with all problems.
    """
    problems = [*find_bound_problems(config), *find_lora_problems(config.ds.lora)]
    problems += _batch_problems(config) if not problems else []
    if "{}" not in config.data.input_template:
        problems.append(
            f"--data.input_template {config.data.input_template!r}: must contain {{}}, where the question goes"
        )
    attention = cpu_host.attention_implementation(config.ds.attn_implementation)
    if config.ds.packing_samples and attention != "flash_attention_2":
        problems.append(
            f"--ds.packing_samples with {attention}: packing needs flash-attn, or rows would attend to one another; "
            f"drop it"
        )
    folder = Path(config.output_dir)
    if (folder / CONFIG_FILE).exists() and not config.ckpt.load_enable:
        problems.append(
            f"--output_dir {folder}: already holds a run; choose another folder, or go on with --ckpt.load_enable"
        )
    name = config.model.model_name_or_path
    tokenizer = system_prompt = None
    try:
        model = load_model_config(name, trust_remote_code=config.trust_remote_code)
        if getattr(model, "auto_map", None) and not config.trust_remote_code:
            raise ValueError(
                f"{name}: comes with code of its own; read it, then pass --trust_remote_code"
            )
        tokenizer = load_tokenizer(name, trust_remote_code=config.trust_remote_code)
    except ValueError as error:
        problems.append(f"--model.model_name_or_path {error}")
    try:
        system_prompt = read_system_prompt(config.data.system_prompt)
    except ValueError as error:
        problems.append(f"--data.system_prompt {error}")
    rows = None
    if config.data.dataset is None:
        problems.append(
            "--data.dataset is missing: name a .json, .jsonl or .parquet file or a Hugging Face data set"
        )
    elif tokenizer is not None:
        try:
            rows = read_rows(config, tokenizer, system_prompt)
        except ValueError as error:
            problems.append(f"--data.dataset: {error}")
    if rows is not None and len(rows.train) < config.train.batch_size:
        problems.append(
            f"--train.batch_size {config.train.batch_size}: {config.data.dataset} has only {len(rows.train)} rows to "
            f"train on; lower it to at most that"
        )
    if problems:
        raise ConfigError(problems)
    assert rows is not None and tokenizer is not None
    return rows, tokenizer


def _batch_problems(config: SftConfig) -> Iterator[str]:
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    share = ranks * config.train.micro_batch_size
    if config.train.batch_size % share:
        yield (
            f"--train.batch_size {config.train.batch_size}: must be a multiple of {ranks} ranks x "
            f"--train.micro_batch_size {config.train.micro_batch_size} = {share}"
        )


def main(arguments: list[str] | None = None) -> None:
    """Check, train, save."""
    os.environ.update(_environment())
    config = tyro.cli(SftConfig, args=arguments, description=__doc__, use_underscores=True)
    is_first = os.environ.get("RANK", "0") == "0"
    try:
        rows, tokenizer = prepare(config)
    except ConfigError as error:
        sys.exit(str(error) if is_first else 2)
    if is_first:
        Path(config.output_dir).mkdir(parents=True, exist_ok=True)
        record = dataclasses.asdict(config) | {
            "rows": len(rows.train),
            "rows_held_out": len(rows.held_out),
            "rows_too_long": rows.num_too_long,
        }
        (Path(config.output_dir) / CONFIG_FILE).write_text(json.dumps(record, indent=2) + "\n")
        print(
            f"{len(rows.train)} rows to train on, {len(rows.held_out)} held out, {rows.num_too_long} longer than "
            f"--data.max_len {config.data.max_len} dropped"
        )
    cpu_host.install()
    from pure_rlhf.sft.trainer import train

    train(config, rows, tokenizer)


def read_config(run: Path) -> SftConfig:
    """The settings of a run, from what it keeps.

    Raises:
        OSError, ValueError: there is no such file, or it is none of ours.
    """
    record = json.loads((run / CONFIG_FILE).read_text(encoding="utf-8"))
    return _settings(SftConfig(), record)


def _settings(defaults: Any, record: dict[str, Any]) -> Any:
    """The same with the values of a record; lists were tuples."""
    values = {}
    for entry in dataclasses.fields(defaults):
        if entry.name not in record:
            continue
        default, value = getattr(defaults, entry.name), record[entry.name]
        if dataclasses.is_dataclass(default):
            values[entry.name] = _settings(default, value)
        else:
            values[entry.name] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(defaults, **values)


def _environment() -> dict[str, str]:
    """What one process without a launcher needs, and a CPU host."""
    needed = {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
    }
    if cpu_host.is_cpu_host():
        needed |= {"DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
    return {name: os.environ.get(name, value) for name, value in needed.items()}


if __name__ == "__main__":
    main()
