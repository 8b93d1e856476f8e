"""What the PRM's backbone is asked at every token, and the layers that change nothing before they are trained."""

from __future__ import annotations

import random
from typing import cast

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from examples.small_world.pretraining import IGNORED, build_model
from examples.small_world.prm_backbone import deepen, lay_out, right_step
from examples.small_world.prm_data import (
    EQUATION_PROMPT,
    StepLabelledRow,
    copying_row,
    equation_row,
)
from examples.small_world.problems import make_problem, parse_problem
from examples.small_world.prompts import render_prompt
from examples.small_world.solutions import HABITS, careful_steps, write_answer
from examples.small_world.tokenizer import train_tokenizer
from pure_rlhf.prm.token_inputs import single_separator_id
from pure_rlhf.types import Tokenizer

PROMPT = render_prompt("Compute 47+25-18.")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    generator = random.Random(0)
    return train_tokenizer(
        render_prompt(problem.question) + write_answer(problem, habit, generator)
        for habit in HABITS
        for problem in (make_problem(generator) for _ in range(50))
    )


def marked(row: StepLabelledRow, tokenizer: PreTrainedTokenizerFast) -> list[tuple[str, int]]:
    """The texts of the tokens after the prompt, with their marks."""
    laid_out = lay_out(row, tokenizer, single_separator_id(cast(Tokenizer, tokenizer)))
    texts = [str(tokenizer.decode([token])) for token in laid_out.ids]
    start = len(tokenizer.encode(row["prompt"]))
    assert set(laid_out.marks[:start]) == {IGNORED}
    return list(zip(texts, laid_out.marks, strict=True))[start:]


def row_of(*steps: str, wrong: bool = True) -> StepLabelledRow:
    labels = [True] * (len(steps) - wrong) + [False] * wrong
    return {"prompt": PROMPT, "completions": list(steps), "labels": labels}


def test_a_wrong_step_is_marked_at_the_first_token_that_should_be_another(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    found = marked(row_of("47+25=72", "72-18=53"), tokenizer)
    assert found[:9] == [*((text, 1) for text in "47+25=72"), ("\n", 1)]
    assert found[9:] == [*((text, 1) for text in "72-18=5"), ("3", 0), ("\n", 0)]
    # what follows the first wrong token is not asked
    omitted = marked(row_of("47-18=29"), tokenizer)
    assert omitted == [
        ("4", 1),
        ("7", 1),
        ("-", 0),
        *((text, IGNORED) for text in "18=29"),
        ("\n", 0),
    ]


def test_after_the_end_nothing_is_right(tokenizer: PreTrainedTokenizerFast) -> None:
    row = row_of("47+25=72", "72-18=54", "The answer is \\boxed{54}", "72-18=54")
    assert right_step(row, 3) == ""
    assert marked(row, tokenizer)[-9:] == [
        ("7", 0),
        *((text, IGNORED) for text in "2-18=54"),
        ("\n", 0),
    ]


def test_only_right_steps_are_written(tokenizer: PreTrainedTokenizerFast) -> None:
    laid_out = lay_out(
        row_of("47+25=72", "72-18=53"), tokenizer, single_separator_id(cast(Tokenizer, tokenizer))
    )
    written = [token for token in laid_out.next_tokens if token != IGNORED]
    assert tokenizer.decode(written) == "47+25=72"


def test_the_right_equation_of_a_list() -> None:
    row = equation_row(random.Random(1), 0.8)
    assert row["prompt"] == EQUATION_PROMPT
    for index, (step, is_right) in enumerate(zip(row["completions"], row["labels"], strict=True)):
        assert (right_step(row, index) == step) == is_right


def test_a_copying_drill_judges_what_is_stated_and_goes_on(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    generator, num_wrong, num_steps = random.Random(1), 0, 0
    for _ in range(200):
        row = copying_row(generator, set())
        wanted = careful_steps(parse_problem(row["prompt"]))[:-1]
        for step, right, label in zip(row["completions"], wanted, row["labels"], strict=True):
            right = right.removesuffix(".")
            assert (step == right) == label
            assert step.split("=")[1] == right.split("=")[1], "so that the next step can be judged"
            num_wrong += not label
            num_steps += 1
    assert 0.45 < num_wrong / num_steps < 0.55
    laid_out = lay_out(
        row, tokenizer, single_separator_id(cast(Tokenizer, tokenizer)), judge_steps=False
    )
    assert {laid_out.marks[end] for end in laid_out.separators} == {IGNORED}
    assert laid_out.marks.count(0) == row["labels"].count(False)
    prompt = row["prompt"]
    assert copying_row(random.Random(1), {parse_problem(prompt).question})["prompt"] != prompt


def test_new_layers_change_nothing_at_first(tokenizer: PreTrainedTokenizerFast) -> None:
    policy = build_model(tokenizer, 0, layers=2, width=64)
    deeper = deepen(policy, 0)
    ids = torch.randint(0, 200, (2, 12))
    with torch.no_grad():
        torch.testing.assert_close(deeper(ids).logits, policy(ids).logits)
    assert deeper.config.num_hidden_layers == 4
    assert deeper.num_parameters() > policy.num_parameters()
