# Sourced by every script: what kind of host this is, and where its environment lies. Nothing is made here.
#   root (the checkout), host (cpu or gpu), venv, python; PYTHONPATH is exported.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
host=${PURE_HOST:-$(nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)}
venv=${PURE_VENV:-$root/.venv-$host}
python=$venv/bin/python
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
