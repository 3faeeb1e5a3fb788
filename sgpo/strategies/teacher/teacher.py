"""The strong model behind one interface: whoever completes chat messages can be the teacher."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sgpo.errors import UserError


class TeacherError(UserError):
    """The teacher cannot be used as it is; what it completed before is kept in the journal."""


class RequestFailedError(TeacherError):
    """One request was not answered, in all its attempts; others may be, and another run asks again."""


class RequestRefusedError(TeacherError):
    """The teacher will not answer this very request, however often it is asked (too long, filtered).

    `about_settings`: nothing says that another request would fare better.
    """

    def __init__(self, message: str, *, about_settings: bool = False) -> None:
        super().__init__(message)
        self.about_settings = about_settings


class NoRecordError(RequestRefusedError):
    """A recording has no answer to this request."""


class BudgetReachedError(TeacherError):
    """Another request might cost more than what is left to spend."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What the teacher answered. `finish_reason` is "length" when the answer was cut at `Teacher.max_tokens`.

    "content_filter" (the endpoint stopped it), "refusal" (the model declines, `text` says how) and "no_answer"
    (reasoning and nothing behind it) are paid for like an answer and are none.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length", "content_filter", "refusal", "no_answer"] = "stop"


class Teacher(Protocol):
    """A strong model. It answers a problem, writes one strategy candidate, and ranks candidates: all are completions.

    The prompts tell the three apart by their first line (`sgpo/strategies/teacher/prompts/`). The same messages, seed
    and temperature may give the same completion or not; the journal makes a run repeatable either way.
    """

    @property
    def name(self) -> str:
        """What the records call this model."""
        ...

    @property
    def max_tokens(self) -> int:
        """Tokens that one answer may have."""
        ...

    async def complete(self, messages: Sequence[Message], *, seed: int, temperature: float | None) -> Completion:
        """Answer `messages`; raises TeacherError when it cannot."""
        ...


def request_key(teacher: str, messages: Sequence[Message], seed: int, temperature: float | None) -> str:
    """32 hex digits for everything that a request consists of; the prompts' version is in the messages' wording."""
    sent = None if temperature is None else float(temperature)
    request = [teacher, [[message.role, message.content] for message in messages], seed, sent]
    return hashlib.sha256(json.dumps(request).encode()).hexdigest()[:32]


def request_seed(run_seed: int, *parts: str | int) -> int:
    """Return a seed in [0, 2^31) that is a function of the run seed and of what is asked, the same in every process."""
    text = "\0".join(map(str, (run_seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
