"""Typed, frozen configuration. The command line is made from these classes by tyro.

Groups mirror OpenRLHF 0.11.2 (`--actor.adam.lr`, `--rollout.temperature`), so that its documentation holds;
PURE's own settings keep PURE's names, without a dot (`--reward_mode`, `--credit_temperature`). Defaults are
PURE's published recipe (`train_pure.sh`). Validation is in `validation/` and runs before Ray starts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pure_rlhf.adapters import LoraSettings
from pure_rlhf.algorithm.curriculum import CurriculumSettings
from pure_rlhf.algorithm.settings import AdvantageSettings, convention_settings
from pure_rlhf.bounds import Bounds
from pure_rlhf.grading import MAX_TIMEOUT_SECONDS
from pure_rlhf.grading.program_settings import ProgramSettings
from pure_rlhf.monitoring.alarm_watch import AlarmSettings
from pure_rlhf.placement import PlacementName, Split
from pure_rlhf.prm.learning import PrmConfig
from pure_rlhf.types import SchedulerName

DEFAULT_INPUT_TEMPLATE = (
    '{}\n\nPlease reason step by step with steps separated by "\n\n", '
    "and put your final answer within \\boxed{}."
)

DEFAULT_PROGRAM_TEMPLATE = (
    "{}\n\nWrite Python code to solve the problem. Present the code in "
    "\n```python\nYour code\n```\nat the end."
)
"""As the problems of code were asked that PRIME trains on."""

SHARED_GPU_MEMORY_UTILIZATION = 0.4
"""Default of --vllm.gpu_memory_utilization under --placement shared."""


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    lr: Annotated[float, Bounds(low=0, high=1, remedy="PURE uses 5e-7")] = 5e-7
    """Learning rate of the policy."""
    betas: Annotated[tuple[float, float], Bounds(low=0, below=1, remedy="use 0.9 0.95")] = (
        0.9,
        0.95,
    )
    eps: Annotated[float, Bounds(above=0, high=1, remedy="use 1e-8")] = 1e-8
    weight_decay: Annotated[float, Bounds(low=0, high=1, remedy="0 turns it off")] = 0.0


@dataclass(frozen=True, kw_only=True)
class ActorConfig:
    """The policy (DeepSpeed, trained)."""

    model_name_or_path: str = "Qwen/Qwen2.5-Math-7B"
    """Policy to train: folder or hub name. The reference is the same model, frozen."""
    num_nodes: Annotated[int, Bounds(low=1, remedy="the policy needs a place")] = 1
    num_gpus_per_node: Annotated[int, Bounds(low=1, remedy="the policy needs a place")] = 4
    """GPUs a node that policy, reference and PRM share; default: what fits this host. On a CPU host: processes."""
    adam: AdamConfig = field(default_factory=AdamConfig)
    lr_scheduler: SchedulerName = "constant"
    """A scheduler of transformers.get_scheduler."""
    lr_warmup_ratio: Annotated[float, Bounds(low=0, high=1, remedy="a share of all steps")] = 0.0
    min_lr_ratio: Annotated[float, Bounds(low=0, high=1, remedy="a share of the rate")] = 0.1
    """Lowest rate of the schedulers with _min_lr in their name, as a share of --actor.adam.lr."""
    max_norm: Annotated[float, Bounds(low=0, remedy="1 is usual, 0 does not clip")] = 1.0
    """Gradient clipping."""
    eps_clip: Annotated[float, Bounds(above=0, high=1, remedy="0.2 is usual")] = 0.2
    """PPO clip range."""
    dual_clip: Annotated[float | None, Bounds(above=1, remedy="3 is usual")] = None
    """Largest factor by which a negative advantage counts (dual-clip PPO, arXiv 1912.09729); None: no limit."""
    loss_agg_mode: Literal["token-mean", "seq-mean-token-mean"] = "seq-mean-token-mean"
    """How token losses are averaged; the published one weighs each answer the same."""
    entropy_coef: Annotated[float | None, Bounds(low=0, remedy="0 only logs the entropy")] = None
    """Entropy bonus; 0 only logs the entropy."""
    gradient_checkpointing_enable: bool = False
    gradient_checkpointing_reentrant: bool = False


@dataclass(frozen=True, kw_only=True)
class RefConfig:
    """The frozen reference policy of the KL penalty."""

    num_nodes: Annotated[int, Bounds(low=1, remedy="it is where the policy is")] = 1
    num_gpus_per_node: Annotated[int, Bounds(low=1, remedy="it is where the policy is")] = 4
    offload: bool = False
    """Keep the weights in host memory between calls; needs --ds.zero_stage 3, whose partitions DeepSpeed moves."""


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """The process reward model (PRM); not loaded in mode VR."""

    model_name_or_path: str = "jinachris/PURE-PRM-7B"
    """PRM: folder or hub name. The default of --process_reward implicit is --actor.model_name_or_path."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """transformers: shares the GPUs of policy and reference; vllm: num_nodes x num_gpus_per_node pooling engines, each
    on a GPU of its own (conventions pure and qwen)."""
    num_nodes: Annotated[int, Bounds(low=1, remedy="it is where the policy is")] = 1
    num_gpus_per_node: Annotated[int, Bounds(low=1, remedy="it is where the policy is")] = 4
    offload: bool = False
    """As --ref.offload."""
    max_tokens_per_batch: Annotated[int, Bounds(low=1, remedy="use for example 16384")] = 16384
    """Token budget (rows x longest row) of one PRM forward."""
    beyond_positions: Literal["warn", "refuse"] = "warn"
    """What to do where --data.max_len is more than the positions that the PRM was made for. The second public version
    reads 8,192 tokens with a PRM of 4,096; --reward.backend vllm always refuses."""


@dataclass(frozen=True, kw_only=True)
class VllmConfig:
    """The rollout engines."""

    num_engines: Annotated[int, Bounds(low=1, remedy="rollouts need an engine")] = 4
    tensor_parallel_size: Annotated[int, Bounds(low=1, remedy="use 1 for one GPU an engine")] = 1
    gpu_memory_utilization: Annotated[
        float, Bounds(above=0, high=1, remedy="a share of a GPU's memory")
    ] = 0.9
    """Share of a GPU's memory for weights and KV cache. The default of --placement shared is 0.4."""
    enforce_eager: bool = False
    """Disable CUDA graphs."""
    enable_prefix_caching: bool = False
    max_num_seqs: Annotated[int | None, Bounds(low=1, remedy="an engine writes answers")] = None
    """Answers that an engine writes at once. None: its share of a step's answers, from 128 to 1,024; vLLM's own 128
    would let the rest wait."""
    max_num_batched_tokens: Annotated[int | None, Bounds(low=1, remedy="use 8192")] = None
    """Tokens of one forward of an engine. None: vLLM's choice, 2,048 on a GPU."""
    max_replacements: Annotated[int, Bounds(low=0, remedy="0 ends the run")] = 3
    """Engines of a run that are replaced, each with the current weights, when they die; what they had been asked is
    asked again. The next one that dies ends the run. With --placement shared or --train.async_steps: the first."""
    sync_bucket_mb: Annotated[int, Bounds(low=1, remedy="use for example 512")] = 512
    """Weights travel to the engines in buckets of this size."""


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    batch_size: Annotated[int, Bounds(low=1, remedy="a step needs prompts")] = 64
    """Prompts a step."""
    n_samples_per_prompt: Annotated[
        int,
        Bounds(
            low=2,
            remedy="every estimator compares the responses to one prompt; sample at least two",
        ),
    ] = 4
    """Responses to each prompt: the group of the leave-one-out baseline."""
    micro_batch_size: Annotated[int, Bounds(low=1, remedy="it counts responses")] = 4
    """Answers in one forward of policy and reference."""
    score_parts: Annotated[int | None, Bounds(low=1, remedy="1 scores all at the end")] = None
    """Policy, reference and PRM read a rollout in at most so many parts, each as soon as it is written. None: 32 where
    models and engines have GPUs of their own and work in step, else 1, all after the last response."""
    max_new_tokens: Annotated[int, Bounds(low=1, remedy="responses need tokens")] = 2048
    temperature: Annotated[
        float, Bounds(above=0, remedy="sampling divides by it; use for example 0.5")
    ] = 0.5
    top_p: Annotated[float, Bounds(above=0, high=1, remedy="1.0 samples from all tokens")] = 1.0
    repeatable: bool | None = None
    """Sample the same tokens in a run with the same seed, also in one that was resumed: an engine begins when it has
    all prompts of a rollout, from a seed of their own. None: without GPUs, where it is exact."""
    max_tokens_per_gpu: Annotated[int | None, Bounds(low=1, remedy="use for example 16384")] = None
    """Token budget of one forward when --train.dynamic_batch_enable. None: --train.max_tokens_per_gpu."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    batch_size: Annotated[int, Bounds(low=1, remedy="it counts responses")] = 128
    """Answers in one optimiser step."""
    micro_batch_size: Annotated[int, Bounds(low=1, remedy="it counts responses")] = 2
    """Answers in one forward and backward of a rank."""
    max_epochs: Annotated[int, Bounds(low=1, remedy="1 is usual")] = 1
    """Passes over each rollout."""
    num_episodes: Annotated[int, Bounds(low=1, remedy="the prompts must be seen")] = 2000
    """Passes over the prompts (--max_steps ends the run earlier)."""
    max_restarts: Annotated[int, Bounds(low=0, remedy="0 ends the run")] = 0
    """How often the run goes on by itself, from its last checkpoint, after a worker died."""
    phase_timeout: Annotated[float, Bounds(above=0, remedy="7200 is two hours")] = 7200
    """Seconds that a phase may take: loading the models, generation, scoring, the update, the weight sync, a
    checkpoint, an evaluation. The run ends with the name of the one that took longer, as after a worker's death."""
    async_steps: Annotated[int, Bounds(low=0, high=1, remedy="0 trains in step")] = 0
    """1: the engines write the next batch while the policy trains on this one, which is then one update older than the
    policy; the default of --algo.advantage.is_correction_level is token then. 0: one after the other."""
    seed: Annotated[int, Bounds(low=0, high=2**32 - 1, remedy="any number will do")] = 42
    full_determinism_enable: bool = False
    dynamic_batch_enable: bool = False
    """Batches by tokens in place of answers; needs --ds.packing_samples."""
    max_tokens_per_gpu: Annotated[int, Bounds(low=1, remedy="use for example 16384")] = 16384


