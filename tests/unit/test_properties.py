"""Properties that hold for whatever comes: tokens, texts, files, command lines, and what a report shows of them.

bash tests/run.sh tests/unit/test_properties.py                               thousands of examples
bash tests/run.sh tests/unit/test_properties.py --hypothesis-profile long     100,000 of each, those of files 10,000
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pure_rlhf.algorithm.step_segmentation import split_steps
from pure_rlhf.cli.train_pure import _flag_names, parse
from pure_rlhf.config import PureConfig
from pure_rlhf.data import load_prompts
from pure_rlhf.prm.batching import cut_into_batches, plan_batches
from pure_rlhf.prm.token_inputs import build_prm_inputs, prm_token_ids
from pure_rlhf.report.comparison import write_comparison
from pure_rlhf.report.run import write_report
from tests.unit.algorithm.test_step_segmentation import EOS, OTHER_SEPARATOR, SEPARATOR, batch_of


def some(share: float) -> settings:
    """A share of the examples, where one takes longer."""
    assert settings.default is not None
    return settings(max_examples=max(int(settings.default.max_examples * share), 10))


PRM_SEPARATOR, PROMPT_LENGTHS = 2, st.integers(1, 5)
ENDS = (SEPARATOR, OTHER_SEPARATOR, EOS)
BATCHES = st.lists(
    st.tuples(
        PROMPT_LENGTHS,
        st.lists(st.sampled_from([5, 6, SEPARATOR, OTHER_SEPARATOR]), min_size=1, max_size=12),
        st.booleans(),  # whether it ended in EOS
    ),
    min_size=1,
    max_size=6,
)


def cut(answer: list[int]) -> tuple[list[list[int]], bool]:
    """The steps of an answer without what ends them, token by token, and whether it was cut off."""
    steps: list[list[int]] = []
    step: list[int] = []
    for token in answer:
        if token in ENDS:
            steps.append(step)
            step = []
        else:
            step.append(token)
    was_cut_off = answer[-1] not in ENDS
    return [*steps, step] if was_cut_off else steps, was_cut_off


@given(BATCHES, st.integers(0, 3))
def test_steps_and_what_the_prm_reads_of_them(
    rows: list[tuple[int, list[int], bool]], padding: int
) -> None:
    """As a loop over the tokens has it; nothing is lost, whatever the batch."""
    answers = [answer + [EOS] * ended for _, answer, ended in rows]
    lengths = [prompt for prompt, *_ in rows]
    sequences_BT, mask_BA = batch_of(answers, lengths, padding)
    steps = split_steps(
        sequences_BT, mask_BA, separator_ids=[SEPARATOR, OTHER_SEPARATOR], eos_token_ids=[EOS]
    )
    is_token_BT = torch.arange(sequences_BT.shape[1]) < torch.tensor(
        [length + len(answer) for length, answer in zip(lengths, answers, strict=True)]
    ).unsqueeze(1)
    inputs = build_prm_inputs(
        sequences_BT, is_token_BT, mask_BA, steps, prm_separator_id=PRM_SEPARATOR, pad_token_id=0
    )
    for row, (length, answer) in enumerate(zip(lengths, answers, strict=True)):
        expected, was_cut_off = cut(answer)
        mask = steps.mask_BS[row]
        assert steps.content_tokens_BS[row][mask].tolist() == [len(step) for step in expected]
        assert bool(steps.truncated_B[row]) == was_cut_off
        prompt = sequences_BT[row, :length].tolist()
        token_ids, positions = prm_token_ids(prompt, expected, PRM_SEPARATOR)
        assert inputs.input_ids_BU[row][inputs.attention_mask_BU[row].bool()].tolist() == token_ids
        assert inputs.read_index_BS[row][mask].tolist() == positions
    # and each step's score finds back to its step, however the rows were cut into batches
    batches = cut_into_batches(inputs, max_tokens=24, num_ranks=2 - len(rows) % 2)
    scores = [part.read_index_BS.float() + part.input_ids_BU[:, :1] for part in batches.inputs]
    expected_BS = inputs.read_index_BS.float() + inputs.input_ids_BU[:, :1]
    collected = batches.collect(scores, steps.mask_BS)
    assert torch.equal(collected, expected_BS.masked_fill(~steps.mask_BS, 0.0))


@given(st.lists(st.integers(1, 500), min_size=1, max_size=64), st.integers(1, 4))
def test_every_row_is_in_one_batch_and_every_rank_has_as_many(
    lengths: list[int], num_ranks: int
) -> None:
    lengths = lengths * num_ranks  # as many rows as ranks, at least
    plan = plan_batches(lengths, max_tokens=1000, num_ranks=num_ranks)
    assert Counter(row for batch in plan for row in batch) == Counter(range(len(lengths)))
    assert len(plan) % num_ranks == 0 and all(plan)
    for batch in plan:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= 1000


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ROWS = (
    st.dictionaries(st.sampled_from(["question", "answer", "other"]), JSON_VALUES, max_size=3)
    | JSON_VALUES
)
FILES = st.one_of(
    st.binary(max_size=200),
    st.lists(ROWS.map(lambda row: json.dumps(row).encode()), max_size=4).map(b"\n".join),
    st.lists(ROWS, max_size=4).map(lambda rows: json.dumps(rows).encode()),
)
SUFFIXES = st.sampled_from([".jsonl", ".json", ".jsonl.gz", ".parquet"])


@pytest.mark.filterwarnings("ignore")
@settings(some(0.5))
@given(FILES, SUFFIXES)
def test_a_data_file_is_read_or_refused_by_its_name(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"problems{suffix}"
        path.write_bytes(content)
        try:
            prompts = load_prompts(
                str(path),
                split="train",
                input_key="question",
                label_key="answer",
                render=str,
                tokenizer=None,
                max_tokens=10,
            )
        except ValueError as error:
            assert "problems" in str(error) and len(str(error)) < 2000
            return
    assert prompts.records
    for record in prompts.records:
        assert record.question.strip() and record.prompt == record.question
        assert record.label is None or record.label.strip()


WORDS = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", "-1", "nan", "inf", "True", "None", "../..", "--", "-", "a.py:f", "1e400"]
    ),
)
FLAGS = st.sampled_from([f"--{name}" for name in _flag_names(PureConfig())]) | st.text(
    max_size=8
).map(lambda text: f"--{text}")


@settings(some(0.015))  # a second each
@given(st.lists(st.tuples(FLAGS, st.lists(WORDS, max_size=2)), max_size=3))
def test_a_command_line_is_understood_or_refused_in_words(
    flags: list[tuple[str, list[str]]],
) -> None:
    arguments = [word for flag, values in flags for word in (flag, *values)]
    if {"-h", "--help"} & set(arguments):
        return
    config, problems = parse(arguments)
    assert isinstance(config, PureConfig)
    assert all(problem.strip() for problem in problems)


class Tags(HTMLParser):
    """Elements of a page, and attributes that a browser would run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.active: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1
        self.active += [name for name, _ in attrs if name.startswith("on")]
        self.active += [value for _, value in attrs if value and value.startswith("javascript:")]


