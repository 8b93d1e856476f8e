"""What the PRM reads of a batch: the policy's own ids where the vocabularies are the same, else text."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pure_rlhf import cpu_host

cpu_host.install()

from openrlhf.trainer.ppo_utils.experience import Experience  # noqa: E402

from pure_rlhf.algorithm.step_segmentation import (  # noqa: E402
    find_separator_token_ids,
    split_steps,
)
from pure_rlhf.prm.conventions import PureConvention  # noqa: E402
from pure_rlhf.workers.prm_reader import PrmReader  # noqa: E402
from tests.tiny_models import train_tokenizer  # noqa: E402

QUESTION, PROMPT = "1+1?", "Question: 1+1?\n"
STEPS = ["1 and 1 is 2.\n\n", "So 2."]


def batch_of(tokenizer: Any) -> tuple[Experience, Any]:
    prompt = tokenizer(PROMPT)["input_ids"]
    response = [token for step in STEPS for token in tokenizer(step)["input_ids"]]
    response.append(tokenizer.eos_token_id)
    ids = torch.tensor([prompt + response])
    mask = torch.tensor([[0] * (len(prompt) - 1) + [1] * len(response)])
    batch = Experience(
        sequences=ids,
        attention_mask=torch.ones_like(ids),
        action_mask=mask,
        prompts=[PROMPT],
        labels=[None],
    )
    steps = split_steps(
        ids,
        mask,
        separator_ids=find_separator_token_ids(tokenizer, "\n\n"),
        eos_token_ids=[tokenizer.eos_token_id],
    )
    return batch, steps


@pytest.mark.parametrize("same", [True, False])
def test_steps_reach_the_prm_whole(same: bool) -> None:
    policy = train_tokenizer([PROMPT, *STEPS] * 5)
    prm = policy if same else train_tokenizer(["other words entirely"] * 5, vocab_size=300)
    reader = PrmReader(
        PureConvention("\n"),
        prm_tokenizer=prm,
        policy_tokenizer=policy,
        questions={PROMPT: QUESTION},
        step_separator="\n\n",
    )
    assert (reader.separator_id is not None) == same
    batch, steps = batch_of(policy)
    inputs = reader.read(batch, steps)
    ids = inputs.input_ids_BU[0, inputs.attention_mask_BU[0].bool()]
    read = inputs.read_index_BS[0].tolist()
    assert len(read) == len(STEPS)
    # the model is read at a line feed after each step
    assert [prm.decode(ids[position]) for position in read] == ["\n", "\n"]
    text = prm.decode(ids)
    # a token that ends a step is replaced whole, ".\n\n" too, where ids are sent one for one
    assert text.startswith(PROMPT) and "1 and 1 is 2" in text and text.endswith("So 2.\n")
