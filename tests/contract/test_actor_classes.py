"""Ray can send every actor's class to its process, also where vLLM is not loaded; without starting a Ray."""

from __future__ import annotations

import os
import subprocess
import sys

# The engine is last: what receives its class loads vLLM.
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
    assert "vllm" not in sys.modules, f"vLLM was loaded by {module}"
    assert "mlflow" not in sys.modules, f"MLflow was loaded by {module}"
    sent = ray.cloudpickle.dumps(actor_class.__ray_metadata__.modified_class)
    assert "vllm" not in sys.modules, f"vLLM was loaded by the sending of {name}"
    received = ray.cloudpickle.loads(sent)
    assert ("vllm" in sys.modules) == (name == "PureRolloutActor"), f"who loads vLLM? {name}"
    print(received.__name__)
"""


def test_every_actor_class_travels_and_only_the_engine_loads_vllm() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *ACTORS],
        env=os.environ | {"PURE_HOST": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split()[-len(ACTORS) :] == [actor.rsplit(".", 1)[1] for actor in ACTORS]
