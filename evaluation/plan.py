"""The settings of an evaluation, and everything that is checked before an engine starts."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from code_sandbox.runner import SandboxError
from evaluation.answers import AnswerFile, folder_name, weights_digest
from evaluation.benchmarks import FIVE, ProblemSet, load_problems
from evaluation.engine import visible_gpus
from evaluation.models import Model, check_model, display_names
from pure_rlhf.config import DEFAULT_INPUT_TEMPLATE, DEFAULT_PROGRAM_TEMPLATE, ConfigError
from pure_rlhf.grading import MAX_TIMEOUT_SECONDS
from pure_rlhf.grading.equality import VERSION
from pure_rlhf.grading.program_settings import ProgramSettings
from pure_rlhf.grading.verifier import make_sandbox
from pure_rlhf.prompt_styles import read_system_prompt

ANSWERS = "answers"


@dataclass(frozen=True)
class PromptStyle:
    """How a problem is asked."""

    template: str
    system: str
    chat: bool


PROMPT_STYLES = {
    "pure": PromptStyle(DEFAULT_INPUT_TEMPLATE, "none", False),
    "prime": PromptStyle(
        "{}\n\nPresent the answer in LaTex format: \\boxed{Your answer}", "actions", True
    ),
}
Mode = Literal["greedy", "sampled"]


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """The command line. Defaults are the published evaluation: greedy, 3,000 new tokens, the training's prompt."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Model folders or hub names; several give one table and a paired comparison."""
    benchmarks: tuple[str, ...] = FIVE
    """Names (aime24 aime25 amc23 math500 minerva_math olympiadbench olympiadbench_674 gsm8k math) or problem files
    (.jsonl, .json, .parquet with columns question and answer)."""
    data_dir: Path | None = None
    """Folder with local copies (math500/test.jsonl.gz, ...); without it the benchmarks come from the hub."""
    output_dir: Path = Path("output/evaluation")
    """Answers and reports. A folder with results of these models and settings is continued."""
    num_samples: int = 0
    """Also sample so many answers a problem: avg@k, pass@k and maj@k. 0: greedy only."""
    temperature: float = 0.6
    """Of the sampled answers."""
    top_p: float = 0.95
    """Of the sampled answers."""
    max_new_tokens: int = 3000
    """Longer answers are cut, and counted."""
    max_problems: int | None = None
    """Only the first so many problems of each benchmark (for a trial; the table says so)."""
    prompt_style: Literal["pure", "prime"] = "pure"
    """Whose prompts: pure, this project's; prime, the seven actions as a system prompt (in our words), PRIME's request
    for the answer, and the chat template. The next four win."""
    input_template: str | None = None
    """The prompt; the first {} is replaced by the problem. Must be the one of the training."""
    program_template: str = DEFAULT_PROGRAM_TEMPLATE
    """The same for problems of code."""
    system_prompt: str | None = None
    """none, actions, or a file with a text of your own."""
    apply_chat_template: bool | None = None
    """Put the prompt through the tokenizer's chat template as well."""
    published: bool = False
    """Print the figures of PURE's paper beside the models, marked as published."""
    published_prime: bool = False
    """The same of PRIME's."""
    num_engines: int = 0
    """vLLM engines; 0: one a GPU, one on a CPU host."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Arithmetic of the engines; the training's is bfloat16."""
    gpu_memory_utilization: float = 0.9
    """Share of a GPU's memory that an engine takes."""
    enforce_eager: bool = False
    """No CUDA graphs."""
    seed: int = 42
    """Of the sampled answers."""
    verifier_workers: int = min(os.cpu_count() or 1, 16)
    """Grading processes."""
    verifier_timeout: float = 10.0
    """Seconds that one comparison may take before it counts as wrong."""

    @property
    def template(self) -> str:
        """The prompt of a problem of mathematics."""
        return (
            PROMPT_STYLES[self.prompt_style].template
            if self.input_template is None
            else self.input_template
        )

    @property
    def system(self) -> str:
        """The name of the system prompt."""
        return (
            PROMPT_STYLES[self.prompt_style].system
            if self.system_prompt is None
            else self.system_prompt
        )

    @property
    def uses_chat_template(self) -> bool:
        style = PROMPT_STYLES[self.prompt_style].chat
        return style if self.apply_chat_template is None else self.apply_chat_template


