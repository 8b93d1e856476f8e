"""Evaluation: pass@1 on the benchmarks that papers report, with intervals and paired comparisons.

Reading order: `benchmarks.py` (what is asked), `models.py` (of whom), `plan.py` (the settings), `answers.py` (what is
on disk), `engine.py` (vLLM), `evaluate.py` (the command), `scoring.py` (what the numbers mean), `report.py` and
`page.py` (what is shown). `evaluate_prm.py` measures a PRM: `process_bench.py`, `prm_bench.py`, `candidates.py`,
`best_of_n.py` and `labelled_steps.py` (what is asked), `prm_scores.py` (what is on disk), `prm_page.py` (what is
shown). `grader_agreement.py` measures the grader. What a correct answer is, is defined once for the whole project:
`pure_rlhf/algorithm/verifiable_reward.py`.
"""
