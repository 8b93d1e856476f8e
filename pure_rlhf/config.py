"""Typed, frozen configuration. The command line is made from these classes by tyro.

Groups mirror OpenRLHF 0.11.2 (`--actor.adam.lr`, `--rollout.temperature`), so that its documentation holds;
PURE's own settings keep PURE's names, without a dot (`--reward_mode`, `--credit_temperature`). Defaults are
PURE's published recipe (`train_pure.sh`). Validation is in `validation.py` and runs before Ray starts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pure_rlhf.algorithm.alarms import AlarmThresholds
from pure_rlhf.algorithm.curriculum import CurriculumSettings
from pure_rlhf.types import AdvantageSettings, convention_settings

DEFAULT_INPUT_TEMPLATE = (
    '{}\n\nPlease reason step by step with steps separated by "\n\n", '
    "and put your final answer within \\boxed{}."
)


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    lr: float = 5e-7
    """Learning rate of the policy."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ActorConfig:
    """The policy (DeepSpeed, trained)."""

    model_name_or_path: str = "Qwen/Qwen2.5-Math-7B"
    """Policy to train: folder or hub name. The reference is the same model, frozen."""
    num_nodes: int = 1
    num_gpus_per_node: int = 4
    """GPUs a node that policy, reference and PRM share. On a CPU host: processes."""
    adam: AdamConfig = field(default_factory=AdamConfig)
    lr_scheduler: str = "constant"
    """A scheduler name of transformers.get_scheduler."""
    lr_warmup_ratio: float = 0.0
    min_lr_ratio: float = 0.1
    max_norm: float = 1.0
    """Gradient clipping."""
    eps_clip: float = 0.2
    """PPO clip range."""
    dual_clip: float | None = None
    loss_agg_mode: Literal["token-mean", "seq-mean-token-mean"] = "seq-mean-token-mean"
    """How token losses are averaged; the published one weighs each answer the same."""
    entropy_coef: float | None = None
    """Entropy bonus; 0 only logs the entropy."""
    gradient_checkpointing_enable: bool = False
    gradient_checkpointing_reentrant: bool = False


@dataclass(frozen=True, kw_only=True)
class RefConfig:
    """The frozen reference policy of the KL penalty."""

    num_nodes: int = 1
    num_gpus_per_node: int = 4
    offload: bool = False
    """Keep the weights in CPU memory between calls."""


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """The process reward model (PRM); not loaded in mode VR."""

    model_name_or_path: str = "jinachris/PURE-PRM-7B"
    """PRM: folder or hub name."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """transformers: shares the GPUs of policy and reference; vllm: num_nodes x num_gpus_per_node pooling engines, each
    on a GPU of its own (conventions pure and qwen)."""
    num_nodes: int = 1
    num_gpus_per_node: int = 4
    offload: bool = False
    max_tokens_per_batch: int = 16384
    """Token budget (rows x longest row) of one PRM forward."""


@dataclass(frozen=True, kw_only=True)
class VllmConfig:
    """The rollout engines."""

    num_engines: int = 4
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    enforce_eager: bool = False
    """Disable CUDA graphs."""
    enable_prefix_caching: bool = False
    sync_bucket_mb: int = 512
    """Weights travel to the engines in buckets of this size."""


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    batch_size: int = 64
    """Prompts a step."""
    n_samples_per_prompt: int = 4
    """Answers to each prompt: the group of the leave-one-out baseline."""
    micro_batch_size: int = 4
    """Answers in one forward of policy and reference."""
    max_new_tokens: int = 2048
    temperature: float = 0.5
    top_p: float = 1.0
    max_tokens_per_gpu: int | None = None
    """Token budget of one forward when --train.dynamic_batch_enable."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    batch_size: int = 128
    """Answers in one optimiser step."""
    micro_batch_size: int = 2
    """Answers in one forward and backward of a rank."""
    max_epochs: int = 1
    """Passes over each rollout."""
    num_episodes: int = 2000
    """Passes over the prompts (--max_steps ends the run earlier)."""
    seed: int = 42
    full_determinism_enable: bool = False
    dynamic_batch_enable: bool = False
    """Batches by tokens in place of answers; needs --ds.packing_samples."""
    max_tokens_per_gpu: int = 16384


