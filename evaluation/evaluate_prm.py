"""`python -m evaluation.evaluate_prm --model PRM ...`: measure a PRM on ProcessBench, PRMBench, best-of-N
and your own labelled steps.

Scores are on disk as they are made; the same command continues where a run ended. Exit codes: 0 done; 1 the PRM cannot
be used, or gives no usable scores; 2 the settings, the model's folder or a file are wrong (all problems are listed, no
weights were loaded); 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro

from evaluation.answers import weights_digest
from evaluation.best_of_n import best_of_n
from evaluation.candidates import CandidateSet, load_candidates
from evaluation.labelled_steps import (
    DefectKind,
    kind_sources,
    load_kind,
    repeated_kinds,
    score_steps,
    score_together,
)
from evaluation.prm_bench import PrmBench, item_sources, load_items, score_items
from evaluation.prm_page import load_published, render_page, summary_text
from evaluation.prm_scores import ScoreFile, Scorer, sample_key, score_missing
from evaluation.process_bench import (
    Subset,
    average_f1,
    load_subset,
    score_subset,
    subset_sources,
)
from evaluation.rows import spread
from pure_rlhf.config import ConfigError
from pure_rlhf.data import render_prompt
from pure_rlhf.model_folder import check_whole
from pure_rlhf.prm.conventions import PrmSample, PureConvention
from pure_rlhf.prm.scorer import PrmScorer, load_convention

EXIT_BAD_SCORES = 1
EXIT_BAD_SETTINGS = 2
EXIT_INTERRUPTED = 130
T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class PrmEvaluationSettings:
    """The command line; what is not named is not measured."""

    model: str
    """The PRM: folder or hub name."""
    process_bench: tuple[str, ...] = ()
    """Qwen/ProcessBench (its four subsets, from the hub), single subsets (gsm8k math olympiadbench omnimath), files, or
    a folder of files."""
    prm_bench: tuple[str, ...] = ()
    """hitsmy/PRMBench_Preview (from the hub), files, or a folder of files; together they are one benchmark."""
    best_of_n: tuple[str, ...] = ()
    """Candidate answers: files of evaluation.evaluate (answers/MODEL/BENCHMARK.sampled.jsonl), other forms (see
    evaluation/candidates.py), or hub data sets such as RLHFlow/Deepseek-MATH500-Test."""
    labelled_steps: tuple[str, ...] = ()
    """Your own step-labelled solutions: files, or a folder of files, each of one kind of defect and named by it
    (wrong_operation.jsonl), in TRL's form: columns prompt, completions (a list of texts) and labels (true or false for
    each). The PRM reads the prompts as they stand, without --input_template."""
    problems: tuple[str, ...] = ()
    """The problem files that answers of evaluation.evaluate are to, where it was given files."""
    data_dir: Path | None = None
    """Local copies of the benchmarks that were answered, as for evaluation.evaluate."""
    output_dir: Path = Path("output/prm_evaluation")
    """Scores and report. A folder with scores of this PRM is continued."""
    max_problems: int | None = None
    """Only so many of each subset, class, best-of-N file and kind, evenly spread (for a trial; the report says so)."""
    input_template: str = "{}"
    """What a PRM of the convention pure reads as the prompt; the first {} is replaced by the problem. PURE's reads the
    bare problem; one that was trained on rendered prompts needs their template. Never put around the prompts of
    --labelled_steps: those are what the PRM was trained on already."""
    prm_convention: str | None = None
    """How steps are laid out and read: pure, qwen, skywork, math_shepherd or rlhflow; None: recognised."""
    max_tokens_per_batch: int = 16384
    """Token budget (rows x longest row) of one forward."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """What computes the scores."""
    trust_remote_code: bool = False
    """Allow a checkpoint to bring its own code."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that was checked, cut to --max_problems."""

    subsets: list[Subset]
    bench: PrmBench | None
    candidate_sets: list[CandidateSet]
    kinds: list[DefectKind]
    convention: str
    input_template: str
    scores: ScoreFile

    def samples(self) -> list[PrmSample]:
        """Every answer that the report needs."""
        pairs = [(s.question, s.steps) for subset in self.subsets for s in subset.solutions]
        pairs += [(item.question, item.steps) for item in (self.bench.items if self.bench else [])]
        for candidates in self.candidate_sets:
            pairs += [(p.question, steps) for p in candidates.problems for steps in p.answers]
        labelled = [solution.sample for kind in self.kinds for solution in kind.solutions]
        return [self._sample(*pair) for pair in pairs] + labelled

    def rewards(self, question: str, steps: tuple[str, ...]) -> list[float]:
        """The rewards of an answer that has been scored."""
        return self.rewards_of(self._sample(question, steps))

    def rewards_of(self, sample: PrmSample) -> list[float]:
        """The same of one whose prompt is rendered."""
        return self.scores.rewards[sample_key(sample)]

    def _sample(self, question: str, steps: tuple[str, ...]) -> PrmSample:
        return PrmSample(question, render_prompt(self.input_template, question), steps)


