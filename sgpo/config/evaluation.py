"""How a model is measured, and when it replaces the champion."""

from pydantic import Field

from sgpo.config.base import Settings
from sgpo.config.engine import EngineConfig
from sgpo.config.sampling import SamplingConfig

UNNAMED = "other"
"""The benchmark of problems without a `source`."""


class BenchmarkConfig(Settings):
    """Exceptions for one benchmark; null: as for all."""

    k: int | None = Field(default=None, ge=1, le=1024, description="Responses per problem; null: evaluation.k")
    temperature: float | None = Field(
        default=None, ge=0.0, le=5.0, description="Softmax temperature; null: evaluation.sampling.temperature"
    )
    max_new_tokens: int | None = Field(
        default=None, ge=1, le=131072, description="Longest response; null: evaluation.sampling.max_new_tokens"
    )


class EvaluationConfig(Settings):
    """How a model is measured."""

    k: int = Field(default=6, ge=1, le=1024, description="Responses per problem, avg@k and pass@k")
    sampling: SamplingConfig = SamplingConfig(temperature=0.6)
    benchmarks: dict[str, BenchmarkConfig] = Field(
        default={},
        description="k and limits per benchmark, by the `source` of its problems (`other` if they have none)",
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0, description="Confidence level of the intervals")
    resamples: int = Field(default=2000, ge=100, le=1_000_000, description="Bootstrap resamples")
    verifier_timeout: float = Field(default=5.0, gt=0.0, description="Seconds for one verdict")
    verifier_workers: int = Field(default=2, ge=1, le=256, description="Processes that judge answers")
    engine: EngineConfig | None = Field(
        default=None, description="Engine that samples the responses; null: as in training"
    )

    def k_of(self, benchmark: str | None) -> int:
        """Return the responses per problem of a benchmark."""
        own = self._own(benchmark).k
        return self.k if own is None else own

    def sampling_of(self, benchmark: str | None) -> SamplingConfig:
        """Return how responses to a benchmark's problems are drawn."""
        return self.sampling.model_copy(update=self._own(benchmark).model_dump(exclude={"k"}, exclude_none=True))

    def _own(self, benchmark: str | None) -> BenchmarkConfig:
        return self.benchmarks.get(benchmark or UNNAMED, BenchmarkConfig())


class GateConfig(Settings):
    """When a challenger replaces the champion."""

    margin: float = Field(
        default=0.0, ge=-1.0, le=1.0, description="The gain's lower bound must exceed this, to promote"
    )
    tolerance: float = Field(default=0.05, ge=0.0, le=1.0, description="No tier may fall by more than this, to promote")
