#!/usr/bin/env bash
# The paper's claim in the small world, with PRMs whose faults are known: docs/claim_plan.md has the questions, cells, measures and
# stopping rules, written down before the first run; docs/results.md what came out.
#
#   bash examples/scripts/compare_claim.sh                                  25 cells x 3 seeds, then 3 more of those compared: hours
#   CELLS="PRM softmin strong 1e-4;PRM sum strong 1e-4" SEEDS=1 bash ...    some of them
#   HISTORIES=docs/claim bash ...                                           the runs that are missing among ours, and the page
#   HISTORIES=docs/claim SEEDS=none bash ...                                only the page of ours
#
# A cell is REWARD CREDIT PRM RATE, or VR LABELS RATE. Its PRM: strong, or blind to omission, arithmetic, repetition or length. The
# same command resumes; the page is OUTPUT_DIR/claim-STEPS-steps/comparison.html.
set -euo pipefail

rate=1e-4
A="PRM softmin strong $rate;PRM sum strong $rate;PRM log_sum_exp strong $rate;PRM min strong $rate;PRM softmin_T1 strong $rate;PRM mean strong $rate;PRM gamma_decay strong $rate"
B="PRM softmin omission $rate;PRM sum omission $rate;PRM softmin arithmetic $rate;PRM sum arithmetic $rate;PRM softmin repetition $rate;PRM sum repetition $rate;PRM softmin length $rate;PRM sum length $rate"
C="PRMVR softmin strong $rate;PRMVR sum strong $rate;VR tenth $rate;VR all $rate"
D="PRM softmin strong 2e-5;PRM sum strong 2e-5;PRMVR softmin strong 2e-5;PRMVR sum strong 2e-5;VR tenth 2e-5;VR all 2e-5"
compared="PRM softmin strong $rate;PRM sum strong $rate;PRM log_sum_exp strong $rate;$B;PRMVR softmin strong $rate;PRMVR softmin strong 2e-5;PRM softmin strong 2e-5;VR tenth 2e-5"
if [ -z "${CELLS:-}" ]; then
    CELLS="$A;$B;$C;$D"
    MORE_CELLS=$compared MORE_SEEDS="4 5 6"
fi
SEEDS=${SEEDS:-1 2 3}
STEPS=${STEPS:-100}
PARALLEL=${PARALLEL:-1}
LEARNING_RATE=$rate # where a cell names no other
OUTPUT_DIR=${OUTPUT_DIR:-output}

cell_settings() {
    local credit prm rate
    export script=train_pure.sh
    unset PRM DATA
    read -r reward_mode credit prm rate <<<"$1"
    export reward_mode
    if [ "$reward_mode" = VR ]; then # VR LABELS RATE
        rate=$prm
        [ "$credit" = tenth ] || export DATA=$world/train_answered.jsonl
        flags=(--actor.adam.lr "$rate")
        return
    fi
    [ "$prm" = strong ] || export PRM=$world/prm_blind_to_$prm
    flags=(--actor.adam.lr "$rate")
    case $credit in
    softmin_T1) flags+=(--credit_assignment softmin --credit_temperature 1) ;;
    gamma_decay) flags+=(--credit_assignment gamma_decay --credit_gamma 0.9) ;;
    *) flags+=(--credit_assignment "$credit") ;;
    esac
}
page=claim
comparison=$OUTPUT_DIR/claim-$STEPS-steps
note=
cell_variables=
. "$(dirname "${BASH_SOURCE[0]}")/../small_world/compare.sh"
