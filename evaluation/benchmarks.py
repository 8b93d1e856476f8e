"""The benchmarks as declarations, and their problems, checked: a wrong row count or column is an error.

Each benchmark can come from a local copy (`--data_dir`) or from the Hugging Face hub; the two may be different copies
with different columns, so each has a `Source` of its own, and the report names the one that was used.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from code_sandbox.problems import Problem as Tests
from code_sandbox.problems import ProblemError
from evaluation.programs import ProgramForm, read_program_row
from pure_rlhf.data import load_rows, read_hub
from pure_rlhf.grading.final_answer import extract_answer, has_answer, label_fault

AnswerRule = Literal["as_is", "last_box", "after_hashes", "only_item"]
PROMPT_SUFFIX = "\nPlease reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True, kw_only=True)
class Source:
    """One copy of a benchmark. `rule` says how the answer is found in its column; of code `form` says what a row is."""

    location: str  # path below --data_dir, or hub name
    question: str = ""
    answer: str = ""
    num_problems: int | None  # None: any
    form: ProgramForm | None = None  # None: mathematics
    rule: AnswerRule = "as_is"
    split: str = "test"
    config: str | None = None  # hub configuration
    revision: str | None = (
        None  # hub commit; None: the newest, because none has been verified by us
    )
    question_suffix: str = ""  # an instruction that this copy appends to every problem; taken off
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark: its name in the table, its two copies, the licence of its texts, a remark for the table."""

    name: str
    local: Source | None
    hub: Source | None
    licence: str = "unknown"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem with the answer that the verifier compares with, or the tests that a program has to pass."""

    id: str  # the row's number in its file, from 0
    question: str
    answer: str  # of code: what the tests are, for a reader
    tests: Tests | None = None

    @property
    def label(self) -> str | Tests:
        return self.answer if self.tests is None else self.tests


@dataclass(frozen=True, kw_only=True)
class ProblemSet:
    """The problems of one benchmark and where they came from."""

    name: str
    problems: list[Problem]
    source: str
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """16 hexadecimal digits that change with any question or answer."""
        rows = [
            [
                problem.id,
                problem.question,
                problem.tests.to_json() if problem.tests else problem.answer,
            ]
            for problem in self.problems
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


MAA = "problems of the Mathematical Association of America; copies state no licence"
QWEN_LISTS = "not comparable with the Qwen2.5-Math harness, which rejects right lists and intervals (about 2 points)"
MINERVA_RULE = (
    "answers such as 4.5e33 are read as 4.5*10^33 and floats compared with a relative tolerance; the Qwen2.5-Math "
    "harness rejects 4.5\\times 10^{33} for 4.5e33, so its scores are lower and not comparable"
)

ASSERTS = "tests are asserts, which the program can read"

# fmt: off
_DECLARED = (
    Benchmark(
        name="aime24", licence=MAA,
        local=Source(location="aime24/test.jsonl", question="problem", answer="answer", num_problems=30),
        hub=Source(
            location="HuggingFaceH4/aime_2024", split="train", question="problem", answer="answer", num_problems=30
        ),
    ),
    Benchmark(
        name="aime25", licence=MAA,
        local=Source(location="aime25/test.jsonl", question="problem", answer="answer", num_problems=30),
        hub=Source(location="math-ai/aime25", question="problem", answer="answer", num_problems=30),
    ),
    Benchmark(
        name="amc23", licence=MAA,
        local=Source(location="amc23/test.jsonl", question="problem", answer="answer", num_problems=40),
        hub=Source(location="math-ai/amc23", question="question", answer="answer", num_problems=40),
    ),
    Benchmark(
        name="math500", licence="MIT",
        local=Source(location="math500/test.jsonl.gz", question="problem", answer="answer", num_problems=500),
        hub=Source(location="HuggingFaceH4/MATH-500", question="problem", answer="answer", num_problems=500),
    ),
    Benchmark(
        name="minerva_math", licence="from MIT OpenCourseWare (CC BY-NC-SA 4.0); copies state none", note=MINERVA_RULE,
        local=Source(
            location="minerva_math/test.jsonl", question="problem", answer="solution", rule="last_box", num_problems=272
        ),
        hub=Source(location="math-ai/minervamath", question="question", answer="answer", num_problems=272),
    ),
    Benchmark(
        name="olympiadbench", licence="MIT (repository), Apache-2.0 (hub card)", note=QWEN_LISTS,
        local=Source(
            location="olympiadbench/test.jsonl.gz", question="question", answer="final_answer", rule="only_item",
            num_problems=675,
            note="copy of 675 rows, the one of the published tables; 16 of them read 'Let T = TNYWR' without T and "
            "cannot be solved",
        ),
        hub=Source(
            location="Hothan/OlympiadBench", config="OE_TO_maths_en_COMP", split="train", question="question",
            answer="final_answer", rule="only_item", num_problems=674,
            note="copy of 674 rows, not the 675 of the published tables",
        ),
    ),
    Benchmark(
        name="olympiadbench_674", licence="as olympiadbench; the copy states none", note=QWEN_LISTS, hub=None,
        local=Source(
            location="olympiadbench/test_674.jsonl", question="problem", answer="answer", num_problems=674,
            question_suffix=PROMPT_SUFFIX, note="copy of 674 rows with the missing values of T filled in",
        ),
    ),
    Benchmark(
        name="gsm8k", licence="MIT",
        local=Source(
            location="gsm8k/test.jsonl.gz", question="question", answer="answer", rule="after_hashes", num_problems=1319
        ),
        hub=Source(
            location="openai/gsm8k", config="main", question="question", answer="answer", rule="after_hashes",
            num_problems=1319,
        ),
    ),
    Benchmark(
        name="math", licence="MIT",
        local=Source(
            location="math/test.jsonl.gz", question="problem", answer="solution", rule="last_box", num_problems=5000
        ),
        hub=Source(location="zwhe99/MATH", question="problem", answer="expected_answer", num_problems=5000),
    ),
    Benchmark(
        name="amc83", licence=MAA, note="AMC 12 of 2022 and 2023, as PRIME counts; amc23 are the 40 of 2023 alone",
        local=Source(
            location="aimo_validation/aimo-validation-amc.jsonl", question="question", answer="answer", num_problems=83
        ),
        hub=Source(
            location="AI-MO/aimo-validation-amc", split="train", question="problem", answer="answer", num_problems=83
        ),
    ),
    Benchmark(
        name="humaneval", licence="MIT", note=ASSERTS,
        local=Source(location="humaneval/HumanEval.jsonl.gz", form="humaneval", num_problems=164),
        hub=Source(location="openai/openai_humaneval", form="humaneval", num_problems=164),
    ),
    Benchmark(
        name="mbpp", licence="CC BY 4.0", note=f"the sanitized part, its tests are shown; {ASSERTS}",
        local=Source(location="mbpp/sanitized-mbpp.json", form="mbpp", num_problems=427),
        hub=Source(
            location="google-research-datasets/mbpp", config="sanitized", form="mbpp", num_problems=257,
            note="the test split; a local copy has all 427",
        ),
    ),
    Benchmark(
        name="leetcode", licence="problems of LeetCode; the copy states none", note=ASSERTS, hub=None,
        local=Source(
            location="leetcode/20240121-Jul.jsonl", form="leetcode", num_problems=180,
            note="contest problems of DeepSeek-Coder's evaluation, the set of PRIME's table",
        ),
    ),
    Benchmark(
        name="livecodebench", licence="problems of several sites; the copy states none", hub=None,
        note="public and private tests; published figures are means of ten samples at temperature 0.2",
        local=Source(
            location="livecodebench/test.jsonl", form="livecodebench", num_problems=None,
            note="a file of livecodebench/code_generation_lite; which months it has is not checked",
        ),
    ),
)
# fmt: on
BENCHMARKS = {benchmark.name: benchmark for benchmark in _DECLARED}
FIVE = ("math500", "minerva_math", "olympiadbench", "aime24", "amc23")
"""The benchmarks of the published table, in its order."""
CODE = ("humaneval", "mbpp", "leetcode", "livecodebench")
MATHEMATICS = tuple(name for name in BENCHMARKS if name not in CODE)


def load_problems(name: str, data_dir: Path | None) -> ProblemSet:
    """The problems of a declared benchmark, or of a local file with columns `question` and `answer`.

    Raises:
        ValueError: unknown name; missing, empty or truncated file; wrong number of rows; missing column; a row
            without a question or an answer.
    """
    benchmark = BENCHMARKS.get(name)
    if benchmark is None:
        return _load_file(name)
    source = benchmark.hub if data_dir is None else benchmark.local
    if source is None:
        kind, flag = ("hub data set", "give") if data_dir is None else ("local file", "drop")
        raise ValueError(f"{name} is declared without a {kind}: {flag} --data_dir")
    if data_dir is not None:
        where = str(data_dir / source.location)
        rows = load_rows(where, source.split)
    else:
        where = f"{source.location} (split {source.split})"
        rows = _load_hub(source)
    notes = tuple(note for note in (source.note, benchmark.note) if note)
    return ProblemSet(name=name, problems=_problems(rows, source, where), source=where, notes=notes)


def _load_file(name: str) -> ProblemSet:
    path = Path(name)
    if not path.is_file():
        near = difflib.get_close_matches(name, BENCHMARKS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"{name} is neither a benchmark nor a file here{hint} Known: {', '.join(BENCHMARKS)}"
        )
    source = Source(location=name, question="question", answer="answer", num_problems=None)
    stem = path.name.split(".", 1)[0]
    return ProblemSet(
        name=f"file:{path.resolve().parent.name}/{stem}",
        problems=_problems(load_rows(name, source.split), source, name),
        source=name,
    )


def _load_hub(source: Source) -> list[Any]:
    try:
        return read_hub(
            source.location, source.split, config=source.config, revision=source.revision
        )
    except ValueError as error:
        raise ValueError(
            f"{source.location} cannot be loaded from the Hugging Face hub ({error}); where no hub can be reached, "
            "--data_dir names a folder with local copies"
        ) from error


def _problems(rows: list[Any], source: Source, where: str) -> list[Problem]:
    if source.num_problems not in (None, len(rows)):
        raise ValueError(
            f"{where} holds {len(rows)} rows, expected {source.num_problems}: the file is truncated or another copy, "
            "and a score on it would not be comparable"
        )
    return [_problem(str(index), row, source, where) for index, row in enumerate(rows)]


def _problem(id: str, row: Any, source: Source, where: str) -> Problem:
    at = f"{where}, row {int(id) + 1}"
    if not isinstance(row, dict):
        raise ValueError(f"{at} is a {type(row).__name__}; expected an object with columns")
    if source.form is not None:
        try:
            question, tests = read_program_row(row, source.form, at)
        except ProblemError as error:
            raise ValueError(str(error)) from error
        count = "asserts" if tests.kind == "asserts" else f"{len(tests.tests)} tests"
        return Problem(id=id, question=question, answer=count, tests=tests)
    missing = [key for key in (source.question, source.answer) if key not in row]
    if missing:
        raise ValueError(
            f"{at} has no column {' and '.join(map(repr, missing))}; its columns are {', '.join(map(repr, row))}"
        )
    question = row[source.question]
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"{at}: column {source.question!r} must be a non-empty text")
    if source.question_suffix:
        if not question.endswith(source.question_suffix):
            raise ValueError(
                f"{at}: the problem does not end in {source.question_suffix!r}: another copy"
            )
        question = question.removesuffix(source.question_suffix)
    answer = find_answer(row[source.answer], source.rule)
    fault = label_fault(answer)
    if fault:
        raise ValueError(f"{at}: the answer in column {source.answer!r} {fault}")
    if answer is None or not has_answer(answer):
        raise ValueError(
            f"{at}: column {source.answer!r} holds no answer (rule {source.rule}): {row[source.answer]!r:.120}"
        )
    return Problem(id=id, question=question, answer=answer)


def find_answer(value: Any, rule: AnswerRule) -> str | None:
    r"""The answer in a column's value, or None.

    Example: `find_answer(27.0, "as_is")` is "27", `find_answer("so #### 1,200", "after_hashes")` is "1200",
    `find_answer(r"is \boxed{3}", "last_box")` is "3", `find_answer(["$2n$"], "only_item")` is "$2n$".
    """
    if rule == "only_item":
        value = value[0] if isinstance(value, list) and len(value) == 1 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value)
    if rule == "last_box":
        return extract_answer(text, "training")
    if rule == "after_hashes":
        _, marker, answer = text.rpartition("####")
        return answer.strip().replace(",", "") if marker else None
    return text
