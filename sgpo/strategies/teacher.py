"""The strong model behind one interface: whoever completes chat messages can be the teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


class TeacherError(RuntimeError):
    """The teacher could not complete a request; what it completed before is kept in the journal."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What the teacher answered. `finish_reason` is "length" when the answer was cut at the teacher's token limit."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"] = "stop"


class Teacher(Protocol):
    """A strong model. It answers a problem, writes one strategy candidate, and ranks candidates: all are completions.

    The prompts tell the three apart by their first line (`sgpo/strategies/prompts/`). The same messages, seed and
    temperature may give the same completion or not; the journal makes a run repeatable either way.
    """

    @property
    def name(self) -> str:
        """What the records call this model."""
        ...

    def complete(self, messages: Sequence[Message], *, seed: int, temperature: float) -> Completion:
        """Answer `messages`; raises TeacherError when it cannot."""
        ...


def request_seed(run_seed: int, *parts: str | int) -> int:
    """A seed in [0, 2^31) that is a function of the run seed and of what is asked, the same in every process."""
    text = "\0".join(map(str, (run_seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
