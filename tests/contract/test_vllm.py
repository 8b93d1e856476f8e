"""What we assume of the installed vLLM, read from its source: loading it takes a minute on a slow host."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

from pure_rlhf import cpu_host

cpu_host.install()

from pure_rlhf.workers import rollout_actor  # noqa: E402

VLLM = Path(find_spec("vllm").submodule_search_locations[0])
TAKEN_BY_OPENRLHF = {"bundle_indices", "num_gpus", "full_determinism"}


def fields_of(path: Path, name: str) -> set[str]:
    """The annotated fields of a dataclass."""
    (found,) = (
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    return {node.target.id for node in found.body if isinstance(node, ast.AnnAssign)}


def test_the_engine_knows_every_argument_that_it_is_given() -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(Path(rollout_actor.__file__).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "engine.remote"
    ]
    (given,) = ({keyword.arg for keyword in call.keywords} for call in calls)
    known = fields_of(VLLM / "engine/arg_utils.py", "EngineArgs")
    assert {"max_num_seqs", "max_num_batched_tokens", "model"} <= given
    assert given - known == TAKEN_BY_OPENRLHF
