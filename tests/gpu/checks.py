"""The checks one by one: `python -m tests.gpu.checks NAME --folder FOLDER --device cuda|cpu`.

Each returns the numbers of the report, or raises. `GB` are 10^9 bytes, `tokens/s` are of the check's own tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pure_rlhf import cpu_host
from tests.command_lines import as_flags
from tests.gpu import end_to_end
from tests.gpu.models import Setting, make_models
from tests.gpu.runner import RESULT_VARIABLE

Numbers = dict[str, Any]

NOISE = 0.03
"""Of bfloat16 through 24 layers, nats: 0.007 between transformers in bfloat16 and in float32 (2 cores, no GPU)."""
PROMPTS, PROMPT_TOKENS, ANSWER_TOKENS = 64, 32, 128
UPDATES, BATCH, MICRO_BATCH, LENGTH = 5, 8, 4, 64
LEARNING_RATE_TIMES_WIDTH = 0.1
"""A wide model needs smaller steps: 1.1e-4 for 896, 1.6e-3 for 64."""
LOSS_TOLERANCE = 0.1
"""Between five updates of bfloat16 parameters with float32 copies and of float32 parameters, nats."""
REWARD_TOLERANCE = 0.02


class CheckFailed(Exception):
    """What was computed is wrong."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise CheckFailed(message)


def install(setting: Setting) -> Numbers:
    """All imports, and that the device computes what the CPU does."""
    import deepspeed
    import ray
    import transformers
    import vllm

    import pure_rlhf.workers.launcher  # noqa: F401 (OpenRLHF and all of ours)

    on_a_gpu = setting.device != "cpu"
    require(cpu_host.is_cpu_host() != on_a_gpu, f"asked for {setting.device}; torch sees another")
    torch.manual_seed(0)
    a, b = torch.randn(2, 512, 512, dtype=torch.float64)
    product = (a.float().to(setting.device) @ b.float().to(setting.device)).cpu().double()
    matmul_error = float((product - a @ b).abs().max())
    require(matmul_error < 1e-2, f"a matrix product is {matmul_error:.2g} off")
    query, key, value = torch.randn(3, 2, 4, 128, 64).to(torch.bfloat16)
    attend = torch.nn.functional.scaled_dot_product_attention
    exact = attend(query.float(), key.float(), value.float(), is_causal=True)
    query, key, value = (each.to(setting.device) for each in (query, key, value))
    found = attend(query, key, value, is_causal=True)
    sdpa_error = float((found.cpu().float() - exact).abs().max())
    require(sdpa_error < 0.05, f"attention is {sdpa_error:.2g} off")
    libraries = {"torch": torch, "vllm": vllm, "deepspeed": deepspeed, "ray": ray}
    libraries["transformers"] = transformers
    return {name: module.__version__ for name, module in libraries.items()} | {
        "flash-attn": "yes" if cpu_host.flash_attn_loads() else "no, sdpa",
        "matrix product off by": matmul_error,
        "attention off by": sdpa_error,
    }


def engine(setting: Setting, *, enforce_eager: bool) -> Numbers:
    """vLLM samples; its log-probabilities are those that transformers computes in float32."""
    from transformers import AutoModelForCausalLM
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    llm = LLM(
        str(setting.policy),
        dtype="bfloat16",
        seed=1,
        enforce_eager=enforce_eager,
        max_model_len=2 * (PROMPT_TOKENS + ANSWER_TOKENS),
        gpu_memory_utilization=0.4,  # the model that it is compared with needs room too
        logprobs_mode="processed_logprobs",
        enable_prefix_caching=False,
        disable_log_stats=True,
    )
    ids = _token_ids(setting, PROMPTS, PROMPT_TOKENS).tolist()
    prompts = [TokensPrompt(prompt_token_ids=row) for row in ids]
    sampling = SamplingParams(
        max_tokens=ANSWER_TOKENS, min_tokens=ANSWER_TOKENS, logprobs=0, detokenize=False
    )
    llm.generate(prompts[:4], sampling, use_tqdm=False)  # kernels are compiled at their first use
    start = time.monotonic()
    outputs: Any = llm.generate(prompts, sampling, use_tqdm=False)
    seconds = time.monotonic() - start
    model: Any = AutoModelForCausalLM.from_pretrained(setting.policy, dtype=torch.float32)
    model.to(setting.device)
    by_engine, by_model = [], []
    for row, output in list(zip(ids, outputs, strict=True))[:8]:
        answer = output.outputs[0]
        tokens = list(answer.token_ids)
        by_engine += [p[t].logprob for p, t in zip(answer.logprobs, tokens, strict=True)]
        with torch.no_grad():
            logits = model(torch.tensor([row + tokens], device=setting.device)).logits[0]
        log_probs = logits[PROMPT_TOKENS - 1 : -1].log_softmax(-1)
        by_model += log_probs.gather(1, torch.tensor(tokens)[:, None].to(log_probs.device)).tolist()
    engine_N, model_N = torch.tensor(by_engine), torch.tensor(by_model)[:, 0]
    gap = float((engine_N - model_N).abs().mean())
    spread = float((model_N - model_N.mean()).abs().mean())
    require(spread > 5 * NOISE, f"the log-probabilities differ by {spread:.3f} nats: no proof")
    require(gap < NOISE, f"engine and transformers are {gap:.3f} nats apart (bound {NOISE})")
    return {
        "tokens/s": PROMPTS * ANSWER_TOKENS / seconds,
        "log-probability gap": gap,
        "their spread": spread,
    }


