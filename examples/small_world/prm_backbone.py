"""The PRM's backbone: the careful policy with two layers more, pretrained to judge steps while it writes them.

What a small classifier lacks, when it is made from a policy, is a layer that compares (LOG.md): a policy finds the
result of an equation in its last layers, since it needs it nowhere earlier, and nothing comes after that could hold it
against what is written. So two layers are put on top, which begin by passing on what they get. Rows are laid out as the
PRM reads them, a separator after every step, and the model has three tasks: the next token of right steps, at every
separator whether the step before it is right, and at every token of a step whether it is the one that should stand
there, up to the first that is not (LOG.md has what the verdict on steps alone came to).

Three phases: lists of equations whose wrong results are wrong at a glance (from slips alone the comparison is not found
at all); lists with slips, and solutions in which half of the steps state another value or operation than the question
asks for (`prm_data.copying_row`), judged token by token; then solutions with every kind of defect, up to the first
wrong step. The head that judges is thrown away: `prm_training` begins, as with any language model, with a fresh one.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Set
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from examples.small_world.pretraining import (
    IGNORED,
    next_token_loss,
    pad_rows,
    pretrain,
    sorted_batches,
)
from examples.small_world.prm_data import (
    EQUATION_PROMPT,
    StepLabelledRow,
    copying_row,
    draw_solution_row,
    equation_row,
)
from examples.small_world.problems import Operation, parse_problem
from examples.small_world.progress import Progress
from examples.small_world.solutions import careful_steps
from pure_rlhf.algorithm.step_segmentation import find_separator_token_ids
from pure_rlhf.cpu_host import bfloat16_is_fast
from pure_rlhf.prm.token_inputs import prm_token_ids, single_separator_id
from pure_rlhf.types import Tokenizer

MORE_LAYERS = 2
LEARNING_RATE = 2e-3
ROWS_PER_BATCH = 16
EQUATION_ROWS_PER_BATCH = 12
TOKENS_WEIGHT = 1.0
BLOCK = 8  # batches that are drawn together and sorted by length
FAR_PHASE_END = 0.05
NEAR_PHASE_END = 0.35
COPYING_NEAR = 0.5  # of the batches of the second phase
EQUATIONS_LATER = 0.15  # of the batches of the last phase, so that the arithmetic keeps growing
COPYING_LATER = 0.15


class Row(NamedTuple):
    """A row as the model is trained on it; all but `separators` have one entry a token."""

    ids: list[int]
    next_tokens: list[int]  # of right steps, IGNORED elsewhere
    marks: list[int]  # is the token (at a separator, the step) right? 1, 0, or IGNORED: not asked
    separators: list[int]  # their places


class JudgingModel(nn.Module):
    """A language model with a second head, which says at a separator whether the step before it is right."""

    def __init__(self, model: Qwen2ForCausalLM) -> None:
        super().__init__()
        self.model = model
        self.judge = nn.Linear(model.config.hidden_size, 2)

    def forward(self, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Logits over the vocabulary, and over wrong and right, at every token."""
        hidden_BTH = self.model.model(ids_BT, use_cache=False).last_hidden_state
        return self.model.lm_head(hidden_BTH), self.judge(hidden_BTH)


def deepen(policy: Qwen2ForCausalLM, seed: int) -> Qwen2ForCausalLM:
    """A copy of the policy with layers on top that change nothing until they are trained."""
    torch.manual_seed(seed)
    config = copy.deepcopy(policy.config)
    config.num_hidden_layers += MORE_LAYERS
    config.layer_types = None  # one entry a layer; transformers makes it again
    config = type(config)(**config.to_dict())
    model = Qwen2ForCausalLM._from_config(config, attn_implementation="eager")
    model.load_state_dict(policy.state_dict(), strict=False)
    first = policy.config.num_hidden_layers
    ends = [
        f"model.layers.{layer}.{name}.weight"
        for layer in range(first, first + MORE_LAYERS)
        for name in ("self_attn.o_proj", "mlp.down_proj")
    ]
    for name in ends:
        nn.init.zeros_(model.get_parameter(name))
    return model


