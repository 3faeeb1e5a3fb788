"""Sampled batches with rewards given by a rule, so that untrained models have something to learn from."""

from __future__ import annotations

import hashlib

import torch

from sgpo.algorithms import registry
from sgpo.config import TrainingConfig
from sgpo.problems import Problem, Verdict
from sgpo.rollouts.schema import ProblemSamples, Rollout
from sgpo.training.metrics import MetricSums
from sgpo.training.policy import Policy
from sgpo.training.step import Gradient
from sgpo.training.world import World

ALONE = World(0, 1, torch.device("cpu"))


class HashVerifier:
    """A reward plug-in: about half of all texts are right, by their hash."""

    def score_many(self, pairs: list[tuple[str, Problem]]) -> list[Verdict]:
        return [self.score(text, problem) for text, problem in pairs]

    def score(self, text: str, problem: Problem) -> Verdict:
        correct = hashlib.sha256(f"{problem.id}{text}".encode()).digest()[0] < 128
        return Verdict(correct=correct, extracted=None, reason="correct" if correct else "wrong")


def make_samples(problems: int, vocabulary: int = 200, seed: int = 0) -> list[ProblemSamples]:
    """Groups of 3 and 2 rollouts of uneven length; some groups have equal rewards, some no correct guided rollout."""
    import random

    choose, wrong = random.Random(seed), random.Random(f"wrong strategies {seed}")

    def tokens(least: int, most: int) -> tuple[int, ...]:
        return tuple(choose.randrange(6, vocabulary) for _ in range(choose.randint(least, most)))

    def rollout(problem: str, group, reward: float) -> Rollout:
        ids = tokens(1, 17)
        return Rollout(problem, group, ids, tuple(-1.0 for _ in ids), "", "stop", reward, 0, 0)

    samples = []
    for index in range(problems):
        name = f"p{index}"
        autonomous_rewards = [(1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)][index % 3]
        guided_rewards = [(1.0, 1.0), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0)][index % 4]
        samples.append(
            ProblemSamples(
                name,
                tokens(3, 20),
                tokens(20, 40),
                tuple(rollout(name, "autonomous", reward) for reward in autonomous_rewards),
                tuple(rollout(name, "guided", reward) for reward in guided_rewards),
                expert=tokens(5, 25),
                contrast_prompt=tuple(wrong.randrange(6, vocabulary) for _ in range(wrong.randint(20, 40))),
            )
        )
    return samples


def gradient_for(policy: Policy, config: TrainingConfig, pad_id: int, world: World = ALONE) -> Gradient:
    """What accumulates the gradient of the configured method."""
    return Gradient(policy, registry.build(config, seed=0), config, world, pad_id)


def accumulate(
    gradient: Gradient, samples: list[ProblemSamples], step: int = 0, problems: int | None = None
) -> MetricSums:
    """The gradient of one batch that is one mini-batch; `samples` are this process's of `problems` problems."""
    (minibatch,) = gradient.minibatches(samples, step, len(samples) if problems is None else problems)
    return gradient.accumulate(minibatch)
