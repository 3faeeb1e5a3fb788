"""Bringing the trainer's weights to the sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sgpo.rollouts.engine import RolloutEngine
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.training.policy import Policy
from sgpo.training.world import World

if TYPE_CHECKING:  # its HTTP client belongs to the extra `vllm`
    from sgpo.rollouts.vllm.server import VllmServerEngine


class WeightSync(Protocol):
    """How the engine learns of an optimiser step."""

    def push(self, step: int) -> None:
        """Make the engine sample from the policy's current weights, those after `step` optimiser steps."""
        ...


class SharedWeights:
    """The engine samples from the trainer's own module: there is nothing to bring."""

    def __init__(self, engine: TransformersEngine | None = None) -> None:
        self.engine = engine

    def push(self, step: int) -> None:
        """Only the step's number is new to the engine."""
        if self.engine is not None:
            self.engine.policy_step = step


class GatheredWeights:
    """Each sharded parameter is gathered and given to the engine in this process, one at a time."""

    def __init__(self, policy: Policy, engine: RolloutEngine) -> None:
        self.policy, self.engine = policy, engine

    def push(self, step: int) -> None:
        """Gather every parameter in the same order on every process; collective."""
        self.engine.load_weights(self.policy.merged_tensors(), step)


class PublishedWeights:
    """The first process gathers the parameters, one at a time, into files that the servers load."""

    def __init__(self, policy: Policy, engine: VllmServerEngine, world: World) -> None:
        self.policy, self.engine, self.world = policy, engine, world
        engine.barrier = world.separate_barrier()  # a thread may sample ahead, at another temperature than before

    def push(self, step: int) -> None:
        """Gather every parameter, and return when the servers have them; collective."""
        self.world.barrier()  # gathering alone does not wait for other replicas, which may still be sampling ahead
        if self.world.is_main:
            self.engine.load_weights(self.policy.merged_tensors(), step)
        else:
            for _ in self.policy.merged_tensors():
                pass
        self.world.barrier()
        if not self.world.is_main:
            self.engine.follow_weights()
