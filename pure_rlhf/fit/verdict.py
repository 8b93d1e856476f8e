"""An estimate beside a machine: what is needed, what is there, and whether that fits, is close, or does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pure_rlhf.config import PureConfig
from pure_rlhf.fit.estimate import (
    GB,
    PHASES,
    RESIDENT,
    Circumstances,
    Estimate,
    Models,
    cpu_host_memory,
    disk_of,
    estimate,
    longest_row,
    placement_of,
)
from pure_rlhf.fit.host import Host

Verdict = Literal["fits", "close", "does not fit", "not known"]
# How far an estimate may be off: what would not fit even if it is too high is refused, what would even if it is too
# low fits.
TOO_HIGH, TOO_LOW = 0.95, 1.10
EASY_RESPONSES = 8
"""An engine that writes fewer at once has room for its model, and hardly for work."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that is needed, in bytes; `have` is None where that is not known."""

    what: str
    amount: float
    least: float
    most: float
    have: float | None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.have is None:
            return "not known"
        if self.most <= self.have:
            return "fits"
        return "close" if self.least <= self.have else "does not fit"

    def sentence(self) -> str:
        """Such as `training GPU, update: 94 of 85 GB`."""
        have = "" if self.have is None else f" of {self.have / GB:,.0f}"
        return f"{self.what}: {self.amount / GB:,.0f}{have} GB"


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """All needs of a run on a machine; `estimate` is None on a CPU host."""

    needs: list[Need]
    num_gpus_needed: int
    num_gpus: int
    estimate: Estimate | None

    @property
    def verdict(self) -> Verdict:
        found = {need.verdict for need in self.needs}
        if "does not fit" in found or self.num_gpus_needed > self.num_gpus:
            return "does not fit"
        return "close" if "close" in found else "fits"

    @property
    def failing(self) -> list[str]:
        """What does not fit, one sentence each."""
        said = [need.sentence() for need in self.needs if need.verdict == "does not fit"]
        if self.num_gpus_needed > self.num_gpus:
            said.insert(0, f"{self.num_gpus_needed} GPUs are needed, there are {self.num_gpus}")
        return said

    @property
    def fullest(self) -> Need | None:
        """What comes nearest to its limit on the GPUs."""
        known = [need for need in self.needs if need.have and "GPU" in need.what]
        return max(known, key=lambda need: need.amount / (need.have or 1), default=None)


def assess(
    config: PureConfig,
    models: Models,
    host: Host,
    *,
    disk_free: int | None,
) -> Assessment:
    """What a run needs on GPUs, in host memory and on disk, beside what `host` has."""
    circumstances = Circumstances(gpu_bytes=host.smallest_gpu, fused_cross_entropy=host.flash_attn)
    found = estimate(config, models, circumstances)
    resident = RESIDENT[placement_of(config)]
    needs = []
    for phase in PHASES:
        amount = found.training[phase]
        fixed = found.parts["engine"] if "engine" in resident[phase] else 0.0  # vLLM keeps to it
        needs.append(
            Need(
                what=f"training GPU, {phase}",
                amount=amount,
                least=fixed + TOO_HIGH * (amount - fixed),
                most=fixed + TOO_LOW * (amount - fixed),
                have=host.smallest_gpu,
            )
        )
    needs += _engine_needs(config, models, found, host)
    memory = found.host
    needs.append(
        Need(
            what="host memory",
            amount=memory.least,
            least=memory.least,
            most=memory.most,
            have=host.memory_bytes,
            note=f"up to {memory.most / GB:,.0f} GB while models load",
        )
    )
    return Assessment(
        needs=[*needs, disk_need(config, models.policy.num_parameters, disk_free)],
        num_gpus_needed=config.needed_gpus,
        num_gpus=len(host.gpus),
        estimate=found,
    )


def _engine_needs(config: PureConfig, models: Models, found: Estimate, host: Host) -> list[Need]:
    engine = found.engine
    own = engine.weights + engine.working
    one = models.policy.kv_bytes_per_token * longest_row(config) / config.vllm.tensor_parallel_size
    needs = [
        Need(
            what="engine GPU, generation",
            amount=own + one,
            least=TOO_HIGH * own + one,
            most=TOO_LOW * own + one * min(EASY_RESPONSES, engine.responses),
            have=engine.budget,
            note=f"{int(engine.responses_at_once)} full-length responses at once, of {engine.responses}",
        )
    ]
    if not config.shares_gpus:
        spare = host.smallest_gpu - engine.budget
        needs.append(
            Need(
                what="engine GPU, sync",
                amount=engine.outside,
                least=engine.outside,
                most=TOO_LOW * engine.outside,
                have=spare,
                note="beside --vllm.gpu_memory_utilization",
            )
        )
    return needs


def disk_need(config: PureConfig, num_parameters: int, free: int | None) -> Need:
    disk = disk_of(config, num_parameters)
    return Need(
        what="disk",
        amount=disk.total,
        least=disk.total,
        most=disk.total,
        have=free,
        note=f"{disk.kept} checkpoints of {disk.checkpoint / GB:,.1f} GB and the model",
    )


def assess_cpu_host(
    config: PureConfig, models: Models, host: Host, *, disk_free: int | None
) -> Assessment:
    """The same where there is no GPU and everything lies in host memory."""
    memory = cpu_host_memory(config, models)
    need = Need(
        what="host memory",
        amount=memory.least,
        least=memory.least,
        most=memory.most,
        have=host.memory_bytes,
        note=f"up to {memory.most / GB:,.1f} GB with workers, activations and logits",
    )
    return Assessment(
        needs=[need, disk_need(config, models.policy.num_parameters, disk_free)],
        num_gpus_needed=0,
        num_gpus=0,
        estimate=None,
    )
