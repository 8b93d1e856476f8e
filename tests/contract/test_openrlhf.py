"""What we assume of the installed OpenRLHF: settings it reads, methods we override, fields of its records."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pure_rlhf import cpu_host
from pure_rlhf.adapters import LoraSettings
from pure_rlhf.config import DeepspeedConfig, PureConfig

cpu_host.install()

from pure_rlhf.workers.strategy import make_strategy  # noqa: E402
from pure_rlhf.workers.upstream import check_version, undecorated, upstream_args  # noqa: E402

ROOT = Path(find_spec("openrlhf").submodule_search_locations[0])
# Every file of OpenRLHF whose code a run executes.
FILES = [
    "trainer/ppo_trainer.py",
    "trainer/ppo_utils/experience.py",
    "trainer/ppo_utils/experience_maker.py",
    "trainer/ppo_utils/kl_controller.py",
    "trainer/ppo_utils/length_penalty.py",
    "trainer/ppo_utils/replay_buffer.py",
    "trainer/ppo_utils/samples_generator.py",
    "trainer/ray/launcher.py",
    "trainer/ray/ppo_actor.py",
    "trainer/ray/vllm_engine.py",
    "utils/deepspeed/deepspeed.py",
    "utils/deepspeed/deepspeed_utils.py",
    "utils/logging_utils.py",
    "utils/loss_utils.py",
    "utils/utils.py",
]
GROUPS = {
    "actor",
    "ref",
    "reward",
    "critic",
    "vllm",
    "rollout",
    "train",
    "algo",
    "ds",
    "data",
    "eval",
    "ckpt",
    "logger",
}


def settings_read(source: str) -> set[str]:
    """Dotted names read from something called `args`: `strategy.args.ds.zpg` gives `ds.zpg`."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            chain.append(node.id)
        chain.reverse()
        if "args" in chain:
            rest = chain[chain.index("args") + 1 :]
            if rest and (
                (rest[0] in GROUPS and len(rest) > 1) or rest[0] in {"local_rank", "use_ms"}
            ):
                names.add(".".join(rest))
    return names


def test_the_scan_finds_settings() -> None:
    found = settings_read(
        "x = strategy.args.ds.zero_stage + self.args.algo.kl.init_coef + args.local_rank"
    )
    assert found == {"ds.zero_stage", "algo.kl", "algo.kl.init_coef", "local_rank"}


@pytest.mark.parametrize("file", FILES)
def test_every_setting_that_openrlhf_reads_exists(file: str) -> None:
    args = upstream_args(PureConfig())
    missing = []
    for name in settings_read((ROOT / file).read_text(encoding="utf-8")):
        node = args
        if name.startswith("critic.") and name not in {
            "critic.freezing_steps",
            "critic.model_name_or_path",
        }:
            continue  # only read where there is a critic
        for part in name.split("."):
            if not hasattr(node, part):
                missing.append(name)
                break
            node = getattr(node, part)
    assert not missing, f"{file} reads settings that upstream_args lacks: {sorted(missing)}"


def test_version() -> None:
    check_version()


def test_never_is_infinity_and_clip_range_is_filled_in() -> None:
    args = upstream_args(PureConfig())
    assert args.eval.steps == float("inf")
    assert args.ckpt.save_steps == 20
    assert args.actor.eps_clip_low_high == (0.2, 0.2)
    assert vars(args.actor.adam)["lr"] == 5e-7
    assert args.algo.kl.estimator == "k1"
    assert isinstance(args, SimpleNamespace)


def overridden() -> list[tuple[type, type, str]]:
    from pure_rlhf.workers.engine_worker import EngineWorker
    from pure_rlhf.workers.experience_maker import PureExperienceMaker
    from pure_rlhf.workers.learning_prm import ImplicitPrmWorker, LearningPrmWorker
    from pure_rlhf.workers.lora import LoraPolicyWorker
    from pure_rlhf.workers.policy_worker import PolicyTrainer, PolicyWorker
    from pure_rlhf.workers.prm_worker import PrmWorker
    from pure_rlhf.workers.rollout_actor import PureRolloutActor
    from pure_rlhf.workers.samples_generator import PureSamplesGenerator
    from pure_rlhf.workers.trainer import PureTrainer

    ours = [
        PureExperienceMaker,
        PolicyTrainer,
        PolicyWorker,
        LoraPolicyWorker,
        PrmWorker,
        ImplicitPrmWorker,
        LearningPrmWorker,
        PureRolloutActor,
        PureSamplesGenerator,
        PureTrainer,
        EngineWorker,
    ]
    return [
        (cls, base, name)
        for cls in ours
        for base in cls.__mro__[1:]
        if base.__module__.startswith("openrlhf")
        for name, value in vars(cls).items()
        if inspect.isfunction(value) and name in vars(base) and name != "__init__"
    ]


