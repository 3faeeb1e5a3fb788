"""Supervised fine-tuning on a strong model's responses: the paper's SFT baseline, and the loss of the warm-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from sgpo.algorithms.base import Algorithm, Metrics, Score, expert_response
from sgpo.algorithms.rows import Tokens, TrainRow
from sgpo.config.algorithm import AlgorithmSettings
from sgpo.rollouts.schema import GroupSizes, ProblemSamples

if TYPE_CHECKING:
    import torch


class SFTSettings(AlgorithmSettings):
    """SFT has no settings of its own: rate, steps and batch are those of the loop."""

    type: str = "sft"


class SFT(Algorithm[SFTSettings]):
    """SFT, step by step.

    1. Sample nothing; take a strong model's verified response y to each problem.
    2. L = -(1/N) sum_t log pi_theta(y_t | q, y_<t) over the N response tokens of the whole batch.
    """

    settings_class = SFTSettings
    needs: ClassVar = {"responses": "SFT imitates a strong model's responses"}

    @property
    def temperature(self) -> float:
        """Return 1, as in the warm-up: nothing is sampled."""
        return 1.0

    def groups(self) -> GroupSizes:
        """Return no responses at all."""
        return GroupSizes(0, 0)

    def rows(self, samples: Sequence[ProblemSamples], score: Score, step: int) -> list[TrainRow]:
        """Return the strong model's response to each problem."""
        responses = [expert_response(problem, self.settings.type) for problem in samples]
        return [
            TrainRow(problem.autonomous_prompt, response, place, "expert", place, 1.0, "token")
            for place, (problem, response) in enumerate(zip(samples, responses, strict=True))
        ]

    def token_loss(self, tokens: Tokens) -> tuple[torch.Tensor, Metrics]:
        """Return the cross-entropy of each token."""
        return cross_entropy(tokens.logprobs_C, tokens.weights_C), {}


def cross_entropy(logprobs_C: torch.Tensor, weights_C: torch.Tensor) -> torch.Tensor:
    """Return the weighted cross-entropy of each token, [C]."""
    return -logprobs_C * weights_C
