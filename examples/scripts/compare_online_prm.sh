#!/usr/bin/env bash
# Does a PRM that learns during RL prevent reward hacking? The small world under five times its learning rate, where min-form
# with process rewards alone collapses, with a frozen PRM and with each kind of update (docs/online_pure.md has cells,
# measures and what would be a success, written down before the first run).
#
#   bash examples/scripts/compare_online_prm.sh                          9 cells x 3 seeds, 110 steps each
#   CELLS="PRM softmin none;PRM softmin truth" SEEDS=1 bash ...          some of them
#
# A cell is MODE CREDIT UPDATE: none (frozen), outcome, last_step, last_step+replay, implicit (PRIME's in min-form over
# steps), truth (labels by the checker: the upper bound). The same command resumes; the page is
# OUTPUT_DIR/online-prm-STEPS-steps/comparison.html.
set -euo pipefail

CELLS=${CELLS:-PRM softmin none;PRM softmin outcome;PRM softmin last_step;PRM softmin last_step+replay;PRM softmin implicit;PRM softmin truth;PRMVR softmin none;PRM sum none;PRM sum last_step+replay}
SEEDS=${SEEDS:-1 2 3}
STEPS=${STEPS:-110}
PARALLEL=${PARALLEL:-1}
LEARNING_RATE=${LEARNING_RATE:-1e-4}         # of the policy: five times the small world's
PRM_LEARNING_RATE=${PRM_LEARNING_RATE:-1e-4} # half of that of the PRM's own last training
OUTPUT_DIR=${OUTPUT_DIR:-output}

cell_settings() { # MODE CREDIT UPDATE
    local credit update
    read -r reward_mode credit update <<<"$1"
    export reward_mode script=train_pure.sh
    flags=(--credit_assignment "$credit")
    local learns=(--prm.adam.lr "$PRM_LEARNING_RATE")
    local measured=(--prm.held_out_dataset "$world/prm_data/test.jsonl")
    case $update in
    none) ;;
    outcome | last_step) flags+=(--prm_update "$update" "${learns[@]}" "${measured[@]}") ;;
    last_step+replay)
        flags+=(--prm_update last_step --prm.replay_dataset "$world/prm_data/train.jsonl" --prm.replay_share 0.5)
        flags+=("${learns[@]}" "${measured[@]}")
        ;;
    truth)
        flags+=(--prm_update step_labels --step_labeller "$root/examples/small_world/checker.py:label_steps")
        flags+=("${learns[@]}" "${measured[@]}")
        ;;
    implicit)
        export PRM=$world/policy
        flags+=(--process_reward implicit --process_granularity step --prm_update outcome "${learns[@]}")
        ;;
    *)
        echo "$1: no such update" >&2
        return 2
        ;;
    esac
}
page=online_prm
comparison=$OUTPUT_DIR/online-prm-$STEPS-steps
note="learning rate of the PRM $PRM_LEARNING_RATE"
cell_variables=PRM_LEARNING_RATE
. "$(dirname "${BASH_SOURCE[0]}")/../small_world/compare.sh"
