"""Every user mistake ends before Ray starts: exit code 2, one message with all problems, no traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from code_sandbox.runner import SandboxError, SandboxPool
from pure_rlhf.adapters import LoraSettings, find_target_problems
from pure_rlhf.cli.train_pure import parse, run
from pure_rlhf.config import ConfigError, PureConfig
from pure_rlhf.validation import prepare
from tests.conftest import RandomWorld
from tests.tiny_models import train_tokenizer

LORA: dict[str, object] = {"ds__lora__rank": 8}


def problems_of(flags: list[str]) -> list[str]:
    config, problems = parse(flags)
    try:
        prepare(config, problems)
    except ConfigError as error:
        return error.problems
    return []


def test_the_test_world_has_no_problem(world: RandomWorld, tmp_path: Path) -> None:
    assert problems_of(world.flags(tmp_path / "run")) == []


@pytest.mark.parametrize(
    ("changes", "flag", "rule"),
    [
        (
            {"rollout__n_samples_per_prompt": 1},
            "--rollout.n_samples_per_prompt 1: must be >= 2",
            "sample at least two",
        ),
        ({"rollout__temperature": 0}, "--rollout.temperature 0.0", "must be > 0"),
        (
            {"credit_temperature": 0},
            "--credit_temperature 0.0: must be > 0",
            "--credit_assignment min",
        ),
        ({"credit_temperature": -1}, "--credit_temperature -1.0", "must be > 0"),
        (
            {"convention": "verl", "reward_baseline": "token"},
            "--kl_baselined: needs a baseline of whole returns",
            "--reward_baseline return",
        ),
        ({"train__batch_size": 24}, "--train.batch_size 24", "must divide"),
        ({"train__micro_batch_size": 3}, "--train.batch_size 16", "must be a multiple"),
        ({"rollout__micro_batch_size": 7}, "--rollout.micro_batch_size 7", "must be a multiple"),
        ({"num_gpus": 1}, "--actor.num_gpus_per_node 1", "needs 2 GPUs, there are 1"),
        ({"ref__num_gpus_per_node": 2}, "--ref.num_nodes", "share the same GPUs"),
        ({"ref__offload": ""}, "--ref.offload", "set --ds.zero_stage 3"),
        ({"vllm__max_num_seqs": 0}, "--vllm.max_num_seqs 0", "must be >= 1"),
        (
            {"actor__model_name_or_path": "/no/such/model"},
            "--actor.model_name_or_path /no/such/model",
            "no model folder",
        ),
        ({"data__prompt_dataset": "/no/data.jsonl"}, "--data.prompt_dataset", "no such file"),
        ({"data__prompt_dataset": None}, "--data.prompt_dataset", "is missing"),
        (
            {"data__input_key": "problem"},
            "--data.prompt_dataset",
            "its columns are 'question', 'answer'",
        ),
        ({"data__prompt_max_len": 3, "data__max_len": 67}, "--data.prompt_dataset", "longer than"),
        (
            {"credit_assignment": "max"},
            "--credit_assignment max",
            "must be one of softmin, min, sum, gamma_decay, mean, log_sum_exp, or FILE.py:FUNCTION",
        ),
        ({"credit_assignment": "no.py:f"}, "--credit_assignment", "there is no file /"),
        ({"step_separator": "Q\n\n\nQ"}, "--step_separator 'Q", "tokens of this tokenizer does"),
        ({"prm_separator": "step "}, "--prm_separator 'step '", "must be exactly one token"),
        (
            {"ds__attn_implementation": "flash_attention_2"},
            "--ds.attn_implementation",
            "use --ds.attn_implementation sdpa",
        ),
        (
            {"ds__packing_samples": ""},
            "--ds.packing_samples",
            "here sdpa: packing needs flash-attn",
        ),
        ({"ds__lora__rank": -1}, "--ds.lora.rank -1: must be >= 0", "0 trains all weights"),
        ({"ds__lora__alpha": 8}, "--ds.lora.alpha: needs LoRA", "set --ds.lora.rank"),
        ({**LORA, "ds__lora__alpha": 0}, "--ds.lora.alpha 0: must be >= 1", "twice the rank"),
        ({**LORA, "ds__lora__dropout": 1}, "--ds.lora.dropout 1.0: must be in [0, 0.99]", "use 0"),
        (
            {**LORA, "ds__lora__target_modules": "wq"},
            "--ds.lora.target_modules wq: must name linear layers",
            "(down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj)",
        ),
        (
            {**LORA, "ds__lora__target_modules": "embed_tokens"},
            "--ds.lora.target_modules embed_tokens: must name linear layers",
            "or use all-linear",
        ),
        (
            {**LORA, "ds__lora__target_modules": "lm_head"},
            "--ds.lora.target_modules lm_head: is the output layer",
            "the embedding's in this model; leave it out",
        ),
        (
            {**LORA, "ref__offload": "", "ds__zero_stage": 3},
            "--ref.offload: with --ds.lora.rank",
            "drop the flag",
        ),
        (
            {"curriculum__min_accuracy": 0.8, "curriculum__max_accuracy": 0.2},
            "--curriculum.min_accuracy 0.8: must be at most --curriculum.max_accuracy 0.2",
            "PRIME uses 0.2 and 0.8",
        ),
        (
            {"rollout__batch_size": 40, "curriculum__no_keep_unlabelled": ""},
            "--curriculum.no_keep_unlabelled",
            "has only 32 problems with an answer",
        ),
        ({"alarm__limits": "reward/acuracy<0.1"}, "--alarm.limits", "did you mean"),
        (
            {"alarm__action": "rollback", "ckpt__save_steps": -1},
            "--alarm.action rollback: needs checkpoints",
            "set --ckpt.save_steps",
        ),
        (
            {"alarm__action": "rollback", "ckpt__save_steps": 5},
            "--alarm.action rollback: goes back at least 20 steps",
            "keep 5",
        ),
        ({"ckpt__load_enable": ""}, "--ckpt.load_enable", "drop the flag to start afresh"),
        (
            {"rollout__batch_size": 64, "train__batch_size": 256},
            "--rollout.batch_size 64",
            "has only 48 problems",
        ),
    ],
)
def test_each_mistake_names_flag_and_rule(
    world: RandomWorld, tmp_path: Path, changes: dict[str, object], flag: str, rule: str
) -> None:
    flags = world.flags(tmp_path / "run", **changes)
    found = problems_of([part for part in flags if part != ""])
    assert any(flag in problem and rule in problem for problem in found), found


def test_choosing_a_checkpoint_needs_evaluations(world: RandomWorld, tmp_path: Path) -> None:
    flags = world.flags(tmp_path / "run", eval__selection_dataset=world.test)
    (problem,) = problems_of(flags)
    assert "--eval.selection_dataset" in problem and "set --eval.steps" in problem
    assert problems_of([*flags, "--eval.steps", "1"]) == []


def test_choosing_on_test_or_training_problems_is_warned_of(
    world: RandomWorld, tmp_path: Path
) -> None:
    flags = world.flags(
        tmp_path / "run",
        eval__dataset=world.test,
        eval__selection_dataset=world.test,
        eval__steps=1,
    )
    warnings = prepare(parse(flags)[0], []).warnings
    assert len(warnings) == 2
    assert "shares 8 problems with --eval.dataset" in warnings[0]
    assert "shares 8 problems with --data.prompt_dataset" in warnings[1]


def test_a_response_longer_than_the_prm_was_made_for_is_warned_of_or_refused(
    world: RandomWorld, tmp_path: Path
) -> None:
    """The second public version does it; the test model has 2,048 rotary positions."""
    flags = world.flags(tmp_path / "run", data__max_len=4096)
    config, problems = parse(flags)
    (warning,) = prepare(config, problems).warnings
    assert "was made for at most 2048 tokens" in warning
    (problem,) = problems_of([*flags, "--reward.beyond_positions", "refuse"])
    assert "was made for at most 2048 tokens" in problem


def test_all_at_once(world: RandomWorld, tmp_path: Path) -> None:
    flags = world.flags(
        tmp_path / "run",
        rollout__temperature=0,
        data__prompt_dataset="/no.jsonl",
        actor__model_name_or_path="/no",
    )
    found = problems_of(
        [*flags, "--reward_mod", "VR", "--max_steps", "many", "--rollout.n_samples", "4"]
    )
    starts = [
        "--reward_mod:",
        "--max_steps many:",
        "--rollout.n_samples:",
        "--rollout.temperature",
        "--actor.model",
        "--data.prompt",
    ]
    assert all(any(problem.startswith(start) for problem in found) for start in starts), found
    assert any("did you mean --reward_mode?" in problem for problem in found)
    # an abbreviation is not taken for the flag
    assert any("--rollout.n_samples: no such flag" in problem for problem in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds no rows"), ('{"question": "q", "answer": "1"}\n{oops}\n', "line 2")],
)
def test_bad_data_files(world: RandomWorld, tmp_path: Path, text: str, message: str) -> None:
    data = tmp_path / "bad.jsonl"
    data.write_text(text)
    found = problems_of(world.flags(tmp_path / "run", data__prompt_dataset=data))
    assert any(message in problem for problem in found), found


def test_prm_with_another_tokenizer_goes_through_text(world: RandomWorld, tmp_path: Path) -> None:
    prm = shutil.copytree(world.prm, tmp_path / "prm")
    train_tokenizer(["other words altogether"], vocab_size=300).save_pretrained(prm)
    assert problems_of(world.flags(tmp_path / "run", reward__model_name_or_path=prm)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "choose one with --prm_convention: pure, qwen, skywork, math_shepherd, rlhflow"),
        ({"prm_convention": "pure"}, "has two labels (0 = wrong, 1 = right), this one has 5"),
        ({"prm_convention": "qwen"}, "'<extra_0>' is encoded as"),
    ],
)
def test_prm_that_does_not_fit(
    world: RandomWorld, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    prm = shutil.copytree(world.prm, tmp_path / "prm")
    config = AutoConfig.from_pretrained(prm)
    config.num_labels = 5
    config.save_pretrained(prm)
    found = problems_of(world.flags(tmp_path / "run", reward__model_name_or_path=prm, **changes))
    assert any(message in problem for problem in found), found


def test_an_engine_for_the_prm_needs_a_gpu_of_its_own(world: RandomWorld, tmp_path: Path) -> None:
    flags = world.flags(tmp_path / "run", reward__backend="vllm", num_gpus=2)
    (problem,) = problems_of(flags)
    assert "--reward.backend vllm 1: needs 3 GPUs, there are 2" in problem


def test_mode_vr_needs_no_prm(world: RandomWorld, tmp_path: Path) -> None:
    assert (
        problems_of(
            world.flags(tmp_path / "run", reward__model_name_or_path="/no", reward_mode="VR")
        )
        == []
    )


def test_a_second_run_in_the_same_folder_is_refused(world: RandomWorld, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    found = problems_of(world.flags(tmp_path))
    assert any(
        "already holds a run" in problem and "--ckpt.load_enable" in problem for problem in found
    ), found


def test_output_below_a_file_cannot_be_written(world: RandomWorld) -> None:
    found = problems_of(world.flags(world.train / "run"))
    assert any("--output_dir" in problem and "cannot be written" in problem for problem in found), (
        found
    )


def test_a_link_that_somebody_else_left_is_not_followed(
    world: RandomWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run would write, and on resume delete, where it leads; links of one's own are fine."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/rollouts").symlink_to(tmp_path / "elsewhere")
    assert problems_of(world.flags(tmp_path / "run")) == []
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (problem,) = problems_of(world.flags(tmp_path / "run"))
    assert "run/rollouts is a link that another user made" in problem


def test_disk_too_small(
    world: RandomWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    found = problems_of(world.flags(tmp_path / "run"))
    assert any("2 checkpoints of" in problem for problem in found), found
    found = problems_of(world.flags(tmp_path / "run", ckpt__save_steps=-1, ckpt__disable_ds=None))
    assert any("0 checkpoints of" in problem for problem in found), found


def test_a_checkpoint_that_was_cut_off_is_refused(world: RandomWorld, tmp_path: Path) -> None:
    """As OpenRLHF leaves it when it is killed while it saves: it would begin anew, and say so in a log."""
    folder = tmp_path / "run/checkpoints/_actor"
    (folder / "global_step20").mkdir(parents=True)
    (folder / "latest").write_text("global_step20")
    (problem,) = problems_of([*world.flags(tmp_path / "run"), "--ckpt.load_enable"])
    assert "no checkpoint in" in problem and "written to its end" in problem


@pytest.mark.parametrize(("ranks", "refused"), [(1, False), (4, True)])
def test_a_checkpoint_of_other_ranks_is_refused(
    world: RandomWorld, tmp_path: Path, ranks: int, refused: bool
) -> None:
    """The names are those of DeepSpeed 0.19.6 in bf16."""
    folder = tmp_path / "run/checkpoints/_actor"
    parts = folder / "global_step20"
    parts.mkdir(parents=True)
    (parts / "metric.json").touch()
    (folder / "latest").write_text("global_step20")
    for rank in range(ranks):
        (parts / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    found = problems_of([*world.flags(tmp_path / "run"), "--ckpt.load_enable"])
    said = [problem for problem in found if "was written by 4 policy ranks" in problem]
    assert bool(said) == refused and len(found) == len(said)


@pytest.mark.parametrize(
    ("saved", "asked", "remedy"),
    [
        (LoraSettings(), {}, None),
        (LoraSettings(rank=4), {"rank": 4, "dropout": 0.1}, None),
        (LoraSettings(rank=4), {"rank": 8}, "--ds.lora.rank 4 --ds.lora.alpha 16"),
        (LoraSettings(rank=4), {"rank": 4, "alpha": 8}, "--ds.lora.alpha 16"),
        (LoraSettings(rank=4), {}, "resume with --ds.lora.rank 4"),
        (
            LoraSettings(rank=4, target_modules=("v_proj", "q_proj")),
            {"rank": 4},
            "--ds.lora.target_modules q_proj v_proj",
        ),
        (LoraSettings(), {"rank": 4}, "was written without LoRA; drop --ds.lora.rank"),
    ],
)
def test_a_checkpoint_of_another_adapter_is_refused(
    world: RandomWorld,
    tmp_path: Path,
    saved: LoraSettings,
    asked: dict[str, object],
    remedy: str | None,
) -> None:
    folder = tmp_path / "run/checkpoints/_actor"
    (folder / "global_step20").mkdir(parents=True)
    (folder / "global_step20/metric.json").touch()
    (folder / "latest").write_text("global_step20")
    if saved.rank:
        saved.write_note(folder / "global_step20")
    flags = world.flags(
        tmp_path / "run", **{f"ds__lora__{name}": value for name, value in asked.items()}
    )
    found = problems_of([*flags, "--ckpt.load_enable"])
    assert len(found) == (remedy is not None), found
    assert remedy is None or remedy in found[0]


def test_a_rate_too_low_for_an_adapter_is_warned_of(world: RandomWorld, tmp_path: Path) -> None:
    flags = world.flags(tmp_path / "run", **LORA)
    (warning,) = prepare(*parse(flags)).warnings
    assert "--actor.adam.lr 5e-07 with --ds.lora.rank 8" in warning and "2e-4 is usual" in warning
    assert prepare(*parse([*flags, "--actor.adam.lr", "1e-4"])).warnings == []


def test_an_adapter_on_named_layers_and_on_an_output_layer_of_its_own(
    world: RandomWorld, tmp_path: Path
) -> None:
    flags = world.flags(tmp_path / "run", **LORA, actor__adam__lr=1e-4)
    flags += ["--ds.lora.target_modules", "q_proj", "v_proj"]
    assert problems_of(flags) == []
    config = AutoConfig.from_pretrained(world.policy)
    config.tie_word_embeddings = False
    assert not list(find_target_problems(LoraSettings(rank=1, target_modules=("lm_head",)), config))


def test_remote_code_is_refused(world: RandomWorld, tmp_path: Path) -> None:
    policy = shutil.copytree(world.policy, tmp_path / "policy")
    config = (policy / "config.json").read_text()
    (policy / "config.json").write_text(
        config.replace("{", '{"auto_map": {"AutoConfig": "x.Y"},', 1)
    )
    found = problems_of(world.flags(tmp_path / "run", actor__model_name_or_path=policy))
    assert any("--trust_remote_code" in problem for problem in found), found


def test_exit_code_and_no_traceback(world: RandomWorld, tmp_path: Path) -> None:
    flags = world.flags(tmp_path / "run", rollout__temperature=0)
    done = subprocess.run(
        [sys.executable, "-m", "pure_rlhf.cli.train_pure", *flags, "--no_such"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "2 problems in the settings; nothing was started" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "run").exists()


def test_run_returns_the_exit_code(
    world: RandomWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world.flags(tmp_path / "run", credit_gamma=2.0)) == 2
    assert "--credit_gamma 2.0: must be in (0, 1]" in capsys.readouterr().err


def test_every_flag_named_in_a_message_exists() -> None:
    """Messages are read by people who will type what they say."""
    import re

    from pure_rlhf.cli.train_pure import _flag_names

    names = set(_flag_names(PureConfig()))
    files = ["data.py", "config.py", "adapters.py"]
    files += [f"algorithm/{name}.py" for name in ("settings", "credit_assignment", "curriculum")]
    package = Path(__file__).parents[2] / "pure_rlhf"
    checks = sorted((package / "validation").glob("*.py"))
    assert len(checks) >= 5
    for file in [*(package / name for name in files), *checks]:
        source = file.read_text()
        # not the part before a name that is filled in: --prm.{name}
        for name in re.findall(r"--([a-z_]+(?:\.[a-z_]+)*)(?![a-z_.]*\{)", source):
            assert name in names, f"{file} names --{name}"


def test_tokenizer_fixture_has_several_blank_line_tokens(world: RandomWorld) -> None:
    from pure_rlhf.algorithm.step_segmentation import find_separator_token_ids

    assert len(find_separator_token_ids(AutoTokenizer.from_pretrained(world.policy))) >= 3


def code_problem(answer: object) -> str:
    return json.dumps({"question": "Double it.", "answer": answer, "ability": "code"}) + "\n"


def with_programs(world: RandomWorld, folder: Path, answer: object, **changes: object) -> list[str]:
    """Flags of a run on the world's problems, all mathematics, and one of code."""
    rows = [json.loads(line) | {"ability": "math"} for line in world.train.read_text().splitlines()]
    path = folder / "mixed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + code_problem(answer))
    # the world's held-out problems have no column of abilities
    held_out = folder / "held_out.jsonl"
    held_out.write_text(
        code_problem({"kind": "asserts", "checks": "assert double(2) == 4"})
        + code_problem({"inputs": ["1"], "outputs": ["2"]})
    )
    settings = {
        "data__prompt_dataset": path,
        "data__ability_key": "ability",
        "eval__dataset": held_out,
    }
    return world.flags(folder / "run", **settings | changes)


