"""Bringing the trainer's weights to the sampler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch.distributed.tensor import DTensor

from sgpo.rollouts.engine import RolloutEngine
from sgpo.training.policy import Policy


class WeightSync(Protocol):
    """How the engine learns of an optimiser step."""

    def push(self) -> None:
        """Make the engine sample from the policy's current weights."""
        ...


class SharedWeights:
    """The engine samples from the trainer's own module: nothing to do."""

    def push(self) -> None:
        """Nothing: the weights are the same tensors."""


class GatheredWeights:
    """Each sharded parameter is gathered and copied into the engine's own model, one at a time."""

    def __init__(self, policy: Policy, engine: RolloutEngine) -> None:
        self.policy, self.engine = policy, engine

    def push(self) -> None:
        """Collective: every process gathers every parameter in the same order."""
        self.engine.load_weights(self._whole_tensors())

    def _whole_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, parameter in self.policy.model.named_parameters():
            value = parameter.detach()
            yield name, value.full_tensor() if isinstance(value, DTensor) else value
