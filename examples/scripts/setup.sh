#!/usr/bin/env bash
# Makes the virtual environment of this checkout: exactly the packages of the lock for this kind of host (requirements/),
# each with its version and hash; anything else in it, but the packages of the tests, is removed. Run again it does nothing
# (under a second) until a lock changes.
#
#   bash examples/scripts/setup.sh          prints nothing but what it does; exit code 0 when the environment stands
#   PURE_FLASH_ATTN=1 bash ...              on a GPU host, also flash-attn: built here, which needs nvcc and up to an hour
#
# From the environment: PURE_HOST (cpu or gpu; default: what is there), PURE_VENV (default: .venv-cpu or .venv-gpu in the
# checkout), PYTHON (3.11 or 3.12), PURE_DEV=1 (also what the tests need). The CPU build of torch comes from PyTorch's own
# index, or from a folder of wheels that UV_FIND_LINKS or PIP_FIND_LINKS names.
#
# Without this script: pip install --no-deps --require-hashes -r requirements/cpu.lock (or gpu.lock), with
# --extra-index-url https://download.pytorch.org/whl/cpu for the former.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
locks=("$root/requirements/$host.lock")
[ -n "${PURE_DEV:-}" ] && locks+=("$root/requirements/tests.lock")
flash_attn=
[ "$host" = gpu ] && [ "${PURE_FLASH_ATTN:-0}" != 0 ] && flash_attn=1
key_of() { # LOCKS
    echo "$(echo "$flash_attn" | cat - "$@" "$root/setup.py" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)-$host"
}
key=$(key_of "${locks[@]}")
there=$(cat "$venv/.pure-setup" 2>/dev/null || true)
# One that has the tests' packages besides is left as it is: its tests may be running.
if [ "$there" = "$key" ] || [ "$there" = "$(key_of "${locks[0]}" "$root/requirements/tests.lock")" ]; then
    exit 0
fi

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.12 python3.11 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or 3.12 is needed; none of ${PYTHON:-python3.12 python3.11 python3} is one. Set PYTHON=/path/to/python3.11" >&2
    return 1
}

# uv of the user, or one of our own beside uv's cache
find_uv() {
    local own=${XDG_CACHE_HOME:-$HOME/.cache}/pure-rlhf/uv
    command -v uv && return
    if [ ! -x "$own/bin/uv" ]; then
        PIP_ROOT_USER_ACTION=ignore "$base" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
            --target "$own" -r "$root/requirements/uv.lock" >&2 || return 1
    fi
    echo "$own/bin/uv"
}

base=$(find_python)
start=$SECONDS
echo "Setting up $venv for a $host host ($("$base" --version)), once."
[ -z "${PURE_VENV:-}" ] && [ -d "$root/.venv" ] && echo "$root/.venv is not used any more and may be deleted."
uv=$(find_uv)
rm -f "$venv/.pure-setup"
"$python" -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null ||
    "$uv" venv --quiet --clear --python "$base" "$venv"

# pip's settings are not uv's: a mirror or a folder of wheels that pip was told of holds for uv too
[ -n "${PIP_INDEX_URL:-}" ] && export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}
wheels=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
[ -n "$wheels" ] && export UV_FIND_LINKS=${wheels// /,}
options=(--quiet --python "$python" --no-progress)
torch=$(sed -n 's/^torch==\([^ ]*\).*/torch-\1/p' "${locks[0]}")
if [ "$host" = cpu ] && ! compgen -G "${wheels%%[ ,]*}/$torch-*.whl" >/dev/null; then
    options+=(--index https://download.pytorch.org/whl/cpu)
fi
# Compiled here: where Python may not write bytecode (PYTHONDONTWRITEBYTECODE, a read-only image), every process of a run
# would compile what it imports, which is half of its start.
"$uv" pip sync "${options[@]}" --compile-bytecode --require-hashes "${locks[@]}"
if [ -n "$flash_attn" ]; then # compiled against the torch of the lock, so after it
    if ! command -v nvcc >/dev/null && [ ! -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; then
        echo "flash-attn is compiled and there is no nvcc here; install the CUDA toolkit, or leave PURE_FLASH_ATTN out:" >&2
        echo "everything but --ds.packing_samples runs without it" >&2
        exit 1
    fi
    # for the GPUs of this host only: by default it compiles for four generations
    archs=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | sed 's/\..*/0/' | sort -nu | paste -sd';')
    export FLASH_ATTN_CUDA_ARCHS=${FLASH_ATTN_CUDA_ARCHS:-$archs}
    locks+=("$root/requirements/flash-attn.lock")
    "$uv" pip install "${options[@]}" --require-hashes --no-deps --no-build-isolation -r "${locks[-1]}"
fi
"$uv" pip install "${options[@]}" --no-deps --no-build-isolation -e "$root"
"$python" "$root/requirements/check_lock.py" "${locks[@]}"
echo "$key" >"$venv/.pure-setup"
echo "Environment ready after $((SECONDS - start)) s."
