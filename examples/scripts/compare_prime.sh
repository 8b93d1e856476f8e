#!/usr/bin/env bash
# PRIME, its control and PURE in the small world, on the same prompts with all answers known: implicit process rewards that
# learn, verifiable rewards alone, and PURE's PRM, frozen. docs/prime.md has what came out.
#
#   bash examples/scripts/compare_prime.sh                               4 settings x 3 seeds, 60 steps each
#
# A cell is the name of a setting: PRIME (per token, summed), PRIME min-form (per step, softmin: ours), VR, PURE. The same
# command resumes; the page is OUTPUT_DIR/prime-STEPS-steps-lr-RATE/comparison.html.
set -euo pipefail

CELLS=${CELLS:-PRIME;PRIME min-form;VR;PURE}
SEEDS=${SEEDS:-1 2 3}
STEPS=${STEPS:-60}
PARALLEL=${PARALLEL:-1}
LEARNING_RATE=${LEARNING_RATE:-2e-5}         # of the policy: the small world's
PRM_LEARNING_RATE=${PRM_LEARNING_RATE:-2e-5} # of PRIME's reward model
OUTPUT_DIR=${OUTPUT_DIR:-output}

cell_settings() {
    export reward_mode=PRMVR script=train_prime.sh
    export process_reward=implicit prm_update=outcome
    flags=(--prm.adam.lr "$PRM_LEARNING_RATE")
    case $1 in
    PRIME) ;;
    "PRIME min-form") flags+=(--process_granularity step --credit_assignment softmin) ;;
    VR)
        export reward_mode=VR
        flags=()
        ;;
    PURE)
        export process_reward=learned prm_update=none
        flags=()
        ;;
    *)
        echo "$1: no such setting" >&2
        return 2
        ;;
    esac
}
page=prime
comparison=$OUTPUT_DIR/prime-$STEPS-steps-lr-$LEARNING_RATE
note="learning rate of the implicit PRM $PRM_LEARNING_RATE"
cell_variables=PRM_LEARNING_RATE
. "$(dirname "${BASH_SOURCE[0]}")/../small_world/compare.sh"
