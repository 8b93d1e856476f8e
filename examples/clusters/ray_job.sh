#!/usr/bin/env bash
# Sends this checkout to a Ray cluster that runs, and train_pure.sh in it:
#
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265 OUTPUT_DIR=/shared/pure bash examples/clusters/ray_job.sh --max_steps 100
#
# The nodes were started with `ray start` from the environment CLUSTER_VENV (default: the one of this checkout, on a shared
# disk) of the same locks. OUTPUT_DIR, MODEL, PRM and DATA, where they are paths, lie on a disk that all nodes read.
set -euo pipefail

: "${OUTPUT_DIR:?a folder on a disk that all nodes of the cluster read}"
export PURE_HOST=gpu
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
bash "$root/examples/scripts/setup.sh"
variables=(PURE_HOST=gpu "PURE_VENV=${CLUSTER_VENV:-$venv}")
for name in reward_mode OUTPUT_DIR RUN_DIR MODEL PRM DATA MATH; do
    [ -n "${!name:-}" ] && variables+=("$name=${!name}")
done
# what .gitignore names, and the history, stay here
runtime_env='{"excludes": ["__pycache__/", "*.egg-info/", ".venv*/", ".pytest_cache/", ".ruff_cache/", "/output/", "build/", "/.git/"]}'
exec "$venv/bin/ray" job submit --working-dir "$root" --runtime-env-json "$runtime_env" -- \
    env "${variables[@]}" bash examples/scripts/train_pure.sh "$@"
