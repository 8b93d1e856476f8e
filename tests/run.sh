#!/usr/bin/env bash
# Sets up and runs all tests from nothing: lint, types, unit, contract, integration (real Ray, DeepSpeed and vLLM on
# the CPU). 16 to 26 minutes on 2 cores, the set-up of the environment included. Real runs are skipped, and named, on a
# host too slow for the time-outs of the libraries (`tests/host_speed.py`).
#
#   bash tests/run.sh                      all but the slow ones
#   bash tests/run.sh --slow               the slow ones (the whole main job)
#   bash tests/run.sh --gpu                on a host with GPUs: the proof on them (tests/gpu), ten minutes at most, written
#                                          to docs/gpu_report.md; without a GPU nothing is installed or run: exit code 3
#   bash tests/run.sh tests/unit -k name   any arguments of pytest
set -euo pipefail
if [ "${1:-}" = --gpu ]; then
    shift
    export PURE_HOST=gpu PURE_DEV=1
    . "$(dirname "${BASH_SOURCE[0]}")/../examples/scripts/environment.sh"
    cd "$root"
    if [ "$num_gpus" = 0 ]; then
        echo "There is no GPU here (nvidia-smi, CUDA_VISIBLE_DEVICES): nothing was installed, nothing was run." >&2
        exit 3
    fi
    export PURE_VENV=$venv
    bash examples/scripts/setup.sh
    exec "$python" -m tests.gpu "$@"
fi
export PURE_HOST=cpu PURE_DEV=1
. "$(dirname "${BASH_SOURCE[0]}")/../examples/scripts/environment.sh"
cd "$root"
export PURE_VENV=$venv
bash examples/scripts/setup.sh
bin=$venv/bin
arguments=(-m "not slow")
if [ "${1:-}" = --slow ]; then
    arguments=(-m slow)
    shift
elif [ $# -eq 0 ]; then
    "$bin/ruff" check .
    "$bin/ruff" format --check --quiet .
    # two processes, since a test keeps hardly more than one core busy (tests/conftest.py says which has what)
    arguments+=(-n 2 --dist loadfile --no-loadscope-reorder)
    types=$(mktemp)
    "$bin/pyright" --pythonpath "$bin/python" >"$types" 2>&1 &
    pyright=$!
fi
code=0
"$bin/python" -m pytest "${arguments[@]}" "$@" || code=$?
if [ -n "${pyright:-}" ]; then
    if ! wait "$pyright"; then
        cat "$types"
        code=1
    fi
    rm -f "$types"
fi
exit "$code"
