"""Settings of low-rank adapters."""

from pydantic import Field

from sgpo.config.base import Settings


class LoraConfig(Settings):
    """LoRA: the base model is frozen, and low-rank adapters beside its linear layers are trained."""

    rank: int = Field(default=16, ge=1, le=4096, description="Rank of the adapters")
    alpha: int = Field(default=32, ge=1, description="An adapter's output is multiplied by alpha / rank")
    target_modules: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), min_length=1,
        description="Linear layers of the decoder that get an adapter, by name",
    )  # fmt: skip
