"""The small world that comes with the repository: `python -m examples.small_world.shipped_world ship WORLD`.

`ship` copies what runs, tests and comparisons read of a finished world with its PRMs to `examples/small_world/world`,
and writes SHA256SUMS. `warm_up MODEL` puts the policy beside them that `examples/scripts/train_sft.sh` made. `check`
says where a file is missing or is not what was shipped: a checkout that was cut off, or a file that was edited, must
not be found by the numbers of a run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).with_name("world")
SUMS = "SHA256SUMS"
MOST_MIB = 25
ROWS = (
    "world.json",
    "train.jsonl",
    "train_answered.jsonl",
    "test.jsonl",
    "prm_data/train.jsonl",
    "prm_data/test.jsonl",
    "prm_data/candidates.jsonl",
    "prm_data/by_defect/*.jsonl",
)
MODELS = ("policy", "prm", "prm_blind_to_*")
WARMED_UP = "policy_warmed_up"
OF_A_MODEL = (
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "prm_evaluation.json",
    "measured/prm_report.json",
)


def ship(source: Path, folder: Path = SHIPPED) -> int:
    """Copy a finished world; returns its size in bytes. Raises ValueError where it is not finished, or too large."""
    missing = [
        name
        for name in ("world.json", "policy/config.json", "prm/measured/prm_report.json")
        if not (source / name).is_file()
    ]
    if missing:
        raise ValueError(f"{source} is no finished world with a PRM: {', '.join(missing)} missing")
    for path in folder.glob("*"):
        if path.name != WARMED_UP:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for pattern in ROWS:
        for file in sorted(source.glob(pattern)):
            _copy(file, folder / file.relative_to(source))
    for pattern in MODELS:
        for model in sorted(source.glob(pattern)):
            _ship_model(model, folder / model.name)
    stage_1 = source / "prm_stage_1/prm_evaluation.json"
    if stage_1.is_file():
        _copy(stage_1, folder / "prm_stage_1/prm_evaluation.json")
    return _sign(folder)


def ship_warmed_up(source: Path, folder: Path = SHIPPED) -> int:
    """Copy a policy after its warm-up; returns the size of the world in bytes."""
    from safetensors.torch import load_file, save_file

    _ship_model(source, folder / WARMED_UP)
    file = folder / WARMED_UP / "model.safetensors"
    weights = load_file(file)
    weights.pop("lm_head.weight", None)  # the embedding again
    save_file(weights, file, metadata={"format": "pt"})
    return _sign(folder)


def _sign(folder: Path) -> int:
    """Write the sums of all files; returns their size. Raises ValueError where they are too large."""
    (folder / SUMS).unlink(missing_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files)
    if size > MOST_MIB * 2**20:
        raise ValueError(
            f"{folder} takes {size / 2**20:.1f} MiB; at most {MOST_MIB} may be shipped"
        )
    lines = [f"{_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    return size


def _ship_model(source: Path, folder: Path) -> None:
    for pattern in OF_A_MODEL:
        for file in source.glob(pattern):
            _copy(file, folder / file.relative_to(source))


def round_weights(folder: Path) -> None:
    """Write the weights of a model in bfloat16, in place: what is shipped is what is measured."""
    import torch
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(file).items()}
    draft = file.with_suffix(".part")
    save_file(weights, draft, metadata={"format": "pt"})
    draft.replace(file)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.name not in ("prm_evaluation.json", "prm_report.json"):
        shutil.copyfile(source, target)
        return
    # the paths of the machine on which it was made are nobody's business
    record: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    if target.name == "prm_evaluation.json":
        record["data"] = Path(record["data"]).name
        record["base"] = f"../{Path(record['base']).name}"  # the stage before lies beside this one
    else:
        record["model"] = Path(record["model"]).name
        for measured in (*record["best_of_n"], *record["labelled_steps"]):
            measured["source"] = Path(measured["source"]).name
    target.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def problems(folder: Path = SHIPPED) -> list[str]:
    """What is not as it was shipped, one text a file; empty where all is."""
    sums = folder / SUMS
    if not sums.is_file():
        return [f"{sums} is missing"]
    found = []
    for line in sums.read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ", 1)
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif _digest(path) != digest:
            found.append(f"{name} is not the file that was shipped")
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """`ship WORLD`, `warm_up MODEL`, `check [FOLDER]` or `round MODEL`."""
    match sys.argv[1:]:
        case ["ship", source]:
            try:
                print(f"{SHIPPED}: {ship(Path(source)) / 2**20:.1f} MiB")
            except ValueError as error:
                raise SystemExit(f"error: {error}") from error
        case ["warm_up", source]:
            print(f"{SHIPPED}: {ship_warmed_up(Path(source)) / 2**20:.1f} MiB")
        case ["round", folder]:
            round_weights(Path(folder))
        case ["check", *folder]:
            found = problems(Path(folder[0]) if folder else SHIPPED)
            if found:
                lines = "\n  ".join(found)
                raise SystemExit(
                    f"error: the small world that comes with the repository is damaged:\n  {lines}\n"
                    "check it out again (git checkout -- examples/small_world/world), or make one: WORLD=new"
                )
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