def test_overridden_methods_take_what_upstream_passes() -> None:
    pairs = overridden()
    names = {f"{cls.__name__}.{name}" for cls, _, name in pairs}
    # the seams that the design rests on; a rename upstream would make our method dead code
    assert {
        "PureExperienceMaker.make_experience_batch",
        "PureExperienceMaker._dispatch_forward",
        "PureExperienceMaker.split_rollout_samples",
        "PolicyTrainer.broadcast_to_vllm",
        "PolicyTrainer.ppo_train",
        "PolicyTrainer._init_vllm_sync_group",
        "LoraPolicyWorker.save_model",
        "LoraPolicyWorker.save_checkpoint",
        "PureSamplesGenerator._generate_vllm",
        "PureSamplesGenerator._process_response_into_experience",
        "PureSamplesGenerator.generate_samples",
        "PureTrainer.train_step",
        "PureTrainer.save_logs_and_checkpoints",
        "PureTrainer.init_checkpoint_states",
        "PureTrainer.evaluate",
        "PureTrainer.broadcast_to_vllm",
        "PureTrainer.ppo_train",
        "PureTrainer.save_best_checkpoint",
    } <= names
    for cls, base, name in pairs:
        if base.__name__ == "BaseModelActor":
            continue  # PrmWorker replaces a method that only raises
        ours = inspect.signature(getattr(cls, name)).parameters
        theirs = inspect.signature(getattr(base, name)).parameters
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in ours.values())
        missing = {n for n in theirs if n != "_ray_trace_ctx"} - ours.keys()
        assert takes_any or not missing, f"{cls.__name__}.{name} does not take {missing}"


def test_undecorated_gives_the_plain_class() -> None:
    from openrlhf.trainer.ppo_trainer import PPOTrainer

    plain = undecorated(PPOTrainer)
    assert plain.__name__ == "PPOTrainer" and plain.__module__ == "openrlhf.trainer.ppo_trainer"
    assert not hasattr(plain, "__ray_actor_class__")


def test_experience_has_the_fields_we_fill() -> None:
    from openrlhf.trainer.ppo_utils.experience import Experience

    names = {field.name for field in dataclasses.fields(Experience)}
    assert {
        "sequences",
        "attention_mask",
        "action_mask",
        "rollout_log_probs",
        "action_log_probs",
        "advantages",
        "returns",
        "rewards",
        "kl",
        "prompts",
        "labels",
        "response_length",
        "truncated",
        "total_length",
        "index",
        "info",
    } <= names


def test_the_patched_name_is_still_the_one_that_upstream_builds() -> None:
    """`replaced(ppo_actor, "ActorPPOTrainer", ...)` works only while the method looks the name up in its module."""
    from openrlhf.trainer.ray import ppo_actor

    source = inspect.getsource(undecorated(ppo_actor.PolicyModelActor).init_model_from_pretrained)
    assert "self.trainer = ActorPPOTrainer(" in source


def test_the_policy_update_is_upstreams() -> None:
    """Our trainer changes the transport of the weights and the order of the rows, nothing of the loss or the step."""
    from openrlhf.models import PolicyLoss
    from openrlhf.trainer.ray.ppo_actor import ActorPPOTrainer

    from pure_rlhf.workers.policy_worker import PolicyTrainer, PolicyWorker

    assert {name for name, value in vars(PolicyTrainer).items() if inspect.isfunction(value)} == {
        "_init_vllm_sync_group",
        "broadcast_to_vllm",
        "join_engines",
        "_loader",
        "ppo_train",  # calls upstream with this loader
    }
    assert PolicyTrainer.training_step is ActorPPOTrainer.training_step
    assert {name for name, value in vars(PolicyWorker).items() if inspect.isfunction(value)} == {
        "init_model_from_pretrained",
        "broadcast_to_vllm",
        "fit",  # seeds, then calls upstream
        "join_engines",
        "roll_back",
    }
    assert "self.actor_loss_fn = PolicyLoss(" in inspect.getsource(ActorPPOTrainer.__init__)
    assert PolicyLoss.__module__ == "openrlhf.models.loss"


