"""What was refused, and why: nothing that the teacher wrote disappears without a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sgpo.files import publish_file

Reason = Literal[
    "wrong_answer",  # a response that the verifier does not accept
    "no_verdict",  # a response on which the verifier ran out of time or crashed: not known to be wrong
    "truncated",  # cut before it was complete
    "empty",
    "not_a_strategy",  # none of the three parts
    "missing_problem_type",
    "missing_strategy",
    "missing_steps",
    "several_strategies",
    "placeholder",  # a part that only repeats the layout it should have filled in
    "too_long",
    "states_answer",  # the three ways to leak, see leak.py
    "states_result",
    "computes",
    "not_a_ranking",
    "incomplete_ranking",  # a candidate or a criterion without a score
    "score_out_of_range",
    "no_response",  # a problem without an accepted response
    "no_candidate",  # a problem whose candidates were all refused
    "no_ranking",  # a problem whose rankings were all unreadable
]

Stage = Literal["response", "candidate", "ranking", "problem"]


class RefusedText(BaseModel):
    """One line of the refusals file: a text that was refused, or a problem that ended without a result.

    `index` counts from 1: the try of a response or ranking, or the candidate's number; None for the problem as a whole.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    problem_id: str = Field(min_length=1)
    stage: Stage
    index: int | None = Field(default=None, ge=1)
    reason: Reason
    detail: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason code to count by, and one line for a person."""

    reason: Reason
    detail: str

    def of(self, problem_id: str, stage: Stage, index: int | None = None, text: str = "") -> RefusedText:
        """This refusal as a line of the refusals file."""
        return RefusedText(
            problem_id=problem_id,
            stage=stage,
            index=index,
            reason=self.reason,
            detail=_encodable(self.detail),
            text=_encodable(text),
        )


def write_refusals(refusals: Iterable[RefusedText], path: Path) -> None:
    """One JSON object per line, whole or not at all."""
    with publish_file(path) as aside, aside.open("w", encoding="utf-8") as file:
        file.writelines(refusal.model_dump_json() + "\n" for refusal in refusals)


def _encodable(text: str) -> str:
    """JSON escapes can smuggle in half a surrogate pair, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
