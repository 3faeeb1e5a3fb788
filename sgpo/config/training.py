"""The training loop, sharding over processes, and the warm-up before RL."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from sgpo.config.algorithm import AlgorithmSettings, read_algorithm
from sgpo.config.base import Precision, Settings
from sgpo.config.lora import LoraConfig
from sgpo.config.sampling import SamplingConfig
from sgpo.config.trace import TraceConfig
from sgpo.config.validation import ValidationConfig


class TrainingConfig(Settings):
    """The training loop (Algorithm 1), whatever the method."""

    algorithm: Annotated[SerializeAsAny[AlgorithmSettings], BeforeValidator(read_algorithm)] = Field(
        default_factory=lambda: read_algorithm({}), description="The method (`type`) and its settings"
    )
    steps: int = Field(default=60, ge=0, description="Sampled batches, each with `minibatches` optimiser steps")
    problems_per_step: int = Field(default=16, ge=1, description="Problems sampled per step, over all processes")
    minibatches: int = Field(default=1, ge=1, description="Optimiser steps per sampled batch")
    overlap: bool = Field(
        default=False, description="Sample the next step's rollouts while a step trains, so that they are one step old"
    )
    refill_rounds: int = Field(
        default=0, ge=0, le=16,
        description="Rounds in which problems without a gradient are replaced by others; 0: none",
    )  # fmt: skip
    learning_rate: float = Field(default=2e-4, gt=0.0, le=1.0, description="Peak learning rate")
    warmup_steps: int = Field(default=5, ge=0, description="Steps of linear learning-rate warm-up")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="Learning rate after its warm-up"
    )
    weight_decay: float = Field(default=0.0, ge=0.0, description="AdamW's weight decay")
    max_grad_norm: float = Field(default=1.0, gt=0.0, description="Gradient norm is clipped to this")
    tokens_per_microbatch: int = Field(default=16384, ge=1, description="Padded tokens in one forward and backward")
    shared_prompts: bool = Field(
        default=True, description="Compute a prompt once for all responses of its group; same gradient up to rounding"
    )
    checkpoint_every: int = Field(default=10, ge=1, description="Steps between checkpoints")
    keep_checkpoints: int = Field(default=2, ge=1, description="Newest checkpoints to keep, besides the best one")
    grace_s: float = Field(default=20.0, gt=0.0, description="Seconds to finish the step after SIGTERM or Ctrl-C")
    skip_grad_norm: float | None = Field(
        default=None, gt=0.0, description="Skip steps with a larger gradient norm; null: only NaN and inf"
    )
    max_skipped_steps: int = Field(default=5, ge=1, description="Stop after this many skipped steps in a row")
    stop_after_equal_steps: int | None = Field(
        default=10, ge=1,
        description="Stop after this many steps in a row without a gradient (equal rewards in each group, nothing to "
        "distil); null: never",
    )  # fmt: skip
    fused_optimizer: bool = Field(default=False, description="AdamW in one kernel")
    log_rollouts_every: int = Field(default=10, ge=1, description="Steps between recorded rollouts")
    exclude_problems: tuple[str, ...] = Field(
        default=(), description="Ids of training problems to leave out; may be changed on resuming"
    )
    leave_out_too_long: bool = Field(
        default=False, description="Leave out problems that exceed the model's positions, instead of refusing to start"
    )
    lora: LoraConfig | None = None
    sampling: SamplingConfig = SamplingConfig()
    validation: ValidationConfig = ValidationConfig()
    trace: TraceConfig = TraceConfig()

    @model_validator(mode="after")
    def _refill_is_drawn_in_turn(self) -> Self:
        if self.refill_rounds and self.overlap:
            raise ValueError(
                f"refill_rounds is {self.refill_rounds} with overlap (expected one of the two: processes cannot agree "
                "on what is drawn while they train)"
            )
        return self

    @model_validator(mode="after")
    def _rollouts_are_sampled(self) -> Self:
        if self.sampling.temperature == 0.0:
            raise ValueError("sampling.temperature is 0 (expected more: greedy rollouts of a group are all the same)")
        return self


class ShardingConfig(Settings):
    """How the model is sharded over the processes (FSDP2)."""

    replicas: int = Field(default=1, ge=1, description="Groups of processes that each hold the whole model, sharded")
    precision: Precision = Field(
        default="float32", description="Precision of forward and backward; weights, sums and optimiser stay float32"
    )
    activation_checkpointing: bool = Field(default=False, description="Recompute activations in backward")
    cpu_offload: bool = Field(default=False, description="Keep parameters and optimiser state in main memory")
    compile: bool | None = Field(
        default=None, description="Compile the layers with torch.compile, which takes a minute; null: only on a GPU"
    )


class WarmupConfig(Settings):
    """Supervised warm-up on strong-model responses before RL (docs/method.md section 8); zero epochs skips it."""

    epochs: int = Field(default=0, ge=0, description="Passes over the warm-up responses; 0: no warm-up")
    batch_size: int = Field(default=64, ge=1, description="Responses per optimiser step")
    learning_rate: float = Field(default=1e-5, gt=0.0, le=1.0, description="Learning rate, constant after its rise")
    warmup_ratio: float = Field(default=0.1, ge=0.0, le=1.0, description="Fraction of steps in which the rate rises")
    held_out_fraction: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="Fraction held out to select the best epoch"
    )
    guided_fraction: float = Field(
        default=0.0, ge=0.0, le=1.0, description="Fraction of responses learnt with the strategy in the prompt"
    )