@pytest.mark.parametrize(
    ("targets", "given"),
    [(("all-linear",), "all-linear"), (("q_proj", "v_proj"), ["q_proj", "v_proj"])],
)
def test_the_adapter_is_upstreams(targets: tuple[str, ...], given: object) -> None:
    """What of it we rest on: the settings' form, who saves it, and the calls that the reference gets."""
    from openrlhf.models import Actor
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker
    from openrlhf.trainer.ray import ppo_actor

    lora = upstream_args(
        PureConfig(ds=DeepspeedConfig(lora=LoraSettings(rank=4, target_modules=targets)))
    ).ds.lora
    assert (lora.rank, lora.alpha, lora.dropout, lora.target_modules) == (4, 16, 0.0, given)
    assert 'bias="none"' in inspect.getsource(Actor.__init__)
    worker = undecorated(ppo_actor.PolicyModelActor)
    assert "if self.save_hf_ckpt:" in inspect.getsource(worker.save_checkpoint)
    maker = inspect.getsource(RemoteExperienceMaker)
    uses = [line.split("self.initial_model_group")[1] for line in maker.splitlines()
            if "self.initial_model_group" in line]  # fmt: skip
    assert [use.strip(" ,):") for use in uses] == [
        "= initial_model_group", "is not None", "", "is not None) and (not args.algo.kl.use_loss"
    ]  # fmt: skip
    dispatch = inspect.getsource(RemoteExperienceMaker._dispatch_forward)
    assert 'group.async_run_method_batch(method_name="forward", **kwargs)' in dispatch
    assert 'group.async_run_method(method_name="empty_cache")' in dispatch


@pytest.mark.parametrize("offload", [False, True])
def test_deepspeed_compiles_nothing(monkeypatch: pytest.MonkeyPatch, offload: bool) -> None:
    import deepspeed.ops
    import torch
    from deepspeed.comm.torch import build_shm_op
    from deepspeed.runtime.engine import DeepSpeedEngine

    assert "deepspeed_shm_comm" in deepspeed.ops.__compatible_ops__
    monkeypatch.setitem(deepspeed.ops.__compatible_ops__, "deepspeed_shm_comm", True)
    cpu_host.prepare_deepspeed()
    assert build_shm_op() is None
    config = PureConfig(ds=DeepspeedConfig(adam_offload=offload))
    strategy = make_strategy(upstream_args(config))
    asked = {"type": "AdamW", "params": {"lr": 1e-3, "weight_decay": 0.5, "betas": [0.9, 0.95]}}
    made = strategy.get_ds_train_config(asked)
    assert made["zero_optimization"]["offload_optimizer"]["device"] == (
        "cpu" if offload else "none"
    )
    engine: Any = SimpleNamespace(
        optimizer_params=lambda: made["optimizer"]["params"],
        optimizer_name=lambda: made["optimizer"]["type"].lower(),
    )
    engine.get_optimizer_configuration = partial(
        DeepSpeedEngine.get_optimizer_configuration, engine
    )
    optimizer = DeepSpeedEngine._configure_basic_optimizer(engine, [torch.zeros(3)])
    assert type(optimizer) is torch.optim.AdamW
    (group,) = optimizer.param_groups
    assert (group["fused"], group["lr"], group["weight_decay"]) == (True, 1e-3, 0.5)
    assert "optimizer" not in strategy.get_ds_train_config()