def prepare(settings: PrmEvaluationSettings) -> Plan:
    """Check settings, model, data and output directory.

    Raises:
        ConfigError: with all problems that were found.
    """
    problems = _check_values(settings)

    def attempt(load: Callable[[V], T], values: Iterable[V]) -> list[T]:
        """What the values name, as far as it can be loaded; the rest are problems."""
        loaded = []
        for value in values:
            try:
                loaded.append(load(value))
            except (ValueError, OSError, EOFError) as error:  # the last: a .gz that is cut
                problems.append(str(error))
        return loaded

    def candidates(source: str) -> CandidateSet:
        return load_candidates(source, problem_files=settings.problems, data_dir=settings.data_dir)

    model = attempt(lambda name: _check_model(name, settings), [settings.model])
    sources = chain(*attempt(subset_sources, settings.process_bench))
    subsets = attempt(load_subset, sources)
    items = list(chain(*attempt(item_sources, settings.prm_bench)))
    bench = attempt(
        lambda files: load_items(files, settings.max_problems), [items] if items else []
    )
    candidate_sets = attempt(candidates, settings.best_of_n)
    kind_files = list(chain(*attempt(kind_sources, settings.labelled_steps)))
    kinds = attempt(load_kind, kind_files)
    problems += repeated_kinds(kind_files)
    if problems:
        raise ConfigError(problems)
    convention, scores = model[0]
    most = settings.max_problems
    return Plan(
        subsets=[replace(s, solutions=spread(s.solutions, most)) for s in subsets],
        bench=bench[0] if bench else None,
        candidate_sets=[replace(c, problems=spread(c.problems, most)) for c in candidate_sets],
        kinds=[replace(k, solutions=spread(k.solutions, most)) for k in kinds],
        convention=convention,
        input_template=settings.input_template,
        scores=scores,
    )


def _check_model(model: str, settings: PrmEvaluationSettings) -> tuple[str, ScoreFile]:
    """The convention of the PRM and its scores on disk; its weights are not loaded."""
    if Path(model).is_dir():
        check_whole(Path(model))
    convention, _ = load_convention(
        model, settings.prm_convention, trust_remote_code=settings.trust_remote_code
    )
    if convention.name != PureConvention.name and settings.input_template != "{}":
        raise ValueError(
            f"--input_template {settings.input_template!r}: a PRM of the convention {convention.name} is given the "
            "bare problem; leave it out"
        )
    identity = {"weights": weights_digest(model), "convention": convention.name}
    return convention.name, ScoreFile(settings.output_dir / "scores.jsonl", identity)


def _check_values(settings: PrmEvaluationSettings) -> list[str]:
    """Problems that the values alone show."""
    measured = (
        settings.process_bench
        or settings.prm_bench
        or settings.best_of_n
        or settings.labelled_steps
    )
    rules = [
        ("process_bench, --prm_bench, --best_of_n, --labelled_steps", (), bool(measured),
         "name at least one thing to measure"),
        ("problems", settings.problems, bool(settings.best_of_n) or not settings.problems,
         "belongs to --best_of_n, which is not given"),
        ("max_problems", settings.max_problems, settings.max_problems is None or settings.max_problems >= 1,
         "must be at least 1"),
        ("input_template", settings.input_template, "{}" in settings.input_template, "must hold {} for the problem"),
        ("max_tokens_per_batch", settings.max_tokens_per_batch, settings.max_tokens_per_batch >= 1,
         "must be at least 1"),
    ]  # fmt: skip
    rules += [
        (name, values, len(set(values)) == len(values), "nothing twice")
        for name, values in (
            ("process_bench", settings.process_bench),
            ("prm_bench", settings.prm_bench),
            ("best_of_n", settings.best_of_n),
            ("labelled_steps", settings.labelled_steps),
        )
    ]
    return [f"--{flag} {value!r}: {rule}" for flag, value, good, rule in rules if not good]


