"""Every check of the settings, before Ray starts: all problems at once, each with flag, value, rule and remedy.

    values    what the values alone show
    gpus      GPUs, driver and placement
    files     what needs the files: models, tokenizers, data, checkpoints; they are read meanwhile
    prm       a PRM that learns, and an implicit one

Memory and disk are `fit/check.py`, adapters `adapters.py`. `prepare` runs all and returns what the run needs.
"""

from __future__ import annotations

from pure_rlhf.config import ConfigError, PureConfig
from pure_rlhf.validation.files import Inputs, check_files
from pure_rlhf.validation.values import check_values

__all__ = ["Inputs", "prepare"]


def prepare(config: PureConfig, earlier_problems: list[str]) -> Inputs:
    """Check everything; `earlier_problems` (from the command line) are reported together with the rest.

    Raises:
        ConfigError: with all problems.
    """
    problems = [*earlier_problems, *check_values(config)]
    inputs = Inputs()
    problems += check_files(config, inputs)
    if problems:
        raise ConfigError(problems)
    return inputs
