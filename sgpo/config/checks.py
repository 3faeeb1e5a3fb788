"""What a retraining checks before it spends anything."""

from pydantic import Field

from sgpo.config.base import Settings


class ChecksConfig(Settings):
    """`sgpo check` as the first phase of a retraining."""

    before_training: bool = Field(
        default=True, description="Check model, data and services first, and end there if training would fail"
    )
    refuse_unchanged: bool = Field(
        default=True,
        description="End if trained weights are the champion's; false: continue, and tag the version sgpo.unchanged",
    )
