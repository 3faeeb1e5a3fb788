"""Every setting, once: type, unit, default, bounds and one line of description.

The command line (dotted overrides), the YAML files in `configs/` and the parameter forms of the Prefect
deployments are all made from these models. An unknown key or a value out of range is an error that names it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from sgpo.engine_config import EngineConfig as EngineConfig
from sgpo.lora_config import LoraConfig as LoraConfig
from sgpo.settings import Settings as Settings
from sgpo.settings import without_password


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names file, key and what would be right."""


Precision = Literal["float32", "bfloat16"]
SettingsT = TypeVar("SettingsT", bound=Settings)
_PASSWORD = re.compile(r"//[^/\s]*@")
"""What a URL has before its host; it is never shown."""


class SamplingConfig(Settings):
    """How responses are drawn. Log-probabilities are of the full softmax at this temperature, before top-p."""

    temperature: float = Field(default=1.0, ge=0.0, le=5.0, description="Softmax temperature; 0 is greedy")
    top_p: float = Field(default=0.95, gt=0.0, le=1.0, description="Nucleus mass that is sampled from")
    max_new_tokens: int = Field(default=96, ge=1, le=131072, description="Longest response, in tokens")
    batch_size: int = Field(default=256, ge=1, le=65536, description="Rollouts decoded together")


class ObjectiveConfig(Settings):
    """The loss of one step [SGPO Eqs. 1-7] and its alternatives; defaults are the paper's (docs/objectives.md)."""

    grpo: bool = Field(
        default=True, description="GRPO on the autonomous rollouts, Eq. 1; without it distillation alone"
    )
    clip_low: float | None = Field(default=0.2, ge=0.0, le=1.0, description="eps_low of Eq. 1; null does not clip")
    clip_high: float | None = Field(default=0.28, ge=0.0, description="eps_high of Eq. 1 (clip-higher); null: no clip")
    normalize_std: bool = Field(default=True, description="Divide advantages by the group's standard deviation")
    normalization: Literal["sequence", "token", "constant"] = Field(
        default="sequence", description="Mean per response, per token, or by the constant sampling.max_new_tokens"
    )
    importance_cap: float | None = Field(
        default=None, gt=0.0, description="Cap of the truncated importance sampling against the sampler; null: off"
    )
    entropy_coefficient: float = Field(default=0.0, ge=0.0, description="Entropy bonus on autonomous rollouts")
    distillation: Literal["forward_kl", "reverse_kl", "sft", "none"] = Field(
        default="forward_kl",
        description="forward_kl is SGPO; sft imitates the guided target; none is GRPO on autonomous rollouts alone",
    )
    target: Literal["sum", "mean", "random", "all"] = Field(
        default="sum", description="Reachable target choice, Eq. 4; all is the mean over every correct guided rollout"
    )
    delta: float | None = Field(default=1.0, gt=0.0, description="KL in nats above which a token is clipped, Eq. 5")
    delta_end: float | None = Field(default=None, gt=0.0, description="Delta of the last step, reached linearly")
    clipping: Literal["mask", "truncate"] = Field(
        default="mask", description="Leave a token above delta out, or cap it"
    )
    weight: Literal["adaptive", "fixed", "group_advantage"] = Field(
        default="adaptive", description="alpha by Eq. 6, alpha_max always, or the target's advantage in the group"
    )
    alpha0: float = Field(default=0.5, ge=0.0, description="Scale of Eq. 6")
    gamma: float = Field(default=0.1, gt=0.0, description="Smoothing of Eq. 6")
    alpha_max: float = Field(default=0.8, ge=0.0, description="Cap of Eq. 6")
    expert: Literal["none", "luffy", "hpt"] = Field(
        default="none", description="What a strong model's own response does: nothing (SGPO), LUFFY's or HPT's part"
    )
    expert_shaping: float = Field(default=0.1, gt=0.0, description="LUFFY's f(p) = p / (p + this)")
    expert_coefficient: float = Field(default=1.0, ge=0.0, description="Weight of HPT's supervised loss")
    expert_gate: int = Field(default=0, ge=0, description="HPT imitates where at most this many rollouts are correct")

    @model_validator(mode="after")
    def _delta_has_a_start(self) -> ObjectiveConfig:
        if self.delta_end is not None and self.delta is None:
            raise ValueError(f"delta_end is {self.delta_end} but delta is null (expected a delta to start from)")
        if not self.grpo and self.distillation == "none" and self.expert == "none":
            raise ValueError("grpo is false and distillation and expert are 'none' (expected at least one of them)")
        if not self.grpo and self.expert == "luffy":
            raise ValueError("grpo is false but expert is 'luffy', whose trace is one of the GRPO group's members")
        return self