def pretrain_backbone(
    policy: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    num_batches: int,
    seed: int,
    held_out: Set[str],
    checkpoint: Path,
) -> tuple[Qwen2ForCausalLM, dict[str, float]]:
    """Pretrain a backbone, on no question of `held_out`; returns it and how well its own head judged at the end."""
    model = JudgingModel(deepen(policy, seed))
    separator_ids = set(find_separator_token_ids(tokenizer))
    # transformers sets the ids of special tokens at run time: a type checker does not see them
    prm_separator_id = single_separator_id(cast(Tokenizer, tokenizer))
    pad_token_id = tokenizer.pad_token_id
    assert isinstance(pad_token_id, int)
    recent: list[tuple[float, float]] = []

    @lru_cache(maxsize=1)
    def block_of(block: int) -> list[list[Row]]:
        generator = random.Random(f"backbone {seed} {block}")
        done = block * BLOCK / num_batches
        task = _task(done, generator)
        count = EQUATION_ROWS_PER_BATCH if task == "equations" else ROWS_PER_BATCH
        slip_share = 0.0 if done < FAR_PHASE_END else 0.8
        rows: list[StepLabelledRow] = [
            equation_row(generator, slip_share)
            if task == "equations"
            else copying_row(generator, held_out)
            if task == "copying"
            else draw_solution_row(generator, tokenizer, separator_ids, held_out)[0]
            for _ in range(BLOCK * count)
        ]
        laid_out = [
            lay_out(row, tokenizer, prm_separator_id, judge_steps=task != "copying") for row in rows
        ]
        return sorted_batches(laid_out, count, lambda row: len(row.ids), generator)

    def batch_loss(index: int) -> tuple[Tensor, str]:
        rows = block_of(index // BLOCK)[index % BLOCK]
        ids_BT = pad_rows([row.ids for row in rows], pad_token_id)
        next_BT = pad_rows([row.next_tokens for row in rows], IGNORED)
        marks_BT = pad_rows([row.marks for row in rows], IGNORED)
        ends_BT = pad_rows(
            [[int(at in row.separators) for at in range(len(row.ids))] for row in rows], 0
        )
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16_is_fast()):
            logits_BTV, judged_BT2 = model(ids_BT)
        writing = next_token_loss(logits_BTV, next_BT)
        is_end_BT = ends_BT.bool()
        losses_BT = functional.cross_entropy(
            judged_BT2.float().transpose(1, 2), marks_BT, ignore_index=IGNORED, reduction="none"
        )
        steps = losses_BT[is_end_BT].mean()
        tokens = losses_BT[(marks_BT != IGNORED) & ~is_end_BT].mean()
        called_right_BT = judged_BT2.argmax(-1) == 1
        caught = (~called_right_BT[is_end_BT & (marks_BT == 0)]).float().mean().item()
        passed = called_right_BT[is_end_BT & (marks_BT == 1)].float().mean().item()
        recent.append((caught, passed))
        del recent[:-200]
        note = (
            f"writing {writing.item():.3f} steps {steps.item():.3f} tokens {tokens.item():.3f} "
            f"caught {_mean(recent, 0):.3f} passed {_mean(recent, 1):.3f}"
        )
        return writing + steps + TOKENS_WEIGHT * tokens, note

    loss = pretrain(
        model,
        batch_loss,
        num_batches=num_batches,
        learning_rate=LEARNING_RATE,
        checkpoint=checkpoint,
        progress=Progress("PRM backbone"),
    )
    return model.model, {
        "backbone_loss": loss,
        "backbone_caught": _mean(recent, 0),
        "backbone_passed": _mean(recent, 1),
    }


def _mean(pairs: list[tuple[float, float]], index: int) -> float:
    values = [pair[index] for pair in pairs if pair[index] == pair[index]]
    return sum(values) / max(1, len(values))


def _task(done: float, generator: random.Random) -> Literal["equations", "copying", "solutions"]:
    """What a block of batches is about, at a share `done` of the training."""
    drawn = generator.random()
    if done < FAR_PHASE_END:
        return "equations"
    if done < NEAR_PHASE_END:
        return "copying" if drawn < COPYING_NEAR else "equations"
    if drawn < EQUATIONS_LATER:
        return "equations"
    return "copying" if drawn < EQUATIONS_LATER + COPYING_LATER else "solutions"


def lay_out(
    row: StepLabelledRow,
    tokenizer: PreTrainedTokenizerFast,
    prm_separator_id: int,
    *,
    judge_steps: bool = True,
) -> Row:
    """Lay a row out as the PRM reads it, with what each place is to say (separators nothing, without `judge_steps`)."""
    prompt_ids = tokenizer.encode(row["prompt"])
    step_ids = [tokenizer.encode(step) for step in row["completions"]]
    ids, separators = prm_token_ids(prompt_ids, step_ids, prm_separator_id)
    next_tokens, marks = [IGNORED] * len(ids), [IGNORED] * len(ids)
    for index, (tokens, end) in enumerate(zip(step_ids, separators, strict=True)):
        is_right = row["labels"][index]
        marks[end] = int(is_right) if judge_steps else IGNORED
        start = end - len(tokens)
        if is_right:
            next_tokens[start:end] = tokens
            marks[start:end] = [1] * len(tokens)
            continue
        wanted = tokenizer.encode(right_step(row, index))
        same = 0
        while same < min(len(tokens), len(wanted)) and tokens[same] == wanted[same]:
            same += 1
        marks[start : start + same] = [1] * same
        if same < len(tokens):
            marks[start + same] = 0
    return Row(ids, next_tokens, marks, separators)


def right_step(row: StepLabelledRow, index: int) -> str:
    """What should stand in place of a wrong step, without the punctuation that a separator takes; "" after the end."""
    if row["prompt"] == EQUATION_PROMPT:
        left = row["completions"][index].split("=")[0]
        value, symbol, number = re.fullmatch(r"(\d+)(\D)(\d+)", left).groups()  # type: ignore[union-attr]
        return f"{left}={Operation(symbol, int(number)).apply(int(value))}"
    steps = careful_steps(parse_problem(row["prompt"]))
    if index >= len(steps):
        return ""
    return steps[index] if index == len(steps) - 1 else steps[index].removesuffix(".")