@dataclass(frozen=True, kw_only=True)
class KlConfig:
    init_coef: float = 0.001
    """Weight of the KL penalty; 0 loads no reference."""
    estimator: Literal["k1", "k2", "k3"] | None = None
    """Default: by --convention."""
    target: float | None = None
    """Adaptive KL controller's target."""
    horizon: int = 10000


@dataclass(frozen=True, kw_only=True)
class CorrectionConfig:
    """Correction of the difference between engine and policy log-probabilities (truncated importance sampling)."""

    is_correction_level: Literal["off", "token", "seq"] = "off"
    is_correction_mode: Literal["mask", "clip"] = "mask"
    is_correction_gating: Literal["ratio", "binary_kl", "tv"] = "ratio"
    is_correction_threshold: tuple[float, float] = (0.5, 5.0)


@dataclass(frozen=True, kw_only=True)
class AlgoConfig:
    kl: KlConfig = field(default_factory=KlConfig)
    advantage: CorrectionConfig = field(default_factory=CorrectionConfig)


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    rank: int = 0
    """0 = no LoRA. LoRA weights cannot be pushed to the engines yet, so other values are refused."""
    alpha: int = 16
    dropout: float = 0.0
    target_modules: str = "all-linear"


@dataclass(frozen=True, kw_only=True)
class DeepspeedConfig:
    zero_stage: Literal[1, 2, 3] = 2
    param_dtype: Literal["bf16", "fp16"] = "bf16"
    attn_implementation: str = "flash_attention_2"
    """Use sdpa on a CPU host."""
    packing_samples: bool = False
    """Pack answers without padding; needs flash attention."""
    adam_offload: bool = False
    zpg: int = 1
    grad_accum_dtype: str | None = None
    overlap_comm: bool = False
    use_liger_kernel: bool = False
    lora: LoraConfig = field(default_factory=LoraConfig)


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
    apply_chat_template: bool = False
    max_len: int = 3072
    """Longest prompt + answer, in tokens."""
    prompt_max_len: int = 1024
    """Longer prompts are dropped, and counted."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    dataset: str | None = None
    """Held-out problems: greedy pass@1 before and after training, and every --eval.steps."""
    split: str = "test"
    steps: int = -1
    """Evaluate every so many steps; -1: only before and after."""
    selection_dataset: str | None = None
    """Problems to choose a checkpoint by, others than those of --eval.dataset: each evaluation that is the best so
    far on them keeps its checkpoint (checkpoints/_actor/best_global_stepN). Needs --eval.steps."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    save_steps: int = 20
    """Checkpoint every so many steps; -1: never."""
    max_num: int = 3
    """Checkpoints to keep."""
    load_enable: bool = False
    """Resume from the last checkpoint in the output directory."""
    save_hf: bool = False
    """Also save each checkpoint as a Hugging Face folder."""
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
    logging_steps: int = 1
    tensorboard_dir: str | None = None
    mlflow_experiment: str | None = None
    """MLflow experiment to log to; where it is, MLFLOW_TRACKING_URI says. None: off."""
    wandb: WandbConfig = field(default_factory=WandbConfig)


@dataclass(frozen=True, kw_only=True)
class AlarmConfig(AlarmThresholds):
    """Alarms on collapse and reward hacking (docs/metrics.md)."""

    action: Literal["off", "warn", "stop", "rollback"] = "warn"
    """warn: one line in the terminal and in alarms.jsonl; stop: also end the run after the step, with the last
    checkpoint named that is at least two windows old; rollback: load that checkpoint and go on with less weight on
    the process rewards."""
    rollback_factor: float = 0.5
    """What each roll back multiplies the weight of the process rewards by, in [0, 1]."""
    max_rollbacks: int = 3
    """The alarm after so many roll backs ends the run."""


