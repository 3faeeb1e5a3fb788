"""What a retraining looks at before it spends anything."""

from pydantic import Field

from sgpo.config.base import Settings


class ChecksConfig(Settings):
    """`sgpo check` as the first part of a retraining."""

    before_training: bool = Field(
        default=True, description="Check model, data and services first, and end there where training would fail"
    )
    refuse_unchanged: bool = Field(
        default=True,
        description="End where trained weights are the champion's; false: go on, and tag the version sgpo.unchanged",
    )
