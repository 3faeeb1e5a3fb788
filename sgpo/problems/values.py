"""The values of a row as other people write them: numbers as text or not, lists, truths, messages."""

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

Row = Mapping[str, Any]

_ANSWER = "the final answer as text"
_EXACT = 2**53  # whole numbers below it are exact in a float


class FieldError(ValueError):
    """A value that its field cannot have; the message names the field and what was expected."""


def answer_fields(value: Any, name: str = "answer") -> dict[str, Any]:
    """Return `answer`, and `multiple` where the value lists several: 2.0 -> "2", ["1", "2"] -> "1, 2".

    Raises FieldError for NaN, written or not, and for what is no answer.
    """
    if not isinstance(value, list):
        return {"answer": scalar_text(value, name)}
    items = [scalar_text(item, name) for item in value]
    texts = [item for item in items if item is not None and item.strip()]
    if not texts or len(texts) < len(items):
        raise FieldError(f"'{name}' is {shown(value)} (expected a list of answers as text)")
    return {"answer": ", ".join(texts), **({"multiple": True} if len(texts) > 1 else {})}


def scalar_text(value: Any, name: str) -> str | None:
    """Return one answer as text, None for none: 2 -> "2", 2.0 -> "2", 2.5 -> "2.5". Raises FieldError."""
    if value is None:
        return None
    if isinstance(value, str):
        if value.strip().casefold() == "nan":
            raise FieldError(f"'{name}' is {shown(value)} (expected {_ANSWER}, and not NaN)")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise FieldError(f"'{name}' is {shown(value)} (expected {_ANSWER})")
    if not math.isfinite(value):
        raise FieldError(f"'{name}' is {value} (expected {_ANSWER}, and not NaN or infinite)")
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)
    return str(value)


def number(row: Row, name: str) -> float:
    """Return a finite number, written as text or not. Raises FieldError."""
    value = row[name]
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise FieldError(f"'{name}' is {shown(value)} (expected a number)")
    return found


def whole_number(row: Row, name: str) -> int:
    """Return a whole number, written as text or not. Raises FieldError."""
    found = number(row, name)
    if not found.is_integer() or abs(found) > _EXACT:
        raise FieldError(f"'{name}' is {shown(row[name])} (expected a whole number)")
    return int(found)


def number_text(row: Row, name: str) -> str:
    """Return a number in its shortest form: 27.0 and "27.0" -> "27"."""
    return str(scalar_text(number(row, name), name))


def text(row: Row, name: str) -> str:
    """Return a field that must hold text. Raises FieldError."""
    value = row[name]
    if not isinstance(value, str):
        raise FieldError(f"'{name}' is {shown(value)} (expected text)")
    return value


def text_list(row: Row, name: str) -> list[str]:
    """Return a list of answers as text; a CSV cell holds it as JSON. Raises FieldError."""
    value = row[name]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item.strip() for item in value):
        raise FieldError(f"'{name}' is {shown(row[name])} (expected a list of answers as text)")
    return value


def truth(row: Row, name: str) -> bool:
    """Return true or false, written as text or not. Raises FieldError."""
    value = row[name]
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower())
    if not isinstance(value, bool):
        raise FieldError(f"'{name}' is {shown(row[name])} (expected true or false)")
    return value


def said_by(role: str, value: Any, name: str) -> str:
    """Return what one role says in chat messages, which must be one message; text stands for itself.

    Other roles are left out: a system message is the trainer's own affair. Raises FieldError.
    """
    if isinstance(value, str):
        return value
    if not is_messages(value):
        raise FieldError(f"'{name}' is {shown(value)} (expected text, or chat messages with role and content)")
    said = [message["content"] for message in value if message["role"] == role]
    if len(said) != 1:
        raise FieldError(f"'{name}' has {len(said)} messages of the role '{role}' (expected one)")
    return said[0]


def is_messages(value: Any) -> bool:
    """Whether a value is a list of chat messages with text."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and len(value) > 0
        and all(
            isinstance(message, Mapping)
            and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), str)
            for message in value
        )
    )


def shown(value: Any) -> str:
    """Return a value for a message of one line: at most 60 characters."""
    written = repr(value)
    return written if len(written) <= 60 else written[:57] + "..."


def is_blank(value: str) -> bool:
    """Whether a text shows nothing: spaces of all kinds, and characters without a width."""
    return all(character.isspace() or unicodedata.category(character) in ("Cc", "Cf") for character in value)
