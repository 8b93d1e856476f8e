"""Memory of a GPU as measured, beside what the project says before a run. The one place to connect the two."""

from __future__ import annotations

from pathlib import Path

from pure_rlhf.cli.train_pure import parse
from pure_rlhf.fit.estimate import GB, Circumstances, Models, estimate
from pure_rlhf.fit.host import Host
from pure_rlhf.fit.shapes import KNOWN_MODELS, without_output
from tests.gpu.end_to_end import flags
from tests.gpu.models import Setting


def estimated_gb(check: str, host: Host) -> float | None:
    """What the doctor says of the fullest training GPU in the runs `shared` and `split`, in GB; None: other checks."""
    if not host.gpus or (check != "shared" and check != "split"):
        return None
    nowhere = Path("nowhere")  # the shapes are known
    config, problems = parse(flags(Setting("cuda", nowhere), check, nowhere), len(host.gpus))
    assert not problems, problems
    shape = KNOWN_MODELS["Qwen/Qwen2.5-0.5B"]
    models = Models(policy=shape, prm=without_output(shape))
    circumstances = Circumstances(gpu_bytes=host.smallest_gpu, fused_cross_entropy=host.flash_attn)
    return max(estimate(config, models, circumstances).training.values()) / GB


def compare(measured_gb: float | None, estimate_gb: float | None) -> str:
    """The cell of the report, such as "9.1 GB; estimate 8.6 (-5 %)"."""
    if measured_gb is None:
        return "-"
    measured = f"{measured_gb:.1f} GB"
    if estimate_gb is None:
        return measured
    return f"{measured}; estimate {estimate_gb:.1f} ({estimate_gb / measured_gb - 1:+.0%})"