@dataclass(frozen=True, kw_only=True)
class KlConfig:
    init_coef: Annotated[float, Bounds(low=0, remedy="0 turns the penalty off")] = 0.001
    """Weight of the KL penalty; 0 loads no reference (but --process_reward implicit needs one)."""
    estimator: Literal["k1", "k2", "k3"] = "k1"
    """k1: log p - log p_ref; k3: p_ref / p - 1 - log(p_ref / p), the default of --convention verl."""
    target: Annotated[float | None, Bounds(above=0, remedy="for example 6, in nats")] = None
    """Adaptive KL controller's target."""
    horizon: Annotated[int, Bounds(low=1, remedy="10000 is usual")] = 10000


@dataclass(frozen=True, kw_only=True)
class CorrectionConfig:
    """Correction of the difference between engine and policy log-probabilities (truncated importance sampling)."""

    is_correction_level: Literal["off", "token", "seq"] = "off"
    is_correction_mode: Literal["mask", "clip"] = "mask"
    is_correction_gating: Literal["ratio", "binary_kl", "tv"] = "ratio"
    is_correction_threshold: Annotated[
        tuple[float, float], Bounds(low=0, remedy="0.5 5.0, the lower one first")
    ] = (0.5, 5.0)


@dataclass(frozen=True, kw_only=True)
class AlgoConfig:
    kl: KlConfig = field(default_factory=KlConfig)
    advantage: CorrectionConfig = field(default_factory=CorrectionConfig)


