"""The reference policy's worker: OpenRLHF's, under a name of ours, so that its process is prepared by this package."""

from __future__ import annotations

from openrlhf.trainer.ray.launcher import ReferenceModelActor

from pure_rlhf.workers.upstream import undecorated


class ReferenceWorker(undecorated(ReferenceModelActor)):
    """One data-parallel rank of the reference policy: log-probabilities without gradients."""
