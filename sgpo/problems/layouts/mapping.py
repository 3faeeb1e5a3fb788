"""A layout that the user names: which field is the question, the answer, the strong model's response, the id."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgpo.problems.layouts.instructions import without_instructions
from sgpo.problems.layouts.layout import Layout
from sgpo.problems.responses import after_marks, final_answer
from sgpo.problems.rows import ProblemFileError
from sgpo.problems.values import Row, answer_fields, said_by


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """Names of fields; a dot leads into a record, as in `reward_model.ground_truth`."""

    question: str
    answer: str
    response: str | None = None
    id: str | None = None


def mapped_layout(mapping: FieldMapping, first: Row, path: Path) -> Layout:
    """Return the layout that the names give; raises ProblemFileError for a name that the first row has not.

    An answer that is a whole solution is its final answer: what follows `####`, or else the last box.
    """
    names = [name for name in (mapping.question, mapping.answer, mapping.response, mapping.id) if name is not None]
    for name in names:
        if not _has(first, name):
            near = difflib.get_close_matches(name, list(first), n=1)
            found = ", ".join(f"'{field[:40]}'" for field in list(first)[:12])
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ProblemFileError(f"{path}: no field '{name}' ({hint}its fields are {found})")

    def fields(row: Row) -> dict[str, Any]:
        problem: dict[str, Any] = {"question": _question(row, mapping.question), "source": None, **_gold(row, mapping)}
        if mapping.response is not None and (response := _value(row, mapping.response)) is not None:
            problem["response"] = said_by("assistant", response, mapping.response)
        if mapping.id is not None and (name := _value(row, mapping.id)) is not None:
            problem["id"] = str(name)
        return problem

    heads = {name if name in first else name.partition(".")[0] for name in names}
    optional = frozenset(heads)  # an empty one is refused by its own name
    return Layout("the fields named", frozenset(heads), fields, optional=optional)


def _question(row: Row, name: str) -> Any:
    value = _value(row, name)
    return value if value is None else without_instructions(said_by("user", value, name))


def _gold(row: Row, mapping: FieldMapping) -> dict[str, Any]:
    value = _value(row, mapping.answer)
    if isinstance(value, str):
        value = after_marks(value) or final_answer(value) or value
    return answer_fields(value, mapping.answer)


def _has(row: Row, name: str) -> bool:
    head, dot, rest = name.partition(".")
    return name in row or (bool(dot) and isinstance(row.get(head), Mapping) and _has(row[head], rest))


def _value(row: Row, name: str) -> Any:
    if name in row:
        return row[name]
    head, _, rest = name.partition(".")
    inner = row.get(head)
    return _value(inner, rest) if rest and isinstance(inner, Mapping) else None
