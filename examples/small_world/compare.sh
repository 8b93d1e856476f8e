# Sourced by the scripts that compare settings in the small world: every cell with every seed, then the page.
#   before: WORLD (see world.sh), CELLS (separated by ;), SEEDS ("none": no run, only the page), STEPS, PARALLEL, LEARNING_RATE,
#   OUTPUT_DIR, page (a name of examples/small_world/compare.py), note (for the page), comparison (a folder), and the function
#   cell_settings CELL, which sets the array flags, the name of the script, and what that reads; names of its own variables in
#   cell_variables
#   MORE_CELLS and MORE_SEEDS, if set: which of them are run with further seeds when all are done
#   HISTORIES: folder of what is kept of finished runs (else within the comparison's); a run that is there is not made again
# Finished runs are kept and cut-off ones go on from their last checkpoint.
if [ $# -gt 0 ]; then
    echo "$1: no such flag; what can be said stands in the environment: CELLS, SEEDS, STEPS, PARALLEL, OUTPUT_DIR" >&2
    exit 2
fi
export PURE_HOST=cpu
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
export root python STEPS LEARNING_RATE OUTPUT_DIR runs=$comparison/runs
export histories=${HISTORIES:-$comparison/histories}
# shellcheck disable=SC2163
for variable in $cell_variables; do export "$variable"; done
mkdir -p "$runs"

bash "$root/examples/scripts/setup.sh"
. "$root/examples/small_world/world.sh"
export world WORLD=$world

run_cell() { # SEED CELL
    local seed=$1 cell=$2 resume=()
    local name=${cell// /-}-seed$seed
    local run=$runs/$name
    [ -f "$histories/$name.json.gz" ] && return 0
    if [ -f "$run/report.html" ]; then # the last thing that a run writes
        keep_history
        return
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
    keep_history
}
keep_history() { # of run_cell's run
    "$python" -m examples.small_world.histories "$run" --setting "$cell" --output "$histories/$name.json.gz"
}
export -f run_cell keep_history cell_settings

failed=0
every_run() { # SEEDS CELLS: seed and cell, one line each, one seed of all cells after the other
    for seed in $1; do
        tr ';' '\n' <<<"$2" | sed "s/^/$seed\t/"
    done
}
{
    if [ "$SEEDS" != none ]; then
        every_run "$SEEDS" "$CELLS"
        [ -z "${MORE_CELLS:-}" ] || every_run "$MORE_SEEDS" "$MORE_CELLS"
    fi
} | tr '\t\n' '\0\0' | xargs -0 -r -P "$PARALLEL" -n 2 bash -c 'run_cell "$@"' run_cell || failed=1
"$python" -m examples.small_world.compare "$histories" --world "$world" --page "$page" --cells "$CELLS" --output_dir "$comparison" \
    --steps "$STEPS" --learning_rate "$LEARNING_RATE" --note "$note"
exit "$failed"
