"""Validation during training."""

from typing import Self

from pydantic import Field, model_validator

from sgpo.config.base import Settings


class ValidationConfig(Settings):
    """Validation on the tuning problems during training; off unless `every` is set."""

    every: int | None = Field(
        default=None, ge=1,
        description="Steps between validations (one more after the last step), of which the best weights are exported; "
        "null: none, and the last weights are exported",
    )  # fmt: skip
    k: int = Field(default=4, ge=1, le=1024, description="Responses per problem, sampled by evaluation.sampling")
    problems: int | None = Field(
        default=64, ge=1, description="Problems of the tuning split, chosen by the seed; null: all"
    )
    patience: int | None = Field(
        default=None, ge=1, description="Stop after this many validations without a new best; null: never"
    )

    @model_validator(mode="after")
    def _patience_needs_validations(self) -> Self:
        if self.patience is not None and self.every is None:
            raise ValueError(f"patience is {self.patience} but every is null (expected both, or patience null)")
        return self
