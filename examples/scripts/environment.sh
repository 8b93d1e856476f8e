# Sourced by every script: what kind of host this is, and where its environment lies. Nothing is made here.
#   root (the checkout), host (cpu or gpu), num_gpus (that CUDA would show), venv, python; PYTHONPATH is exported.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
num_gpus=$({ nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU' || true)
if [ -n "${CUDA_VISIBLE_DEVICES+set}" ] && [ "$num_gpus" -gt 0 ]; then
    num_gpus=$(echo "$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -c '[^ ]' || true)
fi
host=${PURE_HOST:-$([ "$num_gpus" -gt 0 ] && echo gpu || echo cpu)}
venv=${PURE_VENV:-$root/.venv-$host}
python=$venv/bin/python
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
