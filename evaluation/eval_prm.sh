#!/usr/bin/env bash
# Measures a process reward model: ProcessBench, PRMBench, best-of-N on candidate answers, and your own labelled steps.
#
#   bash evaluation/eval_prm.sh --model PRM_DIR --process_bench Qwen/ProcessBench --prm_bench hitsmy/PRMBench_Preview
#   bash evaluation/eval_prm.sh --model PRM_DIR --process_bench data/processbench --best_of_n candidates.jsonl
#   bash evaluation/eval_prm.sh --model PRM_DIR --best_of_n output/evaluation/answers/MODEL/math500.sampled.jsonl
#   bash evaluation/eval_prm.sh --model PRM_DIR --labelled_steps held_out/      # omission.jsonl, wrong_operation.jsonl, ...
#
# All flags: bash evaluation/eval_prm.sh --help. The same command continues a run that was stopped.
# Scores and report: --output_dir (output/prm_evaluation).
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../examples/scripts/environment.sh"
bash "$root/examples/scripts/setup.sh"
exec "$python" -m evaluation.evaluate_prm "$@"