def test_the_update_reads_its_rows_through_a_loader_that_we_replace() -> None:
    """With their order the gradient would change, were what is averaged not weighed by the whole optimiser step."""
    from openrlhf.trainer.ray import ppo_actor

    source = ast.parse(textwrap.dedent(inspect.getsource(ppo_actor.ActorPPOTrainer.ppo_train)))
    calls = {
        node.func.id: [keyword.arg for keyword in node.keywords]
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert {"batch_size", "shuffle"} <= set(calls["DataLoader"])
    assert "iter_grad_accum_global_norm" in calls


@pytest.mark.parametrize("token_level", [True, False])
def test_the_loss_of_a_step_does_not_depend_on_its_micro_batches(token_level: bool) -> None:
    """Why responses of one optimiser step may be sorted by length, under either --actor.loss_agg_mode."""
    import torch
    from openrlhf.models.loss import aggregate_loss
    from openrlhf.utils.loss_utils import iter_grad_accum_global_norm

    lengths = torch.tensor([3, 50, 7, 41, 9, 33, 1, 28])
    mask = (torch.arange(50) < lengths[:, None]).float()
    loss = torch.rand(8, 50, generator=torch.Generator().manual_seed(0))

    def step(order: list[int]) -> float:
        micro_batches = [order[start : start + 2] for start in range(0, 8, 2)]
        windows = iter_grad_accum_global_norm(micro_batches, None, 4, lambda rows: mask[rows])
        parts = [
            aggregate_loss(loss[rows], mask[rows], token_level, **info) for rows, info in windows
        ]
        return float(sum(parts)) / 4  # as DeepSpeed accumulates

    drawn = torch.randperm(8, generator=torch.Generator().manual_seed(1)).tolist()
    by_length = sorted(drawn, key=lambda row: -int(lengths[row]))
    of_all = loss[mask.bool()].mean() if token_level else ((loss * mask).sum(1) / lengths).mean()
    assert step(drawn) == pytest.approx(step(by_length), rel=1e-5)
    assert step(drawn) == pytest.approx(float(of_all), rel=1e-5)


def test_on_a_cpu_host_zero_3_waits_for_every_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    """gloo ends gathers in any order. DeepSpeed's own waits for the last one; when it no longer does, ours may go."""
    import torch
    from deepspeed.runtime.zero import partition_parameters

    deepspeeds = inspect.unwrap(partition_parameters.Init._allgather_params_coalesced)

    def gather(output: Any, part: Any, group: Any, async_op: bool) -> Any:
        def wait() -> None:
            output.copy_(part.repeat(2))

        return SimpleNamespace(wait=wait) if async_op else wait()

    def gathered(method: Any) -> list[float]:
        params = [
            SimpleNamespace(ds_tensor=torch.ones(2), ds_numel=4, ds_shape=(4,)) for _ in range(2)
        ]
        for param in params:
            param.ds_tensor.ds_numel = 2
        init = SimpleNamespace(
            local_device="cpu",
            use_all_gather_into_tensor=True,
            _partition_world_size=lambda param: 2,
            _partition_rank=lambda param: 0,
            get_partition_dp_group=lambda param: None,
        )
        init._allgather_params_sequential = partial(
            partition_parameters.Init._allgather_params_sequential, init
        )
        method(init, params)
        return [float(param.data.sum()) for param in params]

    monkeypatch.setattr(partition_parameters.dist, "all_gather_into_tensor", gather)
    monkeypatch.setattr(torch, "empty", torch.zeros)
    assert gathered(deepspeeds) == [0, 4]
    monkeypatch.setattr(partition_parameters.Init, "_allgather_params_coalesced", deepspeeds)
    monkeypatch.setenv("PURE_HOST", "cpu")
    cpu_host.prepare_deepspeed()
    assert gathered(partition_parameters.Init._allgather_params_coalesced) == [4, 4]


def test_the_references_forward_goes_through_the_method_that_we_override() -> None:
    """An implicit PRM gets the reference's log-probabilities there; upstream keeps only a clamped KL."""
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

    source = inspect.getsource(RemoteExperienceMaker.make_experience)
    call = source.index("base_action_log_probs_ref = self._dispatch_forward(")
    assert "self.initial_model_group," in source[call : call + 100]


def test_the_reference_and_an_implicit_prm_compute_alike() -> None:
    """The same inputs to the same model: at the start the log-ratios are exactly 0."""
    from openrlhf.trainer.ray.launcher import ReferenceModelActor

    from pure_rlhf.workers.learning_prm import ImplicitPrmWorker

    theirs = inspect.signature(undecorated(ReferenceModelActor).forward).parameters
    ours = inspect.signature(ImplicitPrmWorker.forward).parameters
    assert set(ours) <= set(theirs)
    source = inspect.getsource(undecorated(ReferenceModelActor).init_model_from_pretrained)
    assert "temperature=strategy.args.rollout.temperature" in source


def test_deepspeeds_settings_are_made_from_the_batch_sizes_of_the_prm() -> None:
    from pure_rlhf.config import TrainConfig
    from pure_rlhf.prm.learning import PrmConfig
    from pure_rlhf.workers.learning_prm import learning_strategy

    config = PureConfig(
        train=TrainConfig(batch_size=128, micro_batch_size=2),
        prm=PrmConfig(batch_size=64, micro_batch_size=4),
    )
    policy = make_strategy(upstream_args(config))
    made = learning_strategy(policy).get_ds_train_config(max_norm=10.0)
    assert (made["train_batch_size"], made["train_micro_batch_size_per_gpu"]) == (64, 4)
    assert made["gradient_clipping"] == 10.0
    assert policy.get_ds_train_config()["train_batch_size"] == 128


def test_upstream_saves_the_best_checkpoint_where_we_save_the_prms() -> None:
    """The PRM's is saved before, under the same condition and tag."""
    from openrlhf.trainer.ppo_trainer import BasePPOTrainer

    source = inspect.getsource(BasePPOTrainer.save_best_checkpoint)
    assert "if current_value > self.best_eval_metric_value:" in source
    assert 'tag = f"best_global_step{global_step}"' in source
    regular = inspect.getsource(BasePPOTrainer.save_logs_and_checkpoints)
    assert "if global_step % self.args.ckpt.save_steps == 0:" in regular
    assert 'tag = f"global_step{global_step}"' in regular
