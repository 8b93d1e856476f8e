"""Proof on a real GPU: `bash tests/run.sh --gpu`, or `python -m tests.gpu` in an environment that stands.

Checks run in order, each in a process of its own with a time limit, ten minutes together; `docs/gpu_report.md` says
what came out. Models are random and made here: no hub and no network are needed. pytest collects nothing here.

* `__main__.py`: the list of checks, and the command line
* `runner.py`: order, limits, what is left out; knows nothing of GPUs but how full they are
* `checks.py`, `end_to_end.py`: what is checked; a check takes its device, so a CPU runs the same functions
  (`tests/integration/test_gpu_checks.py`)
* `models.py`, `report.py`, `estimate.py`: what is checked with, and what is written
"""
