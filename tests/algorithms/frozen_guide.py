"""A method of one's own in one file: SGPO whose guide keeps the weights that training began from."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from sgpo.algorithms.rows import Tokens
from sgpo.algorithms.sgpo import SGPO, SGPOSettings
from sgpo.training.guides import FrozenGuide


class WeakerGuidanceSettings(SGPOSettings):
    """SGPO's settings, and how far the divergence is turned down."""

    type: str = "tests.algorithms.frozen_guide"
    strength: float = Field(default=1.0, ge=0.0, description="What each token's divergence is multiplied by")


class WeakerGuidance(SGPO):
    """SGPO with KL(sg[pi_0(. | q, s, o+_<t)] || pi_theta(. | q, o+_<t)), pi_0 the weights before the first step."""

    settings_class = WeakerGuidanceSettings
    needs: ClassVar = {"strategies": "a frozen guide has nothing to say without a strategy"}
    metric_names: ClassVar = ("frozen_tokens",)
    settings: WeakerGuidanceSettings

    def guide(self, policy):
        """Return a guide that lends the policy the weights of now."""
        return FrozenGuide(policy)

    def token_loss(self, tokens: Tokens):
        """Return SGPO's loss; a distilled token's is multiplied by the strength."""
        loss_C, metrics = super().token_loss(tokens)
        if tokens.kind != "distillation":
            return loss_C, metrics
        return loss_C * self.settings.strength, {**metrics, "frozen_tokens": metrics["tokens"]}
