"""LUFFY: a strong model's response as one more member of the group [arXiv 2504.14945]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sgpo import objectives
from sgpo.algorithms.base import Metrics, Score, expert_response
from sgpo.algorithms.grpo import GRPO, GRPOSettings
from sgpo.algorithms.rows import Tokens, TrainRow
from sgpo.objectives.normalization import Normalization
from sgpo.rollouts.schema import ProblemSamples

if TYPE_CHECKING:
    import torch


class LUFFYSettings(GRPOSettings):
    """LUFFY's own constants, from its code; 11 rollouts and the trace make the 12 samples of the other methods."""

    type: str = "luffy"
    autonomous_rollouts: int = Field(default=11, ge=1, le=256, description="Responses of the policy per problem")
    clip_low: float | None = Field(default=None, ge=0.0, le=1.0, description="Lower clip of the ratio; null: no clip")
    clip_high: float | None = Field(default=None, ge=0.0, description="Upper clip of the ratio; null: no clip")
    normalize_std: bool = Field(default=False, description="Divide advantages by the group's standard deviation")
    normalization: Normalization = Field(default="constant", description="Divide the loss by sampling.max_new_tokens")
    entropy_coefficient: float = Field(
        default=0.001, ge=0.0, description="Weight of the entropy bonus on the policy's responses"
    )
    shaping: float = Field(default=0.1, gt=0.0, description="Constant c of f(p) = p / (p + c) on the trace's tokens")


class LUFFY(GRPO[LUFFYSettings]):
    """LUFFY, step by step.

    1. Sample the group without strategies; a strong model's verified response y joins it with its reward.
    2. A_i = R_i - mean(R) over rollouts and trace together, without division by the deviation.
    3. Rollouts: -A_i pi_theta / pi_old per token, without clip.
    4. Trace: -A f(pi_theta(y_t)), f(p) = p / (p + 0.1), gradient through f: unlikely tokens are raised most.
    5. Sums over tokens are divided by the longest response allowed, a constant; entropy bonus 0.001.
    """

    settings_class = LUFFYSettings
    needs: ClassVar = {"responses": "a strong model's response is a member of LUFFY's group"}

    def rows(self, samples: Sequence[ProblemSamples], score: Score, step: int) -> list[TrainRow]:
        """Return rollouts and trace of each problem with the advantages of their common group."""
        rows: list[TrainRow] = []
        for place, problem in enumerate(samples):
            (advantage,) = self.add_rows(
                rows, place, problem.autonomous_prompt, problem.autonomous, [problem.expert_reward]
            )
            row = TrainRow(
                problem.autonomous_prompt, expert_response(problem, self.settings.type), len(rows), "expert", place,
                1.0 / (len(problem.autonomous) + 1), self.settings.normalization, advantage, idle=advantage == 0.0,
            )  # fmt: skip
            rows.append(row)
        return rows

    def is_informative(self, problem: ProblemSamples) -> bool:
        """Return whether the rewards of rollouts and trace differ."""
        return len({problem.expert_reward, *(rollout.reward for rollout in problem.autonomous)}) > 1

    def token_loss(self, tokens: Tokens) -> tuple[torch.Tensor, Metrics]:
        """Return the shaped term of each token of a trace, Eq. 1's of each token of a rollout."""
        if tokens.kind != "expert":
            return super().token_loss(tokens)
        loss_C = objectives.luffy_expert_token_losses(tokens.logprobs_C, tokens.advantages_C, self.settings.shaping)
        return loss_C * tokens.weights_C, {}