class TrainingConfig(Settings):
    """The SGPO loop (Algorithm 1)."""

    steps: int = Field(default=60, ge=0, description="Optimiser steps")
    problems_per_step: int = Field(default=16, ge=1, description="Problems sampled for one step, over all processes")
    autonomous_rollouts: int = Field(default=8, ge=1, le=256, description="G1, responses without strategy per problem")
    guided_rollouts: int = Field(default=4, ge=0, le=256, description="G2, responses with strategy per problem")
    minibatches: int = Field(default=1, ge=1, description="Optimiser steps per sampled batch")
    overlap: bool = Field(
        default=False, description="Draw the next step's rollouts while a step trains: they are one step old then"
    )
    learning_rate: float = Field(default=2e-4, gt=0.0, le=1.0)
    warmup_steps: int = Field(default=5, ge=0, description="Steps of linear learning-rate warm-up")
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    weight_decay: float = Field(default=0.0, ge=0.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0, description="Gradient norm is clipped to this")
    tokens_per_microbatch: int = Field(default=16384, ge=1, description="Padded tokens in one forward and backward")
    mask_truncated: bool = Field(default=False, description="Leave responses that hit the length limit out of the loss")
    checkpoint_every: int = Field(default=10, ge=1, description="Steps between checkpoints")
    keep_checkpoints: int = Field(default=2, ge=1, description="Newest checkpoints that are kept, beside the best one")
    grace_s: float = Field(default=20.0, gt=0.0, description="Seconds to finish the step after SIGTERM or Ctrl-C")
    skip_grad_norm: float | None = Field(
        default=None, gt=0.0, description="A step whose gradient norm exceeds this is skipped; null: only NaN and inf"
    )
    max_skipped_steps: int = Field(default=5, ge=1, description="The run stops after so many skipped steps in a row")
    fused_optimizer: bool = Field(default=False, description="AdamW in one kernel")
    log_rollouts_every: int = Field(default=10, ge=1, description="Steps between recorded rollout samples")
    lora: LoraConfig | None = None
    sampling: SamplingConfig = SamplingConfig()
    objective: ObjectiveConfig = ObjectiveConfig()

    @model_validator(mode="after")
    def _rollouts_are_sampled(self) -> TrainingConfig:
        if self.sampling.temperature == 0.0:
            raise ValueError("sampling.temperature is 0 (expected more: greedy rollouts of a group are all the same)")
        return self


class ShardingConfig(Settings):
    """How the model lies over the processes (FSDP2)."""

    replicas: int = Field(default=1, ge=1, description="Groups of processes that each hold the whole model, sharded")
    precision: Precision = Field(
        default="float32", description="Forward and backward; master weights, sums and optimiser stay float32"
    )
    activation_checkpointing: bool = Field(default=False, description="Compute activations again in backward")
    cpu_offload: bool = Field(default=False, description="Keep parameters and optimiser state in main memory")


class WarmupConfig(Settings):
    """Supervised warm-up on strong-model responses before RL (METHOD.md section 8); zero epochs skips it."""

    epochs: int = Field(default=0, ge=0)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-5, gt=0.0, le=1.0)
    warmup_ratio: float = Field(default=0.1, ge=0.0, le=1.0)
    held_out_fraction: float = Field(default=0.1, ge=0.0, lt=1.0, description="Share that selects the best epoch")


class EvaluationConfig(Settings):
    """How a model is measured."""

    k: int = Field(default=6, ge=1, le=1024, description="Responses per problem, avg@k and pass@k")
    sampling: SamplingConfig = SamplingConfig(temperature=0.6)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0, description="Level of the intervals")
    resamples: int = Field(default=2000, ge=100, le=1_000_000, description="Bootstrap resamples")
    verifier_timeout: float = Field(default=5.0, gt=0.0, description="Seconds for one verdict")
    verifier_workers: int = Field(default=2, ge=1, le=256)
    engine: EngineConfig | None = Field(default=None, description="What draws the responses; null: as in training")


class GateConfig(Settings):
    """When a challenger replaces the champion."""

    margin: float = Field(default=0.0, ge=-1.0, le=1.0, description="Lower bound of the overall gain must exceed this")
    tolerance: float = Field(default=0.05, ge=0.0, le=1.0, description="No tier may fall by more than this")


class TrackingConfig(Settings):
    """Where results go."""

    mlflow_uri: str = Field(default="sqlite:///.sgpo/mlflow.db", min_length=1, description="Tracking and registry URI")
    artifact_root: str = Field(default=".sgpo/mlartifacts", description="Artifacts of a new experiment on SQLite")
    experiment: str = Field(default="sgpo", min_length=1)
    registered_model: str = Field(default="sgpo-testbed", min_length=1, description="Name in the model registry")

    @field_validator("mlflow_uri")
    @classmethod
    def _address_holds_no_password(cls, address: str) -> str:
        names = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return without_password(address, f"{names} in the environment, or PGPASSWORD for a Postgres database")


