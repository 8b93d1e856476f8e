"""The prompt that the policy and the PRM see in this world: the published template around the question."""

from __future__ import annotations

from pure_rlhf.config import DEFAULT_INPUT_TEMPLATE
from pure_rlhf.data import render_prompt as render_template


def render_prompt(question: str) -> str:
    """The rendered prompt of a bare question."""
    return render_template(DEFAULT_INPUT_TEMPLATE, question)