@dataclass(frozen=True, kw_only=True)
class VerifierConfig:
    """How final answers are graded (docs/verifier.md)."""

    strict: bool = False
    """Accept no answer by rounding, as a percentage, or without the label's unit or base."""
    batch_timeout: float = 30.0
    """Seconds that grading the answers of a step may take; those not graded then count as wrong (and are counted)."""


@dataclass(frozen=True, kw_only=True)
class PureConfig:
    """Train a language model with PURE: process rewards in min-form, verifiable rewards, or both."""

    reward_mode: Literal["PRM", "VR", "PRMVR"] = "PRMVR"
    """PRM: process rewards only; VR: verifiable final-answer reward only; PRMVR: both."""
    credit_assignment: Literal["softmin", "min", "sum", "gamma_decay", "mean"] = "softmin"
    """How step rewards become credit: softmin is PURE's min-form; sum and gamma_decay are what it argues against."""
    credit_temperature: float = 0.1
    """Temperature of softmin; -> 0 is min."""
    credit_gamma: float = 1.0
    """Discount per step of gamma_decay."""
    advantage_estimator: Literal["rloo", "reinforce_baseline", "group_norm"] = "rloo"
    """rloo: leave-one-out; reinforce_baseline: group mean; group_norm: group mean and std (GRPO)."""
    convention: Literal["openrlhf", "verl"] = "openrlhf"
    """Which of PURE's two public versions to follow where they differ (docs/conventions.md). The flags whose
    default is None follow it unless they are set."""
    reward_baseline: Literal["token", "step", "return", "none"] | None = None
    """Leave-one-out baseline of the process rewards (step is biased towards few steps)."""
    process_reward_coef: float | None = None
    """Weight of the process rewards."""
    process_reward_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the weight of the process rewards goes to --process_reward_final_coef over --max_steps."""
    process_reward_final_coef: float = 0.0
    """The weight at the last step; read by the schedules linear and cosine."""
    process_reward_gate: Literal["all", "not_wrong"] = "all"
    """not_wrong: no process reward for answers that the verifier calls wrong."""
    verifiable_reward_coef: float = 1.0
    """Weight of the verifiable reward."""
    verifiable_reward_range: Literal["minus_one_zero", "zero_one", "minus_one_one"] | None = None
    """What a wrong and a right answer earn."""
    verifiable_reward_baseline: Literal["scalar", "shared"] | None = None
    """scalar: centred in its group by itself; shared: under the baseline of the process rewards."""
    length_penalty_coef: float = 0.0
    """Soft penalty of answers that come near --rollout.max_new_tokens (DAPO, arXiv 2503.14476, eq. 13); 0: none."""
    length_penalty_buffer: int = 0
    """Tokens before the limit in which the penalty grows from 0 to --length_penalty_coef."""
    kl_baselined: bool | None = None
    """Whether the KL penalty is under the baseline too."""
    log_prob_temperature: Literal["sampling", "one"] = "sampling"
    """Temperature of the log-probabilities in the policy ratio and the KL: sampling is --rollout.temperature, the
    distribution that the answers came from; one is what both public versions do."""
    mask_separator: bool | None = None
    """Whether the advantage is 0 at separators and EOS."""
    normalize: bool | None = None
    """Whether advantages are whitened over the answer tokens of the batch."""
    step_separator: str = "\n\n"
    """A step ends at a token whose text ends in this."""
    prm_convention: Literal["auto", "pure", "qwen", "skywork", "math_shepherd", "rlhflow"] = "auto"
    """How the PRM is used (README, "Bring your own PRM"). auto: recognised from the checkpoint."""
    prm_separator: str = "\n"
    """Stands after each step in the input of a PRM of the convention pure; must be one token."""
    verifier_workers: int = 2
    """Processes that grade answers."""
    verifier_timeout: float = 10.0
    """Seconds after which an answer that cannot be graded counts as wrong (and is counted)."""
    max_steps: int = 500
    """Rollout-and-update steps."""
    output_dir: str = "output/pure"
    """Run directory: config.json, metrics.jsonl, rollouts/, evaluation.json, report.html, model/, checkpoints/."""
    rollouts_per_step: int = 8
    """Answers a step kept in rollouts/ for reading."""
    num_gpus: int | None = None
    """GPUs to use. Default: all there are; on a CPU host, as many as are asked for are declared to Ray."""
    verbose: bool = False
    """Show the log lines of all workers."""
    trust_remote_code: bool = False
    """Run code that comes with a model. Off: refused."""

    actor: ActorConfig = field(default_factory=ActorConfig)
    ref: RefConfig = field(default_factory=RefConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    vllm: VllmConfig = field(default_factory=VllmConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    algo: AlgoConfig = field(default_factory=AlgoConfig)
    ds: DeepspeedConfig = field(default_factory=DeepspeedConfig)
    data: DataConfig = field(default_factory=DataConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    ckpt: CheckpointConfig = field(default_factory=CheckpointConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    alarm: AlarmConfig = field(default_factory=AlarmConfig)
    curriculum: CurriculumSettings = field(default_factory=CurriculumSettings)
    verifier: VerifierConfig = field(default_factory=VerifierConfig)

    @property
    def uses_prm(self) -> bool:
        return "PRM" in self.reward_mode

    @property
    def uses_reference(self) -> bool:
        return self.algo.kl.init_coef > 0

    @property
    def training_gpus(self) -> int:
        """GPUs that policy, reference and PRM share."""
        return self.actor.num_nodes * self.actor.num_gpus_per_node

    @property
    def prm_gpus(self) -> int:
        """GPUs that the PRM has to itself."""
        has_its_own = self.uses_prm and self.reward.backend == "vllm"
        return self.reward.num_nodes * self.reward.num_gpus_per_node if has_its_own else 0

    @property
    def rollout_gpus(self) -> int:
        return self.vllm.num_engines * self.vllm.tensor_parallel_size

    @property
    def needed_gpus(self) -> int:
        return self.training_gpus + self.rollout_gpus + self.prm_gpus

    def advantage_settings(self) -> AdvantageSettings:
        """The convention's settings, overridden by the flags that the user has set."""
        if self.advantage_estimator == "group_norm" and self.reward_baseline is None:
            baseline = "none"  # it centres by itself
        else:
            baseline = self.reward_baseline
        chosen = {
            "reward_baseline": baseline,
            "process_reward_coef": self.process_reward_coef,
            "verifiable_reward_range": self.verifiable_reward_range,
            "verifiable_reward_baseline": self.verifiable_reward_baseline,
            "kl_baselined": self.kl_baselined,
            "mask_separator": self.mask_separator,
            "normalize": self.normalize,
            "kl_estimator": self.algo.kl.estimator,
        }
        return AdvantageSettings(
            **convention_settings(self.convention)
            | {key: value for key, value in chosen.items() if value is not None},
            group_size=self.rollout.n_samples_per_prompt,
            reward_mode=self.reward_mode,
            credit_assignment=self.credit_assignment,
            credit_temperature=self.credit_temperature,
            credit_gamma=self.credit_gamma,
            process_reward_gate=self.process_reward_gate,
            verifiable_reward_coef=self.verifiable_reward_coef,
            estimator=self.advantage_estimator,
            baseline_length=self.rollout.max_new_tokens,
            length_penalty_coef=self.length_penalty_coef,
            length_penalty_buffer=self.length_penalty_buffer,
            kl_coef=self.algo.kl.init_coef,
        )


class ConfigError(ValueError):
    """All problems of a configuration at once; each names flag, value, rule and remedy."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        noun = "problem" if len(self.problems) == 1 else "problems"
        lines = [f"{len(self.problems)} {noun} in the settings; nothing was started:"]
        return "\n".join(lines + [f"  * {problem}" for problem in self.problems])