class StorageConfig(Settings):
    """Where runs are stored beside this machine: any endpoint that speaks S3. Off without a bucket.

    Credentials are never settings: boto3 takes them from the environment, a profile or the machine's role.
    """

    bucket: str | None = Field(default=None, min_length=1, description="Bucket of checkpoints and models; null: off")
    prefix: str = Field(
        default="sgpo", pattern=r"^[\w.-]*(/[\w.-]+)*$", description="What keys in the bucket begin with"
    )
    endpoint_url: str | None = Field(
        default=None, pattern=r"^https?://[^\s/@?#]+/?$", description="The S3 server; null: boto3's own, which is AWS"
    )
    region: str | None = Field(default=None, min_length=1, description="Null: boto3's own; us-east-1 where it has none")
    checksum: Literal["sha256", "crc32", "none"] = Field(
        default="sha256", description="What the server checks uploads by, as far as it can; readers always use sha256"
    )
    attempts: int = Field(default=12, ge=1, le=100, description="Attempts of one request, with growing waits")
    timeout_s: float = Field(default=60.0, gt=0.0, description="Seconds without an answer that end an attempt")
    part_mib: int = Field(default=16, ge=5, le=5120, description="Larger files go up and down in parts of so many MiB")
    lease_s: float = Field(default=60.0, ge=1.0, description="Seconds until the lock of a run that died may be taken")
    patience_s: float = Field(default=300.0, ge=0.0, description="Seconds a run waits at its end for an outage to pass")


class RunConfig(Settings):
    """One retraining, whole."""

    seed: int = Field(default=0, ge=0, description="Everything random is derived from it")
    data: Path = Field(Path("data"), description="Folder with problems, strategies and splits")
    runs: Path = Field(Path("runs"), description="Folder of run directories")
    processes: int = Field(default=1, ge=1, le=4096, description="Training processes; several run under torchrun")
    warmup: WarmupConfig = WarmupConfig()
    training: TrainingConfig = TrainingConfig()
    sharding: ShardingConfig = ShardingConfig()
    engine: EngineConfig = EngineConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()
    tracking: TrackingConfig = TrackingConfig()
    storage: StorageConfig = StorageConfig()

    @model_validator(mode="after")
    def _distillation_needs_guided_rollouts(self) -> RunConfig:
        training = self.training
        if training.objective.distillation != "none" and training.guided_rollouts == 0:
            raise ValueError(
                "training.guided_rollouts is 0 but training.objective.distillation is "
                f"'{training.objective.distillation}' (expected at least 1 guided rollout, or distillation 'none')"
            )
        return self


def load_config(path: Path | str | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """The settings of one run: defaults, then the YAML file, then `a.b.c=value` overrides (values are YAML).

    Raises ConfigError, one line per problem, naming the file and the key.
    """
    where = str(path) if path else "defaults"
    tree = _read_yaml(Path(path)) if path else {}
    for override in overrides:
        _apply_override(tree, override)
    return parse_settings(RunConfig, tree, where)


def parse_settings(model: type[SettingsT], tree: dict[str, Any], where: str) -> SettingsT:
    """Validate `tree` as `model`; ConfigError names `where`, the dotted key and what would be right."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_describe(model, where, item) for item in error.errors())) from None


def config_digest(config: Settings) -> str:
    """Short stable hash of a configuration, for lineage tags."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dump_config(config: Settings) -> str:
    """The configuration as YAML that `load_config` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(tree).__name__}")
    return tree


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override '{override}': expected key=value, such as training.steps=100")
    *parents, last = key.split(".")
    for parent in parents:
        child = tree[parent] = {} if tree.get(parent) is None else tree[parent]
        if not isinstance(child, dict):
            raise ConfigError(f"override '{override}': '{parent}' is a value, not a group of settings")
        tree = child
    try:
        tree[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override '{override}': '{text}' is not a YAML value") from None


def _describe(model: type[BaseModel], where: str, item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "(whole)"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key '{key}' (expected one of: {', '.join(_siblings(model, item['loc']))})"
    shown = _PASSWORD.sub("//***@", repr(item["input"]))
    return f"{where}: '{key}' is {shown}: {item['msg']}" if key != "(whole)" else f"{where}: {item['msg']}"


def _siblings(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc[:-1]:
        annotation = model.model_fields[str(part)].annotation
        for kind in (annotation, *get_args(annotation)):
            model = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else model
    return sorted(model.model_fields)
