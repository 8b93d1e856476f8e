"""Program of test_learning_prm.py: one rank of a PRM that learns, without Ray and engines; rank 0 prints JSON.

    python -m tests.integration.learning_probe RANK NUM_RANKS PORT and the flags of a run

A process of its own, because DeepSpeed keeps a process group and ZeRO-3 changes how transformers loads models.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from pure_rlhf import cpu_host

os.environ.update(cpu_host.environment())
cpu_host.install()

import torch  # noqa: E402

from pure_rlhf.algorithm.prm_losses import (  # noqa: E402
    last_step_labels,
    outcome_weights,
    step_label_weights,
)
from pure_rlhf.cli.train_pure import parse  # noqa: E402
from pure_rlhf.prm.batching import plan_training  # noqa: E402
from pure_rlhf.prm.conventions import PureConvention  # noqa: E402
from pure_rlhf.types import ImplicitRows, PrmInputs, StepRows  # noqa: E402
from pure_rlhf.workers.learning_prm import ImplicitPrmWorker, LearningPrmWorker  # noqa: E402
from pure_rlhf.workers.strategy import make_strategy  # noqa: E402
from pure_rlhf.workers.upstream import upstream_args  # noqa: E402

NUM, WIDTH, PROMPT = 16, 24, 8
generator = torch.Generator().manual_seed(1)
IDS = torch.randint(5, 250, (NUM, WIDTH), generator=generator)
LENGTHS = torch.randint(PROMPT + 4, WIDTH + 1, (NUM,), generator=generator)
ATTENTION = (torch.arange(WIDTH) < LENGTHS[:, None]).long()
ACTIONS = ATTENTION[:, 1:] * (torch.arange(WIDTH - 1) >= PROMPT - 1)
OUTCOMES = torch.tensor([1.0, 0.0, 0.0, float("nan")] * (NUM // 4))
STEPS = torch.stack([LENGTHS - 4, LENGTHS - 1], dim=1)  # two steps a response


def rows_of(worker: Any, chosen: list[int]) -> ImplicitRows | StepRows:
    """What the driver would send."""
    if isinstance(worker, ImplicitPrmWorker):
        return ImplicitRows(
            sequences_BT=IDS[chosen],
            attention_mask_BT=ATTENTION[chosen],
            action_mask_BA=ACTIONS[chosen],
            reference_log_probs_BA=REFERENCE[chosen],
            outcome_B=OUTCOMES[chosen],
            weight_B=outcome_weights(OUTCOMES)[chosen],
        )
    mask_BS = torch.ones(NUM, 2, dtype=torch.bool)
    labels_BS = last_step_labels(OUTCOMES, mask_BS)
    return StepRows(
        inputs=PrmInputs(
            input_ids_BU=IDS[chosen],
            attention_mask_BU=ATTENTION[chosen],
            read_index_BS=STEPS[chosen],
        ),
        mask_BS=mask_BS[chosen],
        outcome_B=OUTCOMES[chosen],
        labels_BS=labels_BS[chosen],
        weight_B=step_label_weights(labels_BS)[chosen],
    )


def scores(worker: Any) -> torch.Tensor:
    if isinstance(worker, ImplicitPrmWorker):
        return worker.forward(IDS, ACTIONS, ATTENTION)
    return worker.forward(IDS, ATTENTION, STEPS)


def fit(worker: Any, rank: int, num_ranks: int) -> float:
    """One update of the whole rollout, this rank's part of it; returns the mean loss."""
    plan = plan_training(NUM, batch_size=NUM, micro_batch_size=2, num_ranks=num_ranks)
    share = len(plan) // num_ranks
    for chosen in plan[rank * share : (rank + 1) * share]:
        worker.append(rows_of(worker, chosen))
    return worker.fit()["loss"]


def main(rank: int, num_ranks: int, port: str, flags: list[str]) -> None:
    global REFERENCE
    config, problems = parse(flags)
    assert not problems, problems
    strategy = make_strategy(upstream_args(config))
    worker: Any
    if config.uses_implicit_prm:
        worker = ImplicitPrmWorker(num_ranks, rank, "127.0.0.1", port)
        worker.init_model_from_pretrained(strategy, config.actor.model_name_or_path, 100)
        REFERENCE = scores(worker)
    else:
        worker = LearningPrmWorker(num_ranks, rank, "127.0.0.1", port)
        worker.init_model_from_pretrained(
            strategy, config.reward.model_name_or_path, PureConvention(), 100
        )
    start = scores(worker)
    losses = [fit(worker, rank, num_ranks)]
    worker.save_checkpoint("global_step1")
    first = scores(worker)
    losses.append(fit(worker, rank, num_ranks))
    second = scores(worker)
    worker.roll_back("global_step1")
    result: dict[str, Any] = {
        "rolled_back_from_first": float((scores(worker) - first).abs().max()),
        "second_from_first": float((second - first).abs().max()),
        "first_from_start": float((first - start).abs().max()),
    }
    losses.append(fit(worker, rank, num_ranks))
    result |= {
        "again_from_second": float((scores(worker) - second).abs().max()),
        "losses": losses,
    }
    worker.save_model()
    if rank == 0:
        print(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
