#!/usr/bin/env bash
# Trains a language model with PRIME (arXiv 2502.01456): implicit process rewards of a language model that starts as the
# policy's own and learns from outcomes while the policy does. docs/prime.md says what is what.
#
#   bash examples/scripts/train_prime.sh                                      what fits this host
#   reward_mode=VR bash examples/scripts/train_prime.sh                       its control: outcomes alone, the same prompts
#   process_reward=learned bash examples/scripts/train_prime.sh               Online PURE: PURE's PRM learns instead
#   bash examples/scripts/train_prime.sh --max_steps 100                      any flag of `pure-rlhf-train --help`, these win
#   abilities="math code" bash examples/scripts/train_prime.sh                mathematics and code (docs/programs.md)
#
# GPUs: the published recipe on Eurus-2-RL-Data, mathematics and code, from Eurus-2-7B-SFT; as published 8 x A800. Two models
#   learn, so both Adam states lie in host memory (183 GB). Nobody has run this on GPUs yet.
# No GPU: the small world with the answers to all of its problems; with code, its policy after the warm-up (train_sft.sh).
# Set-up, hosts, MODEL, DATA, PRM, OUTPUT_DIR and RUN_DIR: as for train_pure.sh, which does the rest.
set -euo pipefail

process_reward=${process_reward:-implicit} # implicit: log-ratios to the policy's start; learned: a PRM that scores steps
prm_update=${prm_update:-outcome}          # outcome: the PRM learns from verified answers; none; last_step (learned only)
export reward_mode=${reward_mode:-PRMVR}   # PRMVR: process and verifiable rewards; VR or PRM: one of them
abilities=${abilities:-} # math, code or both; by default both on GPUs, as published, and math on a CPU

export OUTPUT_DIR=${OUTPUT_DIR:-output}
export RUN_DIR=${RUN_DIR:-$OUTPUT_DIR/PRIME-$process_reward-$reward_mode-$(date +%Y%m%d-%H%M%S)}

. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
bash "$root/examples/scripts/setup.sh"

flags=(
    --process_reward "$process_reward"
    --prm_update "$prm_update"
    --curriculum.method range # 0.2 to 0.8, with prompts drawn anew until the batch is full
    --curriculum.no_keep_unlabelled
)
# what PRIME does with its rewards, and no KL penalty; PURE's PRM keeps PURE's
[ "$process_reward" != implicit ] || flags+=(--convention prime --algo.kl.init_coef 0)
if [ "$host" = gpu ]; then
    export MODEL=${MODEL:-PRIME-RL/Eurus-2-7B-SFT}
    if [ -z "${DATA:-}" ]; then
        DATA=$OUTPUT_DIR/prime_prompts.jsonl
        read -ra chosen <<<"${abilities:-math code}"
        "$python" -m pure_rlhf.cli.prime_prompts --model "$MODEL" --output "$DATA" --abilities "${chosen[@]}"
        # they are whole prompts; a program earns the share of its first ten tests that it passes
        flags+=(--data.input_template "{}" --data.program_template "{}" --data.ability_key ability --programs.score share)
    fi
    flags+=(
        # recipe
        --data.prompt_max_len 1024
        --data.max_len 4096
        --rollout.max_new_tokens 3072
        --rollout.batch_size 256
        --rollout.n_samples_per_prompt 4
        --rollout.temperature 1.0
        --train.batch_size 256
        --actor.adam.lr 5e-7
        --max_steps 592
        --ckpt.save_steps 16
    )
else
    if [ -z "${MODEL:-}" ] || [ -z "${DATA:-}" ]; then
        needs_prm=0
        [ "$process_reward" != learned ] || [ -n "${PRM:-}" ] || needs_prm=1
        . "$root/examples/small_world/world.sh"
        if [[ $abilities = *code* ]]; then
            [ -f "$OUTPUT_DIR/warm_up/train.jsonl" ] ||
                "$python" -W ignore -m examples.small_world.warm_up "$OUTPUT_DIR/warm_up"
            MODEL=${MODEL:-$world/policy_warmed_up}
            DATA=${DATA:-$OUTPUT_DIR/warm_up/train.jsonl}
            flags+=(--eval.dataset "$OUTPUT_DIR/warm_up/test.jsonl" --data.ability_key ability)
            flags+=(--data.max_len 320 --data.prompt_max_len 128 --rollout.max_new_tokens 192)
        else
            flags+=(--eval.dataset "$world/test.jsonl")
        fi
        export MODEL=${MODEL:-$world/policy} WORLD=$world
        DATA=${DATA:-$world/train_answered.jsonl}
    fi
    # a model of a million parameters does not move at PRIME's 1e-6
    [ "$prm_update" = none ] || flags+=(--prm.adam.lr 2e-5)
fi
export DATA
[ "$process_reward" != implicit ] || export PRM=${PRM:-$MODEL}
exec bash "$root/examples/scripts/train_pure.sh" "${flags[@]}" "$@"
