"""Does a run fit its machine? Estimated before anything starts, from the settings and the models' shapes alone.

Reading order: `shapes.py` (what a model weighs), `estimate.py` (what lies on a GPU, in host memory and on disk, phase
by phase), `host.py` (what there is), `verdict.py` (the two compared), `advice.py` (what would make it fit), `check.py`
(the same at the start of a run). The formulas in words: docs/doctor.md.
"""