def update(setting: Setting, *, zero_stage: int, adam_offload: bool) -> Numbers:
    """OpenRLHF's DeepSpeed strategy with our AdamW, one rank, against PyTorch's AdamW in float32."""
    import torch.distributed as dist
    from openrlhf.models import Actor

    from pure_rlhf.config import PureConfig
    from pure_rlhf.workers.strategy import make_strategy
    from pure_rlhf.workers.upstream import upstream_args

    args = upstream_args(PureConfig())
    args.ds.zero_stage, args.ds.adam_offload = zero_stage, adam_offload
    args.train.batch_size, args.train.micro_batch_size = BATCH, MICRO_BATCH
    args.actor.adam.lr = LEARNING_RATE_TIMES_WIDTH / _model_config(setting).hidden_size
    expected = _plain_losses(setting, args)
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    strategy = make_strategy(args)
    strategy.setup_distributed()
    actor: Any = Actor(
        str(setting.policy),
        attn_implementation=args.ds.attn_implementation,
        param_dtype=args.ds.param_dtype,
        ds_config=strategy.get_ds_train_config(),
    )
    settings = {
        "optim": "adam",
        "adam": vars(args.actor.adam),
        "lr_scheduler": args.actor.lr_scheduler,
        "lr_warmup_ratio": args.actor.lr_warmup_ratio,
        "max_norm": args.actor.max_norm,
        "scheduler_steps": UPDATES,
    }
    actor, optimizer, scheduler = strategy.prepare((actor, settings))
    losses, start = [], time.monotonic()
    for batch_BS in _batches(setting):
        parts = batch_BS.split(MICRO_BATCH)
        losses.append(0.0)
        for part_BS in parts:
            loss = actor.model(input_ids=part_BS, labels=part_BS).loss
            losses[-1] += loss.item() / len(parts)
            strategy.backward(loss, actor, optimizer)
            strategy.optimizer_step(optimizer, actor, scheduler)
    seconds = time.monotonic() - start
    dist.destroy_process_group()
    off = max(abs(a - b) for a, b in zip(losses, expected, strict=True))
    fallen = losses[0] - losses[-1]
    require(fallen > 5 * LOSS_TOLERANCE, f"the loss fell by {fallen:.2f} nats only: {losses}")
    require(off < LOSS_TOLERANCE, f"losses {losses}, PyTorch's AdamW gives {expected}")
    return {
        "tokens/s": UPDATES * BATCH * LENGTH / seconds,
        "loss at first": losses[0],
        "loss at last": losses[-1],
        "loss off by": off,
    } | _allocated(setting)