@dataclass(frozen=True, kw_only=True)
class Task:
    """One model on one benchmark in one mode, and the file of its answers."""

    model: Model
    problem_set: ProblemSet
    mode: Mode
    file: AnswerFile


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that was checked."""

    models: list[Model]
    problem_sets: list[ProblemSet]
    tasks: list[Task]


def prepare(settings: EvaluationSettings) -> Plan:
    """Check settings, models, data and output directory.

    Raises:
        ConfigError: with all problems that were found.
    """
    problems = _check_values(settings)
    models, problem_sets, tasks = [], [], []
    names = display_names(settings.models)
    for name, source in zip(names, settings.models, strict=True):
        try:
            models.append(check_model(name, source))
        except ValueError as error:
            problems.append(str(error))
    for name in settings.benchmarks:
        try:
            problem_sets.append(load_problems(name, settings.data_dir))
        except (
            ValueError,
            OSError,
            EOFError,
        ) as error:  # the last two: a .gz that is cut or no .gz
            text = str(error)
            problems.append(text if name in text else f"{name}: {text}")
    problems += _foreign_results(settings, names)
    problems += _sandbox_problems(problem_sets)
    try:
        read_system_prompt(settings.system)
    except ValueError as error:
        problems.append(f"--system_prompt {error}")
        raise ConfigError(problems) from error
    modes: list[Mode] = ["greedy", "sampled"] if settings.num_samples else ["greedy"]
    for model, problem_set, mode in itertools.product(models, problem_sets, modes):
        folder = settings.output_dir / ANSWERS / folder_name(model.name)
        path = folder / f"{folder_name(problem_set.name)}.{mode}.jsonl"
        try:
            file = AnswerFile(path, _provenance(settings, model, problem_set, mode))
        except ValueError as error:
            problems.append(str(error))
        else:
            tasks.append(Task(model=model, problem_set=problem_set, mode=mode, file=file))
    if problems:
        raise ConfigError(problems)
    return Plan(models=models, problem_sets=problem_sets, tasks=tasks)


def _sandbox_problems(problem_sets: list[ProblemSet]) -> list[str]:
    """Why programs cannot be run on this host, where there are some to run."""
    names = [s.name for s in problem_sets if any(problem.tests for problem in s.problems)]
    if not names:
        return []
    try:
        with make_sandbox(ProgramSettings(workers=1)) as sandbox:
            sandbox.try_out()
    except SandboxError as error:
        return [f"--benchmarks {', '.join(names)}: programs cannot be run here: {error}"]
    return []


def _foreign_results(settings: EvaluationSettings, names: list[str]) -> list[str]:
    """The problem that the output directory belongs to an evaluation of other models."""
    folder = settings.output_dir / ANSWERS
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    foreign = sorted(present - {folder_name(name) for name in names})
    if not foreign:
        return []
    return [
        f"--output_dir {settings.output_dir} holds results of other models ({', '.join(foreign)}); name these too, or "
        "give another folder"
    ]


def _check_values(settings: EvaluationSettings) -> list[str]:
    """Problems that the values alone show."""
    num_gpus = len(visible_gpus()) or settings.num_engines  # a CPU host takes any number
    rules = [
        ("models", settings.models, bool(settings.models), "name at least one"),
        ("benchmarks", settings.benchmarks, bool(settings.benchmarks), "name at least one"),
        ("models", settings.models, len(set(settings.models)) == len(settings.models), "no model twice"),
        ("benchmarks", settings.benchmarks, len(set(settings.benchmarks)) == len(settings.benchmarks), "none twice"),
        ("num_samples", settings.num_samples, settings.num_samples >= 0, "must be 0 or more"),
        ("temperature", settings.temperature, settings.temperature > 0, "must be > 0 (greedy is always run)"),
        ("top_p", settings.top_p, 0 < settings.top_p <= 1, "must be in (0, 1]"),
        ("max_new_tokens", settings.max_new_tokens, settings.max_new_tokens >= 1, "must be at least 1"),
        ("max_problems", settings.max_problems, settings.max_problems is None or settings.max_problems >= 1,
         "must be at least 1"),
        ("input_template", settings.template, "{}" in settings.template, "must hold {} for the problem"),
        ("program_template", settings.program_template, "{}" in settings.program_template,
         "must hold {} for the problem"),
        ("num_engines", settings.num_engines, settings.num_engines >= 0, "must be 0 or more"),
        ("num_engines", settings.num_engines, settings.num_engines <= num_gpus, f"this host has {num_gpus} GPUs"),
        ("verifier_workers", settings.verifier_workers, settings.verifier_workers >= 1, "must be at least 1"),
        ("verifier_timeout", settings.verifier_timeout, 0 < settings.verifier_timeout <= MAX_TIMEOUT_SECONDS,
         f"must be > 0 and <= {MAX_TIMEOUT_SECONDS:g}"),
    ]  # fmt: skip
    return [f"--{flag} {value!r}: {rule}" for flag, value, good, rule in rules if not good]


def _provenance(
    settings: EvaluationSettings, model: Model, problem_set: ProblemSet, mode: Mode
) -> dict[str, Any]:
    """What the answers depend on; not --max_problems, so that a trial can be extended."""
    values: dict[str, Any] = {
        "weights": weights_digest(model.source),
        "benchmark": problem_set.name,
        "problems": problem_set.digest(),
        "verifier": VERSION,
        "mode": mode,
        "max_new_tokens": settings.max_new_tokens,
        "input_template": settings.template,
        "apply_chat_template": settings.uses_chat_template,
        "dtype": settings.dtype,
    }
    if any(problem.tests for problem in problem_set.problems):
        values["input_template"] = settings.program_template
    if settings.system != "none":
        values["system_prompt"] = read_system_prompt(settings.system)
    if mode == "sampled":
        values |= {
            "num_samples": settings.num_samples,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": settings.seed,
        }
    return values
