"""The training loop, how the model lies over the processes, and the warm-up before RL."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sgpo.config.base import Precision, Settings
from sgpo.config.lora import LoraConfig
from sgpo.config.sampling import SamplingConfig


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