def test_programs_in_training_and_asserts_in_evaluation(world: RandomWorld, tmp_path: Path) -> None:
    assert problems_of(with_programs(world, tmp_path, {"inputs": ["1"], "outputs": ["2"]})) == []


def test_tests_that_a_program_can_read_earn_no_reward(world: RandomWorld, tmp_path: Path) -> None:
    flags = with_programs(world, tmp_path, {"kind": "asserts", "checks": "assert double(2) == 4"})
    (problem,) = problems_of(flags)
    assert problem.startswith("--data.prompt_dataset:") and "no reward is made of them" in problem


def test_a_host_that_cannot_lock_programs_in(
    world: RandomWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: SandboxPool) -> None:
        raise SandboxError("there is no Landlock in this kernel")

    monkeypatch.setattr(SandboxPool, "try_out", refuse)
    assert problems_of(world.flags(tmp_path / "run")) == [], "nothing to run, nothing to ask"
    (problem,) = problems_of(with_programs(world, tmp_path, {"inputs": ["1"], "outputs": ["2"]}))
    assert problem == (
        "--data.ability_key ability: 3 problems of code cannot be graded here: there is no Landlock in this kernel"
    )


def test_a_package_that_programs_cannot_import(world: RandomWorld, tmp_path: Path) -> None:
    flags = with_programs(
        world, tmp_path, {"inputs": ["1"], "outputs": ["2"]}, programs__packages="no_such_package"
    )
    (problem,) = problems_of(flags)
    assert "--data.ability_key" in problem and "no_such_package" in problem


def test_a_system_prompt_that_is_not_there(world: RandomWorld, tmp_path: Path) -> None:
    (problem,) = problems_of(world.flags(tmp_path / "run", data__system_prompt="none.txt"))
    assert problem.startswith("--data.system_prompt 'none.txt' is neither 'none' nor 'actions'")
