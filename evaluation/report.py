"""From the answers on disk to the tables: results.json, results.md and evaluation_report.html.

Nothing here depends on when or in how many pieces the answers were made, so a continued run gives the same files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from evaluation.answers import Answer
from evaluation.benchmarks import BENCHMARKS
from evaluation.page import MAX_SAMPLED_SHOWN, render_page
from evaluation.plan import EvaluationSettings, Plan
from evaluation.scoring import (
    bootstrap_interval,
    compare_greedy,
    compare_sampled,
    majority_correct,
    pass_at_k,
    wilson_interval,
)

PUBLISHED_FILES = {
    "published": Path(__file__).with_name("published_results.json"),
    "published_prime": Path(__file__).with_name("published_prime.json"),
}
Groups = Sequence[list[Answer]]  # the answers of each problem, in the problems' order


def summarise(groups: Groups, mode: str) -> dict[str, Any]:
    """Score with its 95 % interval, and what else must be known to read it. Shares are in [0, 1], lengths in tokens."""
    answers = [answer for group in groups for answer in group]
    scores = problem_scores(groups)
    summary: dict[str, Any] = {
        "score": sum(scores) / len(scores),
        "num_problems": len(groups),
        "num_correct": sum(answer.correct for answer in answers),
        "truncated": sum(answer.truncated for answer in answers) / len(answers),
        "no_answer": sum(answer.extracted is None for answer in answers) / len(answers),
        "timed_out": sum(answer.timed_out for answer in answers),
        "mean_tokens": sum(answer.num_tokens for answer in answers) / len(answers),
    }
    if mode == "greedy":
        return summary | {"interval": wilson_interval(summary["num_correct"], len(groups))}
    n = len(groups[0])
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256) if k < n] + [n]
    counts = [sum(answer.correct for answer in group) for group in groups]
    majorities = [majority_correct([answer.vote for answer in group]) for group in groups]
    return summary | {
        "interval": bootstrap_interval([scores]),
        "num_samples": n,
        "pass_at_k": {str(k): sum(pass_at_k(n, c, k) for c in counts) / len(groups) for k in ks},
        # programs do not vote
        "majority": sum(majorities) / len(groups)
        if any(answer.vote is not None for answer in answers) or not any(counts)
        else None,
    }


def problem_scores(groups: Groups) -> list[float]:
    """Share of correct answers to each problem."""
    return [sum(answer.correct for answer in group) / len(group) for group in groups]


def build_results(answers: dict[str, dict[str, dict[str, Groups]]]) -> dict[str, Any]:
    """Scores, averages over benchmarks and paired comparisons from mode -> model -> benchmark -> answers."""
    results: dict[str, Any] = {"scores": {}, "averages": {}, "comparisons": []}
    for mode, models in answers.items():
        results["scores"][mode] = {
            model: {name: summarise(groups, mode) for name, groups in benchmarks.items()}
            for model, benchmarks in models.items()
        }
        for model, benchmarks in models.items():
            scores = [problem_scores(groups) for groups in benchmarks.values()]
            mean = sum(sum(group) / len(group) for group in scores) / len(scores)
            average = {"score": mean, "interval": bootstrap_interval(scores)}
            results["averages"].setdefault(mode, {})[model] = average
        for first, second in combinations(models, 2):
            pairs = {
                name: (problem_scores(models[first][name]), problem_scores(models[second][name]))
                for name in models[first]
            }
            if len(pairs) > 1:
                both = [[score for pair in pairs.values() for score in pair[i]] for i in (0, 1)]
                pairs["all problems"] = (both[0], both[1])
            for name, (a, b) in pairs.items():
                test = (
                    compare_greedy([x == 1 for x in a], [x == 1 for x in b])
                    if mode == "greedy"
                    else compare_sampled(a, b)
                )
                results["comparisons"].append(
                    {"mode": mode, "benchmark": name, "first": first, "second": second, **test}
                )
    return results


def load_published(name: str = "published") -> dict[str, Any]:
    """The table of PURE's paper, or of PRIME's; scores in per cent, averages recomputed."""
    return json.loads(PUBLISHED_FILES[name].read_text(encoding="utf-8"))


def markdown(results: dict[str, Any]) -> str:
    """The tables for a person."""
    parts = []
    benchmarks = [row["name"] for row in results["benchmarks"]]
    several = len(benchmarks) > 1
    for mode, models in results["scores"].items():
        how = "Greedy pass@1" if mode == "greedy" else f"avg@{results['num_samples']}, sampled"
        interval = "Wilson" if mode == "greedy" else "bootstrap over problems"
        rows = []
        for model, scores in models.items():
            average = results["averages"][mode][model]
            cells = [_score(scores[name]) for name in benchmarks]
            rows.append([model, *cells, *[_score(average)] * several])
        for table in published_tables(results) if mode == "greedy" else ():
            rows += published_cells(table, benchmarks)
        parts.append(
            f"## {how} (%)\n\n{_table(['model', *benchmarks, *['average'] * several], rows)}\n\n"
            f"In brackets: 95 % intervals ({interval}{'; of the average: bootstrap over problems' * several})."
        )
        if mode == "sampled":
            parts.append(_table(*_sampled_table(models)))
        parts.append(_table(*_detail_table(models)))
    if results["comparisons"]:
        parts.append(_comparison_section(results["comparisons"]))
    parts.append(
        "## Benchmarks\n\n" + "\n".join(f"- {_describe(b)}" for b in results["benchmarks"])
    )
    notes = [
        note for table in published_tables(results) for note in (table["source"], *table["notes"])
    ]
    if notes:
        parts.append("## Published figures\n\n" + "\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def _score(summary: dict[str, Any]) -> str:
    low, high = summary["interval"]
    return f"{100 * summary['score']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def published_tables(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that were asked for."""
    return [results[name] for name in PUBLISHED_FILES if name in results]


