#!/usr/bin/env bash
# Can the reward modes be told apart? The small world's default run with verifiable rewards on a tenth of the prompts (VR), process
# rewards alone (PRM), and both (PRMVR); "VR all" verifies all prompts. docs/claim_plan.md has the measures and tests,
# written down before the first run; docs/results.md what came out.
#
#   bash examples/scripts/compare_rewards.sh               3 cells x 5 seeds, 40 steps each: about 50 minutes of two cores
#   CELLS="PRM;PRMVR" SEEDS=1 PARALLEL=2 bash ...          some of them, two runs at once
#   HISTORIES=docs/reward_modes SEEDS=none bash ...        the page of our runs
#
# The same command resumes; the page is OUTPUT_DIR/rewards-STEPS-steps/comparison.html.
set -euo pipefail

CELLS=${CELLS:-VR;PRM;PRMVR}
SEEDS=${SEEDS:-1 2 3 4 5}
STEPS=${STEPS:-40}
PARALLEL=${PARALLEL:-1}
LEARNING_RATE=${LEARNING_RATE:-2e-5} # the small world's
OUTPUT_DIR=${OUTPUT_DIR:-output}

cell_settings() { # "MODE", or "VR all"
    local labels
    read -r reward_mode labels <<<"$1"
    export reward_mode script=train_pure.sh
    unset DATA
    [ -z "$labels" ] || export DATA=$world/train_answered.jsonl
    flags=()
}
page=rewards
comparison=$OUTPUT_DIR/rewards-$STEPS-steps
note=
cell_variables=
. "$(dirname "${BASH_SOURCE[0]}")/../small_world/compare.sh"
