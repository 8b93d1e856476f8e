"""Every flag of every shipped script and of every command in the documents parses."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from pure_rlhf.cli.train_pure import parse
from pure_rlhf.config import PureConfig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FLAG = re.compile(r"^\s+--([a-z_0-9.]+)(?:[ \t]+(\S+))?", re.MULTILINE)


def blocks(script: str = "train_pure.sh") -> list[tuple[str, list[str]]]:
    """The `flags=( ... )` and `flags+=( ... )` arrays of a script that run over several lines, as arguments."""
    text = (ROOT / "examples/scripts" / script).read_text()
    found = []
    for number, match in enumerate(re.finditer(r"flags\+?=\((.*?)\n\s+\)", text, re.DOTALL)):
        arguments = []
        for name, value in FLAG.findall(match[1]):
            arguments.append(f"--{name}")
            if value:
                # a shell variable stands for a path or a count
                arguments.append("1" if value.startswith('"$') else value)
        found.append((f"block {number}", arguments))
    return found


@pytest.mark.parametrize(("name", "arguments"), blocks())
def test_the_flags_of_the_script_parse(name: str, arguments: list[str]) -> None:
    assert len(arguments) > 20
    _, problems = parse(arguments)
    assert problems == []


def test_the_script_has_a_gpu_and_a_cpu_block() -> None:
    assert len(blocks()) == 2


def test_the_gpu_block_is_the_published_recipe() -> None:
    config, _ = parse(blocks()[0][1])
    assert config.rollout.batch_size * config.rollout.n_samples_per_prompt == 256
    assert (config.train.batch_size, config.train.micro_batch_size) == (128, 2)
    assert (config.actor.adam.lr, config.algo.kl.init_coef) == (5e-7, 0.001)
    assert (config.rollout.temperature, config.rollout.max_new_tokens) == (0.5, 2048)
    assert config.ds.adam_offload and config.actor.gradient_checkpointing_enable
    assert (config.ds.zero_stage, config.ds.attn_implementation) == (2, "auto")
    assert (config.reward_baseline, config.credit_assignment) == ("token", "softmin")
    assert (config.credit_temperature, config.verifiable_reward_coef) == (0.1, 1.0)


def test_prime_on_gpus_is_the_published_recipe() -> None:
    """Its flags follow those of train_pure.sh, and win; `--convention` and the PRM are on lines of their own."""
    (_, of_pure), _ = blocks()
    ((_, flags),) = blocks("train_prime.sh")  # those of both hosts, and of GPUs
    flags[flags.index("--process_reward") + 1] = "implicit"
    flags[flags.index("--prm_update") + 1] = "outcome"
    implicit = ["--convention", "prime", "--algo.kl.init_coef", "0"]
    assert " ".join(implicit) in (ROOT / "examples/scripts/train_prime.sh").read_text()
    config, problems = parse([*of_pure, *implicit, *flags])
    assert problems == []
    assert (config.rollout.batch_size, config.rollout.n_samples_per_prompt) == (256, 4)
    assert (config.train.batch_size, config.prm_batch_size, config.max_steps) == (256, 256, 592)
    assert (config.actor.adam.lr, config.prm.adam.lr, config.prm.max_norm) == (5e-7, 1e-6, 10.0)
    assert (config.rollout.temperature, config.rollout.max_new_tokens) == (1.0, 3072)
    assert (config.curriculum.min_accuracy, config.curriculum.max_accuracy) == (0.2, 0.8)
    assert config.curriculum.method == "range" and not config.curriculum.keep_unlabelled
    assert (config.prm.beta, config.granularity, config.actor.eps_clip) == (0.05, "token", 0.2)
    assert config.algo.kl.init_coef == 0 and config.uses_reference and not config.mask_separator
    assert config.ds.adam_offload and config.ds.zero_stage == 2


def test_the_defaults_are_the_recipe_too() -> None:
    config = PureConfig()
    assert config.actor.model_name_or_path == "Qwen/Qwen2.5-Math-7B"
    assert config.reward.model_name_or_path == "jinachris/PURE-PRM-7B"
    assert (config.rollout.batch_size, config.train.batch_size, config.max_steps) == (64, 128, 500)


def test_flags_in_readme_and_docs_exist() -> None:
    from data_preparation.prepare import PreparationSettings
    from evaluation.evaluate import EvaluationSettings
    from evaluation.evaluate_prm import PrmEvaluationSettings
    from prm_training.settings import PrmTrainingSettings
    from pure_rlhf.cli import doctor, wandb_workspace
    from pure_rlhf.cli.train_pure import _flag_names
    from pure_rlhf.sft.settings import SftConfig

    names = {
        name
        for settings in (PureConfig(), SftConfig(), PreparationSettings())
        for name in _flag_names(settings)
    }
    # of ray, tests/run.sh, tests.adversarial, wandb_workspace, the published code, and of docs/first_world.md
    others = {"help", "head", "address", "num-gpus", "working-dir", "slow", "quick", "processes"}
    others |= {"disable_weighted_reward"}
    # of tests/run.sh and tests.gpu, docker, sbatch
    others |= {"gpu", "device", "report", "only", "gpus", "shm-size", "nodes", "gpus-per-node"}
    others |= {flag.removeprefix("--") for flag in doctor.OWN_FLAGS}
    others |= set(inspect.signature(wandb_workspace.main).parameters)
    for settings in (EvaluationSettings, PrmEvaluationSettings, PrmTrainingSettings):
        others |= {field.name for field in fields(settings)}
    for page in set(PAGES) - {ROOT / "CONTRIBUTING.md"}:
        for name in re.findall(r"--([a-z][a-z_.-]*[a-z])", page.read_text()):
            group = any(known.startswith(f"{name}.") for known in names)  # "--alarm.*"
            assert group or name in names | others, f"{page.name} names --{name}"


def test_the_readme_is_short_and_the_index_lists_every_page() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 1800
    index = (ROOT / "docs/README.md").read_text()
    for page in (ROOT / "docs").iterdir():
        if page.name != "README.md" and page.suffix != ".png":
            assert f"({page.name})" in index, page.name


def test_the_hooks_have_the_versions_of_the_tests() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    pinned = re.search(r"^ruff==(\S+)", (ROOT / "requirements/tests.in").read_text(), re.MULTILINE)
    assert pinned and f"rev: v{pinned[1]}" in hooks


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text()
        for target, _, anchor in re.findall(r"\]\(((?!https?:)[^)#\s]*)(#([\w-]+))?\)", text):
            found = (page.parent / target).resolve() if target else page
            assert found.exists(), f"{page.name} links to {target}"
            if anchor:
                titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
                slugs = {
                    re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles
                }
                assert anchor in slugs, f"{page.name} links to {target}#{anchor}"


def test_the_comparison_refuses_an_unknown_flag_before_anything_starts(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(ROOT / "examples/scripts/compare_rewards.sh"), "--quik"],
        capture_output=True,
        text=True,
        env=os.environ | {"OUTPUT_DIR": str(tmp_path / "out")},
    )
    assert done.returncode == 2 and "--quik: no such flag" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_page_of_the_runs_in_docs_says_what_docs_say(tmp_path: Path) -> None:
    variables = {"HISTORIES": str(ROOT / "docs/reward_modes"), "OUTPUT_DIR": str(tmp_path)}
    variables |= {"PURE_VENV": sys.prefix, "PURE_DEV": "1"}  # the one that the tests run in
    subprocess.run(
        ["bash", str(ROOT / "examples/scripts/compare_rewards.sh")],
        check=True,
        env=os.environ | variables | {"SEEDS": "none"},
    )
    page = (tmp_path / "rewards-40-steps/comparison.html").read_text(encoding="utf-8")
    results = (ROOT / "docs/results.md").read_text()
    assert "PRM and VR: 92.4% against 48.5%, difference +43.8 points" in page
    assert all(f"| {mean} % (" in results for mean in ("48.5", "92.4"))
    assert not (tmp_path / "rewards-40-steps/runs/VR-seed1").exists()
