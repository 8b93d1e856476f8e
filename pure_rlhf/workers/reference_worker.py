"""The reference policy's worker: OpenRLHF's, which can leave the GPU to others (`gpu_turns.py`)."""

from __future__ import annotations

from openrlhf.trainer.ray.launcher import ReferenceModelActor

from pure_rlhf.workers.host_copy import TakesTurns
from pure_rlhf.workers.upstream import undecorated


class ReferenceWorker(TakesTurns, undecorated(ReferenceModelActor)):
    """One data-parallel rank of the reference policy: log-probabilities without gradients."""
