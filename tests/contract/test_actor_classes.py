"""Ray can send every actor's class to its process, without vLLM and DeepSpeed being loaded; without starting a Ray."""

from __future__ import annotations

import os
import subprocess
import sys

ACTORS = [
    "pure_rlhf.workers.policy_worker.PolicyWorker",
    "pure_rlhf.workers.reference_worker.ReferenceWorker",
    "pure_rlhf.workers.prm_worker.PrmWorker",
    "pure_rlhf.workers.prm_worker.PrmEngineWorker",
    "pure_rlhf.workers.learning_prm.ImplicitPrmWorker",
    "pure_rlhf.workers.learning_prm.LearningPrmWorker",
    "pure_rlhf.workers.trainer.PureTrainer",
    "pure_rlhf.workers.rollout_actor.PureRolloutActor",
]
# Ray sends a class as `export_actor_class` in ray/_private/function_manager.py pickles it.
PROGRAM = """
import importlib, sys
import ray
for actor in sys.argv[1:]:
    module, name = actor.rsplit(".", 1)
    actor_class = ray.remote(getattr(importlib.import_module(module), name))
    sent = ray.cloudpickle.dumps(actor_class.__ray_metadata__.modified_class)
    received = ray.cloudpickle.loads(sent)
    print(received.__name__)
importlib.import_module("pure_rlhf.workers.launcher")
found = {"vllm", "deepspeed", "datasets", "scipy", "pandas", "torch._inductor.lowering"} & sys.modules.keys()
assert not found, f"loaded without need: {found}"
# a use loads the real one
from openrlhf.trainer.ray import vllm_engine
assert vllm_engine.vllm.__version__ and "vllm" in sys.modules
"""


def test_every_actor_class_travels_and_loads_nothing_that_it_does_not_need() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *ACTORS],
        env=os.environ | {"PURE_HOST": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split()[-len(ACTORS) :] == [actor.rsplit(".", 1)[1] for actor in ACTORS]
