# Sourced by every script: what kind of host this is, and where its environment lies. Nothing is made here.
#   root (the checkout), host (cpu or gpu), num_gpus (that CUDA would show), venv, python; PYTHONPATH is exported.
#   Where GPUs are hidden and no PURE_HOST says that this is meant, it says so.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
num_gpus=$({ nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU' || true)
if [ -n "${CUDA_VISIBLE_DEVICES+set}" ] && [ "$num_gpus" -gt 0 ]; then
    all_gpus=$num_gpus
    num_gpus=$(echo "$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -c '[^ ]' || true)
fi
if [ "$num_gpus" = 0 ] && [ -n "${all_gpus:-}" ] && [ -z "${PURE_HOST:-}" ]; then
    echo "CUDA_VISIBLE_DEVICES is empty and hides all $all_gpus GPUs of this host: it runs on the CPU. PURE_HOST=cpu says that" >&2
    echo "this is meant; unset CUDA_VISIBLE_DEVICES, or name GPUs in it, to use them" >&2
fi
host=${PURE_HOST:-$([ "$num_gpus" -gt 0 ] && echo gpu || echo cpu)}
venv=${PURE_VENV:-$root/.venv-$host}
python=$venv/bin/python
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