HOSTILE_TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(
            [
                "<script>alert(1)</script>", "</script>", "<!--", "-->", "]]>", "<img src=x onerror=alert(1)>", "'",
                '"', "&lt;", "javascript:", "\u2028", "</title>", "</textarea>", "<svg/onload=x>", "{{", "\\", "\0",
            ]
        ),
        min_size=1,
        max_size=5,
    ).map("".join),
)  # fmt: skip


def pages_of(folder: Path, text: str) -> list[Tags]:
    """The report of a run in which every text that a model, a user or a file can choose is this one, its name too, and
    the page that compares it with a copy."""
    name = text.translate({ord("/"): None, 0: None}).strip(".")
    # lone surrogates are no name of a file
    run = folder / (name.encode("utf-8", "ignore").decode()[:60] or "run")
    (run / "rollouts").mkdir(parents=True)
    step = {
        "prompt": text, "text": text, "steps": [text], "step_rewards": [0.5], "advantages": [1.0],
        "verifiable_reward": 1, "label": text, "group": 0, "truncated": False, "truth": [text],
    }  # fmt: skip
    rows: dict[str, Any] = {
        "metrics.jsonl": {"step": 1, "wall_seconds": 1.0, "policy/loss": 0.5, f"prm/recall_{text}": 0.5},
        "alarms.jsonl": {"kind": text, "step": 1, "message": text, "good_checkpoint": text},
        "rollouts/step_000001.jsonl": step,
        "config.json": {"config": {"reward_mode": text, "run": text}, "seed": 1},
        "prm.json": {"stages": [{"name": text, "f1_wrong_steps": 0.5}], "best_of_n": []},
        "evaluation.json": {"before": {"pass@1": 0.5, "n": 2, "ci95": [0.1, 0.9]}, text: {}},
    }  # fmt: skip
    for name, value in rows.items():
        (run / name).write_text(json.dumps(value) + "\n", encoding="utf-8")
    found = []
    other = shutil.copytree(run, folder / "other of the two")
    for page in (write_report(run), write_comparison([run, other], folder / "comparison.html")):
        tags = Tags()
        tags.feed(page.read_text(encoding="utf-8"))
        found.append(tags)
    return found


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> list[Tags]:
    return pages_of(tmp_path_factory.mktemp("harmless"), "a text")


@settings(some(0.05))
@given(text=HOSTILE_TEXTS)
def test_no_text_becomes_a_part_of_a_page(harmless: list[Tags], text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pages = pages_of(Path(folder), text)
    for tags, expected in zip(pages, harmless, strict=True):
        assert tags.active == expected.active
        for tag in ("script", "style", "img", "svg", "iframe", "link", "object", "title"):
            assert tags.found[tag] == expected.found[tag], tag
