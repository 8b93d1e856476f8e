"""Where the algorithm runs: Ray actors and the subclasses of OpenRLHF. No formulas here.

In every process that loads one of the modules below, OpenRLHF's modules get a vLLM and a DeepSpeed that are loaded at
their first use: by the rollout engines only, and by what trains or scores with a model.
"""

import os
import sys

from pure_rlhf import cpu_host

# Where this is not said, the driver has asked CUDA. A worker must not before OpenRLHF has chosen its GPU: CUDA reads
# CUDA_VISIBLE_DEVICES when it is asked for the first time.
if os.environ.get("PURE_HOST") == "cpu":
    cpu_host.install()
elif not cpu_host.flash_attn_loads():
    cpu_host.supply_flash_attn_helpers()

from pure_rlhf.workers.lean_imports import LeanOpenRlhf

sys.meta_path.insert(0, LeanOpenRlhf)
cpu_host.offer_float32()
