"""The four benchmarks as their publishers lay them out: MATH500, AIME 2024, AMC 2023, OlympiadBench.

A layout is recognised by its columns, whatever the file is called; columns that a problem has no use for (solutions,
addresses) are left out. Ids are the publishers' own behind the benchmark's name, so that the four can be mixed.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgpo.problems.rows import ProblemFileError, read_rows, refuse_repeated_ids
from sgpo.problems.schema import Problem
from sgpo.problems.table import validate

_OPTIONAL = {"unit", "error"}


@dataclass(frozen=True, slots=True)
class Layout:
    """How one benchmark is laid out: the columns that tell it from the others, and what a row says."""

    name: str
    columns: frozenset[str]
    absent: frozenset[str]
    fields: Callable[[dict[str, Any]], dict[str, Any]]


def find_layout(columns: Iterable[str]) -> Layout | None:
    """Return the layout that has these columns, or None."""
    found = set(columns)
    return next((layout for layout in LAYOUTS if layout.columns <= found and not layout.absent & found), None)


def read_layout(path: Path, layout: Layout) -> list[Problem]:
    """Return the problems of a file that is laid out as `layout`. Raises ProblemFileError."""
    rows: list[int] = []
    problems: list[Problem] = []
    for row, record in read_rows(path):
        where = f"{path} row {row}"
        if missing := sorted(name for name in layout.columns - _OPTIONAL if record.get(name) is None):
            raise ProblemFileError(f"{where}: '{missing[0]}' is missing (every row of {layout.name} has it)")
        try:
            fields = layout.fields(record)
        except _FieldError as error:
            raise ProblemFileError(f"{where}: {error}") from None
        rows.append(row)
        problems.append(validate(Problem, {**fields, "source": layout.name}, where, ProblemFileError))
    refuse_repeated_ids(path, rows, problems)
    return problems


class _FieldError(ValueError):
    pass


def _math500(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"math500/{row['unique_id']}",
        "question": row["problem"],
        "answer": row["answer"],
        "difficulty": _whole_number(row, "level"),
    }


def _aime24(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"aime24/{row['id']}", "question": row["problem"], "answer": str(_whole_number(row, "answer"))}


def _amc23(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"amc23/{row['id']}", "question": row["problem"], "answer": _number_text(row, "answer")}


def _olympiadbench(row: dict[str, Any]) -> dict[str, Any]:
    answers = _list(row, "final_answer")
    context = row.get("context")
    return {
        "id": f"olympiadbench/{row['id']}",
        "question": f"{context}\n{row['question']}" if context else row["question"],
        "answer": ", ".join(answers),
        "multiple": _truth(row, "is_multiple_answer") or len(answers) > 1,
        "unit": row.get("unit") or None,
        "tolerance": _number(row, "error") if row.get("error") not in (None, "") else None,
    }


LAYOUTS = (
    Layout("math500", frozenset({"problem", "answer", "level", "unique_id"}), frozenset(), _math500),
    Layout("aime24", frozenset({"id", "problem", "answer", "solution", "url"}), frozenset(), _aime24),
    Layout("amc23", frozenset({"id", "problem", "answer", "url"}), frozenset({"solution"}), _amc23),
    Layout(
        "olympiadbench",
        frozenset({"id", "question", "final_answer", "is_multiple_answer", "unit", "error"}),
        frozenset(),
        _olympiadbench,
    ),
)


def _number(row: dict[str, Any], name: str) -> float:
    value = row[name]
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _FieldError(f"'{name}' is {value!r} (expected a number)")
    return number


def _whole_number(row: dict[str, Any], name: str) -> int:
    number = _number(row, name)
    if not number.is_integer() or abs(number) > 2**53:
        raise _FieldError(f"'{name}' is {row[name]!r} (expected a whole number)")
    return int(number)


def _number_text(row: dict[str, Any], name: str) -> str:
    """27.0 -> "27", 2.5 -> "2.5"."""
    number = _number(row, name)
    return str(int(number)) if number.is_integer() else repr(number)


def _list(row: dict[str, Any], name: str) -> list[str]:
    value = row[name]
    if isinstance(value, str):  # a CSV cell holds the list as JSON
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item.strip() for item in value):
        raise _FieldError(f"'{name}' is {row[name]!r} (expected a list of answers as text)")
    return value


def _truth(row: dict[str, Any], name: str) -> bool:
    value = row[name]
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower())
    if not isinstance(value, bool):
        raise _FieldError(f"'{name}' is {row[name]!r} (expected true or false)")
    return value
