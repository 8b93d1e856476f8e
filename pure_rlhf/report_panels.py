"""Which metrics stand together in one card of the report."""

from __future__ import annotations

from dataclasses import dataclass

TIMING_PHASES = (
    "timing/generation",
    "timing/log_probs",
    "timing/score_prm",
    "timing/verify",
    "timing/advantages",
    "timing/policy_update",
    "timing/weight_sync",
)


@dataclass(frozen=True)
class Panel:
    """What one card shows; metrics of `right` use the right-hand axis."""

    title: str
    left: tuple[tuple[str, str], ...]  # (metric key, label)
    right: tuple[tuple[str, str], ...] = ()
    left_unit: str = ""
    right_unit: str = ""
    share: bool = False  # the left axis is 0 to 1
    log: bool = False


PANELS = (
    Panel(
        "Process reward",
        (
            ("reward/process_return", "process return"),
            ("reward/step_reward", "step reward"),
            ("reward/worst_step", "worst step"),
        ),
        (("reward/process_return_std", "spread within a prompt"),),
        "reward",
        "standard deviation",
    ),
    Panel(
        "PRM against verifier",
        (
            ("reward/prm_verifier_agreement", "agreement"),
            ("reward/false_positive_frac", "PRM says right, verifier says wrong"),
        ),
        left_unit="share",
        share=True,
    ),
    Panel(
        "Groups",
        (
            ("reward/no_signal_group_frac", "prompts without signal"),
            ("reward/group_pass_frac", "prompts with a correct answer"),
            ("reward/answered_frac", "prompts with a known answer"),
        ),
        left_unit="share",
        share=True,
    ),
    Panel(
        "Divergence",
        (("policy/kl_reference", "KL to reference"), ("policy/kl", "KL to sampling policy")),
        left_unit="nats",
    ),
    Panel(
        "Length of an answer",
        (
            ("rollout/response_length", "all"),
            ("rollout/response_length_correct", "correct"),
            ("rollout/response_length_wrong", "wrong"),
        ),
        left_unit="tokens",
    ),
    Panel(
        "Steps of an answer",
        (("pure/steps_per_answer", "steps per answer"),),
        (("pure/tokens_per_step", "tokens per step"),),
        "steps",
        "tokens",
    ),
    Panel(
        "Signs of reward hacking",
        (
            ("pure/single_step_frac", "single step"),
            ("pure/empty_step_frac", "empty steps"),
            ("reward/no_answer_frac", "no boxed answer"),
            ("rollout/truncated_frac", "cut by the length limit"),
            ("pure/worst_step_position", "position of worst step"),
        ),
        left_unit="share",
        share=True,
    ),
    Panel(
        "Repetition",
        (
            ("rollout/repetition", "repeated 8-grams"),
            ("rollout/high_repetition_frac", "repetitive answers"),
            ("rollout/high_repetition_frac_correct", "of the correct"),
            ("rollout/high_repetition_frac_wrong", "of the wrong"),
        ),
        left_unit="share",
        share=True,
    ),
    Panel(
        "Policy update",
        (("policy/loss", "loss"), ("policy/clip_ratio", "clipped tokens")),
        (("policy/grad_norm", "gradient norm"),),
        "",
        "norm",
    ),
    Panel(
        "Engine against policy",
        (("sync/log_prob_gap", "mean gap"), ("sync/log_prob_gap_max", "largest gap")),
        left_unit="nats",
        log=True,
    ),
)
