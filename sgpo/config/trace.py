"""What training records to show where a strategy changes the student's mind."""

from pydantic import Field

from sgpo.config.base import Settings


class TraceConfig(Settings):
    """Token-by-token traces of guided trajectories; they change no number, and may be changed on resuming."""

    every: int | None = Field(
        default=10, ge=1, description="Steps between traced steps; the last step is traced too; null: no traces"
    )
    problems: int = Field(
        default=4, ge=1, le=64, description="Problems per traced step, and trajectories that are followed"
    )
    top: int = Field(default=5, ge=1, le=50, description="Most likely next tokens kept for each context")
