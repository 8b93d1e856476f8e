"""Where the algorithm runs: Ray actors and the subclasses of OpenRLHF. No formulas here.

OpenRLHF is imported here, before any of the modules below, so that every process that loads one of them is prepared
in the same way: `cpu_host.install` where there is no GPU, and vLLM loaded by the rollout engines only.
"""

import importlib

from pure_rlhf import cpu_host
from pure_rlhf.workers.deferred_vllm import deferred_vllm

cpu_host.install()
with deferred_vllm():
    importlib.import_module("openrlhf.trainer.ray.vllm_engine")
    importlib.import_module("openrlhf.trainer.ppo_utils.samples_generator")
