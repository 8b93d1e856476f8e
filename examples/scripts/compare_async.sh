#!/usr/bin/env bash
# Does training one step behind cost quality, and what does it save? The small world's default run in step and with
# generation one step ahead (--train.async_steps 1), by step and by wall clock.
#
#   bash examples/scripts/compare_async.sh                        2 cells x 3 seeds, 40 steps each
#   CELLS="0 steps ahead;2 steps ahead" SEEDS="1 2 3 4 5" bash ...
#
# A cell is N steps ahead. Run it beside nothing else, since it measures time. The same command resumes; the page is
# OUTPUT_DIR/async-STEPS-steps/comparison.html.
set -euo pipefail

CELLS=${CELLS:-0 steps ahead;1 steps ahead}
SEEDS=${SEEDS:-1 2 3}
STEPS=${STEPS:-40}
PARALLEL=1
LEARNING_RATE=${LEARNING_RATE:-2e-5} # the small world's
OUTPUT_DIR=${OUTPUT_DIR:-output}

cell_settings() { # "N steps ahead"
    export reward_mode=PRMVR script=train_pure.sh
    flags=(--train.async_steps "${1%% *}")
}
page=async
comparison=$OUTPUT_DIR/async-$STEPS-steps
note="reward_mode PRMVR"
cell_variables=
. "$(dirname "${BASH_SOURCE[0]}")/../small_world/compare.sh"
