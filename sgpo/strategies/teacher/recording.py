"""A file of what a strong model once answered: by problem id its response, its candidates and its scores of them.

One JSON object a line: `id`, `candidates` (each as the model wrote it, or its three parts), `scores` (the four criteria
for each candidate), and `response` where the problems do not bring their own.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError
from pydantic_core import ErrorDetails

from sgpo.files import file_sha256
from sgpo.problems.rows import ProblemFileError, read_rows
from sgpo.problems.values import shown
from sgpo.strategies.teacher.teacher import TeacherError

_PARTS = {"problem_type": "text", "strategy": "text", "steps": "a list of texts"}
_EXPECTED = {
    "id": "the id of a problem, as text",
    "response": "a full response as text, or nothing",
    "candidates": "a list of strategies, each a text or an object with problem_type, strategy and steps",
    "scores": "a list of objects with problem_type, strategy, steps and no_leak, one for each candidate",
}
_TAGS = ("text", "parts")


class RecordingError(TeacherError, ValueError):
    """A recording that cannot be replayed; one line names file, row, field and what would be right."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CandidateParts(_Entry):
    """A candidate in its three parts."""

    problem_type: str
    strategy: str
    steps: list[str]


class CandidateScores(_Entry):
    """The four criteria of a candidate, each from 0.0 to 1.0."""

    problem_type: float = Field(ge=0.0, le=1.0)
    strategy: float = Field(ge=0.0, le=1.0)
    steps: float = Field(ge=0.0, le=1.0)
    no_leak: float = Field(ge=0.0, le=1.0)


def _kind(candidate: Any) -> str:
    return _TAGS[0] if isinstance(candidate, str) else _TAGS[1]


Candidate = Annotated[Annotated[str, Tag(_TAGS[0])] | Annotated[CandidateParts, Tag(_TAGS[1])], Discriminator(_kind)]


class Record(_Entry):
    """What was recorded of one problem."""

    id: str = Field(min_length=1)
    response: str | None = None
    candidates: list[Candidate]
    scores: list[CandidateScores]

    def candidate(self, index: int) -> str:
        """Return candidate `index`, from 1, as a model's answer."""
        found = self.candidates[index - 1]
        return found if isinstance(found, str) else json.dumps(found.model_dump(), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Recording:
    """The records of a file by problem id, with each one's row, and the sha256 of the file."""

    path: Path
    sha256: str
    records: dict[str, Record]
    rows: dict[str, int]


def read_recording(path: Path, candidates: int) -> Recording:
    """Read a recording in which every record has as many candidates as are asked for.

    Raises RecordingError for the first row that is not a record, or has an id that was there before.
    """
    records: dict[str, Record] = {}
    rows: dict[str, int] = {}
    try:
        for row, fields in read_rows(path):
            where = f"{path} row {row}"
            record = _read(fields, where, candidates)
            if record.id in rows:
                raise RecordingError(
                    f"{where}: 'id' is '{record.id}', as in row {rows[record.id]} (expected one record for a problem)"
                )
            records[record.id], rows[record.id] = record, row
    except ProblemFileError as error:
        raise RecordingError(str(error).replace("at least one problem", "at least one record")) from None
    return Recording(path, file_sha256(path), records, rows)


def _read(fields: dict[str, Any], where: str, candidates: int) -> Record:
    try:
        record = Record.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise RecordingError(f"{where}: {_describe(error.errors()[0])}") from None
    if len(record.candidates) != candidates:
        raise RecordingError(
            f"{where}: 'candidates' has {len(record.candidates)} entries (expected {candidates}, as "
            "strategies.candidates in params.yaml asks for)"
        )
    if len(record.scores) != candidates:
        raise RecordingError(
            f"{where}: 'scores' has {len(record.scores)} entries (expected {candidates}, one for each candidate)"
        )
    return record


def _describe(error: ErrorDetails) -> str:
    place = [part for part in error["loc"] if part not in _TAGS or part == error["loc"][0]]
    name = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    group = str(place[0]) if len(place) > 1 else ""
    known = {"candidates": list(_PARTS), "scores": list(CandidateScores.model_fields)}.get(group, list(_EXPECTED))
    if error["type"] == "extra_forbidden":
        return f"unknown field '{name}' (known fields: {', '.join(known)})"
    expected = _expected(group, place)
    if error["type"] == "missing":
        return f"'{name}' is missing (expected {expected})"
    return f"'{name}' is {shown(error['input'])} (expected {expected})"


def _expected(group: str, place: list[Any]) -> str:
    last = place[-1]
    if not group:
        return _EXPECTED.get(str(last), "a record")
    if group == "scores":
        return _EXPECTED["scores"] if isinstance(last, int) else "a number from 0.0 to 1.0"
    if isinstance(last, int):
        return "text" if len(place) > 2 else "a text, or an object with problem_type, strategy and steps"
    return _PARTS.get(str(last), "one of its three parts")
