"""How a model is measured, and when it replaces the champion."""

from pydantic import Field

from sgpo.config.base import Settings
from sgpo.config.engine import EngineConfig
from sgpo.config.sampling import SamplingConfig


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
