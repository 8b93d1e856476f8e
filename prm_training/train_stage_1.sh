#!/usr/bin/env bash
# PRM training, stage 1 of 2: a fresh two-label head on a causal language model; the backbone is frozen.
# The first stage of PURE's PRM: Qwen2.5-Math-7B on PRM800K in TRL's form, global batch 128.
# With GPUs: DeepSpeed ZeRO-2 on all visible ones. Without: the same program on the CPU, for small models.
# Every variable can be set from the environment, and flags of prm_training.train_prm may follow:
#   MODEL=./policy DATA=rows.jsonl EVAL_DATA=held_out.jsonl bash prm_training/train_stage_1.sh --seed 1
set -euo pipefail

STAGE=1
MODEL="${MODEL:-Qwen/Qwen2.5-Math-7B}"
DATA="${DATA:-HuggingFaceH4/prm800k-trl-dedup}" # a hub name, or a JSON, JSONL(.gz) or Parquet file; see sources.py
EVAL_DATA="${EVAL_DATA:-}"                      # held-out rows; empty: the test split of a hub name
OUTPUT_DIR="${OUTPUT_DIR:-output/prm_stage_1}"
LEARNING_RATE="${LEARNING_RATE:-1e-4}"
EPOCHS="${EPOCHS:-3}"
GLOBAL_BATCH_SIZE="${GLOBAL_BATCH_SIZE:-128}" # a multiple of MICRO_BATCH_SIZE times the GPUs
MICRO_BATCH_SIZE="${MICRO_BATCH_SIZE:-4}"
SAVE_STEPS="${SAVE_STEPS:-500}" # after a kill, the same command with --resume goes on from the last checkpoint

. "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