def published_cells(published: dict[str, Any], benchmarks: list[str]) -> list[list[str]]:
    """The paper's models on these benchmarks; an average only where they are the paper's.

    A row: name, a cell a benchmark ("" where the paper has none), and the average where there is more than one.
    """
    rows = []
    for row in published["rows"]:
        scores = dict(zip(published["benchmarks"], row["scores"], strict=True))
        cells = [f"{scores[name]:.1f}" if name in scores else "" for name in benchmarks]
        mark = "*" if "average_printed" in row else ""
        average = f"{row['average']:.1f}{mark}" if set(benchmarks) == set(scores) else ""
        cells += [average] if len(benchmarks) > 1 else []
        rows.append([f"{row['method']}, {row['base']} (published)", *cells])
    return rows if any(any(row[1:]) for row in rows) else []


def _sampled_table(models: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    ks = list(next(iter(next(iter(models.values())).values()))["pass_at_k"])
    rows = [
        [
            model,
            name,
            *(f"{100 * s['pass_at_k'][k]:.1f}" for k in ks),
            "" if s["majority"] is None else f"{100 * s['majority']:.1f}",
        ]
        for model, scores in models.items()
        for name, s in scores.items()
    ]
    return ["model", "benchmark", *(f"pass@{k}" for k in ks), f"maj@{ks[-1]}"], rows


def _detail_table(models: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    head = [
        "model",
        "benchmark",
        "problems",
        "cut by the limit",
        "no answer",
        "mean tokens",
        "grading gave up",
    ]
    rows = [
        [model, name, str(s["num_problems"]), f"{s['truncated']:.1%}", f"{s['no_answer']:.1%}",
         f"{s['mean_tokens']:.0f}", str(s["timed_out"])]
        for model, scores in models.items()
        for name, s in scores.items()
    ]  # fmt: skip
    return head, rows


def _comparison_section(comparisons: list[dict[str, Any]]) -> str:
    head = ["mode", "benchmark", "first", "second", "difference", "only first", "only second", "p"]
    rows = [
        [c["mode"], c["benchmark"], c["first"], c["second"], f"{100 * c['difference']:+.1f}",
         str(c.get("only_first", "")), str(c.get("only_second", "")), _p_value(c["p_value"])]
        for c in comparisons
    ]  # fmt: skip
    return (
        f"## Paired comparison\n\n{_table(head, rows)}\n\nDifference: second minus first, in points, on the same "
        "problems. p: exact McNemar test (greedy), paired permutation test (sampled); not corrected for their number."
    )


def _p_value(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else f"{p:.0e}"


def _describe(benchmark: dict[str, Any]) -> str:
    size = f"{benchmark['num_used']} problems"
    if benchmark["num_used"] != benchmark["num_problems"]:
        size = f"only the first {benchmark['num_used']} of {benchmark['num_problems']} problems"
    notes = "".join(f"; {note}" for note in benchmark["notes"])
    return f"{benchmark['name']}: {size} of {benchmark['source']}; licence: {benchmark['licence']}{notes}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join([" --- ", *(" ---: " for _ in head[1:])]) + "|"
    return "\n".join([line(head), rule, *(line(row) for row in rows)])


def write_report(plan: Plan, settings: EvaluationSettings) -> str:
    """Write results.json, results.md and evaluation_report.html; returns the Markdown."""
    used = {s.name: s.problems[: settings.max_problems] for s in plan.problem_sets}
    answers: dict[str, dict[str, dict[str, Groups]]] = {}
    for task in plan.tasks:
        groups = [task.file.answers[problem.id] for problem in used[task.problem_set.name]]
        models = answers.setdefault(task.mode, {}).setdefault(task.model.name, {})
        models[task.problem_set.name] = groups
    results = build_results(answers)
    results["num_samples"] = settings.num_samples
    results["models"] = {model.name: model.source for model in plan.models}
    own = (
        "weights",
        "benchmark",
        "problems",
        "mode",
    )  # of one file; the rest is common to all of a mode
    results["settings"] = {
        task.mode: {key: value for key, value in task.file.settings.items() if key not in own}
        for task in plan.tasks
    }
    results["benchmarks"] = [
        {
            "name": s.name,
            "source": s.source,
            "num_problems": len(s.problems),
            "num_used": len(used[s.name]),
            "licence": BENCHMARKS[s.name].licence if s.name in BENCHMARKS else "unknown",
            "notes": s.notes,
        }
        for s in plan.problem_sets
    ]
    for name in PUBLISHED_FILES:
        if getattr(settings, name):
            results[name] = load_published(name)
    text = markdown(results)
    folder = settings.output_dir
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(text, encoding="utf-8")
    tables = published_tables(results)
    if tables:
        results["published_rows"] = [
            row for table in tables for row in published_cells(table, list(used))
        ]
        results["published_notes"] = [
            note for table in tables for note in (table["source"], *table["notes"])
        ]
    page = render_page(results, _page_rows(answers, used))
    (folder / "evaluation_report.html").write_text(page, encoding="utf-8")
    return text


def _page_rows(answers: dict[str, Any], used: dict[str, Any]) -> dict[str, Any]:
    """What the page's reader shows: each problem once, and the answers with the number of their problem."""
    problems, rows, first_index = [], [], {}
    for name, chosen in used.items():
        first_index[name] = len(problems)
        problems += [
            {"benchmark": name, "id": p.id, "question": p.question, "answer": p.answer}
            for p in chosen
        ]
    for mode, models in answers.items():
        for model, benchmarks in models.items():
            for name, groups in benchmarks.items():
                for offset, group in enumerate(groups):
                    for answer in group[: None if mode == "greedy" else MAX_SAMPLED_SHOWN]:
                        row = {"problem": first_index[name] + offset, "model": model, "mode": mode}
                        row |= {"text": answer.text, "tokens": answer.num_tokens, "cut": answer.truncated,
                                "correct": answer.correct, "extracted": answer.extracted, "rule": answer.rule,
                                "gave_up": answer.timed_out}  # fmt: skip
                        rows.append(row)
    return {"problems": problems, "answers": rows}
