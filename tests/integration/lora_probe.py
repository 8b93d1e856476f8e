"""Program of test_lora.py: one policy rank with an adapter, without Ray and engines; prints what it finds as JSON.

A process of its own, because DeepSpeed keeps a process group and ZeRO-3 changes how transformers loads models.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pure_rlhf import cpu_host

os.environ.update(cpu_host.environment())
cpu_host.install()

import torch  # noqa: E402

from pure_rlhf.cli.train_pure import parse  # noqa: E402
from pure_rlhf.workers.lean_imports import load_deepspeed  # noqa: E402
from pure_rlhf.workers.lora import LoraPolicyWorker  # noqa: E402
from pure_rlhf.workers.strategy import make_strategy  # noqa: E402
from pure_rlhf.workers.upstream import upstream_args  # noqa: E402
from pure_rlhf.workers.weight_sources import weight_sources  # noqa: E402

load_deepspeed()  # as a run does, which compiles nothing
import deepspeed  # noqa: E402

torch.manual_seed(1)
IDS = torch.randint(5, 250, (8, 24))
MASK = torch.ones_like(IDS)
ACTIONS = torch.ones(8, 23, dtype=torch.bool)


def pushed(worker: Any) -> dict[str, torch.Tensor]:
    """What a push would send."""
    zero_3 = worker.strategy.args.ds.zero_stage == 3
    weights = {}
    for source in weight_sources(worker.peft_model):
        with deepspeed.zero.GatheredParameters(source.parameters, enabled=zero_3):
            weights[source.name] = source.value().clone()
            assert list(weights[source.name].shape) == source.shape
    return weights


def update(worker: Any, steps: int) -> None:
    """Make the sequences likelier."""
    worker.actor.train()
    for _ in range(steps):
        loss = -worker.actor(IDS, ACTIONS, MASK).mean()
        worker.strategy.backward(loss, worker.actor, None)
        worker.strategy.optimizer_step(None, worker.actor, None)


def largest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name].float() - b[name].float()).abs().max()) for name in a)


def main(flags: list[str]) -> None:
    config, problems = parse(flags)
    assert not problems, problems
    strategy = make_strategy(upstream_args(config))
    worker: Any = LoraPolicyWorker(1, 0, None, None)
    worker.init_model_from_pretrained(strategy, config.actor.model_name_or_path, 100, None)

    def log_probs(method: str) -> torch.Tensor:
        return getattr(worker, method)(IDS, ACTIONS, MASK)

    def trained() -> list[str]:
        return [name for name, p in worker.peft_model.named_parameters() if p.requires_grad]

    names = trained()
    base = log_probs("reference_forward")
    result: dict[str, Any] = {"gap_at_start": float((log_probs("forward") - base).abs().max())}
    update(worker, 2)
    worker.save_checkpoint("global_step2")
    second, log_probs_second = pushed(worker), log_probs("forward")
    update(worker, 2)
    third = pushed(worker)
    worker.roll_back("global_step2")
    result |= {
        "moved": float((log_probs_second - base).abs().max()),
        "base_moved": float((log_probs("reference_forward") - base).abs().max()),
        "third_from_second": largest(third, second),
        "rolled_back_from_second": largest(pushed(worker), second),
        "log_probs_rolled_back": float((log_probs("forward") - log_probs_second).abs().max()),
    }
    update(worker, 2)
    result |= {
        "third_again_from_third": largest(pushed(worker), third),
        "trained_at_start": names,
        "trained": trained(),
    }
    worker.save_model()
    torch.save(pushed(worker), Path(config.output_dir) / "pushed.pt")
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
