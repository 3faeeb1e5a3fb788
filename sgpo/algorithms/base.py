"""What every method answers: what it needs and samples, which rows it trains on, and the loss of a token."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from sgpo.algorithms.rows import Tokens, TrainRow
from sgpo.config.algorithm import AlgorithmSettings
from sgpo.config.training import TrainingConfig
from sgpo.rollouts.schema import GroupSizes, ProblemSamples, Rollout

if TYPE_CHECKING:
    import torch

    from sgpo.training.guides import Guide
    from sgpo.training.policy import Policy

SettingsT = TypeVar("SettingsT", bound=AlgorithmSettings)
Score = Callable[[list[tuple[ProblemSamples, Rollout]]], list[float]]
"""sum_t log pi_theta(o_t | q, o_<t) of each rollout under its problem's autonomous prompt. Collective: a method that
asks at all asks once a step, with whatever it has."""
Metrics = Mapping[str, "torch.Tensor | float"]
"""Sums over tokens, to be added up over chunks and processes; names that end in _max are maxima."""


class Algorithm(ABC, Generic[SettingsT]):
    """A method, built once per run from its settings; it keeps no state between calls."""

    settings_class: ClassVar[type[AlgorithmSettings]]
    needs: ClassVar[Mapping[str, str]] = {}
    """What must be there before anything starts, "strategies" or "responses" (a strong model's), and why."""
    metric_names: ClassVar[tuple[str, ...]] = ()
    """Sums that `token_loss` returns beside those of the methods here; logged as method/<name>."""

    def __init__(self, settings: SettingsT, training: TrainingConfig, seed: int) -> None:
        """Take the method's settings, those of the loop, and the run's seed."""
        self.settings, self.training, self.seed = settings, training, seed

    @property
    def temperature(self) -> float:
        """Return the temperature of the softmax that the loss is a function of: that of sampling."""
        return self.training.sampling.temperature

    @property
    def reverse_divergence(self) -> bool:
        """Return whether the divergence of rows with a guide is KL(policy || guide)."""
        return False

    @property
    def corrects_sampler(self) -> bool:
        """Return whether the loss corrects stale rollouts itself; otherwise pi_old is then the sampler's policy."""
        return False

    @property
    def largest_alpha(self) -> float:
        """Return the largest weight of a distilled problem, for the histogram of weights."""
        return 1.0

    def delta_at(self, step: int) -> float | None:
        """Return the divergence above which a token of a row with a guide is clipped in `step`; None where none is."""
        return None

    def guide(self, policy: Policy) -> Guide:
        """Return what reads the prompts of `TrainRow.guide`, once before training: the policy itself.

        Called with the weights that training began from, on a resumed run too.
        """
        from sgpo.training.guides import Guide

        return Guide(policy)

    @property
    def contrasts(self) -> bool:
        """Return whether rows with a guide have a contrast too, in every step."""
        return False

    def is_informative(self, problem: ProblemSamples) -> bool:
        """Return whether anything can be learnt from a problem's samples; without, they may be replaced by others'."""
        return True

    @abstractmethod
    def groups(self) -> GroupSizes:
        """Return how many responses are sampled per problem, without and with the strategy."""

    @abstractmethod
    def rows(self, samples: Sequence[ProblemSamples], score: Score, step: int) -> list[TrainRow]:
        """Return the rows to train on, with their weights within their problems.

        Raises ValueError, naming the problem, for samples that nothing can be learnt from.
        """

    @abstractmethod
    def token_loss(self, tokens: Tokens) -> tuple[torch.Tensor, Metrics]:
        """Return (loss_C, metrics): the weighted loss of each token, [C], and what is logged of it."""


def check_rewards(samples: Sequence[ProblemSamples]) -> None:
    """Raise ValueError, naming the problem, for a reward that is not finite."""
    for problem in samples:
        for rollout in (*problem.autonomous, *problem.guided):
            if not math.isfinite(rollout.reward):
                raise ValueError(
                    f"problem '{problem.problem_id}': a reward is {rollout.reward} (expected a finite one)"
                )


def expert_response(problem: ProblemSamples, method: str) -> tuple[int, ...]:
    """Return the strong model's response as token ids; ValueError, naming the problem, when there is none."""
    if not problem.expert:
        raise ValueError(
            f"problem '{problem.problem_id}' has no strong model's response (expected one in data/responses.parquet, "
            f"which training.algorithm.type={method} learns from)"
        )
    return problem.expert
