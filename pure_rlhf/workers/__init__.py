"""Where the algorithm runs: Ray actors and the subclasses of OpenRLHF. No formulas here.

OpenRLHF is imported here, before any of the modules below, so that in every process that loads one of them vLLM is
loaded by its first use: by the rollout engines only.
"""

import importlib
import os

from pure_rlhf import cpu_host
from pure_rlhf.workers.lean_imports import (
    deferred_vllm,
    leave_out_autotuner,
    leave_out_compiled_extensions,
)

# Where this is not said, the driver has asked CUDA. A worker must not before OpenRLHF has chosen its GPU: CUDA reads
# CUDA_VISIBLE_DEVICES when it is asked for the first time.
if os.environ.get("PURE_HOST") == "cpu":
    cpu_host.install()
elif not cpu_host.flash_attn_loads():
    cpu_host.supply_flash_attn_helpers()
leave_out_autotuner()
with deferred_vllm():
    importlib.import_module("openrlhf.trainer.ray.vllm_engine")
    importlib.import_module("openrlhf.trainer.ppo_utils.samples_generator")
leave_out_compiled_extensions()
cpu_host.offer_float32()
