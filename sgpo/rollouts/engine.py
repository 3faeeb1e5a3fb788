"""What every rollout engine offers; training and evaluation know nothing else of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch

from sgpo.config import SamplingConfig
from sgpo.rollouts.schema import Response


class PromptTooLongError(ValueError):
    """A prompt that the model has no room for; prompts are refused, never cut."""


class RolloutEngine(Protocol):
    """Draws responses. Sampling is a pure function of (weights, prompt, seed, sampling settings)."""

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int]
    ) -> list[Response]:
        """One response per prompt and seed, in the order given. Raises PromptTooLongError, ValueError."""
        ...

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Replace the policy's weights; the next `generate` samples from them."""
        ...
