"""JSON as models write it: fenced, between sentences, several values in a row, LaTeX with single backslashes."""

import json
import re
from typing import Any

_MAX_OPENINGS = 64
"""Brackets tried as the start of a value; mathematics is full of brackets that start none."""

_OPENING = re.compile(r"[\[{]")
_LATEX_COMMAND = re.compile(r"(?<!\\)\\(?=(?:frac|binom|beta|bar|text|times|theta|tan|to|right|rho|neq|nu|nabla)\b)")
"""Commands that JSON would read as an escape: \\frac would become a form feed and "rac"."""
_INVALID_ESCAPE = re.compile(r'(?<!\\)((?:\\\\)*)\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})')
_TRAILING_COMMA = re.compile(r",(?=\s*[\]}])")


def json_values(text: str) -> list[Any]:
    """Every JSON object or array that stands in `text`, outermost, in order; nothing when there is none.

    Two usual slips, single backslashes and trailing commas, are mended where that makes more of the text readable.
    """
    text = _LATEX_COMMAND.sub(r"\\\\", text)
    values, length = _scan(text)
    mended, mended_length = _scan(_TRAILING_COMMA.sub("", _INVALID_ESCAPE.sub(r"\1\\\\", text)))
    return mended if mended_length > length else values


def letters(key: object) -> str:
    """Return a key without case and punctuation: "Problem_Type" and "problem type" are the same."""
    return re.sub(r"[^a-z]", "", str(key).lower())


def _scan(text: str) -> tuple[list[Any], int]:
    """Return the values, and how many characters they cover together."""
    decoder = json.JSONDecoder(strict=False)
    values: list[Any] = []
    position, covered = 0, 0
    for _ in range(_MAX_OPENINGS):
        if (opening := _OPENING.search(text, position)) is None:
            break
        try:
            value, position = decoder.raw_decode(text, opening.start())
            covered += position - opening.start()
        except (ValueError, RecursionError):  # not the start of a value: look for the next bracket
            position = opening.end()
            continue
        if value:
            values.append(value)
    return values, covered
