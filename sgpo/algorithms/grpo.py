"""Group Relative Policy Optimization: the loss on the student's own rollouts [SGPO Eq. 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import Field

from sgpo import objectives
from sgpo.algorithms.base import Algorithm, Metrics, Score
from sgpo.algorithms.rows import Tokens, TrainRow
from sgpo.config.algorithm import AlgorithmSettings
from sgpo.objectives.normalization import Normalization
from sgpo.rollouts.schema import GroupSizes, ProblemSamples, Rollout

if TYPE_CHECKING:
    import torch


class GRPOSettings(AlgorithmSettings):
    """Eq. 1 and its options; the paper's SFT+GRPO baseline by default."""

    type: str = "grpo"
    autonomous_rollouts: int = Field(default=12, ge=1, le=256, description="Responses without strategy per problem, G1")
    clip_low: float | None = Field(default=0.2, ge=0.0, le=1.0, description="eps_low of Eq. 1; null: no clip")
    clip_high: float | None = Field(default=0.28, ge=0.0, description="eps_high of Eq. 1 (clip-higher); null: no clip")
    normalize_std: bool = Field(default=True, description="Divide advantages by the group's standard deviation")
    normalization: Normalization = Field(
        default="sequence", description="Loss as mean per response, per token, or divided by sampling.max_new_tokens"
    )
    importance_cap: float | None = Field(
        default=None, gt=0.0, description="Cap of truncated importance sampling against the sampler; null: off"
    )
    entropy_coefficient: float = Field(
        default=0.0, ge=0.0, description="Weight of the entropy bonus on autonomous rollouts"
    )
    mask_truncated: bool = Field(default=False, description="Leave responses that hit the length limit out of the loss")


GRPOSettingsT = TypeVar("GRPOSettingsT", bound=GRPOSettings)


class GRPO(Algorithm[GRPOSettingsT], Generic[GRPOSettingsT]):
    """GRPO, step by step.

    1. Sample G1 responses o_i to the problem alone; reward R_i in {0, 1} by the verifier.
    2. A_i = (R_i - mean(R)) / (std(R) + 1e-6) within the group; equal rewards give 0 and cost nothing.
    3. rho_it = pi_theta(o_it) / pi_old(o_it) per token.
    4. L = -(1/G1) sum_i (1/|o_i|) sum_t min(rho_it A_i, clip(rho_it, 1 - eps_low, 1 + eps_high) A_i).
    5. Mean over the problems of the mini-batch; no KL to a reference model.
    """

    settings_class = GRPOSettings

    @property
    def corrects_sampler(self) -> bool:
        """Return whether truncated importance sampling corrects the sampler's probabilities."""
        return self.settings.importance_cap is not None

    def groups(self) -> GroupSizes:
        """Return G1 autonomous responses."""
        return GroupSizes(self.settings.autonomous_rollouts, 0)

    def rows(self, samples: Sequence[ProblemSamples], score: Score, step: int) -> list[TrainRow]:
        """Return the autonomous rollouts with their advantages."""
        rows: list[TrainRow] = []
        for place, problem in enumerate(samples):
            self.add_rows(rows, place, problem.autonomous_prompt, problem.autonomous)
        return rows

    def is_informative(self, problem: ProblemSamples) -> bool:
        """Return whether the group's rewards differ."""
        return rewards_differ(problem.autonomous)

    def add_rows(
        self, rows: list[TrainRow], place: int, prompt: tuple[int, ...], group: Sequence[Rollout],
        other_rewards: Sequence[float] = (),
    ) -> list[float]:  # fmt: skip
        """Append the rows of a group in the context it was sampled in; returns the advantages of `other_rewards`."""
        rewards = [*(rollout.reward for rollout in group), *other_rewards]
        advantages = objectives.group_advantages(rewards, self.settings.normalize_std).tolist() if rewards else []
        for rollout, advantage in zip(group, advantages, strict=False):
            if self.left_out(rollout):
                continue
            rows.append(
                TrainRow(
                    prompt, rollout.token_ids, len(rows), "policy", place, 1.0 / len(rewards),
                    self.settings.normalization, advantage, sampler_logprobs=rollout.logprobs,
                    idle=advantage == 0.0 and not self.settings.entropy_coefficient,
                )
            )  # fmt: skip
        return advantages[len(group) :]

    def left_out(self, rollout: Rollout) -> bool:
        """Return whether a response is out of the loss, though not of its group."""
        return self.settings.mask_truncated and rollout.finish_reason == "length"

    def token_loss(self, tokens: Tokens) -> tuple[torch.Tensor, Metrics]:
        """Return Eq. 1's term of each token, and its ratio, clipping, entropy and distance to the sampler."""
        settings, logprobs_C, old_C = self.settings, tokens.logprobs_C, tokens.old_logprobs_C
        importance_C, capped = None, {}
        if settings.importance_cap is not None:
            importance_C, capped = objectives.truncated_importance(
                old_C, tokens.sampler_logprobs_C, settings.importance_cap
            )
        loss_C, clipping = objectives.grpo_token_losses(
            logprobs_C, old_C, tokens.advantages_C, settings.clip_low, settings.clip_high, importance_C
        )
        loss_C = loss_C * tokens.weights_C
        if settings.entropy_coefficient:
            loss_C = loss_C - settings.entropy_coefficient / max(1.0, tokens.batch_tokens) * tokens.entropy_C
        mismatch = objectives.sampler_mismatch_kl(logprobs_C, tokens.sampler_logprobs_C)
        mismatch["sampler_ratio_max"] = (logprobs_C.detach() - tokens.sampler_logprobs_C).max().exp()
        return loss_C, {"entropy_sum": tokens.entropy_C.sum(), **clipping, **mismatch, **capped}


def rewards_differ(group: Sequence[Rollout]) -> bool:
    """Return whether the advantages of a group are not all 0."""
    return len({rollout.reward for rollout in group}) > 1
