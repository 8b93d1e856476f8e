#!/usr/bin/env bash
# The paper's claim in the small world: the same policy and PRM under softmin, sum and gamma_decay with process
# rewards alone (PRM) and with verifiable rewards on a tenth of the prompts (PRMVR), and verifiable rewards alone (VR).
#
#   bash examples/scripts/compare_credit_assignment.sh                   7 settings x 3 seeds, 80 steps each
#   bash examples/scripts/compare_credit_assignment.sh --quick           7 settings x 1 seed, 40 steps; under 30 minutes
#   SEEDS="1 2 3 4 5" STEPS=200 PARALLEL=4 bash ...                      on a bigger host, or overnight
#   LEARNING_RATE=1e-4 CELLS="PRM softmin;PRM sum" bash ...              five times the pressure, two of the settings
#
# Finished runs are kept and cut-off ones go on from their last checkpoint, so the same command resumes. The page,
# OUTPUT_DIR/comparison-STEPS-steps-lr-RATE/comparison.html, is written when the runs are done, also where some failed. The
# definition of a collapse stands in examples/tiny_math/compare.py and was written before the first run.
set -euo pipefail

CELLS=${CELLS:-PRM softmin;PRM sum;PRM gamma_decay;PRMVR softmin;PRMVR sum;PRMVR gamma_decay;VR softmin}
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

export PURE_HOST=cpu
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
export root python STEPS GAMMA LEARNING_RATE OUTPUT_DIR
comparison=$OUTPUT_DIR/comparison-$STEPS-steps-lr-$LEARNING_RATE
export runs=$comparison/runs
mkdir -p "$runs"

bash "$root/examples/scripts/setup.sh"
"$python" -m examples.tiny_math.make_world --output_dir "$OUTPUT_DIR/world" >/dev/null
PYTHON=$python WORLD=$OUTPUT_DIR/world bash "$root/examples/tiny_math/train_prm.sh"

run_cell() { # MODE CREDIT SEED
    local name=$1-$2-seed$3
    local run=$runs/$name resume=()
    if [ -f "$run/report.html" ]; then # the last thing that a run writes
        return 0
    elif compgen -G "$run/checkpoints/*" >/dev/null; then
        resume=(--ckpt.load_enable)
    else
        rm -rf "$run"
    fi
    echo "$(date +%H:%M:%S) $name${resume:+ (going on)}"
    # All answers are kept: the checker of the small world then knows the truth of every step.
    if ! reward_mode=$1 RUN_DIR=$run bash "$root/examples/scripts/train_pure.sh" \
        --credit_assignment "$2" --credit_gamma "$GAMMA" --train.seed "$3" \
        --actor.adam.lr "$LEARNING_RATE" --rollout.batch_size 16 --train.batch_size 128 --rollouts_per_step 128 \
        --max_steps "$STEPS" --eval.steps 20 "${resume[@]}" >"$run.log" 2>&1; then
        echo "$name failed; its output is in $run.log, the same command tries it again" >&2
        return 1
    fi
    rm -rf "$run/checkpoints"
}
export -f run_cell

failed=0
for seed in $SEEDS; do
    tr ';' '\n' <<<"$CELLS" | sed "s/$/ $seed/"
done | xargs -P "$PARALLEL" -L 1 bash -c 'run_cell "$@"' run_cell || failed=1
"$python" -m examples.tiny_math.compare "$runs" --output_dir "$comparison" --steps "$STEPS" --gamma "$GAMMA" \
    --learning_rate "$LEARNING_RATE"
exit "$failed"
