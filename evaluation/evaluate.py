"""`python -m evaluation.evaluate MODEL [MODEL ...]`: answer the benchmarks with vLLM, grade, and report.

Every finished problem is on disk at once; the same command continues where a run ended. Exit codes: 0 done; 1 an engine
died; 2 the settings, a model or a file are wrong (all problems are listed, no engine was started); 130 interrupted.
"""

from __future__ import annotations

import itertools
import os
import sys
import zlib
from dataclasses import replace

import tyro
from tqdm import tqdm

from code_sandbox.problems import Problem as Tests
from evaluation.answers import Answer
from evaluation.benchmarks import Problem
from evaluation.engine import (
    Completion,
    EngineDied,
    EngineSettings,
    EngineTime,
    Request,
    generate,
    visible_gpus,
)
from evaluation.models import Model
from evaluation.plan import EvaluationSettings, Plan, Task, prepare
from pure_rlhf.config import ConfigError
from pure_rlhf.data import prompt_renderer
from pure_rlhf.grading import MAX_TIMEOUT_SECONDS
from pure_rlhf.grading.program_settings import ProgramSettings
from pure_rlhf.grading.verifier import Label, Verifier
from pure_rlhf.prompt_styles import read_system_prompt

EXIT_ENGINE_DIED = 1
EXIT_BAD_SETTINGS = 2
EXIT_INTERRUPTED = 130
Asked = tuple[Task, Problem]  # one problem in one mode, of one model


def answer_and_grade(plan: Plan, settings: EvaluationSettings) -> list[EngineTime]:
    """Answer what is not on disk yet, model by model; returns how the engines spent their time."""
    times: list[EngineTime] = []
    programs = ProgramSettings(max_tests=None, batch_timeout=MAX_TIMEOUT_SECONDS)
    with Verifier(
        settings.verifier_workers,
        settings.verifier_timeout,
        batch_timeout_seconds=MAX_TIMEOUT_SECONDS,
        programs=programs,
    ) as verifier:
        for task in plan.tasks:
            if task.file.is_outdated:
                _grade_again(task, verifier)
        for model in plan.models:
            tasks = [task for task in plan.tasks if task.model is model]
            chosen = [
                (t, p) for t in tasks for p in t.problem_set.problems[: settings.max_problems]
            ]
            missing = [(task, p) for task, p in chosen if p.id not in task.file.answers]
            done = len(chosen) - len(missing)
            with tqdm(total=len(chosen), initial=done, desc=model.name, unit="problem") as bar:
                if missing:
                    times += _answer_with(model, missing, settings, verifier, bar)
    return times


def _grade_again(task: Task, verifier: Verifier) -> None:
    """Answers that were graded by an earlier version of the rules."""
    problems = [p for p in task.problem_set.problems if p.id in task.file.answers]
    groups = [task.file.answers[problem.id] for problem in problems]
    rows = [
        (p.label, answer) for p, group in zip(problems, groups, strict=True) for answer in group
    ]
    graded = _grade(rows, [len(group) for group in groups], verifier)
    changed = sum(
        new.correct != old.correct
        for group, olds in zip(graded, groups, strict=True)
        for new, old in zip(group, olds, strict=True)
    )
    task.file.replace({p.id: group for p, group in zip(problems, graded, strict=True)})
    print(f"{task.file.path}: graded again with today's rules; {changed} of {len(rows)} changed.")


def _grade(
    rows: list[tuple[Label, Answer]], sizes: list[int], verifier: Verifier
) -> list[list[Answer]]:
    """(label, answer) of several problems with their verdicts, rules and votes; `sizes` are answers a problem."""
    verdicts = iter(
        verifier.grade_batch(
            [answer.text for _, answer in rows],
            [label for label, _ in rows],
            "evaluation",
            allow_asserts=True,
        )
    )
    answers = iter(answer for _, answer in rows)
    groups: list[list[Answer]] = []
    for size in sizes:
        group = []
        for _ in range(size):
            verdict = next(verdicts)
            assert verdict is not None, "every problem of a benchmark has an answer"
            group.append(
                replace(
                    next(answers),
                    correct=verdict.correct,
                    extracted=verdict.extracted,
                    rule=verdict.rule,
                    timed_out=verdict.timed_out or verdict.failed,
                )
            )
        groups.append(group)
    # programs do not vote: those that do the same are written in many ways
    starts = itertools.accumulate(sizes, initial=0)
    votes = verifier.votes(
        [
            []
            if isinstance(rows[start][0], Tests)
            else [(answer.extracted, answer.correct) for answer in group]
            for start, group in zip(starts, groups, strict=False)
        ]
    )
    return [
        [
            replace(a, vote=vote)
            for a, vote in zip(group, group_votes or [None] * len(group), strict=True)
        ]
        for group, group_votes in zip(groups, votes, strict=True)
    ]


