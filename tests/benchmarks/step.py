"""Where the time of a training step goes on the CPU host: `python -m tests.benchmarks.step`.

Fixed setting: a 3-million-parameter policy and a PRM of the same size, 16 prompts x 4 answers of 110 tokens,
one optimiser step. Three kinds of run in turn, and again: PURE (PRMVR with a frozen PRM), VR (without a PRM), PRIME (an
implicit PRM that learns, and the same policy loss). Prints the median of each phase over all steps but the first two
of a run, the ratios of the steps, the share of the time that is neither generation nor policy update, and the time
from start to the first step.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tests.command_lines import as_flags

STEPS = 8
WARM_UP_STEPS = 2
KINDS: dict[str, dict[str, object]] = {
    "PURE": {"reward_mode": "PRMVR"},
    "VR": {"reward_mode": "VR"},
    "PRIME": {
        "reward_mode": "PRMVR",
        "process_reward": "implicit",
        "prm_update": "outcome",
        "convention": "prime",
        # PURE's: the same forward of the reference in all three, and no prompts left out
        "algo.kl.init_coef": 0.001,
    },
}
ROUNDS = 2
PHASES = (
    "generation",
    "log_probs",
    "score_prm",
    "verify",
    "advantages",
    "policy_update",
    "prm_update",
    "weight_sync",
    "step",
)


def make_inputs(folder: Path) -> None:
    from tests.tiny_models import save_models

    rows = [{"question": f"What is {a} + {a + 7}?", "answer": str(2 * a + 7)} for a in range(200)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [f"{row['question']} We add.\n\nSo \\boxed{{{row['answer']}}}." for row in rows]
    save_models(
        folder,
        texts,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )


def run_kind(folder: Path, kind: str, number: int) -> tuple[list[dict[str, float]], float]:
    """Metrics of the warm steps, and the seconds from the start of the process to the first step's end."""
    output = folder / f"{kind}-{number}"
    flags = {
        **KINDS[kind],
        "actor.model_name_or_path": folder / "policy",
        "reward.model_name_or_path": folder / ("policy" if kind == "PRIME" else "prm"),
        "data.prompt_dataset": folder / "train.jsonl",
        "output_dir": output,
        "actor.num_gpus_per_node": 1,
        "ref.num_gpus_per_node": 1,
        "reward.num_gpus_per_node": 1,
        "vllm.num_engines": 1,
        "ds.attn_implementation": "sdpa",
        "data.max_len": 256,
        "data.prompt_max_len": 128,
        "rollout.max_new_tokens": 110,
        "rollout.batch_size": 16,
        "rollout.n_samples_per_prompt": 4,
        "rollout.micro_batch_size": 64,
        "rollout.temperature": 1.0,
        "train.batch_size": 64,
        "train.micro_batch_size": 64,
        "max_steps": STEPS,
        "ckpt.save_steps": -1,
    }
    arguments = as_flags(flags)
    command = [sys.executable, "-m", "pure_rlhf.cli.train_pure", *arguments, "--no_dashboard"]
    start = time.time()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        metrics_path = output / "metrics.jsonl"
        while not metrics_path.exists() and process.poll() is None:
            time.sleep(0.1)
        first_step = time.time() - start
        _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors)
    rows = [json.loads(line) for line in metrics_path.read_text().splitlines()]
    return rows[WARM_UP_STEPS:], first_step


def main() -> None:
    collected: dict[str, list[dict[str, float]]] = defaultdict(list)
    starts = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder)
        for number in range(ROUNDS):
            for kind in KINDS:
                rows, first_step = run_kind(folder, kind, number)
                collected[kind] += rows
                starts.append(first_step)
    medians = {
        kind: {
            phase: statistics.median(row.get(f"timing/{phase}", 0.0) for row in rows)
            for phase in PHASES
        }
        for kind, rows in collected.items()
    }
    print(f"{os.cpu_count()} cores; medians over {len(collected['VR'])} steps a kind, seconds")
    print(f"{'phase':<16}" + "".join(f"{kind:>10}" for kind in medians))
    for phase in PHASES:
        print(f"{phase:<16}" + "".join(f"{values[phase]:>10.3f}" for values in medians.values()))
    with_prm = medians["PURE"]
    print(f"step with the PRM / step without: {with_prm['step'] / medians['VR']['step']:.2f}")
    print(f"PRIME's step / PURE's: {medians['PRIME']['step'] / with_prm['step']:.2f}")
    other = 1 - (with_prm["generation"] + with_prm["policy_update"]) / with_prm["step"]
    print(f"neither generation nor policy update: {other:.0%} of the step with the PRM")
    print(f"from start to the end of the first step: {statistics.median(starts):.0f} s")


if __name__ == "__main__":
    main()
