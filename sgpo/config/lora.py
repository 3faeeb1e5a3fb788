"""Settings of low-rank adapters."""

from pydantic import Field

from sgpo.config.base import Settings


class LoraConfig(Settings):
    """LoRA: the base model is frozen, and pairs of thin matrices beside its linear layers are trained."""

    rank: int = Field(default=16, ge=1, le=4096, description="Width of the adapters")
    alpha: int = Field(default=32, ge=1, description="An adapter's output is multiplied by alpha / rank")
    target_modules: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), min_length=1,
        description="Names of the linear layers, inside the decoder, that get an adapter",
    )  # fmt: skip
