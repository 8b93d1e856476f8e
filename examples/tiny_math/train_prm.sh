#!/usr/bin/env bash
# The small world's PRM in its two stages, with learning rates that suit a model of a million parameters; nothing is
# done where it stands already.
#   WORLD=output/world PYTHON=.venv/bin/python bash examples/tiny_math/train_prm.sh
set -euo pipefail
WORLD=${WORLD:?folder that make_world wrote}
PYTHON=${PYTHON:-python}
[ -f "$WORLD/prm/prm_evaluation.json" ] && exit 0
common=(
    --train_data "$WORLD/prm_data/train.jsonl"
    --eval_data "$WORLD/prm_data/test.jsonl"
    --micro_batch_size 64
    --global_batch_size 64
    --dropout 0
)
"$PYTHON" -m prm_training.train_prm --stage 1 --model "$WORLD/policy" --output_dir "$WORLD/prm_stage_1" \
    --learning_rate 3e-3 --epochs 1 "${common[@]}"
"$PYTHON" -m prm_training.train_prm --stage 2 --model "$WORLD/prm_stage_1" --output_dir "$WORLD/prm" \
    --learning_rate 1e-3 --epochs 4 --lr_schedule cosine --warmup_frac 0.05 "${common[@]}"
