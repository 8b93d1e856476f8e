#!/usr/bin/env bash
# Trains a language model with PURE (arXiv 2504.15275), on any number of GPUs or on a CPU.
#
#   bash examples/scripts/train_pure.sh                     what fits this host
#   reward_mode=VR bash examples/scripts/train_pure.sh      another reward
#   bash examples/scripts/train_pure.sh --max_steps 100     any flag of `pure-rlhf-train --help`, these win
#
# GPUs (80 GB; those of CUDA_VISIBLE_DEVICES): the published recipe, Qwen2.5-Math-7B with process rewards and 10 % known
#   answers. Policy, reference and PRM share 1 of 2 GPUs, 2 of 3 or 4, 4 of 5 to 15, 8 of 16 to 31; each other GPU is a
#   rollout engine. Published: 4 + 4, 8 x A100, 16 hours. On one GPU all of them take turns; --placement shared does the
#   same on more.
# No GPU: the small world that comes with the repository (examples/small_world): problems, a policy and a PRM that are
#   small enough for a CPU. WORLD=new makes it from nothing, WORLD=FOLDER takes another.
set -euo pipefail

reward_mode=${reward_mode:-PRMVR} # PRM: process rewards, VR: verifiable rewards, PRMVR: both

# Any of these may be set in the environment, on either kind of host. On a CPU host an unset MODEL, PRM or DATA
# comes from the small world.
OUTPUT_DIR=${OUTPUT_DIR:-output}
GPU_MODEL=Qwen/Qwen2.5-Math-7B
GPU_PRM=jinachris/PURE-PRM-7B
MATH=${MATH:-} # on a GPU host without DATA: a folder with a copy of MATH, where the hub cannot be reached
RUN_DIR=${RUN_DIR:-$OUTPUT_DIR/$reward_mode-$(date +%Y%m%d-%H%M%S)}

. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
case ${DATA:-} in
*.json | *.jsonl | *.gz | *.parquet)
    if [ ! -f "$DATA" ]; then # said before anything is installed
        echo "DATA: there is no file $DATA. It is a .json, .jsonl or .parquet file with the columns question and answer, or" >&2
        echo "the name of a hub data set; without DATA the run takes the published prompts, or the small world on a CPU" >&2
        exit 2
    fi
    ;;
esac
bash "$root/examples/scripts/setup.sh"

if [ "$host" = gpu ]; then
    if [ -z "${DATA:-}" ]; then
        DATA=$OUTPUT_DIR/published_prompts.jsonl
        "$python" -m pure_rlhf.cli.published_prompts --output "$DATA" ${MATH:+--math "$MATH"}
    fi
    flags=(
        --actor.model_name_or_path "${MODEL:-$GPU_MODEL}"
        --reward.model_name_or_path "${PRM:-$GPU_PRM}"
        --data.prompt_dataset "$DATA"
        # engines
        --vllm.max_num_batched_tokens 8192
        # memory and speed
        --ds.zero_stage 2
        --ds.adam_offload
        --actor.gradient_checkpointing_enable
        # recipe
        --rollout.batch_size 64
        --rollout.n_samples_per_prompt 4
        --rollout.temperature 0.5
        --rollout.max_new_tokens 2048
        --rollout.micro_batch_size 4
        --train.batch_size 128
        --train.micro_batch_size 2
        --actor.adam.lr 5e-7
        --algo.kl.init_coef 0.001
        --max_steps 500
        --ckpt.save_steps 20
        --ckpt.save_hf
    )
else
    flags=()
    needs_prm=0
    [ -n "${PRM:-}" ] || [ "$reward_mode" = VR ] || needs_prm=1
    if [ -z "${MODEL:-}" ] || [ -z "${DATA:-}" ] || [ "$needs_prm" = 1 ]; then
        . "$root/examples/small_world/world.sh"
        flags=(--eval.dataset "$world/test.jsonl") # --eval.steps needs held-out problems
    fi
    flags+=(
        --actor.model_name_or_path "${MODEL:-${world:-}/policy}"
        --reward.model_name_or_path "${PRM:-${world:-}/prm}"
        --data.prompt_dataset "${DATA:-${world:-}/train.jsonl}"
        # recipe of the small world (design and measurements: examples/small_world/__init__.py, LOG.md)
        --data.max_len 192
        --data.prompt_max_len 96
        --rollout.max_new_tokens 96
        --rollout.batch_size 16
        --rollout.n_samples_per_prompt 8
        --rollout.temperature 1.0
        --rollout.micro_batch_size 64
        --train.batch_size 128
        --train.micro_batch_size 64
        --actor.adam.lr 2e-5
        --ds.attn_implementation eager # at these lengths a third faster on a CPU, forward and backward
        --actor.entropy_coef 0 # only logs the entropy
        --step_labeller "$root/examples/small_world/checker.py:label_steps" # for metrics and the report; no reward reads it
        --algo.kl.init_coef 0.001
        --max_steps 40
        --eval.steps 10
        --ckpt.save_steps 20
        --ckpt.max_num 1
    )
fi
exec "$python" -m pure_rlhf.cli.train_pure --reward_mode "$reward_mode" --output_dir "$RUN_DIR" "${flags[@]}" "$@"
