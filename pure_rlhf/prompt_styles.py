"""System prompts by name: what a model is told before the problem, one definition for SFT, RL and evaluation.

`actions` has the seven actions of PRIME (arXiv 2502.01456, section 2) in our words. PRIME's own system message comes
with its data, which bring it along in every row; a file with it can be named in place of a style.
"""

from __future__ import annotations

from pathlib import Path

ACTIONS = {
    "ASSESS": "say what is known, what is asked, and where you are",
    "ADVANCE": "take the next step of reasoning",
    "VERIFY": "check a result",
    "SIMPLIFY": "break a part down into smaller ones",
    "SYNTHESIZE": "put results together",
    "PIVOT": "give up an approach and take another",
    "OUTPUT": "give the final answer",
}
"""The actions of PRIME's format, in the order in which it names them."""

_ACTIONS_PROMPT = (
    "Solve the problem by a sequence of actions. Begin with [ASSESS], end with [OUTPUT]. Every action has its name in "
    "brackets on a line of its own, then its steps, each beginning with #, and, but for the last, a line that names "
    "the next action: Next action: [NAME].\n\n"
    + "\n".join(f"[{name}]: {meaning}" for name, meaning in ACTIONS.items())
)
STYLES: dict[str, str | None] = {"none": None, "actions": _ACTIONS_PROMPT}


def read_system_prompt(style: str) -> str | None:
    """The text of a style, or of a file.

    Raises:
        ValueError: there is neither.
    """
    if style in STYLES:
        return STYLES[style]
    path = Path(style)
    try:
        text = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    except (OSError, ValueError) as error:
        raise ValueError(f"{style!r} cannot be read: {error}") from error
    if not text:
        raise ValueError(
            f"{style!r} is neither {' nor '.join(map(repr, STYLES))}, nor a file with text; name one of these"
        )
    return text
