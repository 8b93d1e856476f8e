# Sourced by the scripts that compare settings in the small world: every cell with every seed, then the page.
#   before: CELLS (separated by ;), SEEDS, STEPS, PARALLEL, LEARNING_RATE, OUTPUT_DIR, page (a name of
#   examples/tiny_math/compare.py), note (for the page), comparison (a folder), and the function cell_settings CELL, which sets
#   the array flags, the name of the script, and what that reads; names of its own variables in cell_variables
# Finished runs are kept and cut-off ones go on from their last checkpoint.
export PURE_HOST=cpu
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
export root python STEPS LEARNING_RATE OUTPUT_DIR world=$OUTPUT_DIR/world runs=$comparison/runs
# shellcheck disable=SC2163
for variable in $cell_variables; do export "$variable"; done
mkdir -p "$runs"

bash "$root/examples/scripts/setup.sh"
"$python" -m examples.tiny_math.make_world --output_dir "$world" >/dev/null
PYTHON=$python WORLD=$world bash "$root/examples/tiny_math/train_prm.sh"

run_cell() { # SEED CELL
    local seed=$1 cell=$2 resume=()
    local name=${cell// /-}-seed$seed
    local run=$runs/$name
    if [ -f "$run/report.html" ]; then # the last thing that a run writes
        return 0
    elif compgen -G "$run/checkpoints/*" >/dev/null; then
        resume=(--ckpt.load_enable)
    else
        rm -rf "$run"
    fi
    echo "$(date +%H:%M:%S) $name${resume:+ (going on)}"
    cell_settings "$cell"
    # All answers are kept: the checker of the small world then knows the truth of every step.
    if ! RUN_DIR=$run bash "$root/examples/scripts/$script" --train.seed "$seed" --max_steps "$STEPS" \
        --actor.adam.lr "$LEARNING_RATE" --rollout.batch_size 16 --train.batch_size 128 --rollouts_per_step 128 \
        --eval.steps 20 --no_dashboard "${flags[@]}" "${resume[@]}" >"$run.log" 2>&1; then
        echo "$name failed; its output is in $run.log, the same command tries it again" >&2
        return 1
    fi
    rm -rf "$run/checkpoints"
}
export -f run_cell cell_settings

failed=0
for seed in $SEEDS; do
    tr ';' '\n' <<<"$CELLS" | sed "s/^/$seed\t/"
done | tr '\t\n' '\0\0' | xargs -0 -P "$PARALLEL" -n 2 bash -c 'run_cell "$@"' run_cell || failed=1
"$python" -m examples.tiny_math.compare "$runs" --page "$page" --cells "$CELLS" --output_dir "$comparison" \
    --steps "$STEPS" --learning_rate "$LEARNING_RATE" --note "$note"
exit "$failed"
