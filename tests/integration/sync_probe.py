"""Program of test_weight_sync.py: loads model A into vLLM, pushes model B in buckets, prints gaps as JSON.

A process of its own, because vLLM's CPU backend takes hold of the threads of the process it runs in.
"""

from __future__ import annotations

import json
import os
import sys

from pure_rlhf import cpu_host

os.environ.update(cpu_host.environment(), VLLM_ALLOW_INSECURE_SERIALIZATION="1")
os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
cpu_host.install()

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, PreTrainedModel  # noqa: E402
from vllm import LLM, SamplingParams  # noqa: E402
from vllm.inputs import TokensPrompt  # noqa: E402

from pure_rlhf.workers.transports import SameDevice  # noqa: E402
from pure_rlhf.workers.weight_sync import checksum, lay_out, pack  # noqa: E402

PROMPT = [5, 17, 33, 81, 9]


def gap(engine: LLM, model: PreTrainedModel) -> float:
    """Mean |log-probability by the engine - by the model| of 40 tokens that the engine samples."""
    sampling = SamplingParams(temperature=1.0, max_tokens=40, min_tokens=40, logprobs=0, seed=1)
    prompt = TokensPrompt(prompt_token_ids=PROMPT)
    answer = engine.generate([prompt], sampling, use_tqdm=False)[0].outputs[0]
    tokens = list(answer.token_ids)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT + tokens])).logits.float()[0, len(PROMPT) - 1 : -1]
    by_model = logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0]
    by_engine = [step[token].logprob for step, token in zip(answer.logprobs, tokens, strict=True)]
    return float((by_model - torch.tensor(by_engine)).abs().mean())


def main(folder: str, bucket_bytes: int) -> None:
    old, new = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16) for _ in "ab")
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    engine = LLM(
        folder,
        dtype="bfloat16",
        enforce_eager=True,
        max_model_len=256,
        worker_extension_cls="pure_rlhf.workers.engine_worker.EngineWorker",
        logprobs_mode="processed_logprobs",
        enable_prefix_caching=False,
    )
    result = {"before": [gap(engine, old), gap(engine, new)]}
    parameters = dict(new.named_parameters())
    buckets = lay_out(((n, p.dtype, list(p.shape)) for n, p in parameters.items()), bucket_bytes)
    transport = SameDevice()  # the engine runs in this process, and has opened its group of one
    memory = transport.allocate(max(size for _, size in buckets), torch.device("cpu"))
    for number, (slots, size) in enumerate(buckets):
        pack([parameters[name] for name, *_ in slots], slots, memory)
        ends = (number == 0, number == len(buckets) - 1)
        offer = transport.offer(memory)
        received = engine.collective_rpc("update_weight_bucket", args=(slots, size, offer, *ends))
        assert received == [checksum(memory[:size])], received
        transport.settle()
    transport.close()
    result |= {"after": [gap(engine, old), gap(engine, new)], "buckets": len(buckets)}
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
