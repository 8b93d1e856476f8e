"""`python -m data_preparation.prepare --data ...`: prompts for RL, stage by stage (docs/data_preparation.md).

Each stage reads what the one before kept and writes `NAME.kept.jsonl` and `NAME.dropped.jsonl`, with the reason of
every row. A stage that is there, made with the same settings from the same rows, is not made again; the tries of the
model go on where they were cut off.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from data_preparation.items import Item, read_item, to_jsonl
from data_preparation.open_questions import STAGE, make_open
from data_preparation.overlap import DEFAULT_WORDS, Duplicates, EvaluationTexts
from data_preparation.page import SampleRecord, StageRecord, render_preparation_page
from data_preparation.rules import reason_to_drop
from data_preparation.validate import ModelSettings, Thresholds, TriesFile, try_problems
from evaluation.benchmarks import BENCHMARKS, MATHEMATICS, load_problems
from evaluation.engine import EngineDied
from evaluation.models import Model, check_model
from pure_rlhf.bounds import Bounds, find_bound_problems
from pure_rlhf.config import ConfigError
from pure_rlhf.data import MATH, load_rows
from pure_rlhf.grading import MAX_TIMEOUT_SECONDS
from pure_rlhf.grading.pool import VerifierPool

SAMPLES_A_REASON = 5
EXIT_BAD_SETTINGS, EXIT_ENGINE_DIED, EXIT_INTERRUPTED = 2, 3, 130
Outcome = Item | str | tuple[str, str]
"""A problem that is kept, the reason why it is dropped, or that reason and a note."""


@dataclass(frozen=True, kw_only=True)
class PreparationSettings:
    """Prepare prompts for RL."""

    data: tuple[str, ...] = ()
    """Collections: .json, .jsonl (also .gz) or .parquet files, or hub data sets such as AI-MO/NuminaMath-CoT."""
    split: str = "train"
    output_dir: Path = Path("output/prompts")
    """train.parquet, preparation.html, counts.json, and for each stage what it kept and dropped."""
    benchmarks: tuple[str, ...] = MATHEMATICS
    """Evaluation sets whose problems must not be trained on: names, or files with columns question and answer."""
    data_dir: Path | None = None
    """Folder with local copies of them; without it they come from the hub."""
    decontaminate: bool = True
    """--no_decontaminate trains on what is evaluated."""
    num_words: Annotated[int, Bounds(low=4, high=1000, remedy="13 is usual")] = DEFAULT_WORDS
    """A problem with so many words in a row as one of them is left out."""
    max_rows: Annotated[int | None, Bounds(low=1, remedy="leave it out for all")] = None
    """Only so many rows of each collection, drawn at random."""
    seed: Annotated[int, Bounds(low=0, high=2**32 - 1, remedy="any number will do")] = 42
    verifier_workers: Annotated[int, Bounds(low=1, remedy="grading needs a process")] = min(
        os.cpu_count() or 1, 16
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    keep: Thresholds = field(default_factory=Thresholds)


class Preparation:
    """One run: its stages, and what they did."""

    def __init__(self, settings: PreparationSettings, texts: EvaluationTexts | None) -> None:
        self.settings, self.texts = settings, texts
        self.folder = settings.output_dir
        self.folder.mkdir(parents=True, exist_ok=True)
        self.stages: list[StageRecord] = []
        self.samples: list[SampleRecord] = []
        self._key = ""  # of all that the stages so far depend on

    def stage(
        self,
        name: str,
        taken: int,
        key: object,
        outcomes: Callable[[], Iterator[tuple[Item | str, Outcome]]],
    ) -> list[Item]:
        """The problems that a stage keeps: made, or read where it was made before from the same.

        Args:
            key: what it depends on, besides the stages before it.
            outcomes: (the problem, or the id of a row that is none; what became of it) of each.
        """
        self._key = hashlib.sha256(f"{self._key} {name} {key!r}".encode()).hexdigest()[:16]
        kept_path, dropped_path, mark = (
            self.folder / f"{name}.{part}" for part in ("kept.jsonl", "dropped.jsonl", "done")
        )
        if not (mark.exists() and mark.read_text() == self._key):
            mark.unlink(missing_ok=True)
            kept, dropped = [], []
            for item, outcome in outcomes():
                if isinstance(outcome, Item):
                    kept.append(outcome.to_row())
                else:
                    reason, note = outcome if isinstance(outcome, tuple) else (outcome, "")
                    row = {"id": item} if isinstance(item, str) else item.to_row()
                    dropped.append(row | {"reason": reason, "note": note})
            kept_path.write_text(to_jsonl(kept), encoding="utf-8")
            dropped_path.write_text(to_jsonl(dropped), encoding="utf-8")
            mark.write_text(self._key)
        items = [Item.from_row(row) for row in _lines(kept_path)]
        dropped = list(_lines(dropped_path))
        record = StageRecord(
            name=name,
            taken=taken,
            kept=len(items),
            reasons=dict(Counter(row["reason"] for row in dropped)),
            changed=sum(name in item.changed for item in items),
        )
        self.stages.append(record)
        self.samples += _samples(name, dropped, items, self.settings.seed)
        print(f"{name}: {record.taken:,} -> {record.kept:,}")
        return items


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    # not splitlines(): it also breaks at U+2028, which is legal in a JSON string
    return (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line)


def _samples(
    stage: str, dropped: list[dict[str, Any]], items: list[Item], seed: int
) -> Iterator[SampleRecord]:
    """A few problems of each reason, and of those that the stage rewrote."""
    generator = random.Random(f"samples {seed} {stage}")
    by_reason: dict[str, list[dict[str, Any]]] = {}
    for row in dropped:
        by_reason.setdefault(row["reason"], []).append(row)
    changed = [item.to_row() | {"note": ""} for item in items if stage in item.changed]
    if changed:
        by_reason["(rewritten and kept)"] = changed
    for reason, rows in by_reason.items():
        for row in generator.sample(rows, min(SAMPLES_A_REASON, len(rows))):
            yield {
                "stage": stage,
                "reason": reason,
                "id": row["id"],
                "question": str(row.get("question", ""))[:2000],
                "answer": str(row.get("answer", ""))[:300],
                "note": row["note"],
            }


def prepare(
    settings: PreparationSettings,
) -> tuple[EvaluationTexts | None, Model | None, dict[str, list[Any]]]:
    """Check everything and read the rows.

    Raises:
        ConfigError: with all problems.
    """
    problems = list(find_bound_problems(settings))
    if not settings.data:
        problems.append("--data is missing: name files or hub data sets")
    if "{}" not in settings.model.template:
        problems.append(
            f"--model.template {settings.model.template!r}: must contain {{}}, where the problem goes"
        )
    keep = settings.keep
    if not 0 <= keep.min_correct <= settings.model.tries:
        problems.append(
            f"--keep.min_correct {keep.min_correct}: must be in [0, {settings.model.tries}], the tries"
        )
    if keep.max_correct is not None and not keep.min_correct <= keep.max_correct:
        problems.append(
            f"--keep.max_correct {keep.max_correct}: must be at least --keep.min_correct {keep.min_correct}"
        )
    if not 0 <= keep.min_agreement <= 1:
        problems.append(
            f"--keep.min_agreement {keep.min_agreement}: must be in [0, 1], a share of the tries"
        )
    rows: dict[str, list[Any]] = {}
    for source in settings.data:
        try:
            rows[source] = load_rows(source, settings.split)
        except ValueError as error:
            problems.append(f"--data: {error}")
    texts: list[tuple[str, str]] = []
    for name in settings.benchmarks if settings.decontaminate else ():
        benchmark = BENCHMARKS.get(name)
        if (
            benchmark is not None
            and (benchmark.hub if settings.data_dir is None else benchmark.local) is None
        ):
            continue  # another copy of one that there is
        try:
            found = load_problems(name, settings.data_dir)
        except (ValueError, OSError, EOFError) as error:
            problems.append(f"--benchmarks {name}: {error}")
        else:
            texts += [(f"{name} {problem.id}", problem.question) for problem in found.problems]
    model = None
    if settings.model.name is not None:
        try:
            model = check_model(settings.model.name, settings.model.name)
            if settings.model.apply_chat_template and not getattr(
                model.tokenizer, "chat_template", None
            ):
                raise ValueError("it has no chat template; add --model.no_apply_chat_template")
        except ValueError as error:
            problems.append(f"--model.name {error}")
    if problems:
        raise ConfigError(problems)
    if settings.max_rows is not None:
        generator = random.Random(settings.seed)
        for source, found in rows.items():
            if len(found) > settings.max_rows:
                chosen = sorted(generator.sample(range(len(found)), settings.max_rows))
                rows[source] = [found[index] for index in chosen]
    evaluation = EvaluationTexts(texts, settings.num_words) if settings.decontaminate else None
    return evaluation, model, rows


def run_stages(
    settings: PreparationSettings,
    texts: EvaluationTexts | None,
    model: Model | None,
    rows: dict[str, list[Any]],
) -> Preparation:
    """All stages, the data and the page.

    Raises:
        EngineDied: what the model has tried is kept.
    """
    preparation = Preparation(settings, texts)
    names = {source: _short_name(source) for source in rows}
    count = sum(map(len, rows.values()))
    digest = hashlib.sha256()
    for source, found in rows.items():  # row by row: there may be a million
        digest.update(source.encode())
        for row in found:
            digest.update(json.dumps(row, sort_keys=True, default=str).encode())

    def read() -> Iterator[tuple[Item | str, Outcome]]:
        for source, found in rows.items():
            for number, row in enumerate(found, start=1):
                outcome = read_item(row, names[source], number)
                yield f"{names[source]}:{number}", outcome

    items = preparation.stage("read", count, digest.hexdigest(), read)
    items = preparation.stage(
        "rules", len(items), "", lambda: ((item, reason_to_drop(item) or item) for item in items)
    )
    ruled = items
    items = preparation.stage(
        STAGE, len(ruled), "", lambda: ((item, make_open(item)) for item in ruled)
    )
    opened = items

    def first_ones() -> Iterator[tuple[Item | str, Outcome]]:
        duplicates = Duplicates()
        for item in opened:
            first = duplicates.first_of(item)
            yield item, item if first is None else ("is asked twice", f"first as {first}")

    items = preparation.stage("duplicates", len(opened), "", first_ones)
    unique = items
    if texts is not None:

        def clean() -> Iterator[tuple[Item | str, Outcome]]:
            for item in unique:
                found = texts.find(item.question)
                note = (
                    "" if found is None else f"{found.where}{': ' * bool(found.words)}{found.words}"
                )
                yield item, item if found is None else (found.reason, note)

        items = preparation.stage(
            "contamination", len(unique), (settings.num_words, texts.digest), clean
        )
    tries = None
    if model is not None:
        items, tries = _validated(preparation, items, model)
    _write(preparation, items, tries)
    return preparation


def tries_header(settings: PreparationSettings) -> dict[str, Any]:
    """What the tries depend on: the first line of their file."""
    asked = dataclasses.asdict(settings.model)
    names = (
        "name",
        "tries",
        "temperature",
        "top_p",
        "max_new_tokens",
        "template",
        "apply_chat_template",
    )
    return {"seed": settings.seed, **{name: asked[name] for name in names}}


def _short_name(source: str) -> str:
    """Folder and name of a file: `math/train`, of which there may be another in another folder."""
    path = Path(source)
    return (
        f"{path.resolve().parent.name}/{path.name.split('.', 1)[0]}" if path.is_file() else source
    )


def _validated(
    preparation: Preparation, items: list[Item], model: Model
) -> tuple[list[Item], TriesFile]:
    settings = preparation.settings
    header = tries_header(settings)
    path = preparation.folder / "tries.jsonl"
    try:
        file = TriesFile(path, header)
    except ValueError as error:
        raise ConfigError([str(error) if str(path) in str(error) else f"{path} {error}"]) from error
    of_mathematics = [item for item in items if item.ability == MATH]
    done = sum(item.id in file.found for item in of_mathematics)
    with (
        VerifierPool(
            settings.verifier_workers, batch_timeout_seconds=MAX_TIMEOUT_SECONDS
        ) as verifier,
        tqdm(total=len(of_mathematics), initial=done, desc="tries", unit="problem") as bar,
    ):
        for count in try_problems(
            items, model, settings.model, settings.seed, file, verifier, preparation.folder / "logs"
        ):
            bar.update(count)

    def passed() -> Iterator[tuple[Item | str, Outcome]]:
        for item in items:
            if item.ability != MATH:
                yield item, item  # tests say what is right
                continue
            found = file.found[item.id]
            reason = settings.keep.reason_to_drop(found)
            note = (
                f"{found.correct} of {found.tries} meet the label, agreement {found.agreement:.0%}"
            )
            yield item, item if reason is None else (reason, note)

    return preparation.stage("validate", len(items), (header, settings.keep), passed), file


def _write(preparation: Preparation, items: list[Item], tries: TriesFile | None) -> None:
    """train.parquet, counts.json and the page."""
    import pyarrow
    import pyarrow.parquet

    rows = []
    for item in items:
        found = tries.found.get(item.id) if tries else None
        rows.append(
            {
                "question": item.question,
                "answer": item.answer,
                "ability": item.ability,
                "source": item.source,
                "id": item.id,
                "correct_tries": None if found is None else found.correct,
                "tries": None if found is None else found.tries,
            }
        )
    folder = preparation.folder
    if rows:
        draft = folder / "train.part"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), draft)
        draft.replace(folder / "train.parquet")
    counts = [dataclasses.asdict(stage) for stage in preparation.stages]
    (folder / "counts.json").write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    settings = preparation.settings
    page = render_preparation_page(
        name=folder.name,
        facts=[
            ("Collections", ", ".join(settings.data)),
            ("Rows", f"{preparation.stages[0].taken:,}"),
            ("Problems", f"{len(items):,}"),
            (
                "Evaluation sets",
                ", ".join(settings.benchmarks) if preparation.texts else "not looked at",
            ),
            ("Model", settings.model.name or "none: answers are not checked"),
        ],
        stages=preparation.stages,
        samples=preparation.samples,
    )
    (folder / "preparation.html").write_text(page, encoding="utf-8")


def run(settings: PreparationSettings) -> int:
    """Prepare; returns the exit code."""
    try:
        texts, model, rows = prepare(settings)
        preparation = run_stages(settings, texts, model, rows)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    except (EngineDied, KeyboardInterrupt) as error:
        reason = str(error) if isinstance(error, EngineDied) else "Stopped"
        print(
            f"\n{reason}\nWhat is done is in {settings.output_dir}; the same command continues.",
            file=sys.stderr,
        )
        return EXIT_ENGINE_DIED if isinstance(error, EngineDied) else EXIT_INTERRUPTED
    if not preparation.stages[-1].kept:
        print("No problem is left; the page says why.", file=sys.stderr)
        return 1
    print(
        f"{settings.output_dir}/train.parquet: {preparation.stages[-1].kept:,} problems (--data.ability_key ability). "
        f"What was dropped, and why: {settings.output_dir}/preparation.html"
    )
    return 0


def main() -> None:
    """Entry point."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    sys.exit(run(tyro.cli(PreparationSettings, description=__doc__, use_underscores=True)))


if __name__ == "__main__":
    main()
