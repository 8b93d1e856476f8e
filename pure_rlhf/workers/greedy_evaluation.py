"""Greedy pass@1 with a run's own engines: before training, after it, and every --eval.steps steps."""

from __future__ import annotations

from collections.abc import Sequence

from pure_rlhf.data import PromptRecord
from pure_rlhf.grading.verifier import Verifier
from pure_rlhf.monitoring.records import EvaluationRecord
from pure_rlhf.monitoring.run_directory import RunDirectory
from pure_rlhf.types import Tokenizer
from pure_rlhf.workers.generation_ahead import GenerationAhead
from pure_rlhf.workers.samples_generator import PureSamplesGenerator
from pure_rlhf.workers.upstream import SELECTION_METRIC


class GreedyEvaluation:
    """Answers problems at temperature 0, grades them, and keeps the results in the run directory.

    Args:
        held_out: problems of --eval.dataset; may be none.
        selection: problems of --eval.selection_dataset, which choose the best checkpoint; may be none.
    """

    def __init__(
        self,
        generator: PureSamplesGenerator | GenerationAhead,
        verifier: Verifier,
        tokenizer: Tokenizer,
        run: RunDirectory,
        *,
        held_out: list[PromptRecord],
        selection: list[PromptRecord],
    ) -> None:
        self.generator = generator
        self.verifier = verifier
        self.tokenizer = tokenizer
        self.run = run
        self.held_out = held_out
        self.selection = selection

    def keep_held_out(self, when: str) -> None:
        """Measure the held-out problems and keep the result under `when`: "before" or "after"."""
        self.run.write_evaluation(when, self.grade(self.held_out))

    def after_step(self, step: int) -> dict[str, float]:
        """Measure what there is and keep it under "step N"; returns the metrics by name."""
        metrics: dict[str, float] = {}
        when = f"step {step}"
        selection = self.grade(self.selection) if self.selection else None
        if selection is not None:
            metrics[SELECTION_METRIC] = selection["pass@1"]
        if self.held_out:
            held_out = self.grade(self.held_out)
            metrics["eval/held_out/pass@1"] = held_out["pass@1"]
            if selection is not None:
                held_out["selection"] = selection
            self.run.write_evaluation(when, held_out)
        elif selection is not None:
            self.run.write_evaluation(when, {"selection": selection})
        return metrics

    def grade(self, prompts: Sequence[PromptRecord]) -> EvaluationRecord:
        """pass@1 with a 95 % Wilson interval."""
        responses = self.generator.generate(prompts, temperature=0.0)
        texts = self.tokenizer.batch_decode(
            [response.token_ids for response in responses], skip_special_tokens=True
        )
        verdicts = self.verifier.grade_batch(
            texts, [prompt.label for prompt in prompts], allow_asserts=True
        )
        grades = [verdict for verdict in verdicts if verdict is not None]
        assert len(grades) == len(prompts), "validation lets only problems with a label be held out"
        self.verifier.drain_counters()  # these responses are not the next training step's
        num_correct = sum(grade.correct for grade in grades)
        # a second of imports, of which a run that measures nothing has no need
        from scipy.stats import binomtest

        interval = binomtest(num_correct, len(prompts)).proportion_ci(0.95, method="wilson")
        return {
            "pass@1": num_correct / len(prompts),
            "n": len(prompts),
            "ci95": [interval.low, interval.high],
            "truncated": sum(response.truncated for response in responses) / len(prompts),
            "no_answer": sum(grade.extracted is None for grade in grades) / len(prompts),
            "mean_tokens": sum(len(response.token_ids) for response in responses) / len(prompts),
        }