@dataclass(frozen=True, kw_only=True)
class DeepspeedConfig:
    zero_stage: Literal[1, 2, 3] = 2
    param_dtype: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """auto: bf16, but fp32 on a CPU that has no bfloat16 arithmetic (AVX512-BF16, AMX) and would emulate it. fp32: on
    a host without GPUs only."""
    attn_implementation: Literal["auto", "flash_attention_2", "sdpa", "eager"] = "auto"
    """auto: flash-attn where it is installed (PURE_FLASH_ATTN=1 at set-up builds it), else PyTorch's sdpa."""
    packing_samples: bool = False
    """Pack answers without padding; needs flash attention."""
    adam_offload: bool = False
    zpg: Annotated[int, Bounds(low=1, remedy="GPUs that hold one copy of the weights; 1: off")] = 1
    grad_accum_dtype: Literal["fp32", "bf16", "fp16"] | None = None
    overlap_comm: bool = False
    use_liger_kernel: bool = False
    lora: LoraSettings = field(default_factory=LoraSettings)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    prompt_dataset: str | None = None
    """Prompts: a .json, .jsonl (also .gz) or .parquet file, or a Hugging Face data set name."""
    prompt_split: str = "train"
    input_key: str = "question"
    """Column of the problem."""
    label_key: str = "answer"
    """Column of the known answer; null, "null" or an empty string mean that there is none."""
    input_template: str = DEFAULT_INPUT_TEMPLATE
    """The first {} is replaced by the problem."""
    ability_key: str | None = None
    """Column that says what a problem is: math, whose known answer is a final answer, or code, whose known answer are
    tests (docs/programs.md). None: all are math."""
    program_template: str = DEFAULT_PROGRAM_TEMPLATE
    """As --data.input_template, of the problems of code."""
    system_prompt: str = "none"
    """none, actions (the seven actions of PRIME, docs/sft.md), or a file with a text of your own."""
    apply_chat_template: bool = False
    max_len: Annotated[int, Bounds(low=2, remedy="it counts tokens")] = 3072
    """Longest prompt + answer, in tokens."""
    prompt_max_len: Annotated[int, Bounds(low=1, remedy="it counts tokens")] = 1024
    """Longer prompts are dropped, and counted."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    dataset: str | None = None
    """Held-out problems: greedy pass@1 before and after training, and every --eval.steps."""
    split: str = "test"
    steps: Annotated[int, Bounds(low=1, never=-1, remedy="-1: before and after only")] = -1
    """Evaluate every so many steps; -1: only before and after."""
    selection_dataset: str | None = None
    """Problems to choose a checkpoint by, others than those of --eval.dataset: each evaluation that is the best so
    far on them keeps its checkpoint (checkpoints/_actor/best_global_stepN). Needs --eval.steps."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    save_steps: Annotated[int, Bounds(low=1, never=-1, remedy="-1 saves none")] = 20
    """Checkpoint every so many steps; -1: never."""
    max_num: Annotated[int, Bounds(low=1, remedy="--ckpt.save_steps -1 saves none")] = 3
    """Checkpoints to keep."""
    load_enable: bool = False
    """Resume from the last checkpoint in the output directory."""
    save_hf: bool = False
    """Also save each checkpoint as a Hugging Face folder; both are kept for equally long."""
    disable_ds: bool = False
    """No DeepSpeed checkpoint (nothing to resume from)."""
    path: str = ""
    """Default: OUTPUT_DIR/checkpoints."""
    output_dir: str = ""
    """Final model; default: OUTPUT_DIR/model."""


