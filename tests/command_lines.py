"""How tests, benchmarks and the proof on GPUs write the settings of a program."""

from collections.abc import Mapping


def as_flags(settings: Mapping[str, object]) -> list[str]:
    """The settings as arguments: `--name value` for each but those that are None."""
    given = {name: value for name, value in settings.items() if value is not None}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]