def _plain_losses(setting: Setting, args: Any) -> list[float]:
    """What the same updates give without DeepSpeed; the model is gone afterwards."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(setting.policy, dtype=torch.float32)
    model.to(setting.device).train()
    adam = args.actor.adam
    optimizer = torch.optim.AdamW(
        model.parameters(), adam.lr, adam.betas, adam.eps, adam.weight_decay
    )
    losses = []
    for batch_BS in _batches(setting):
        loss = model(input_ids=batch_BS, labels=batch_BS).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), args.actor.max_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    del model, optimizer, loss
    if setting.device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return losses


def _batches(setting: Setting) -> Iterator[torch.Tensor]:
    """The same batch again and again, so that its loss falls."""
    for _ in range(UPDATES):
        yield _token_ids(setting, BATCH, LENGTH).to(setting.device)


def _token_ids(setting: Setting, rows: int, length: int) -> torch.Tensor:
    """Drawn from the whole vocabulary but its end of text; always the same."""
    generator = torch.Generator().manual_seed(1)
    vocab_size = _model_config(setting).vocab_size
    return torch.randint(1, vocab_size, (rows, length), generator=generator)


def _model_config(setting: Setting) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(setting.policy)


def prm(setting: Setting, *, backend: Any) -> Numbers:
    """`PrmScorer` on the device in bfloat16 against itself on the CPU in float32."""
    from pure_rlhf.prm.conventions import PrmSample
    from pure_rlhf.prm.scorer import PrmScorer

    samples = [
        PrmSample(f"What is {n} + 5?", f"What is {n} + 5?", (f"We add {n}.", f"So {n + 5}") * n)
        for n in range(1, 25)
    ]
    with _as_on_a_cpu(), PrmScorer(str(setting.prm), dtype=torch.float32) as scorer:
        expected = scorer.score(samples)
        convention, tokenizer = scorer.convention, scorer.tokenizer
    with PrmScorer(str(setting.prm), backend=backend, dtype=torch.bfloat16) as scorer:
        scorer.score(samples[:4])
        start = time.monotonic()
        rewards = scorer.score(samples)
        seconds = time.monotonic() - start
    flat = torch.tensor([reward for row in rewards for reward in row])
    wanted = torch.tensor([reward for row in expected for reward in row])
    off, spread = float((flat - wanted).abs().mean()), float(wanted.std())
    require(spread > 5 * REWARD_TOLERANCE, f"the rewards differ by {spread:.3f} only: no proof")
    require(off < REWARD_TOLERANCE, f"rewards are {off:.3f} off on average")
    num_tokens = sum(len(convention.lay_out(sample, tokenizer).input_ids) for sample in samples)
    numbers = {"tokens/s": num_tokens / seconds, "rewards off by": off, "their spread": spread}
    return numbers | (_allocated(setting) if backend == "transformers" else {})


def warm_up(setting: Setting) -> Numbers:
    """`train_sft`, a program without Ray: the loss falls, and the model that it leaves loads."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(setting.policy)
    problems = [json.loads(line) for line in setting.problems.read_text().splitlines()]
    rows = [
        {"question": row["question"], "response": f" We add.\n\nSo \\boxed{{{row['answer']}}}"}
        for row in problems
    ]
    data, run = setting.folder / "warm_up.jsonl", setting.folder / "run_warm_up"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = {
        "model.model_name_or_path": setting.policy,
        "data.dataset": data,
        "data.max_len": LENGTH,
        "train.batch_size": BATCH,
        "train.micro_batch_size": MICRO_BATCH,
        "train.max_epochs": 2,
        "adam.lr": LEARNING_RATE_TIMES_WIDTH / _model_config(setting).hidden_size,
        "eval.rows": 0,
        "ckpt.save_steps": -1,
        "output_dir": run,
    }
    command = [sys.executable, "-m", "pure_rlhf.cli.train_sft"]
    command += as_flags(flags)
    code = subprocess.run(command).returncode
    require(code == 0, f"train_sft ended with exit code {code}")
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [step["sft/loss"] for step in steps]
    require(len(losses) == 2 * len(rows) // BATCH, f"{len(losses)} steps")
    fallen = losses[0] - losses[-1]
    require(fallen > 5 * LOSS_TOLERANCE, f"the loss fell by {fallen:.2f} nats only: {losses}")
    AutoModelForCausalLM.from_pretrained(run / "model")
    tokens = sum(len(tokenizer(row["question"] + row["response"]).input_ids) for row in rows)
    later = steps[1:]  # kernels are loaded at their first use
    seconds = sum(step["timing/total"] for step in later)
    return {
        "tokens/s": tokens / len(rows) * BATCH * len(later) / seconds,
        "loss at first": losses[0],
        "loss at last": losses[-1],
    }


@contextmanager
def _as_on_a_cpu() -> Iterator[None]:
    before = os.environ.get("PURE_HOST")
    os.environ["PURE_HOST"] = "cpu"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PURE_HOST"]
        else:
            os.environ["PURE_HOST"] = before


def _allocated(setting: Setting) -> Numbers:
    """What torch had allocated at most, in this process."""
    if setting.device == "cpu":
        return {}
    return {"allocated by torch (GB)": torch.cuda.max_memory_allocated() / 1e9}


def _free_port() -> int:
    import socket

    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return each.getsockname()[1]


CHECKS: dict[str, Callable[[Setting], Numbers]] = {
    "install": install,
    "models": lambda setting: make_models(setting, "qwen2.5-0.5b"),
    "tiny_models": lambda setting: make_models(setting, "tiny"),
    "engine_eager": lambda setting: engine(setting, enforce_eager=True),
    "engine_graphs": lambda setting: engine(setting, enforce_eager=False),
    "zero2": lambda setting: update(setting, zero_stage=2, adam_offload=False),
    "zero2_offload": lambda setting: update(setting, zero_stage=2, adam_offload=True),
    "zero3": lambda setting: update(setting, zero_stage=3, adam_offload=False),
    "zero3_offload": lambda setting: update(setting, zero_stage=3, adam_offload=True),
    "prm": lambda setting: prm(setting, backend="transformers"),
    "prm_vllm": lambda setting: prm(setting, backend="vllm"),
    "warm_up": warm_up,
    "shared": lambda setting: end_to_end.check(setting, "shared"),
    "split": lambda setting: end_to_end.check(setting, "split"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CHECKS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    cpu_host.install()
    numbers = CHECKS[options.name](Setting(options.device, options.folder))
    text = json.dumps(numbers, indent=1)
    print(text)
    if result := os.environ.get(RESULT_VARIABLE):
        Path(result).write_text(text)


if __name__ == "__main__":
    main()
