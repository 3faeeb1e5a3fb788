"""Settings of strategy extraction."""

from __future__ import annotations

from pydantic import Field

from sgpo.config import Settings


class StrategyConfig(Settings):
    """From problems to strategies [SGPO section 2]; the paper's five candidates by default."""

    seed: int = Field(default=0, ge=0, description="Every request's seed is derived from it")
    candidates: int = Field(default=5, ge=1, le=64, description="Strategies that the teacher writes per response")
    tries: int = Field(default=3, ge=1, le=64, description="Requests for one accepted response or ranking")
    max_words: int = Field(default=160, ge=20, le=2000, description="A longer strategy is refused")
    # DeepSeek-R1's usage notes recommend 0.5-0.7, and warn of endless repetition when greedy.
    temperature: float = Field(default=0.6, ge=0.0, le=2.0, description="The teacher's sampling temperature")
