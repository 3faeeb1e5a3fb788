"""Answers that are JSON: equal as values; the order of keys and the layout do not matter, types do."""

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from sgpo.problems.domains.fences import last_block
from sgpo.problems.domains.stated import stated_answer, tagged
from sgpo.problems.responses import answer_part
from sgpo.problems.schema import Problem
from sgpo.problems.verifier import Verdict

_FENCE = re.compile(r"^[ \t]*```(?:json)?[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE | re.IGNORECASE)
_OPENED = re.compile(r"<answer>|\\boxed", re.IGNORECASE)
"""An answer that was begun and is none: a fenced block before it does not stand in."""


class _NotJsonError(ValueError):
    pass


def judge(response: str, problem: Problem) -> Verdict:
    """Return whether the stated answer, or else the last fenced block, is the gold value."""
    stated, text = stated_answer(response), answer_part(response)
    if stated is None and not _OPENED.search(text):
        stated = last_block(text)
    if stated is None:
        return Verdict(False, None, "no_answer")
    try:
        correct = same(_read(stated), _read(problem.answer))
    except (_NotJsonError, RecursionError):
        return Verdict(False, stated, "unparsable")
    return Verdict(correct, stated, "correct" if correct else "wrong")


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal: true is not 1, and 1.0 is 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def _read(text: str) -> Any:
    fenced = _FENCE.fullmatch(text.strip())
    try:
        return json.loads(
            fenced[1] if fenced else text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite
        )
    except ValueError as error:
        raise _NotJsonError(str(error)) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise _NotJsonError("a key is there twice")
    return record


def _refuse(text: str) -> Any:
    raise _NotJsonError(f"{text} is no JSON")


def _finite(text: str) -> Decimal:
    """Return a number to its last digit: as floats 1e20 and 100000000000000000001.0 are equal, and 1e-400 is 0."""
    if not math.isfinite(float(text)):
        raise _NotJsonError(f"{text} is too large")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise _NotJsonError(f"{text} is too small") from None


judge.present = lambda problem: tagged(problem.answer)  # type: ignore[attr-defined]
