"""The testbed: its world, what base models read, and the base models."""

from typing import Literal

from pydantic import Field

from sgpo.config.base import Settings


class WorldConfig(Settings):
    """How hard the world is, and how many problems of each split; tier 4 is only in the tuning and held-out splits."""

    seed: int = Field(default=0, ge=0)
    decisions: int = Field(default=3, ge=2, le=6, description="Decisions of a problem that only the wording tells")
    train: int = Field(default=600, ge=1, description="Problems for the strategies and for RL, tiers 1-3")
    tuning: int = Field(default=160, ge=1, description="Problems on which settings were chosen, tiers 1-4")
    held_out: int = Field(default=240, ge=1, description="Problems for the final figures only, tiers 1-4")


class CorpusConfig(Settings):
    """The mixture of pre-training examples."""

    guided: float = Field(default=0.6, ge=0.0, le=1.0, description="Share of examples with a strategy in the prompt")
    told_wrong: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Of these, share with a strategy drawn at random"
    )
    chosen_right: float = Field(
        default=0.65, ge=0.0, le=1.0, description="Chance that a decision of the others is right"
    )


class BaseModelConfig(Settings):
    """Architecture and pre-training of a testbed base model.

    It first learns to choose rightly and then, for the rest of the steps, from examples that mostly do not: what it
    knows about choosing is still in it, and hardly shows.
    """

    family: Literal["qwen2", "llama"] = Field(default="qwen2", description="Architecture")
    seed: int = Field(default=0, ge=0)
    hidden_size: int = Field(default=96, ge=32, multiple_of=32)
    layers: int = Field(default=3, ge=1, le=48)
    steps: int = Field(default=1600, ge=1, description="Pre-training steps")
    batch_size: int = Field(default=16, ge=1, description="Examples per step")
    learning_rate: float = Field(default=2e-3, gt=0.0, description="AdamW, for embeddings and norms")
    matrix_learning_rate: float = Field(default=0.02, gt=0.0, description="Muon, for the layers' matrices")
    number_weight: float = Field(default=4.0, gt=0.0, description="Loss weight of number tokens")
    decision_weight: float = Field(default=4.0, gt=0.0, description="Loss weight of words that carry out a decision")
    short_share: float = Field(default=0.4, ge=0.0, le=1.0, description="Share of the steps that favour short logs")
    skilled_share: float = Field(default=0.6, ge=0.0, le=1.0, description="Share of the steps on the `skilled` mixture")
    decay_share: float = Field(default=0.4, gt=0.0, le=1.0, description="Share of the steps over which the rate decays")
    skilled: CorpusConfig = CorpusConfig(guided=0.5, told_wrong=0.25, chosen_right=1.0)
    corpus: CorpusConfig = CorpusConfig()
