# Sourced by train_stage_{1,2}.sh, which set the variables: one rank per visible GPU, or one without GPUs.
. "$(dirname "${BASH_SOURCE[0]}")/../examples/scripts/environment.sh"
PYTHON="${PYTHON:-$python}"
if ! command -v "$PYTHON" >/dev/null; then
    echo "no Python at $PYTHON: run bash examples/scripts/setup.sh, or set PYTHON" >&2
    exit 2
fi

num_gpus="$("$PYTHON" -W ignore -c 'import torch; print(torch.cuda.device_count())')"
launcher=("$PYTHON")
if [ "$num_gpus" -gt 0 ]; then
    launcher+=(-m pure_rlhf.cli.torchrun --standalone --nproc_per_node "$num_gpus")
fi

# A hub name brings its own held-out split (Math-Shepherd has none: a share of its problems is held out); of a file
# there is none unless EVAL_DATA names one. Published PRM800K steps contain line feeds, and are trained on with them.
of_hub=()
if [ ! -e "$DATA" ]; then
    of_hub=(--separator_in_steps keep)
    case "$DATA" in
        peiyi9979/Math-Shepherd) [ -n "$EVAL_DATA" ] || of_hub+=(--held_out_frac 0.02) ;;
        *) EVAL_DATA="${EVAL_DATA:-$DATA}" ;;
    esac
fi

exec "${launcher[@]}" -m prm_training.train_prm \
    --stage "$STAGE" \
    --model "$MODEL" \
    --train_data "$DATA" \
    ${EVAL_DATA:+--eval_data "$EVAL_DATA"} \
    --output_dir "$OUTPUT_DIR" \
    --learning_rate "$LEARNING_RATE" \
    --epochs "$EPOCHS" \
    --global_batch_size "$GLOBAL_BATCH_SIZE" \
    --micro_batch_size "$MICRO_BATCH_SIZE" \
    --save_steps "$SAVE_STEPS" \
    ${of_hub[@]+"${of_hub[@]}"} \
    "$@"
