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
GROUP_ACCURACIES = (
    ("group/accuracy_none", "none"),
    ("group/accuracy_low", "up to 1/3"),
    ("group/accuracy_middle", "about half"),
    ("group/accuracy_high", "2/3 or more"),
    ("group/accuracy_all", "all"),
)
CALIBRATION_RANGES = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))
"""Of p; the keys are `prm_calibration/0.0-0.2/...` (monitoring/rollout_metrics.py)."""


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


NAMED_PANELS = (
    ("What is wrong with the answers", "defect/<name>"),
    ("What the PRM sees of it", "prm/recall_<name>"),
)
"""Title and metric of the cards with a curve for each name."""

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
            ("reward/prm_calibration_error", "calibration error"),
        ),
        left_unit="share",
        share=True,
    ),
    Panel(
        "PRM that learns",
        (
            ("prm/pair_accuracy", "pairs in order"),
            ("prm/outcome_accuracy", "agrees with the verifier"),
            ("prm/positive_reward_frac", "positive rewards"),
            ("prm/held_out_f1", "F1 on held-out rows"),
            ("prm/step_f1", "F1 on this step's responses"),
        ),
        (("prm/loss", "its loss"), ("prm/drift", "drift")),
        left_unit="share",
        right_unit="nats",
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
        "Curriculum",
        (
            ("curriculum/yield", "prompts kept"),
            ("curriculum/group_accuracy_sampled", "accuracy before"),
            ("curriculum/group_pass_frac_sampled", "with a correct answer before"),
            ("curriculum/truncated_group_frac", "with an answer cut off"),
        ),
        (("curriculum/groups_sampled", "prompts sampled"), ("curriculum/rounds", "rounds")),
        left_unit="share",
        right_unit="count",
        share=True,
    ),
    Panel(
        "Weight of the process rewards",
        (("reward/process_reward_coef", "coefficient"),),
        left_unit="factor",
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
            ("rollout/response_length_min", "shortest"),
        ),
        left_unit="tokens",
    ),
    Panel(
        "Answers cut by the length limit",
        (
            ("rollout/truncated_frac", "all"),
            ("rollout/truncated_frac_correct", "correct"),
            ("rollout/truncated_frac_wrong", "wrong"),
        ),
        left_unit="share",
        share=True,
    ),
    Panel(
        "Steps of an answer",
        (
            ("pure/steps_per_answer", "steps per answer"),
            ("pure/steps_per_answer_max", "most steps"),
        ),
        (("pure/tokens_per_step", "tokens per step"),),
        "steps",
        "tokens",
    ),
    Panel(
        "Signs of reward hacking",
        (
            ("pure/single_step_frac", "single step"),
            ("pure/zero_step_frac", "no step"),
            ("pure/empty_step_frac", "empty steps"),
            ("reward/no_answer_frac", "no boxed answer"),
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
        "Reflection",
        (("rollout/reflection_patterns", "wait, however, let's check ..."),),
        left_unit="phrases per answer",
    ),
    Panel("Entropy", (("policy/entropy", "policy"),), left_unit="nats per token"),
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
        (
            ("sync/importance_ratio_mean", "mean ratio"),
            ("sync/importance_ratio_max", "largest ratio"),
        ),
        left_unit="nats",
        right_unit="ratio",
        log=True,
    ),
    Panel(
        "Time per 1,000 tokens",
        (
            ("timing/generation_per_kilotoken", "generation"),
            ("timing/log_probs_per_kilotoken", "log-probabilities"),
            ("timing/policy_update_per_kilotoken", "policy update"),
        ),
        left_unit="seconds",
    ),
)
