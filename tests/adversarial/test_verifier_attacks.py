"""The short form of the attacks on the verifier, and the test of the test: two old holes, put back, are found."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import combinations

import pytest

from evaluation.grader_agreement import known_truth
from pure_rlhf.data import load_rows
from pure_rlhf.grading import equality
from pure_rlhf.grading.equality import LENIENT
from pure_rlhf.grading.final_answer import accepting_rule, extract_answer, grade, read_answer
from pure_rlhf.grading.readings import Named
from tests.adversarial.candidates import HAND_MADE, candidates
from tests.adversarial.constant_answers import ONE_WAY, find_all, read_label
from tests.adversarial.holes import HOLES, hole
from tests.adversarial.labels import distinct_labels, own_labels
from tests.adversarial.metamorphic import CHANGES, changed, excuse, rewritten
from tests.adversarial.search import search, spread_labels, wrong_answer
from tests.adversarial.training_side import MUST_FAIL, MUST_PASS
from tests.shared_data import ROOT

SEARCH_GRADINGS = 6000
NUM_LABELS = 1200
NUM_SYMMETRIC = 400


@pytest.fixture(scope="module")
def some_labels() -> list[str]:
    """The self-made labels and as many real ones as the short form has time for, of every kind."""
    labels = [*own_labels(), *spread_labels(distinct_labels(), random.Random(0), NUM_LABELS)]
    return list(dict.fromkeys(labels))


def test_no_constant_answer_is_paid_for_labels_that_differ(some_labels: list[str]) -> None:
    tried = candidates(distinct_labels())
    assert len(tried) > 3000
    assert find_all(tried, some_labels) == []


def test_hand_made_answers_against_every_label() -> None:
    assert find_all(HAND_MADE, distinct_labels()) == []


@pytest.mark.parametrize("name", HOLES)
def test_an_old_hole_is_found_by_the_constant_answers(name: str, some_labels: list[str]) -> None:
    with hole(name):
        found = find_all([*HAND_MADE, "5", "(2,7)", "7"], some_labels)
    assert found, f"{name} was put back and nothing was found"


def test_the_search_finds_nothing() -> None:
    found = search(distinct_labels(), SEARCH_GRADINGS)
    assert found.score == 0, found
    assert found.num_gradings >= SEARCH_GRADINGS


@pytest.mark.parametrize("name", HOLES)
def test_the_search_finds_an_old_hole(name: str) -> None:
    with hole(name):
        found = search(distinct_labels(), SEARCH_GRADINGS)
    assert found.score > 0.005
    assert found.labels


def accepted_pairs() -> list[tuple[str, str]]:
    """(answer, label) of right answers: real outputs where they are at hand, and every label as its own answer."""
    pairs = {(label, label) for label in distinct_labels()}
    path = ROOT / "grader_pairs" / "pairs.jsonl.gz"
    if path.exists():
        for row in load_rows(str(path), "train"):
            answer = extract_answer(row["prediction_text"], "evaluation")
            if row["variant"] is None and known_truth(row) and answer:
                pairs.add((answer, row["gold"]))
    return sorted(pair for pair in pairs if accepting_rule(*pair))


def test_a_change_makes_a_right_answer_wrong() -> None:
    holes, tried, excused = [], Counter(), Counter()
    for answer, label in accepted_pairs():
        for kind, made in changed(answer):
            tried[kind] += 1
            rule = accepting_rule(made, label)
            if rule is None:
                continue
            reason = excuse(kind, answer, made, rule)
            excused[reason] += 1
            if reason is None:
                holes.append((kind, answer, made, label, rule))
    assert holes == []
    assert set(tried) == set(CHANGES), "each change was tried"
    assert sum(excused.values()) < 0.01 * sum(tried.values()), "excuses are exceptions"


def test_harmless_rewriting_keeps_an_answer_right() -> None:
    wrong = [
        (kind, made, label)
        for label in distinct_labels()
        for kind, made in rewritten(label)
        if accepting_rule(made, label) is None and "=" not in label
    ]
    assert wrong == []


def test_symmetric_but_for_what_is_written_down(some_labels: list[str]) -> None:
    """An answer may say more than the label (subject, order), and 20 % is for the label to say."""
    rng = random.Random(0)
    answers = [*rng.sample(candidates(some_labels), NUM_SYMMETRIC), *some_labels]
    readings = [read_answer(answer) for answer in answers]
    for p, g in combinations(readings, 2):
        there, back = equality.equal(p, g), equality.equal(g, p)
        is_named = isinstance(p.value, Named) or isinstance(g.value, Named)
        assert there == back or is_named or (there or back) in ONE_WAY, (
            p.written,
            g.written,
            there,
            back,
        )


def test_transitive_over_exact_rules(some_labels: list[str]) -> None:
    """What two rules of no tolerance call equal is equal; `subject` and `order` say more on one side."""
    readings = [read_label(label) for label in some_labels]
    spelled = [read_answer(made) for label in some_labels[:300] for _, made in rewritten(label)]
    exact = set(equality.RULES) - LENIENT - {"subject", "order"}
    for reading in spelled:
        equals = [other for other in readings if equality.equal(reading, other) in exact]
        for a, b in combinations(equals, 2):
            assert equality.equal(a, b) is not None, (reading.written, a.written, b.written)


def _labels_of_training() -> list[str]:
    return list(
        dict.fromkeys([*own_labels(), *spread_labels(distinct_labels(), random.Random(1), 400)])
    )


@pytest.mark.parametrize("name", MUST_FAIL)
def test_training_does_not_pay(name: str) -> None:
    rng = random.Random(name)
    for label in _labels_of_training():
        wrong = wrong_answer(label, rng)
        if (wrong == r"\text{wrong}" and "equation" in name) or "approximation" in name:
            continue  # words are a name: \text{area} = 5
        response = MUST_FAIL[name].format(right=label, wrong=wrong)
        verdict = grade(response, label)
        assert not verdict.correct, (response, label, verdict.rule)


@pytest.mark.parametrize("name", MUST_PASS)
def test_training_pays(name: str) -> None:
    rng = random.Random(name)
    for label in _labels_of_training():
        response = MUST_PASS[name].format(right=label, wrong=wrong_answer(label, rng))
        assert grade(response, label).correct, (response, label)


def test_long_form_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    from tests.adversarial.__main__ import main

    main(num_gradings=400, num_candidates=40, processes=1)
    report = json.loads(capsys.readouterr().out.strip().rsplit("\n", 1)[-1])
    assert report["search_score"] == 0 and report["findings"] == 0
    assert report["candidates"] == 40
