"""HPT: reinforcement or imitation per problem, gated by how many rollouts are right [arXiv 2509.04419]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sgpo.algorithms.base import Metrics, Score, expert_response
from sgpo.algorithms.grpo import GRPO, GRPOSettings
from sgpo.algorithms.rows import Tokens, TrainRow
from sgpo.algorithms.sft import cross_entropy
from sgpo.objectives.normalization import Normalization
from sgpo.rollouts.schema import ProblemSamples

if TYPE_CHECKING:
    import torch


class HPTSettings(GRPOSettings):
    """HPT's own constants, from its code."""

    type: str = "hpt"
    clip_low: float | None = Field(default=None, ge=0.0, le=1.0, description="Lower clip of the ratio; null: no clip")
    clip_high: float | None = Field(default=None, ge=0.0, description="Upper clip of the ratio; null: no clip")
    normalize_std: bool = Field(default=False, description="Divide advantages by the group's standard deviation")
    normalization: Normalization = Field(default="constant", description="Divide the loss by sampling.max_new_tokens")
    imitation_coefficient: float = Field(default=1.0, ge=0.0, description="Weight of the supervised loss")
    gate: int = Field(default=0, ge=0, description="Imitate if at most this many rollouts are right")


class HPT(GRPO[HPTSettings]):
    """HPT, step by step.

    1. Sample the group without strategies; s rollouts are right.
    2. s <= gate: drop the rollouts and take a strong model's response y:
       L = -coefficient (1/|y|) sum_t log pi_theta(y_t | q, y_<t).
    3. s > gate: L = -sum_t A_i pi_theta / pi_old over the longest response allowed, without clip,
       A_i = R_i - mean(R) without division by the deviation.
    4. Mean over the problems of the mini-batch, so that a problem's weight does not depend on packing.
    """

    settings_class = HPTSettings
    needs: ClassVar = {"responses": "HPT imitates a strong model's response where the policy fails"}

    def rows(self, samples: Sequence[ProblemSamples], score: Score, step: int) -> list[TrainRow]:
        """Return each problem's rollouts, or the strong model's response where the gate says so."""
        rows: list[TrainRow] = []
        for place, problem in enumerate(samples):
            if sum(rollout.reward for rollout in problem.autonomous) > self.settings.gate:
                self.add_rows(rows, place, problem.autonomous_prompt, problem.autonomous)
                continue
            response = expert_response(problem, self.settings.type)
            weight = self.settings.imitation_coefficient
            rows.append(TrainRow(problem.autonomous_prompt, response, len(rows), "imitation", place, weight))
        return rows

    def is_informative(self, problem: ProblemSamples) -> bool:
        """Return whether the strong model's response is imitated, or the group's rewards differ."""
        imitated = sum(rollout.reward for rollout in problem.autonomous) <= self.settings.gate
        return imitated or super().is_informative(problem)

    def token_loss(self, tokens: Tokens) -> tuple[torch.Tensor, Metrics]:
        """Return the cross-entropy of each token of a trace, the policy gradient's term of each of a rollout."""
        if tokens.kind != "imitation":
            return super().token_loss(tokens)
        return cross_entropy(tokens.logprobs_C, tokens.weights_C), {}
