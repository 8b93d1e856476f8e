#!/usr/bin/env bash
# Evaluates language models: greedy pass@1 on math benchmarks, with intervals, in the training's own environment.
#
#   bash evaluation/eval.sh MODEL_DIR                                   the five published benchmarks, from the hub
#   bash evaluation/eval.sh MODEL_A MODEL_B --data_dir data             two models compared, on local copies
#   bash evaluation/eval.sh MODEL_DIR --benchmarks aime24 problems.jsonl --num_samples 16
#
# All flags: bash evaluation/eval.sh --help. One vLLM engine a GPU; on a host without a GPU one on the CPU.
# The same command continues a run that was stopped. Answers and report: --output_dir (output/evaluation).
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../examples/scripts/environment.sh"
bash "$root/examples/scripts/setup.sh"
exec "$python" -m evaluation.evaluate "$@"
