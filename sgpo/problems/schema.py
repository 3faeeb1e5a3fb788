"""What is asked: one problem with a checkable answer."""

import hashlib
import json
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_NOT_BLANK = r"[^\s\p{Cc}\p{Cf}]"  # something that is seen: spaces of all kinds and zero-width characters are not


def problem_id(question: str, answer: str) -> str:
    """Stable content hash: the same question and answer have the same id everywhere."""
    return hashlib.sha256(f"{question}\0{answer}".encode()).hexdigest()[:16]


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


def _json_object(text: str) -> str:
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    return text


class Problem(BaseModel):
    """A question and its gold answer; `id` is a content hash unless given.

    `answer` is the gold final answer as text. With `multiple` it lists several expected answers separated by commas,
    and a response must name all of them, in any order; ordered tuples and intervals are written in brackets.
    `tolerance` is the absolute error that a numeric answer may have; `unit` is what the answer is measured in.
    `difficulty` is the tier, 1 the easiest. `response` is a strong model's full response, where there is one.
    `domain` chooses the verifier; `details` is what that needs beside the answer, a JSON object as text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(default="", description="text that is unique in the file, or nothing for a content hash")
    question: Annotated[str, AfterValidator(_without_nul)] = Field(
        pattern=_NOT_BLANK, description="the problem as text"
    )
    answer: Annotated[str, AfterValidator(_without_nul)] = Field(
        pattern=_NOT_BLANK, description="the final answer as text"
    )
    domain: str = Field(default="math", pattern=_NOT_BLANK, description="a domain name such as math")
    difficulty: int | None = Field(default=None, ge=1, description="a whole number from 1, the easiest, or nothing")
    source: str | None = Field(default=None, pattern=_NOT_BLANK, description="the data set's name, or nothing")
    response: str | None = Field(
        default=None, pattern=_NOT_BLANK, description="a strong model's response as text, or nothing"
    )
    unit: str | None = Field(default=None, pattern=_NOT_BLANK, description="a unit such as km, or nothing")
    tolerance: float | None = Field(
        default=None, ge=0.0, allow_inf_nan=False, description="a finite absolute error from 0, or nothing"
    )
    multiple: bool = Field(
        default=False, description="true where the answer lists several expected answers, else false"
    )
    details: Annotated[str, AfterValidator(_json_object)] | None = Field(
        default=None, description="a JSON object for the domain's verifier, or nothing"
    )

    @model_validator(mode="before")
    @classmethod
    def _id_from_content(cls, values: object) -> object:
        if isinstance(values, dict) and isinstance(values.get("details"), dict):
            values = {**values, "details": json.dumps(values["details"], ensure_ascii=False)}
        if not isinstance(values, dict) or values.get("id"):
            return values
        question, answer = values.get("question"), values.get("answer")
        if values.get("id") in ("", None) and isinstance(question, str) and isinstance(answer, str):
            # Lone surrogates cannot be hashed; leave them to the field's own check, which names them.
            return {**values, "id": problem_id(question, answer)} if _is_unicode(question + answer) else values
        return values


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