def build_results(plan: Plan, settings: PrmEvaluationSettings) -> dict[str, Any]:
    """What prm_report.json holds, from scores that are all there."""
    results: dict[str, Any] = {
        "model": settings.model,
        "convention": plan.convention,
        "input_template": plan.input_template,
        "max_problems": settings.max_problems,
    }
    if plan.subsets:
        judged = [
            (subset, [s.label for s in subset.solutions],
             [plan.rewards(s.question, s.steps) for s in subset.solutions])
            for subset in plan.subsets
        ]  # fmt: skip
        results["process_bench"] = {
            "average_f1": average_f1([(labels, rewards) for _, labels, rewards in judged]),
            "subsets": [
                {"name": subset.name, "source": subset.source, "notes": subset.notes}
                | score_subset(labels, rewards)
                for subset, labels, rewards in judged
            ],
        }
    if plan.bench:
        rewards = [plan.rewards(item.question, item.steps) for item in plan.bench.items]
        results["prm_bench"] = {"notes": plan.bench.notes, **score_items(plan.bench.items, rewards)}
    results["best_of_n"] = [
        {
            "name": candidates.name,
            "source": candidates.source,
            "verdicts": candidates.verdicts,
            **best_of_n(
                candidates.problems,
                [[plan.rewards(p.question, steps) for steps in p.answers] for p in candidates.problems],
            ),
        }
        for candidates in plan.candidate_sets
    ]  # fmt: skip
    results["labelled_steps"] = []
    all_labels, all_rewards = [], []
    for kind in plan.kinds:
        labels = [solution.labels for solution in kind.solutions]
        rewards = [plan.rewards_of(solution.sample) for solution in kind.solutions]
        results["labelled_steps"].append(
            {"name": kind.name, "source": kind.source, **score_steps(labels, rewards)}
        )
        all_labels += labels
        all_rewards += rewards
    if plan.kinds:
        results["labelled_steps_together"] = score_together(all_labels, all_rewards)
    return results


def write_report(results: dict[str, Any], output_dir: Path) -> None:
    """Write prm_report.json and prm_report.html."""
    text = json.dumps(results, indent=2) + "\n"
    (output_dir / "prm_report.json").write_text(text, encoding="utf-8")
    page = render_page(results, load_published())
    (output_dir / "prm_report.html").write_text(page, encoding="utf-8")


def run(settings: PrmEvaluationSettings, scorer: Scorer | None = None) -> int:
    """Score and report; returns the exit code. `scorer` stands in for the PRM that the settings name."""
    try:
        plan = prepare(settings)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    samples = plan.samples()
    try:
        if any(sample_key(sample) not in plan.scores.rewards for sample in samples):
            with nullcontext(scorer) if scorer else _load_scorer(settings) as ready:
                score_missing(samples, plan.scores, ready)
    except ValueError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SCORES
    except KeyboardInterrupt:
        print(
            f"\nStopped. {len(plan.scores.rewards)} scored answers are in {settings.output_dir}; the same command "
            "continues.",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    results = build_results(plan, settings)
    write_report(results, settings.output_dir)
    print(summary_text(results))
    print(f"Read the report: {settings.output_dir}/prm_report.html")
    return 0


def _load_scorer(settings: PrmEvaluationSettings) -> PrmScorer:
    return PrmScorer(
        settings.model,
        convention=settings.prm_convention,
        max_tokens_per_batch=settings.max_tokens_per_batch,
        backend=settings.backend,
        trust_remote_code=settings.trust_remote_code,
    )


def main() -> None:
    """Entry point."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    sys.exit(run(tyro.cli(PrmEvaluationSettings, description=__doc__, use_underscores=True)))


if __name__ == "__main__":
    main()
