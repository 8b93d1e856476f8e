#!/usr/bin/env bash
# The paper's claim in the small world: the same policy and PRM under softmin, sum and gamma_decay with process
# rewards alone (PRM) and with verifiable rewards on a tenth of the prompts (PRMVR), and verifiable rewards alone (VR).
#
#   bash examples/scripts/compare_credit_assignment.sh                   7 settings x 3 seeds, 80 steps each
#   bash examples/scripts/compare_credit_assignment.sh --quick           7 settings x 1 seed, 40 steps; under 30 minutes
#   SEEDS="1 2 3 4 5" STEPS=200 PARALLEL=4 bash ...                      on a bigger host, or overnight
#   LEARNING_RATE=1e-4 CELLS="PRM softmin;PRM sum" bash ...              five times the pressure, two of the settings
#
# The same command resumes. The page, OUTPUT_DIR/comparison-STEPS-steps-lr-RATE/comparison.html, is written when the runs
# are done, also where some failed. The definition of a collapse stands in examples/small_world/compare.py and was
# written before the first run.
set -euo pipefail

CELLS=${CELLS:-PRM softmin;PRM sum;PRM gamma_decay;PRMVR softmin;PRMVR sum;PRMVR gamma_decay;VR}
SEEDS=${SEEDS:-1 2 3}
STEPS=${STEPS:-80}
PARALLEL=${PARALLEL:-1}      # runs at once; two cores for each are well used
GAMMA=${GAMMA:-0.9}          # discount of gamma_decay; at 1 it is sum
LEARNING_RATE=${LEARNING_RATE:-2e-5} # the small world's
OUTPUT_DIR=${OUTPUT_DIR:-output}
for argument in "$@"; do
    case $argument in
    --quick) SEEDS=1 STEPS=40 ;;
    *)
        echo "$argument: no such flag; there is --quick, and CELLS, SEEDS, STEPS, PARALLEL, GAMMA, LEARNING_RATE, OUTPUT_DIR in the environment" >&2
        exit 2
        ;;
    esac
done

cell_settings() { # "MODE CREDIT", or "VR"
    local credit
    read -r reward_mode credit <<<"$1"
    export reward_mode script=train_pure.sh
    flags=(--credit_assignment "${credit:-softmin}" --credit_gamma "$GAMMA")
}
page=credit
comparison=$OUTPUT_DIR/comparison-$STEPS-steps-lr-$LEARNING_RATE
note="gamma $GAMMA"
cell_variables=GAMMA
. "$(dirname "${BASH_SOURCE[0]}")/../small_world/compare.sh"
