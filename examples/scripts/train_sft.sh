#!/usr/bin/env bash
# The warm-up before RL: a language model learns the form of its answers from examples (docs/sft.md).
#
#   bash examples/scripts/train_sft.sh                                     what fits this host
#   DATA=rows.jsonl MODEL=./model bash examples/scripts/train_sft.sh       rows and a model of your own
#   bash examples/scripts/train_sft.sh --train.max_epochs 1                any flag of `python -m pure_rlhf.cli.train_sft --help`
#
# GPUs (all of CUDA_VISIBLE_DEVICES): PRIME's, Qwen2.5-Math-7B on Eurus-2-SFT-Data. Nobody has run this on GPUs yet.
# No GPU: the small world's policy learns to answer in PRIME's actions and to write programs. RL on both goes on from it:
#   MODEL=output/sft/model DATA=output/warm_up/train.jsonl bash examples/scripts/train_prime.sh --data.ability_key ability \
#       --data.max_len 320 --rollout.max_new_tokens 192 --data.prompt_max_len 128 --eval.dataset output/warm_up/test.jsonl
# The report, with answers before and after, is RUN_DIR/sft_report.html. After a kill the same command with
# --ckpt.load_enable and the same RUN_DIR goes on.
set -euo pipefail

OUTPUT_DIR=${OUTPUT_DIR:-output}
RUN_DIR=${RUN_DIR:-$OUTPUT_DIR/sft}

. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
bash "$root/examples/scripts/setup.sh"

launcher=("$python")
if [ "$host" = gpu ]; then
    launcher+=(-m pure_rlhf.cli.torchrun --standalone --nproc_per_node "$num_gpus")
    # a batch is shared by all GPUs
    flags=(
        --model.model_name_or_path "${MODEL:-Qwen/Qwen2.5-Math-7B}"
        --data.dataset "${DATA:-PRIME-RL/Eurus-2-SFT-Data}"
        --data.apply_chat_template
        --data.max_len 6144
        --train.batch_size 96
        --train.max_epochs 3
        --adam.lr 1e-5
        --model.gradient_checkpointing_enable
    )
else
    export PURE_HOST=cpu
    flags=(
        --data.max_len 320
        --train.batch_size 32
        --train.micro_batch_size 32
        --train.max_epochs 3
        --adam.lr 3e-3
        --ds.attn_implementation eager # at these lengths a third faster on a CPU
    )
    if [ -z "${DATA:-}" ]; then
        DATA=$OUTPUT_DIR/warm_up/rows.jsonl
        [ -f "$DATA" ] || "$python" -W ignore -m examples.small_world.warm_up "$OUTPUT_DIR/warm_up"
    fi
    if [ -z "${MODEL:-}" ]; then
        needs_prm=0
        . "$root/examples/small_world/world.sh"
        MODEL=$world/policy
    fi
    flags+=(--model.model_name_or_path "$MODEL" --data.dataset "$DATA")
fi
"${launcher[@]}" -m pure_rlhf.cli.train_sft --output_dir "$RUN_DIR" "${flags[@]}" "$@"
exec "$python" -m pure_rlhf.cli.sft_report "$RUN_DIR"
