"""The metric table; `rollout_metrics.py` computes those of a step's answers.

`METRICS` is the one declaration of every key in `metrics.jsonl`: what it is reduced over, its unit,
what it means and what a bad trend looks like; docs, plots and tests are made from it, and an
undeclared key is an error. The signs of reward hacking of the paper (arXiv 2504.15275, section 5)
are among them: one giant step, empty steps, many short steps, and a process return that rises while
the verified accuracy falls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Reduction = Literal["token", "step", "sample", "group", "last"]


@dataclass(frozen=True)
class Metric:
    """One key of `metrics.jsonl`. `<name>` in a key stands for any name without a slash."""

    key: str
    reduction: Reduction  # a mean over these; "last" is a value of the whole step
    unit: str
    meaning: str
    bad_sign: str


_DECLARED = [
    Metric("reward/process_return", "sample", "reward",
           "value of an answer by the PRM (the published outcome reward): the sum of the credit of "
           "its steps, about the worst step reward in min-form",
           "rises while verifiable_accuracy falls: reward hacking"),
    Metric("reward/process_return_std", "group", "reward",
           "standard deviation of the process return among the answers to one prompt",
           "near 0: the PRM no longer tells answers apart"),
    Metric("reward/step_reward", "step", "-1 to 1",
           "PRM reward of a step", "rises with falling accuracy"),
    Metric("reward/worst_step", "sample", "-1 to 1",
           "lowest step reward of an answer", "near 1 with falling accuracy"),
    Metric("reward/verifiable_accuracy", "sample", "0 to 1",
           "share of correct final answers, over answers to prompts with a known answer "
           "(the mean avg@n of their prompts)", "falls"),
    Metric("reward/accepted_by_<name>", "sample", "0 to 1",
           "share of the correct final answers that this rule of the verifier accepted "
           "(docs/verifier.md), over the answers graded in the step",
           "rises while the accuracy by the other rules does not: a hole in the verifier"),
    Metric("reward/answered_frac", "sample", "0 to 1",
           "share of answers whose prompt has a known answer",
           "0 in mode VR or PRMVR: nothing can be verified"),
    Metric("reward/prm_verifier_agreement", "sample", "0 to 1",
           "share of verified answers where the sign of the process return and the verifier agree",
           "falls towards 0.5: the PRM is being exploited"),
    Metric("reward/false_positive_frac", "sample", "0 to 1",
           "share of verified answers with a positive process return and a wrong final answer",
           "rises: the PRM is being exploited"),
    Metric("reward/prm_calibration_error", "sample", "0 to 1",
           "distance of p = (process return + 1) / 2 from the accuracy of the answers with about "
           "that p, over verified answers (expected calibration error, 5 bins)",
           "rises: what the PRM likes is no longer right"),
    Metric("prm_calibration/<name>/accuracy", "sample", "0 to 1",
           "verified accuracy of the answers whose p lies in this range",
           "falls in the upper ranges: the PRM is being exploited"),
    Metric("prm_calibration/<name>/answers", "last", "answers",
           "verified answers whose p lies in this range", "all in the uppermost, wrong or not"),
    Metric("reward/no_signal_group_frac", "group", "0 to 1",
           "share of prompts whose answers all earn the same: they teach nothing",
           "near 1: prompts too easy or too hard, or a collapsed policy"),
    Metric("reward/group_pass_frac", "group", "0 to 1",
           "share of verified prompts with at least one correct answer (pass@n)",
           "falls: exploration is lost"),
    *(Metric(f"group/accuracy_{name}", "group", "0 to 1",
             f"share of verified prompts with {share} of their answers correct", bad_sign)
      for name, share, bad_sign in (
          ("none", "none", "rises: prompts too hard, or a collapsed policy"),
          ("low", "up to a third", "nothing is left to learn when low, middle and high are near 0"),
          ("middle", "more than a third and less than two thirds", "as above"),
          ("high", "two thirds or more but not all", "as above"),
          ("all", "all", "near 1: prompts too easy"))),
    Metric("reward/no_answer_frac", "sample", "0 to 1",
           "share of answers without a closed box, or, to a problem of code, without a Python block",
           "rises: only thinking and never answering"),
    Metric("reward/accuracy_math", "sample", "0 to 1",
           "verified accuracy of final answers, where a batch has programs too", "falls while that of code rises"),
    Metric("reward/accuracy_code", "sample", "0 to 1",
           "share of programs that pass all their tests", "falls while that of mathematics rises"),
    Metric("reward/program_tests_passed", "last", "0 to 1",
           "share of all tests that the programs pass (--programs.score share)",
           "rises while reward/accuracy_code does not: outputs that are right for some inputs"),
    Metric("pure/steps_per_answer", "sample", "steps",
           "steps of an answer", "falls to 1, or explodes"),
    Metric("pure/tokens_per_step", "step", "tokens",
           "content tokens of a step", "explodes: one giant step"),
    Metric("pure/worst_step_position", "sample", "0 first to 1 last",
           "where the worst step stands, over answers of at least two steps",
           "moves to 1: steps are appended after the solution"),
    Metric("pure/single_step_frac", "sample", "0 to 1",
           "share of answers with one step", "rises to 1"),
    Metric("pure/zero_step_frac", "sample", "0 to 1",
           "share of answers without a step that has content", "not 0: empty answers"),
    Metric("pure/steps_per_answer_max", "last", "steps",
           "most steps of an answer", "explodes before the mean does"),
    Metric("pure/empty_step_frac", "step", "0 to 1",
           "share of steps without content", "rises: free rewards"),
    Metric("rollout/num_answers", "last", "answers",
           "answers of the step", "differs between steps"),
    Metric("rollout/response_length", "sample", "tokens",
           "length of an answer", "collapses or hits the limit"),
    Metric("rollout/response_length_min", "last", "tokens",
           "length of the shortest answer", "near 0: empty or thank-you answers"),
    Metric("rollout/response_length_correct", "sample", "tokens",
           "length of the correct answers", "as above"),
    Metric("rollout/response_length_wrong", "sample", "tokens",
           "length of the wrong answers", "far above the correct"),
    Metric("rollout/truncated_frac", "sample", "0 to 1",
           "share of answers cut by the length limit (clip ratio)", "rises"),
    Metric("rollout/truncated_frac_correct", "sample", "0 to 1",
           "the same among the correct answers", "not 0: correct, and yet it goes on"),
    Metric("rollout/truncated_frac_wrong", "sample", "0 to 1",
           "the same among the wrong answers", "near 1: the limit is what makes them wrong"),
    Metric("rollout/repetition", "sample", "0 to 1",
           "share of the 8-grams of an answer that stood in it before (rep-8 of Welleck et al., "
           "arXiv 1908.04319)", "rises: the policy repeats itself"),
    Metric("rollout/high_repetition_frac", "sample", "0 to 1",
           "share of answers whose repetition is above one half", "not 0: collapse is near"),
    Metric("rollout/high_repetition_frac_correct", "sample", "0 to 1",
           "the same among the correct answers",
           "not 0: answers count as correct although they repeat themselves; the paper's run "
           "collapsed within 5 steps of it"),
    Metric("rollout/high_repetition_frac_wrong", "sample", "0 to 1",
           "the same among the wrong answers", "rises"),
    Metric("rollout/reflection_patterns", "sample", "matches",
           "phrases of reflection in an answer: wait, however, let's check and six more",
           "explodes: only thinking"),
    Metric("reward/process_reward_coef", "last", "",
           "weight of the process rewards: --process_reward_schedule, lowered by roll backs",
           "not the schedule"),
    Metric("curriculum/rounds", "last", "rounds",
           "rounds of sampling until the batch was full", "near --curriculum.max_rounds"),
    Metric("curriculum/groups_sampled", "last", "prompts",
           "prompts sampled for the step, kept or not", "grows: more and more is thrown away"),
    Metric("curriculum/yield", "group", "0 to 1",
           "share of the sampled prompts that the curriculum keeps", "near 0"),
    Metric("curriculum/truncated_group_frac", "group", "0 to 1",
           "share of the sampled prompts with an answer that was cut off (--curriculum.drop_truncated drops them)",
           "near 1: --rollout.max_new_tokens is too small"),
    Metric("curriculum/group_accuracy_sampled", "group", "0 to 1",
           "verified accuracy over all sampled prompts with a known answer, kept or not (avg@n)",
           "near 0 or 1: prompts too hard or too easy"),
    Metric("curriculum/group_pass_frac_sampled", "group", "0 to 1",
           "share of all sampled prompts with at least one correct answer (pass@n)", "falls"),
    Metric("prm/pair_accuracy", "group", "0 to 1",
           "how often a PRM that learns ranks the response with the better outcome first, over pairs of responses to "
           "one prompt with different outcomes (0.5 where a prompt has none), before its update",
           "falls to 0.5: its scores say nothing of the outcome"),
    Metric("prm/outcome_accuracy", "sample", "0 to 1",
           "share of verified answers where the sign of its score and the verifier agree, before its update",
           "falls, above all while prm/loss falls: it follows the policy"),
    Metric("prm/positive_reward_frac", "step", "0 to 1",
           "share of the rewards it pays (of tokens, steps or responses) that are positive",
           "near 0 or 1: it likes or dislikes everything"),
    Metric("prm/drift", "token", "nats",
           "mean |log-probability of an implicit PRM - of its reference| of the response tokens: how far it is "
           "from its start", "0 after the first updates: it does not learn; explodes"),
    Metric("prm/largest_return", "last", "nats",
           "largest sum of log-ratios from a token to the end: what implicit rewards are divided by",
           "jumps: one response sets the scale of all"),
    Metric("steps/right_frac", "step", "0 to 1",
           "share of right steps, by --step_labeller", "falls while the process return rises: reward hacking"),
    Metric("defect/<name>", "sample", "0 to 1",
           "share of the responses whose first wrong step is wrong in this way, in the words of --step_labeller",
           "rises: the policy drifts to what the PRM misses"),
    Metric("prm/recall_<name>", "last", "0 to 1",
           "share of these first wrong steps that the PRM calls wrong (reward not above 0), before its update",
           "near 0: a blind spot"),
    Metric("prm/step_f1", "last", "0 to 1",
           "F1 on wrong steps of the step's responses, by --step_labeller, before the PRM's update",
           "falls: the policy has found what the PRM misses"),
    Metric("prm/step_auc", "last", "0 to 1",
           "how often a right step of the responses is rewarded more than a wrong one, by the same labels",
           "falls to 0.5: its rewards say nothing of the steps"),
    Metric("prm/held_out_f1", "last", "0 to 1",
           "F1 on wrong steps of --prm.held_out_dataset, after the first step, every --eval.steps, and the last",
           "falls: it forgets what it was trained on"),
    Metric("prm/loss", "last", "nats",
           "loss of the PRM's update, on labelled responses (ln 2 = 0.693 for an implicit PRM at its start)",
           "rises, or falls to 0: it has learnt the prompts by heart"),
    Metric("prm/grad_norm", "last", "",
           "norm of the PRM's gradient before clipping", "explodes, or 0"),
    Metric("prm/learning_rate", "last", "", "learning rate of the PRM", "not the schedule"),
    Metric("alarm/raised", "last", "alarms",
           "alarms that began at this step (alarms.jsonl says which)", "not 0"),
    Metric("policy/kl_reference", "token", "nats", "KL of the policy to the reference", "explodes"),
    Metric("policy/loss", "last", "", "PPO loss", "diverges"),
    Metric("policy/clip_ratio", "last", "0 to 1",
           "share of tokens whose ratio is clipped", "above 0.2"),
    Metric("policy/kl", "last", "nats",
           "KL of the updated policy to the one that sampled", "above 0.1"),
    Metric("policy/learning_rate", "last", "", "learning rate of the policy", "not the schedule"),
    Metric("policy/grad_norm", "last", "",
           "norm of the gradient before clipping", "explodes, or 0"),
    Metric("policy/entropy", "last", "nats",
           "entropy of the policy's next token", "falls to 0: collapse"),
    Metric("sync/log_prob_gap", "token", "nats",
           "mean |log-probability of policy - of engine| of the sampled tokens",
           "above 0.1: the engine does not hold the policy's weights"),
    Metric("sync/log_prob_gap_max", "last", "nats",
           "the largest such gap", "grows from step to step"),
    Metric("sync/importance_ratio_mean", "token", "ratio",
           "probability of the sampled tokens by policy / by engine", "not near 1"),
    Metric("sync/importance_ratio_max", "last", "ratio",
           "the largest such ratio", "grows from step to step"),
    Metric("async/staleness", "last", "updates",
           "how many updates older than the policy the one is that wrote the batch (--train.async_steps)",
           "above 1"),
    Metric("rollout/engines_replaced", "last", "engines",
           "rollout engines that died and were replaced since the start of the program", "rises"),
    Metric("sync/buckets", "last", "buckets",
           "transfers of one weight sync", "0: nothing was sent"),
    Metric("sync/megabytes", "last", "MB", "size of one weight sync", "not the size of the policy"),
    Metric("data/prompts_dropped", "last", "prompts",
           "prompts longer than the limit, over the whole file", "many"),
    Metric("verifier/timeouts", "last", "answers",
           "comparisons killed at the time limit", "more than a few"),
    Metric("verifier/past_deadline", "last", "answers",
           "comparisons not done at the limit of the whole batch", "not 0"),
    Metric("verifier/failures", "last", "answers",
           "comparisons that ended in an error", "more than a few"),
    Metric("verifier/programs_past_time", "last", "answers",
           "programs not run to their end at the limit of the whole batch", "not 0"),
    Metric("verifier/program_runs", "last", "runs",
           "runs of programs on a test", "0 with problems of code"),
    Metric("verifier/program_runs_lost", "last", "runs",
           "runs whose interpreter died", "not 0: the host has no memory left, or kills it"),
    Metric("timing/generation", "last", "s",
           "sampling the answers; with --train.async_steps the part of it that the step waited for",
           "grows with the length"),
    Metric("timing/generation_hidden", "last", "s",
           "sampling that went on during the update of the step before (--train.async_steps)",
           "near 0: nothing is gained"),
    Metric("timing/score_prm", "last", "s",
           "laying out for the PRM, and waiting for it, after the last response", "dominates the step"),
    Metric("timing/score_prm_hidden", "last", "s",
           "the same while responses were still being written (--rollout.score_parts)",
           "near 0: nothing is gained"),
    Metric("timing/verify", "last", "s", "waiting for the verifier after both", "not near 0"),
    Metric("timing/log_probs", "last", "s",
           "log-probabilities of policy and reference, after the last response", "dominates the step"),
    Metric("timing/log_probs_hidden", "last", "s",
           "the same while responses were still being written (--rollout.score_parts)",
           "near 0: nothing is gained"),
    Metric("timing/metrics", "last", "s", "computing the metrics", "above 3 % of the step"),
    Metric("timing/advantages", "last", "s", "credit assignment and advantages", "not near 0"),
    Metric("timing/policy_update", "last", "s", "the PPO update", "grows with the length"),
    Metric("timing/prm_update", "last", "s",
           "the update of a PRM that learns, beside the PPO update on a CPU host, before it on GPUs",
           "longer than the PPO update"),
    Metric("timing/weight_sync", "last", "s",
           "the policy's weights into the engines", "dominates the step"),
    Metric("timing/gpu_turns", "last", "s",
        "moving weights and optimiser between GPU and host memory (--placement shared); also in the phases that wait",
        "above a tenth of the step"),
    Metric("timing/step", "last", "s",
           "the whole step, evaluation and checkpoints left out", "much above the sum"),
    *(Metric(f"timing/{phase}_per_kilotoken", "last", "s / 1,000 tokens",
             f"{what} per 1,000 tokens of the answers", "grows with the length")
      for phase, what in (
          ("generation", "sampling"),
          ("log_probs", "the log-probabilities"),
          ("policy_update", "the PPO update"))),
    Metric("eval/<name>/pass@1", "last", "0 to 1", "greedy accuracy on held-out problems", "falls"),
]  # fmt: skip

METRICS: dict[str, Metric] = {metric.key: metric for metric in _DECLARED}

_PATTERNS = [
    re.compile(re.escape(key).replace("<name>", "[^/]+")) for key in METRICS if "<name>" in key
]


def is_declared(key: str) -> bool:
    """Whether `METRICS` has the key, or a pattern that it fits."""
    return key in METRICS or any(pattern.fullmatch(key) for pattern in _PATTERNS)


def check_declared(keys: Iterable[str]) -> None:
    """Raise KeyError that names the keys which `METRICS` does not declare."""
    unknown = [key for key in keys if not is_declared(key)]
    if unknown:
        raise KeyError(f"undeclared metrics {unknown}: declare them in monitoring/metric_table.py")
