"""What was refused, and why: nothing that the teacher wrote disappears without a reason."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field

from sgpo.errors import UserError
from sgpo.files import publish_file
from sgpo.strategies.teacher.teacher import Completion, NoRecordError, RequestRefusedError

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
    "teacher_refused",  # the endpoint would not answer this request, or the model declined
    "no_record",  # a recording has no answer to this request
    "no_problem",  # a record of a recording that fits no training problem
    "near_duplicate",  # of an earlier candidate for the same problem
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


class RefusalFileError(UserError, ValueError):
    """A refusals file that cannot be read; the message names file and line."""


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
        """Return this refusal as a line of the refusals file."""
        return RefusedText(
            problem_id=problem_id,
            stage=stage,
            index=index,
            reason=self.reason,
            detail=_encodable(self.detail),
            text=_encodable(text),
        )


def no_answer(completion: Completion) -> Refusal | None:
    """Return why a completion is no whole answer, whatever its text; None when it is one."""
    match completion.finish_reason:
        case "length":
            return Refusal("truncated", "cut at the teacher's token limit (raise teacher.max_tokens)")
        case "content_filter":
            return Refusal("teacher_refused", "the endpoint's content filter stopped the answer")
        case "refusal":
            return Refusal("teacher_refused", "the model declined to answer")
        case "no_answer":
            return Refusal("empty", "nothing behind the reasoning (message.content is empty)")
        case "stop":
            return None


def not_answered(error: RequestRefusedError) -> Refusal:
    """Return the refusal of a request that the teacher will not answer."""
    return Refusal("no_record" if isinstance(error, NoRecordError) else "teacher_refused", str(error))


class RefusalWriter:
    """Refused texts on their way into a file, one JSON object per line; `counts` by reason."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.counts: Counter[str] = Counter()

    def extend(self, refusals: Iterable[RefusedText]) -> None:
        for refusal in refusals:
            self._file.write(refusal.model_dump_json() + "\n")
            self.counts[refusal.reason] += 1


@contextmanager
def publish_refusals(path: Path) -> Iterator[RefusalWriter]:
    """Write refusals as they come; the file is there when the block ends without an error."""
    with publish_file(path) as aside, aside.open("w", encoding="utf-8") as file:
        yield RefusalWriter(file)
        file.flush()


def read_refusals(path: Path) -> Iterator[RefusedText]:
    """Yield the refusals of a file, one after the other; raises RefusalFileError naming file and line."""
    if not path.is_file():
        raise RefusalFileError(f"{path}: no such file (expected the refusals of an extraction)")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield RefusedText.model_validate_json(line)
            except ValueError:
                raise RefusalFileError(f"{path} line {number}: not a refusal (expected problem_id, stage, …)") from None


def _encodable(text: str) -> str:
    """JSON escapes can smuggle in half a surrogate pair, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
