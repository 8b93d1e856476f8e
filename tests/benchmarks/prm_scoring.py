"""Tokens a second of `PrmScorer` beside one-size padded batches: `python -m tests.benchmarks.prm_scoring`.

The same samples, model (Qwen2, random, float32) and process for both. The baseline pads every answer to the longest of
the set and puts as many rows into a batch as the token budget allows. Answers: 96 of a 7B model to olympiad problems
where the shared data sets are there, else of log-normal length with the same median and spread. The two take turns;
prints the medians, their ratio (asked for: at least 2), and the share of padding. Ends with an error if they disagree.
"""

from __future__ import annotations

import gzip
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import torch
from transformers import AutoModelForTokenClassification

from pure_rlhf.prm.batching import plan_batches
from pure_rlhf.prm.conventions import PrmLayout, PrmSample, pad_layouts
from pure_rlhf.prm.scorer import PrmScorer
from tests.shared_data import ROOT
from tests.tiny_models import qwen2_config, train_tokenizer

ANSWERS = ROOT / "model_outputs" / "rprm_qwen2.5-7b-instruct_olympiad200x8.json.gz"
NUM_ANSWERS, REPEATS, MAX_TOKENS, TARGET = 96, 3, 16384, 2.0
MEDIAN_WORDS, SPREAD = 358, 0.40  # of those answers: exp(mean) and standard deviation of log(words)


def make_samples() -> tuple[str, list[PrmSample]]:
    generator = random.Random(0)
    if ANSWERS.exists():
        rows = json.loads(gzip.decompress(ANSWERS.read_bytes()))
        samples = [
            PrmSample(row["question"], row["question"], tuple(steps))
            for row in rows
            for steps in row["steps"]
            if steps
        ]
        return ANSWERS.name, generator.sample(samples, NUM_ANSWERS)
    samples = []
    for _ in range(NUM_ANSWERS):
        num_words = max(8, round(generator.lognormvariate(0, SPREAD) * MEDIAN_WORDS))
        words = [f"word{generator.randrange(400)}" for _ in range(num_words)]
        steps = [" ".join(words[start : start + 40]) for start in range(0, num_words, 40)]
        samples.append(PrmSample("A question?", "A question?", tuple(steps)))
    return "log-normal lengths", samples


def save_model(folder: str, samples: list[PrmSample]) -> None:
    texts = [text for sample in samples for text in (sample.prompt, *sample.steps)]
    tokenizer = train_tokenizer(texts, vocab_size=4000)
    sizes = {"hidden_size": 128, "intermediate_size": 384, "max_position_embeddings": 8192}
    config = qwen2_config(tokenizer, num_labels=2, initializer_range=0.2, **sizes)
    AutoModelForTokenClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.inference_mode()
def one_size(scorer: PrmScorer, model: torch.nn.Module, samples: list[PrmSample]):
    """The plain way: rows in their order, all of one width."""
    layouts = [scorer.convention.lay_out(sample, scorer.tokenizer) for sample in samples]
    width = max(len(layout.input_ids) for layout in layouts)
    num_rows = max(1, MAX_TOKENS // width)
    rewards: list[list[float]] = []
    for start in range(0, len(layouts), num_rows):
        batch = layouts[start : start + num_rows]
        longest = PrmLayout([0] * width, [0])
        inputs = pad_layouts([*batch, longest], pad_token_id=0)
        logits = model(
            input_ids=inputs.input_ids_BU[:-1], attention_mask=inputs.attention_mask_BU[:-1]
        ).logits
        rewards += [
            scorer.convention.step_rewards(row[layout.read_positions]).tolist()
            for row, layout in zip(logits, batch, strict=True)
        ]
    return rewards


def main() -> None:
    torch.manual_seed(0)
    source, samples = make_samples()
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder, samples)
        scorer = PrmScorer(folder, max_tokens_per_batch=MAX_TOKENS, dtype=torch.float32)
        model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    lengths = [len(scorer.convention.lay_out(s, scorer.tokenizer).input_ids) for s in samples]
    plan = plan_batches(lengths, max_tokens=MAX_TOKENS)
    computed = {
        "token budget": sum(len(rows) * max(lengths[row] for row in rows) for rows in plan),
        "one size": len(lengths) * max(lengths),
    }
    ways: dict[str, Callable[[], list[list[float]]]] = {
        "token budget": lambda: scorer.score(samples),
        "one size": lambda: one_size(scorer, model, samples),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, list[list[float]]] = {}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            seconds[name].append(time.perf_counter() - start)
    print(
        f"{len(samples)} answers ({source}), {sum(lengths)} tokens: median {statistics.median(lengths):.0f}, longest "
        f"{max(lengths)}; {torch.get_num_threads()} threads, medians of {REPEATS}"
    )
    speed = {name: sum(lengths) / statistics.median(times) for name, times in seconds.items()}
    for name, tokens_per_second in speed.items():
        padding = 1 - sum(lengths) / computed[name]
        print(f"{name:<13} {tokens_per_second:8.0f} tokens/s   {padding:4.0%} padding")
    ratio = speed["token budget"] / speed["one size"]
    print(f"ratio {ratio:.1f}, asked for {TARGET:.0f}: {'met' if ratio >= TARGET else 'MISSED'}")
    largest = max(
        abs(a - b)
        for ours, plain in zip(results["token budget"], results["one size"], strict=True)
        for a, b in zip(ours, plain, strict=True)
    )
    if largest > 1e-4:
        sys.exit(f"the two disagree: largest difference {largest:.1e}")


if __name__ == "__main__":
    main()
