#!/usr/bin/env bash
# Prompts for RL from public collections, stage by stage (docs/data_preparation.md); writes OUTPUT_DIR/train.parquet and a page of
# what was dropped and why. The same command goes on where it was cut off.
#
#   bash data_preparation/prepare.sh                                             NuminaMath-CoT, as PRIME; the hub is needed
#   DATA="a.jsonl b.parquet" bash data_preparation/prepare.sh                    collections of your own
#   VALIDATOR=Qwen/Qwen2.5-Math-72B-Instruct bash data_preparation/prepare.sh    with five tries of a model at each problem
#   bash data_preparation/prepare.sh --keep.min_correct 2                        any flag of `python -m data_preparation.prepare --help`
set -euo pipefail

DATA=${DATA:-AI-MO/NuminaMath-CoT}
VALIDATOR=${VALIDATOR:-}
OUTPUT_DIR=${OUTPUT_DIR:-output/prompts}

. "$(dirname "${BASH_SOURCE[0]}")/../examples/scripts/environment.sh"
bash "$root/examples/scripts/setup.sh"
read -ra data <<<"$DATA"
exec "$python" -W ignore -m data_preparation.prepare --data "${data[@]}" --output_dir "$OUTPUT_DIR" \
    ${VALIDATOR:+--model.name "$VALIDATOR"} "$@"
