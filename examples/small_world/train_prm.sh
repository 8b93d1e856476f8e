#!/usr/bin/env bash
# The small world's PRM in its two stages, with learning rates that suit a model of two million parameters; nothing is
# done where it stands already. Measured by kind of defect on held-out rows, and on best-of-N.
#   WORLD=output/world PYTHON=.venv-cpu/bin/python bash examples/small_world/train_prm.sh
#   BLIND_TO="omission arithmetic repetition length"    also PRMs that let one kind of defect pass: prm_blind_to_KIND
set -euo pipefail
WORLD=${WORLD:?folder that make_world wrote}
PYTHON=${PYTHON:-python}
data=$WORLD/prm_data

train() { # STAGE MODEL OUTPUT DATA and further flags
    local stage=$1 model=$WORLD/$2 output=$WORLD/$3 rows=$data/$4
    shift 4
    [ -f "$output/prm_evaluation.json" ] && return
    # a policy that was trained for a moment writes line breaks anywhere; in RL the PRM meets them as they are, too
    "$PYTHON" -m prm_training.train_prm --stage "$stage" --model "$model" --output_dir "$output" \
        --train_data "$rows" --eval_data "$data/test.jsonl" --separator_in_steps keep --dropout 0 \
        --attn_implementation eager "$@"
}
measure() { # PRM
    [ -f "$WORLD/$1/measured/prm_report.json" ] && return
    "$PYTHON" -m examples.small_world.shipped_world round "$WORLD/$1" # half of the space in the repository
    "$PYTHON" -m evaluation.evaluate_prm --model "$WORLD/$1" --best_of_n "$data/candidates.jsonl" \
        --labelled_steps "$data/by_defect" --output_dir "$WORLD/$1/measured"
}

train 1 prm_backbone prm_stage_1 train.jsonl --learning_rate 3e-3 --epochs 2 --micro_batch_size 64 --global_batch_size 64
train 2 prm_stage_1 prm train.jsonl --learning_rate 2e-4 --epochs 2 --lr_schedule cosine --warmup_frac 0.05 \
    --micro_batch_size 16 --global_batch_size 16
measure prm
for kind in ${BLIND_TO:-}; do
    train 2 prm "prm_blind_to_$kind" "blind_to/$kind.jsonl" --learning_rate 2e-4 --epochs 2 --lr_schedule cosine \
        --warmup_frac 0.05 --micro_batch_size 16 --global_batch_size 16
    measure "prm_blind_to_$kind"
done
