"""The testbed: its world, the pre-training data of base models, and the base models."""

from typing import Literal

from pydantic import Field

from sgpo.config.base import Settings


class WorldConfig(Settings):
    """How hard the world is, and how many problems each split has; only tuning and held-out have tier 4."""

    seed: int = Field(default=0, ge=0)
    decisions: int = Field(default=3, ge=2, le=6, description="Decisions per problem that only the wording determines")
    train: int = Field(default=600, ge=1, description="Problems for strategies and RL, tiers 1-3")
    tuning: int = Field(default=160, ge=1, description="Problems for choosing settings, tiers 1-4")
    held_out: int = Field(default=240, ge=1, description="Problems for final figures only, tiers 1-4")


class CorpusConfig(Settings):
    """The mixture of pre-training examples."""

    guided: float = Field(default=0.6, ge=0.0, le=1.0, description="Fraction of examples with a strategy in the prompt")
    told_wrong: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Fraction of these whose strategy is drawn at random"
    )
    chosen_right: float = Field(
        default=0.65, ge=0.0, le=1.0, description="Probability that a decision of the other examples is right"
    )


class BaseModelConfig(Settings):
    """Architecture and pre-training of a testbed base model.

    It first learns from examples that choose rightly and then, for the rest of the steps, from examples that mostly do
    not: it still knows how to choose, but rarely shows it.
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
    decision_weight: float = Field(default=4.0, gt=0.0, description="Loss weight of words that express a decision")
    short_share: float = Field(default=0.4, ge=0.0, le=1.0, description="Fraction of the steps that favour short logs")
    skilled_share: float = Field(
        default=0.6, ge=0.0, le=1.0, description="Fraction of the steps on the `skilled` mixture"
    )
    decay_share: float = Field(
        default=0.4, gt=0.0, le=1.0, description="Fraction of the steps in which the rate decays"
    )
    skilled: CorpusConfig = CorpusConfig(guided=0.5, told_wrong=0.25, chosen_right=1.0)
    corpus: CorpusConfig = CorpusConfig()
