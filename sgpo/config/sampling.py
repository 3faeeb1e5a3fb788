"""How responses are drawn."""

from pydantic import Field

from sgpo.config.base import Settings


class SamplingConfig(Settings):
    """How responses are drawn. Log-probabilities are of the full softmax at this temperature, before top-p."""

    temperature: float = Field(default=1.0, ge=0.0, le=5.0, description="Softmax temperature; 0 is greedy")
    top_p: float = Field(default=0.95, gt=0.0, le=1.0, description="Probability mass of the nucleus to sample from")
    max_new_tokens: int = Field(default=96, ge=1, le=131072, description="Longest response, in tokens")
    batch_size: int = Field(default=256, ge=1, le=65536, description="Rollouts decoded together")
