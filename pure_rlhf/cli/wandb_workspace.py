"""`python -m pure_rlhf.cli.wandb_workspace --entity TEAM [--project pure]`: a ready Weights & Biases workspace.

The 22 panels of PURE's published workspace on our metrics. Two of them have no counterpart there, because return and
reward of an answer are one number in min-form: the step rewards and the spread of the returns stand in their place.
Needs `pip install wandb-workspaces` and a login; what it saves is a view that all who may see the project can choose.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import tyro
import wandb

SMOOTHING = 0.8
RUNTIME = "${_runtime} / 3600"  # wandb's own count of seconds; names in expressions stand in ${}


@dataclass(frozen=True)
class Chart:
    title: str
    keys: tuple[str, ...] = ()
    expressions: tuple[str, ...] = ()


SECTIONS: dict[str, tuple[Chart, ...]] = {
    "Validation": (
        Chart("Held-out problems, greedy pass@1", ("eval/held_out/pass@1",)),
        Chart("Selection problems, greedy pass@1", ("eval/selection/pass@1",)),
    ),
    "Reward and return": (
        Chart("Verifiable reward", ("reward/verifiable_accuracy",)),
        Chart("Process return (outcome reward)", ("reward/process_return",)),
        Chart("KL to the reference", ("policy/kl_reference",)),
        Chart("Step rewards", ("reward/step_reward", "reward/worst_step")),
        Chart("Spread of the process return in a group", ("reward/process_return_std",)),
    ),
    "Answers": (
        Chart("Repetition", ("rollout/repetition",)),
        Chart("Reflection patterns", ("rollout/reflection_patterns",)),
        Chart("Response length: all, correct, wrong", (
            "rollout/response_length",
            "rollout/response_length_correct",
            "rollout/response_length_wrong")),
    ),
    "Groups": (
        Chart("pass@n: batch, all that was sampled", (
            "reward/group_pass_frac", "curriculum/group_pass_frac_sampled")),
        Chart("avg@n: batch, all that was sampled", (
            "reward/verifiable_accuracy", "curriculum/group_accuracy_sampled")),
    ),
    "Stability": (
        Chart("Truncated answers: correct, wrong", (
            "rollout/truncated_frac_correct", "rollout/truncated_frac_wrong")),
        Chart("High repetition: correct, wrong", (
            "rollout/high_repetition_frac_correct", "rollout/high_repetition_frac_wrong")),
    ),
    "Miscellaneous": (
        Chart("Time of a step and its generation", ("timing/step", "timing/generation")),
        Chart("PRM agrees with the verifier", ("reward/prm_verifier_agreement",)),
        Chart("Steps of an answer", ("pure/steps_per_answer",)),
        Chart("Share that the curriculum keeps", ("curriculum/yield",)),
        Chart("Hours", expressions=(RUNTIME,)),
    ),
    "Loss": (
        Chart("Policy loss", ("policy/loss",)),
        Chart("Entropy", ("policy/entropy",)),
        Chart("Importance ratio", ("sync/importance_ratio_mean",)),
    ),
}  # fmt: skip


def workspace(entity: str, project: str) -> Any:
    """The workspace, not yet saved; nothing is sent."""
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

    def panel(chart: Chart) -> Any:
        is_evaluation = any(key.startswith("eval/") for key in chart.keys)
        return reports.LinePlot(
            title=chart.title,
            x="eval/global_step" if is_evaluation else "train/global_step",
            y=[key if is_evaluation else f"train/{key}" for key in chart.keys],
            custom_expressions=list(chart.expressions) or None,
            smoothing_type="none" if is_evaluation else "exponential",
            smoothing_factor=0 if is_evaluation else SMOOTHING,
            smoothing_show_original=True,
        )

    sections = [
        workspaces.Section(name=name, panels=[*map(panel, charts)], is_open=name != "Loss")
        for name, charts in SECTIONS.items()
    ]
    return workspaces.Workspace(entity=entity, project=project, name="PURE", sections=sections)


def main(entity: str, project: str = "pure") -> None:
    """Save the workspace and print its address.

    Args:
        entity: team or user that the project belongs to.
        project: --logger.wandb.project of the runs.
    """
    try:
        view = workspace(entity, project)
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is missing: pip install wandb-workspaces")
    try:
        view.save()
    except wandb.errors.UsageError as error:
        sys.exit(f"Nothing was saved: {error} Or set WANDB_API_KEY.")
    print(view.url)


if __name__ == "__main__":
    tyro.cli(main)