def _answer_with(
    model: Model,
    missing: list[Asked],
    settings: EvaluationSettings,
    verifier: Verifier,
    bar: tqdm,
) -> list[EngineTime]:
    """Send the missing problems of one model to its engines; grade and write what comes back."""
    requests, max_model_len = _requests(model, missing, settings)
    fitting = [request for request in requests if request.max_new_tokens >= 1]
    nothing = Completion(text="", num_tokens=0, truncated=True)  # the prompt fills the context
    too_long = [(r.id, [nothing] * r.num_answers) for r in requests if r.max_new_tokens < 1]
    _grade_and_write(too_long, missing, verifier, bar)
    engine = EngineSettings(
        model=model.source,
        max_model_len=max_model_len,
        dtype=settings.dtype,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        enforce_eager=settings.enforce_eager,
        seed=settings.seed,
    )
    num_engines = settings.num_engines or max(1, len(visible_gpus()))
    times = []
    for item in generate(
        fitting, engine, num_engines=num_engines, log_dir=settings.output_dir / "logs"
    ):
        if isinstance(item, EngineTime):
            times.append(item)
        else:
            _grade_and_write(item, missing, verifier, bar)
    return times


def _requests(
    model: Model, missing: list[Asked], settings: EvaluationSettings
) -> tuple[list[Request], int]:
    """A request for each problem, by its number in `missing`, and the tokens that the engine must hold for one."""
    system_prompt = read_system_prompt(settings.system)
    render, render_program = (
        prompt_renderer(
            template,
            settings.uses_chat_template,
            model.tokenizer,
            system_prompt=system_prompt,
        )
        for template in (settings.template, settings.program_template)
    )
    prompts = [
        (render if problem.tests is None else render_program)(problem.question)
        for _, problem in missing
    ]
    token_ids = model.tokenizer(prompts, add_special_tokens=False)["input_ids"]
    longest = max(map(len, token_ids)) + settings.max_new_tokens
    max_model_len = min(longest, model.max_positions or longest)
    requests = []
    for index, ((task, problem), ids) in enumerate(zip(missing, token_ids, strict=True)):
        request = Request(
            id=index,
            prompt_token_ids=ids,
            num_answers=1,
            max_new_tokens=min(settings.max_new_tokens, max_model_len - len(ids)),
            temperature=0.0,
            top_p=settings.top_p,
            # of the problem, not of the order, so that a continued run draws the same answers
            seed=zlib.crc32(f"{settings.seed}/{task.problem_set.name}/{problem.id}".encode()),
        )
        if task.mode == "sampled":
            request = replace(
                request, num_answers=settings.num_samples, temperature=settings.temperature
            )
        requests.append(request)
    return requests, max_model_len


def _grade_and_write(
    batch: list[tuple[int, list[Completion]]],
    missing: list[Asked],
    verifier: Verifier,
    bar: tqdm,
) -> None:
    """Grade finished problems together, then append each to its file."""
    rows = [
        (
            missing[index][1].label,
            Answer(
                text=completion.text,
                num_tokens=completion.num_tokens,
                truncated=completion.truncated,
                correct=False,
                extracted=None,
            ),
        )
        for index, group in batch
        for completion in group
    ]
    graded = _grade(rows, [len(group) for _, group in batch], verifier)
    for (index, _), answers in zip(batch, graded, strict=True):
        task, problem = missing[index]
        task.file.append(problem.id, answers)
        bar.update()


def run(settings: EvaluationSettings) -> int:
    """Evaluate and report; returns the exit code."""
    try:
        plan = prepare(settings)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    try:
        times = answer_and_grade(plan, settings)
    except (EngineDied, KeyboardInterrupt) as error:
        reason = str(error) if isinstance(error, EngineDied) else "Stopped"
        print(
            f"\n{reason}\n{sum(len(task.file.answers) for task in plan.tasks)} finished problems are in "
            f"{settings.output_dir}; the same command continues.",
            file=sys.stderr,
        )
        return EXIT_ENGINE_DIED if isinstance(error, EngineDied) else EXIT_INTERRUPTED
    # here, because every process that is spawned imports this module
    from evaluation.report import write_report

    print(write_report(plan, settings))
    for time in times:
        print(
            f"Engine: {time.num_tokens:,} tokens in {time.wall_seconds:.1f} s "
            f"({time.num_tokens / time.wall_seconds:,.0f} a second), busy {time.busy_seconds / time.wall_seconds:.1%}."
        )
    print(f"Read the answers: {settings.output_dir}/evaluation_report.html")
    return 0


def main() -> None:
    """Entry point."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    sys.exit(run(tyro.cli(EvaluationSettings, description=__doc__, use_underscores=True)))


if __name__ == "__main__":
    main()
