"""A strategy: how to reason about a kind of problem, without its computation or answer [docs/method.md section 2]."""

from pydantic import BaseModel, ConfigDict, Field

CRITERIA = ("problem_type", "strategy", "steps", "no_leak")
"""The four ranking criteria of docs/method.md section 2, in its order."""


class Strategy(BaseModel):
    """The best of several candidates for one problem.

    `score` is the mean of the four `scores` (each 0.0-1.0, keys are CRITERIA); `candidates_seen` counts the candidates
    that the teacher wrote, refused ones included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    problem_id: str = Field(min_length=1)
    problem_type: str = Field(min_length=1)
    approach: str = Field(min_length=1)
    steps: tuple[str, ...] = Field(min_length=1)
    score: float = Field(ge=0.0, le=1.0)
    scores: dict[str, float]
    teacher: str
    prompt_version: str
    candidates_seen: int = Field(ge=1)

    def text(self) -> str:
        """Return the strategy as it is put before the question: problem type, approach, numbered steps."""
        steps = " ".join(f"{number}. {step}" for number, step in enumerate(self.steps, start=1))
        return f"Problem type: {self.problem_type}\nStrategy: {self.approach}\nSteps: {steps}"


class StrongResponse(BaseModel):
    """A strong model's full response to one problem, accepted by the verifier.

    `attempt` counts the teacher's tries from 1; 0 is a response that came with the problem (teacher "given").
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    problem_id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    teacher: str
    prompt_version: str
    attempt: int = Field(ge=0)
