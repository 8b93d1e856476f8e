#!/usr/bin/env bash
# The small world's PRM in its two stages, with learning rates that suit a model of a million parameters; nothing is
# done where it stands already. Stage 2 is done twice: on equations that are wrong at a glance, which is how a model
# this small learns to compare at all (LOG.md), then on slips and on answers.
#   WORLD=output/world PYTHON=.venv-cpu/bin/python bash examples/tiny_math/train_prm.sh
set -euo pipefail
WORLD=${WORLD:?folder that make_world wrote}
PYTHON=${PYTHON:-python}
[ -f "$WORLD/prm/prm_evaluation.json" ] && exit 0
data=$WORLD/prm_data
cat "$data/equations_near.jsonl" "$data/train.jsonl" >"$data/mixed.jsonl"

train() { # STAGE MODEL OUTPUT DATA and further flags
    local stage=$1 model=$WORLD/$2 output=$WORLD/$3 rows=$data/$4
    shift 4
    "$PYTHON" -m prm_training.train_prm --stage "$stage" --model "$model" --output_dir "$output" \
        --train_data "$rows" --eval_data "$data/test.jsonl" --dropout 0 "$@"
}
train 1 policy prm_stage_1 train.jsonl --learning_rate 3e-3 --epochs 1 --micro_batch_size 64 --global_batch_size 64
# many small updates: what has to be found first is found after some 250 of them, of 16 rows as well as of 32
train 2 prm_stage_1 prm_equations equations_far.jsonl --learning_rate 1e-3 --epochs 1 --lr_schedule cosine \
    --warmup_frac 0.05 --micro_batch_size 16 --global_batch_size 16
train 2 prm_equations prm mixed.jsonl --learning_rate 2e-4 --epochs 2 --lr_schedule cosine --warmup_frac 0.05 \
    --micro_batch_size 16 --global_batch_size 16
# what min-form picks from eight answers, beside the majority: on the pages of the training runs too
"$PYTHON" -m evaluation.evaluate_prm --model "$WORLD/prm" --best_of_n "$data/candidates.jsonl" \
    --output_dir "$WORLD/prm/measured"
