"""What training keeps so that one can see where a strategy changes the student's mind."""

from pydantic import Field

from sgpo.config.base import Settings


class TraceConfig(Settings):
    """Token by token traces of guided trajectories; changes no number of training, and may change in a run."""

    every: int | None = Field(
        default=10, ge=1, description="Steps between traced steps, the last step beside them; null: no traces"
    )
    problems: int = Field(default=4, ge=1, le=64, description="Problems of a traced step, and problems followed")
    top: int = Field(default=5, ge=1, le=50, description="Most likely next tokens that are kept of each context")
