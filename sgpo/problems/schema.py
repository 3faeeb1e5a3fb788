"""What is asked: one problem with a checkable answer."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, Field, model_validator


def problem_id(question: str, answer: str) -> str:
    """Stable content hash: the same question and answer have the same id everywhere."""
    return hashlib.sha256(f"{question}\0{answer}".encode()).hexdigest()[:16]


class Problem(BaseModel):
    """A question and its gold answer; `id` is a content hash unless given.

    `answer` is the gold final answer as text; several expected answers are joined as the reader of the data set documents.
    `tolerance` is the absolute error that a numeric answer may have; `unit` is what the answer is measured in.
    `difficulty` is the tier, 1 the easiest. `response` is a strong model's full response, where there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = ""
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    domain: str = "math"
    difficulty: int | None = Field(None, ge=1)
    source: str | None = None
    response: str | None = None
    unit: str | None = None
    tolerance: float | None = Field(None, ge=0.0)

    @model_validator(mode="before")
    @classmethod
    def _id_from_content(cls, values: object) -> object:
        if isinstance(values, dict) and not values.get("id"):
            return {**values, "id": problem_id(str(values.get("question", "")), str(values.get("answer", "")))}
        return values