@dataclass(frozen=True, kw_only=True)
class WandbConfig:
    """Weights & Biases; the key comes from WANDB_API_KEY, never from a flag. Without one it writes offline."""

    enable: bool = False
    org: str | None = None
    group: str | None = None
    project: str = "pure"
    run_name: str = "pure"


@dataclass(frozen=True, kw_only=True)
class LoggerConfig:
    logging_steps: Annotated[int, Bounds(low=1, remedy="1 logs every step")] = 1
    tensorboard_dir: str | None = None
    mlflow_experiment: str | None = None
    """MLflow experiment to log to; where it is, MLFLOW_TRACKING_URI says. None: off."""
    wandb: WandbConfig = field(default_factory=WandbConfig)


@dataclass(frozen=True, kw_only=True)
class VerifierConfig:
    """How final answers are graded (docs/verifier.md)."""

    strict: bool = False
    """Accept no answer by rounding, as a percentage, or without the label's unit or base."""
    batch_timeout: Annotated[
        float, Bounds(above=0, high=MAX_TIMEOUT_SECONDS, remedy="use for example 30 seconds")
    ] = 30.0
    """Seconds that grading the answers of a step may take; those not graded then count as wrong (and are counted)."""


@dataclass(frozen=True, kw_only=True)
class PureConfig(AdvantageSettings):
    """Train a language model with PURE: process rewards in min-form, verifiable rewards, or both."""

    process_reward: Literal["learned", "implicit"] = "learned"
    """learned: a PRM scores the steps. implicit: the PRM is a language model, and a token is worth its log-probability
    there minus that in the reference (PRIME, docs/prime.md)."""
    process_granularity: Literal["auto", "step", "token", "response"] = "auto"
    """What implicit rewards are paid for. auto: token; steps are all that a learned PRM scores."""
    prm_update: Literal["none", "outcome", "last_step", "step_labels"] = "none"
    """How the PRM learns from the answers of each step. none: it does not. outcome: cross entropy of the verified
    outcome. Learned PRMs only: last_step, cross entropy of the steps that an outcome is sound for; step_labels, of
    those that --step_labeller labels."""
    prm_update_order: Literal["score_first", "update_first"] = "score_first"
    """score_first: rewards come from the PRM before the step's update; update_first: from the updated one."""
    step_labeller: str | None = None
    """Who knows the truth of steps: FILE.py:FUNCTION, from a prompt and the texts of a response's steps to True, False
    or None (not known) for each; a text instead of False names what is wrong. Metrics and reports show it, no reward
    reads it; with --prm_update step_labels the PRM learns from it."""
    log_prob_temperature: Literal["sampling", "one"] = "sampling"
    """Temperature of the log-probabilities in the policy ratio and the KL: sampling is --rollout.temperature, the
    distribution that the answers came from; one is what both public versions do."""
    step_separator: str = "\n\n"
    """A step ends at a token whose text ends in this."""
    prm_convention: Literal["auto", "pure", "qwen", "skywork", "math_shepherd", "rlhflow"] = "auto"
    """How the PRM is used (docs/prm.md). auto: recognised from the checkpoint."""
    prm_separator: str = "\n"
    """Stands after each step in the input of a PRM of the convention pure; must be one token."""
    verifier_workers: Annotated[int, Bounds(low=1, remedy="grading needs a process")] = 2
    """Processes that grade answers."""
    verifier_timeout: Annotated[
        float, Bounds(above=0, high=MAX_TIMEOUT_SECONDS, remedy="use for example 10 seconds")
    ] = 10.0
    """Seconds after which an answer that cannot be graded counts as wrong (and is counted)."""
    max_steps: Annotated[int, Bounds(low=1, remedy="a run needs at least one step")] = 500
    """Rollout-and-update steps."""
    output_dir: str = "output/pure"
    """Run directory: config.json, metrics.jsonl, rollouts/, evaluation.json, report.html, model/, checkpoints/."""
    profile: bool = False
    """Write OUTPUT_DIR/trace.json: what every process did in the third step, for https://ui.perfetto.dev."""
    rollouts_per_step: Annotated[int, Bounds(low=0, remedy="0 keeps none")] = 8
    """Answers a step kept in rollouts/ for reading."""
    placement: PlacementName = "auto"
    """split: policy, reference and PRM on some GPUs, the rollout engines on the others. shared: all on every GPU; they
    take turns, and what does not work waits in host memory. auto: shared where there is one GPU, else split."""
    num_gpus: Annotated[int | None, Bounds(low=1, remedy="leave it out to use all")] = None
    """GPUs to use. Default: all there are; on a CPU host, as many as are asked for are declared to Ray."""
    memory_check: Literal["refuse", "warn"] = "refuse"
    """What happens where a run does not fit by the estimate of pure-rlhf-doctor (docs/doctor.md)."""
    verbose: bool = False
    """Show the log lines of all workers."""
    dashboard: bool = True
    """Start Ray's dashboard, on loopback; its dozen processes cost some 20 s of CPU at the start. A cluster has one."""
    trust_remote_code: bool = False
    """Run code that comes with a model. Off: refused."""

    actor: ActorConfig = field(default_factory=ActorConfig)
    ref: RefConfig = field(default_factory=RefConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    prm: PrmConfig = field(default_factory=PrmConfig)
    vllm: VllmConfig = field(default_factory=VllmConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    algo: AlgoConfig = field(default_factory=AlgoConfig)
    ds: DeepspeedConfig = field(default_factory=DeepspeedConfig)
    data: DataConfig = field(default_factory=DataConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    ckpt: CheckpointConfig = field(default_factory=CheckpointConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    alarm: AlarmSettings = field(default_factory=AlarmSettings)
    curriculum: CurriculumSettings = field(default_factory=CurriculumSettings)
    verifier: VerifierConfig = field(default_factory=VerifierConfig)
    programs: ProgramSettings = field(default_factory=ProgramSettings)

    @property
    def uses_implicit_prm(self) -> bool:
        return self.uses_prm and self.process_reward == "implicit"

    @property
    def learns_prm(self) -> bool:
        """Whether the PRM is trained beside the policy."""
        return self.uses_prm and self.prm_update != "none"

    @property
    def granularity(self) -> Literal["step", "token", "response"]:
        """What process rewards are paid for."""
        if self.process_granularity == "auto":
            return "token" if self.process_reward == "implicit" else "step"
        return self.process_granularity

    @property
    def prm_batch_size(self) -> int:
        """Responses in one optimiser step of a PRM that learns."""
        return self.prm.batch_size or self.train.batch_size

    @property
    def prm_micro_batch_size(self) -> int:
        return self.prm.micro_batch_size or self.train.micro_batch_size

    @property
    def prm_replay_rows(self) -> int:
        """Rows of --prm.replay_dataset that come on top of those responses: the share in whole micro-batches."""
        if self.prm.replay_share == 0:
            return 0
        unit = self.training_gpus * self.prm_micro_batch_size
        share = self.prm.replay_share
        return max(round(self.prm_batch_size * share / (1 - share) / unit), 1) * unit

    @property
    def scores_at_temperature_one(self) -> bool:
        """Whether policy and reference give log-probabilities of their own distribution, as an implicit PRM does."""
        return self.log_prob_temperature == "one" or self.rollout.temperature == 1.0

    @property
    def uses_reference(self) -> bool:
        return self.algo.kl.init_coef > 0 or self.uses_implicit_prm

    @property
    def has_reference_worker(self) -> bool:
        """With LoRA the policy without its adapter is the reference, and no other model is loaded."""
        return self.uses_reference and not self.ds.lora.rank

    @property
    def answers_per_engine(self) -> int:
        """Answers of a step that each engine writes."""
        answers = self.rollout.batch_size * self.rollout.n_samples_per_prompt
        return -(-answers // self.vllm.num_engines)

    @property
    def training_gpus(self) -> int:
        """GPUs that policy, reference and PRM share."""
        return self.actor.num_nodes * self.actor.num_gpus_per_node

    @property
    def can_score_early(self) -> bool:
        """Whether the models may read the first responses while the engines write the last."""
        return not (self.shares_gpus or self.train.async_steps)

    def score_parts(self, *, on_gpus: bool) -> int:
        """Parts at most in which a rollout is scored; on a CPU models and engines would share the cores."""
        return self.rollout.score_parts or (32 if on_gpus and self.can_score_early else 1)

    def samples_repeatably(self, *, on_gpus: bool) -> bool:
        """Whether a run with the same seed samples the same tokens."""
        return not on_gpus if self.rollout.repeatable is None else self.rollout.repeatable

    @property
    def processes_in_update(self) -> int:
        """Those that work while the policy is updated, its own among them, where nobody waits for a GPU."""
        engines = self.rollout_gpus if self.train.async_steps else 0
        return self.training_gpus * (1 + self.learns_prm) + engines

    @property
    def prm_gpus(self) -> int:
        """GPUs that the PRM has to itself."""
        has_its_own = self.uses_prm and self.reward.backend == "vllm"
        return self.reward.num_nodes * self.reward.num_gpus_per_node if has_its_own else 0

    @property
    def rollout_gpus(self) -> int:
        return self.vllm.num_engines * self.vllm.tensor_parallel_size

    @property
    def shares_gpus(self) -> bool:
        """Whether trainers and engines take turns on the same GPUs."""
        return self.placement == "shared"

    @property
    def placement_line(self) -> str:
        """Who works where, in one line."""
        trained = ["policy"] + ["reference"] * self.has_reference_worker
        trained += ["PRM"] * (self.uses_prm and not self.prm_gpus)
        engines = f"{self.vllm.num_engines} rollout engine{'s' * (self.vllm.num_engines > 1)}"
        if self.shares_gpus:
            who = f"{' + '.join(trained)} and {engines} take turns on all of them, scoring after the last response"
        else:
            who = f"{' + '.join(trained)} on {self.training_gpus}, {engines} on {self.rollout_gpus}"
        own = f", PRM on {self.prm_gpus} of its own" if self.prm_gpus else ""
        gpus = f"{self.needed_gpus} GPU{'s' * (self.needed_gpus > 1)}"
        name = "shared" if self.shares_gpus else "split"
        return f"Placement {name} ({gpus}, or processes on a CPU): {who}{own}"

    @property
    def needed_gpus(self) -> int:
        engines = 0 if self.shares_gpus else self.rollout_gpus
        return self.training_gpus + engines + self.prm_gpus


def with_split(config: PureConfig, split: Split) -> PureConfig:
    """The same with this placement on one node."""
    training = {"num_nodes": 1, "num_gpus_per_node": split.training}
    prm = training | ({"num_gpus_per_node": split.prm} if split.prm else {})
    vllm: dict[str, Any] = {"num_engines": split.engines}
    if split.shared:
        # beside the engine the policy's weights stay on the GPU
        vllm["gpu_memory_utilization"] = SHARED_GPU_MEMORY_UTILIZATION
    return dataclasses.replace(
        config,
        placement="shared" if split.shared else "split",
        actor=dataclasses.replace(config.actor, **training),
        ref=dataclasses.replace(config.ref, **training),
        reward=dataclasses.replace(config.reward, **prm),
        vllm=dataclasses.replace(config.vllm, **vllm),
    )


def convention_defaults(convention: str, advantage_estimator: str = "rloo") -> PureConfig:
    """The defaults of all flags under `--convention` and `--advantage_estimator`; others than the published
    recipe's are, in the second version, the loss (`token-mean`) and the estimate of the KL divergence, and in PRIME no
    KL penalty and the sampling temperature 1, at which the log-ratios of its reward model are taken.

    Raises:
        ValueError: there is no such convention.
    """
    values: dict[str, Any] = convention_settings(convention)
    if advantage_estimator == "group_norm":
        values["reward_baseline"] = "none"  # it centres by itself
    config = PureConfig(**values)
    if convention == "verl":
        config = dataclasses.replace(
            config,
            actor=dataclasses.replace(config.actor, loss_agg_mode="token-mean"),
            algo=dataclasses.replace(
                config.algo, kl=dataclasses.replace(config.algo.kl, estimator="k3")
            ),
        )
    elif convention == "prime":
        config = dataclasses.replace(
            config,
            rollout=dataclasses.replace(config.rollout, temperature=1.0),
            algo=dataclasses.replace(
                config.algo, kl=dataclasses.replace(config.algo.kl, init_coef=0.0)
            ),
        )
    return config


class ConfigError(ValueError):
    """All problems of a configuration at once; each names flag, value, rule and remedy."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        noun = "problem" if len(self.problems) == 1 else "problems"
        lines = [f"{len(self.problems)} {noun} in the settings; nothing was started:"]
        return "\n".join(lines + [f"  * {problem}" for problem in self.problems])
