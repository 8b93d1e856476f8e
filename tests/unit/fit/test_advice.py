"""Verdicts and advice: what is named was tried, fits, and is the cheapest."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from pure_rlhf.cli.train_pure import _flag_names, parse
from pure_rlhf.config import PureConfig
from pure_rlhf.fit.advice import STEPS, Plan, find_advice
from pure_rlhf.fit.estimate import GB, Models
from pure_rlhf.fit.host import Gpu, Host
from pure_rlhf.fit.shapes import KNOWN_MODELS
from pure_rlhf.fit.verdict import Need, assess

PRM = KNOWN_MODELS["jinachris/PURE-PRM-7B"]


def plan_for(
    *flags: str,
    num_gpus: int,
    policy: str = "Qwen/Qwen2.5-Math-7B",
) -> Plan:
    config, problems = parse(["--actor.model_name_or_path", policy, *flags], num_gpus)
    assert problems == []
    models = Models(policy=KNOWN_MODELS[policy], prm=PRM)
    return Plan(config=config, models=models)


def host_of(num_gpus: int, gigabytes: float, memory: float | None = None) -> Host:
    gpus = (Gpu("G", int(gigabytes * GB)),) * num_gpus
    return Host(gpus=gpus, memory_bytes=None if memory is None else int(memory * GB))


def verdict_of(plan: Plan, host: Host) -> str:
    found = assess(plan.config, plan.models, host, disk_free=None)
    return found.verdict


@pytest.mark.parametrize(
    ("have", "verdict"), [(111, "fits"), (110, "fits"), (95, "close"), (94, "does not fit")]
)
def test_verdicts(have: float, verdict: str) -> None:
    need = Need(what="x", amount=100, least=95, most=110, have=have)
    assert need.verdict == verdict
    assert dataclasses.replace(need, have=None).verdict == "not known"


def test_the_defaults_do_not_fit_and_the_recipe_does() -> None:
    host = host_of(8, 85, memory=400)
    plain = plan_for(num_gpus=8)
    assert verdict_of(plain, host) == "does not fit"
    recipe = plan_for("--ds.adam_offload", "--actor.gradient_checkpointing_enable", num_gpus=8)
    assert verdict_of(recipe, host) == "fits"
    advice = [each.flags for each in find_advice(plain, host)]
    assert ("--ds.adam_offload", "--actor.gradient_checkpointing_enable") in advice


def test_offload_is_not_named_where_host_memory_is_small() -> None:
    ways = find_advice(plan_for(num_gpus=8), host_of(8, 85, memory=100))
    assert all("--ds.adam_offload" not in way.flags for way in ways)


def test_one_gpu_is_shared() -> None:
    host = host_of(1, 85, memory=300)
    flags = ("--ds.adam_offload", "--actor.gradient_checkpointing_enable")
    plan = plan_for(*flags, "--placement", "split", num_gpus=1)
    assert verdict_of(plan, host) == "does not fit"  # policy and engine on a GPU each
    assert find_advice(plan, host)[0].flags == ("--placement shared",)
    assert verdict_of(plan_for(*flags, num_gpus=1), host) == "fits"


def test_a_small_card_takes_a_small_model() -> None:
    host = host_of(2, 24, memory=400)
    ways = find_advice(plan_for(num_gpus=2), host)
    assert ways and all("Qwen2.5" in " ".join(way.flags) for way in ways)


def test_a_card_too_small_for_the_prm_gets_no_advice() -> None:
    assert find_advice(plan_for(num_gpus=8), host_of(8, 12, memory=400)) == []


@pytest.mark.parametrize(("num_gpus", "gigabytes"), [(2, 85), (4, 48), (8, 85), (4, 64), (1, 85)])
def test_all_that_is_named_fits_when_it_is_typed(num_gpus: int, gigabytes: float) -> None:
    """The flags of an advice, through the command line, give what was estimated; none of them is superfluous."""
    host = host_of(num_gpus, gigabytes, memory=600)
    plan = plan_for(num_gpus=num_gpus)
    for way in find_advice(plan, host):
        words = " ".join(way.flags).split()
        policy = next((word for word in words if word in KNOWN_MODELS), "Qwen/Qwen2.5-Math-7B")
        again = plan_for(*words, num_gpus=num_gpus, policy=policy)
        assert verdict_of(again, host) in ("fits", "close")
        assert verdict_of(again, host) == way.assessment.verdict


def test_no_step_of_an_advice_is_superfluous() -> None:
    host, plan = host_of(8, 85, memory=600), plan_for(num_gpus=8)
    for way in find_advice(plan, host):
        for fewer in itertools.combinations(way.flags, len(way.flags) - 1):
            changed: Plan | None = plan
            for step in STEPS.values():
                tried = step(changed, host) if changed else None
                if tried is not None and tried.flags[-1] in fewer:
                    changed = tried
            assert changed is not None and verdict_of(changed, host) != "fits", way.flags


def test_the_flags_of_every_step_exist() -> None:
    names = set(_flag_names(PureConfig()))
    host = host_of(8, 85)
    for name, step in STEPS.items():
        flags = ["--placement", "shared"] if name == "smaller share" else []
        plan = plan_for(*flags, num_gpus=8)
        changed = step(plan, host)
        assert changed is not None, name
        flags = [word[2:] for word in " ".join(changed.flags).split() if word.startswith("--")]
        assert flags
        assert set(flags) <= names, name
